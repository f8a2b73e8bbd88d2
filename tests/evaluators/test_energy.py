"""Energy meters: read from files and lines as the systems write them."""

from pathlib import Path

import pytest

from paretolens.evaluators.energy import Meter, PowerSum, find_meters, metered


def package(root: Path, number: int, energy: int) -> Path:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text("262143328850\n")
    return folder


def test_rapl_counts_joules_and_knows_where_its_counter_begins_again(tmp_path: Path) -> None:
    folder = package(tmp_path, 0, 5_000_000)
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of the package: not counted twice
    with metered(find_meters(powercap=tmp_path)[:1]) as reading:
        (folder / "energy_uj").write_text("7500000\n")
    assert reading.joules == {"RAPL": pytest.approx(2.5)}
    with metered(find_meters(powercap=tmp_path)[:1]) as reading:
        (folder / "energy_uj").write_text("1000000\n")
    assert reading.joules["RAPL"] == pytest.approx(262143.32885 - 6.5)


def test_each_package_begins_again_for_itself(tmp_path: Path) -> None:
    first, second = package(tmp_path, 0, 262_143_000_000), package(tmp_path, 1, 1_000_000)
    with metered(find_meters(powercap=tmp_path)[:1]) as reading:
        (first / "energy_uj").write_text("671150\n")  # 1 J further
        (second / "energy_uj").write_text("3000000\n")
    assert reading.joules["RAPL"] == pytest.approx(1.0 + 2.0)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    meters = {meter.name: meter for meter in find_meters(powercap=tmp_path)}
    assert sorted(meters) == ["RAPL", "tegrastats"], "a GPU that idles is not the model's"
    assert sorted(meter.name for meter in find_meters(gpu="GPU-0")) == ["NVML", "tegrastats"]
    with metered((meters["RAPL"],)) as reading:
        pass
    assert reading.joules == {}
    assert "lists no package" in reading.missing["RAPL"]


def test_tegrastats_lines_are_summed_over_time() -> None:
    times = iter([0.0, 0.1, 0.2, 0.3])
    counted = PowerSum(lambda: next(times))
    counted.add("RAM 2448/7772MB CPU [2%@1420] VDD_IN 5000mW/4980mW VDD_CPU_GPU_CV 1200mW/1190mW")
    counted.add("no power in this one")
    counted.add("VDD_IN 10000mW/5000mW")
    assert counted.joules() == pytest.approx(0.5 + 2.0)


def test_a_meter_is_stopped_also_after_an_error() -> None:
    stopped: list[bool] = []
    meter = Meter(name="x", joules=lambda: 1.0, reason="", stop=lambda: stopped.append(True))
    with pytest.raises(RuntimeError), metered((meter,)):
        raise RuntimeError
    assert stopped == [True]
