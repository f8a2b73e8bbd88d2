"""What a search does about a measuring slot that says nothing, and how it knows which code a slot runs."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

import paretolens
from paretolens.errors import SlotLostError
from paretolens.evaluators.latency import Backend, LatencySettings
from paretolens.search.cluster.slot import SlotBench, slot_version


@pytest.mark.parametrize(("question", "turns"), [("device", 3), ("calibrate", 3), ("measure", 20)])
def test_a_silent_slot_is_told_of_given_up_and_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, question: str, turns: int
) -> None:
    waits: list[float] = []
    withdrawn: list[str] = []

    def silent(asked: str, timeout: float) -> None:
        waits.append(timeout)
        raise ray.exceptions.GetTimeoutError

    slot = SimpleNamespace(**{question: SimpleNamespace(remote=lambda *_: "the question")})
    monkeypatch.setattr(ray, "get_actor", lambda name, namespace: slot)
    monkeypatch.setattr(ray, "get", silent)
    monkeypatch.setattr(ray, "cancel", withdrawn.append)
    bench = SlotBench("latency:h200", limit_s=300.0)
    (tmp_path / "model.onnx").write_bytes(b"")
    asked = {
        "device": lambda: bench.device(Backend.AUTO),
        "calibrate": bench.calibrate,
        "measure": lambda: bench.measure(tmp_path / "model.onnx", Backend.AUTO, LatencySettings(), None),
    }
    with pytest.raises(SlotLostError, match=rf"slot of latency:h200 has not answered for {300 * turns} s"):
        asked[question]()
    assert waits == [300.0] * turns
    assert withdrawn == ["the question"]
    assert len(caplog.messages) == turns - 1
    assert "has not answered for 300 s; it is busy or away" in caplog.messages[0]


def test_a_slot_with_another_way_to_measure_is_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(paretolens.__file__).parent
    for room in ("evaluators", "exporters", "search"):
        shutil.copytree(here / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "*.y*ml", "*.sh"))
    shutil.copy(here / "files.py", tmp_path)

    def version() -> str:
        slot_version.cache_clear()
        return slot_version()

    before = version()
    monkeypatch.setattr(paretolens, "__file__", str(tmp_path / "__init__.py"))
    assert version() == before
    with (tmp_path / "evaluators" / "latency" / "measure.py").open("a") as stream:
        stream.write("# twice as long\n")
    assert version() != before
    monkeypatch.undo()
    assert version() == before
