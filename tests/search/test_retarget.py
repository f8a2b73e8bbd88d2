"""Figures of another device: of one machine each, of every trial that runs there, and named where one does not."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from paretolens.errors import BackendError, ConfigurationError
from paretolens.evaluators.latency import LatencySettings
from paretolens.exporters.litert import CALIBRATION
from paretolens.mlflow.amend import add_tag
from paretolens.mlflow.comparable import differences
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.records import StudyRecord, read_study
from paretolens.search import elsewhere
from paretolens.search.cli import main
from paretolens.search.config import Config
from paretolens.search.elsewhere import litert_file, litert_key
from paretolens.search.progress import Silent
from paretolens.search.retarget import Target, retarget
from paretolens.search.study import Study
from paretolens.search.workspace import Workspace

SETTINGS = LatencySettings(runs=3, min_runs=3, warmup=1, seconds=1)
METRICS = {"accuracy": 0.9, "latency_ms": 2.0, "eps": 0.5}
METRIC = "on_onnxruntime_cpu_1t_p50_ms"


def model(path: Path, kind: int) -> None:
    """A convolution: ONNX Runtime has one of floats, and none of doubles."""
    weight = numpy_helper.from_array(np.ones((2, 2, 1, 1), helper.tensor_dtype_to_np_dtype(kind)), "w")
    ends = [helper.make_tensor_value_info(name, kind, ["batch", 2, 4, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    path.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Three complete trials, the second of which ONNX Runtime does not take."""
    study = Study(name="done", config=Config(), workspace=Workspace.at(tmp_path_factory.mktemp("runs")))
    study.write_config()
    with study.open_tracker() as tracker:
        for number, kind in enumerate((TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT)):
            tracker.start_trial(f"trial-{number:04d}", params={"width": number}, genome=f"g{number}")
            tracker.finish_trial(f"trial-{number:04d}", TrialState.COMPLETE, metrics={**METRICS, "eps": 0.5 + number / 10})
            model(study.folder / "trials" / f"g{number}" / "model.onnx", kind)
    return study


def stored(study: Study) -> StudyRecord:
    return read_study(study.run_id(), tracking_uri=study.uri)


def test_one_trial_that_does_not_run_hides_no_other(finished: Study, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["retarget", "done", "--device", "onnxruntime-cpu", "--runs", "3", "--workspace", str(finished.workspace.root)]
    assert main(command) == 1
    assert "trial-0001 does not run there: model" in capsys.readouterr().out
    first = stored(finished).trials.set_index("trial")[METRIC]
    assert first.notna().tolist() == [True, False, True]
    done = retarget(finished, Target(device="onnxruntime-cpu"), SETTINGS, Silent())
    assert list(done.failed) == ["trial-0001"], "asked again, since it has no figure"
    assert set(done.front.trials["trial"]) == {"trial-0000", "trial-0002"}
    assert stored(finished).trials.set_index("trial")[METRIC].dropna().tolist() == first.dropna().tolist()


def test_a_trial_whose_file_is_gone_stops_no_other(finished: Study, tmp_path: Path) -> None:
    target, file = Target(device="onnxruntime-cpu", name="gone"), finished.folder / "trials" / "g0" / "model.onnx"
    file.rename(tmp_path / "kept.onnx")
    try:
        done = retarget(finished, target, SETTINGS, Silent())
    finally:
        (tmp_path / "kept.onnx").rename(file)
    assert list(done.failed) == ["trial-0000", "trial-0001"]
    assert f"{file} is gone; put it back from a copy" in done.failed["trial-0000"]
    assert stored(finished).trials.set_index("trial")[target.metric].notna().tolist() == [False, False, True]


def test_another_machine_needs_another_name(finished: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Target(device="onnxruntime-cpu", threads=2)
    retarget(finished, here, SETTINGS, Silent())
    noted = stored(finished)
    assert noted.tags[f"paretolens.on.{here.label}"].endswith(
        f"onnxruntime {elsewhere.importlib.metadata.version('onnxruntime')}"
    )
    monkeypatch.setattr(elsewhere, "cpu_name", lambda: "Abacus 3")
    with pytest.raises(ConfigurationError, match=r"on_onnxruntime_cpu_2t_\* are of .*, this is Abacus 3, .*--name laptop"):
        retarget(finished, here, SETTINGS, Silent())
    named = Target(device="onnxruntime-cpu", threads=2, name="abacus")
    assert named.metric == "on_onnxruntime_cpu_abacus_2t_p50_ms"
    retarget(finished, named, SETTINGS, Silent())
    both = stored(finished)
    assert both.trials[here.metric].tolist() != both.trials[named.metric].tolist()
    other = StudyRecord(**{**vars(both), "tags": {**both.tags, f"paretolens.on.{here.label}": "Abacus 3"}})
    assert [difference.key for difference in differences([both, other], here.metric)] == [f"on.{here.label}"]
    assert differences([both, other], named.metric) == []


def test_figures_of_another_machine_are_replaced_whole_or_not_at_all(finished: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Target(device="onnxruntime-cpu", name="moved")
    tag, measured = f"paretolens.on.{here.label}", "paretolens.search.retarget.figures_of"
    retarget(finished, here, SETTINGS, Silent())
    add_tag(finished.run_id(), tag, "Abacus 3", tracking_uri=finished.uri)

    def stopped(*_: object) -> dict[str, float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(measured, stopped)
    with pytest.raises(KeyboardInterrupt):
        retarget(finished, here, SETTINGS, Silent(), again=True)
    with pytest.raises(ConfigurationError, match=r"are of more than one machine or version, .* replace them all: --again"):
        retarget(finished, here, SETTINGS, Silent())

    def partly(ground: elsewhere.Ground, folder: Path) -> dict[str, float]:
        if folder.name == "g2":
            raise BackendError("no such operator")
        return {**elsewhere.figures_of(ground, folder), "p50_ms": 7.0}

    monkeypatch.setattr(measured, partly)
    with pytest.raises(ConfigurationError, match="trial-0002 cannot be measured here, so that figures of another machine stay"):
        retarget(finished, here, SETTINGS, Silent(), again=True)
    assert stored(finished).tags[tag] == "more than one machine or version"
    monkeypatch.setattr(measured, lambda *_: {"p50_ms": 8.0})
    done = retarget(finished, here, SETTINGS, Silent(), again=True)
    assert not done.failed
    after = stored(finished)
    assert after.tags[tag] == elsewhere.place_of(here.device)
    assert after.trials[here.metric].tolist() == [8.0, 8.0, 8.0]


def test_a_device_that_takes_nothing_is_one_line(finished: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> dict[str, float]:
        raise BackendError("no such operator")

    monkeypatch.setattr("paretolens.search.retarget.figures_of", refuse)
    with pytest.raises(BackendError, match=r"none of the 3 trials runs there; trial-000\d: no such operator"):
        retarget(finished, Target(device="onnxruntime-cpu", threads=3), SETTINGS, Silent())
    with pytest.raises(ConfigurationError, match="--name My PC: must be lower-case letters and digits"):
        Target(device="litert", name="My PC")


class Clips:
    """A split of many clips that counts how many of them are scaled."""

    fingerprint = "clips"
    signature = SimpleNamespace(inputs=[SimpleNamespace(name="video")])

    def __init__(self) -> None:
        self.scaled: list[int] = []

    def __len__(self) -> int:
        return 10 * CALIBRATION

    def batch(self, rows: slice) -> tuple[torch.Tensor]:
        self.scaled.append(rows.stop - rows.start)
        return (torch.zeros(self.scaled[-1], 1),)


def test_files_for_litert_are_made_first_and_refusals_told(finished: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def export(_: Path, saved: Path, *others: object, **wanted: object) -> None:
        if saved.parent.name == "g1":
            raise BackendError("LiteRT could not convert model: no such operator")
        (next(place for place in others if isinstance(place, Path)) / "fp32.tflite").write_text(saved.parent.name)

    samples = Clips()
    monkeypatch.setattr(elsewhere, "prepared", lambda *_: {"val": samples})
    monkeypatch.setattr(elsewhere, "export_litert", export)
    folders = [finished.folder / "trials" / name for name in ("g0", "g1", "g2")]
    for folder in folders[:2]:
        (folder / "model").mkdir()
        (folder / "model" / "model.json").write_text(folder.name)
    asked = []

    def figures(ground: elsewhere.Ground, folder: Path) -> dict[str, float]:
        asked.append(folder.name)
        kept = sorted(path.read_text() for path in finished.workspace.cache.glob("litert-files/*/fp32.tflite"))
        assert kept == ["g0"], "all that can be made is there"
        return elsewhere.figures_of(ground, folder) if folder.name == "g2" else {"p50_ms": 1.0, "accuracy": 0.5}

    monkeypatch.setattr("paretolens.search.retarget.figures_of", figures)
    done = retarget(finished, Target(device="litert", name="ahead", litert=Path("python")), SETTINGS, Silent())
    assert asked == ["g0", "g2"]
    assert samples.scaled == [CALIBRATION], "those that a converter takes, once for all of them"
    assert done.failed["trial-0001"] == "LiteRT could not convert model: no such operator"
    assert f"{folders[2] / 'model'} is gone" in done.failed["trial-0002"]
    assert done.front.trials["trial"].tolist() == ["trial-0000"]


@pytest.mark.parametrize(("cores", "free", "wanted"), [(16, 64e9, 4), (16, 5e9, 2), (16, 0.5e9, 1), (2, 64e9, 2)])
def test_no_more_conversions_run_than_cores_and_free_memory_allow(
    monkeypatch: pytest.MonkeyPatch, cores: int, free: float, wanted: int
) -> None:
    monkeypatch.setattr(elsewhere, "usable_cores", lambda: cores)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=int(free)))
    assert elsewhere.at_once() == wanted


def test_rounded_files_are_made_of_the_float_one_which_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def export(*wanted: object, precisions: list[str], whole: Path | None) -> None:
        (out,) = (place for place in wanted if isinstance(place, Path) and place.parent.name == "litert-files")
        asked.append((precisions, None if whole is None else whole.read_text()))
        (out / f"{precisions[0]}.tflite").write_text(f"the {precisions[0]} file")

    monkeypatch.setattr(elsewhere, "export_litert", export)
    model = tmp_path / "model"
    model.mkdir()
    samples = Clips()
    found = {
        precision: litert_file(Path("python"), model, samples, tmp_path / "cache", precision=precision)  # type: ignore[arg-type]  # a stand-in
        for precision in ("static-int8", "fp32", "dynamic", "static-int8")
    }
    assert asked == [(["fp32"], None), (["static-int8"], "the fp32 file"), (["dynamic"], "the fp32 file")]
    assert set(samples.scaled) == {CALIBRATION}
    assert {path.read_text() for path in found.values()} == {"the fp32 file", "the static-int8 file", "the dynamic file"}


def test_a_converted_file_is_another_one_for_other_weights_clips_or_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    first = litert_key(folder, "clips", "int8")
    shutil.copytree(folder, tmp_path / "other" / "model")
    assert litert_key(tmp_path / "other" / "model", "clips", "int8") == first
    found = {first, litert_key(folder, "clips", "fp32"), litert_key(folder, "others", "int8")}
    (folder / "model.safetensors").write_bytes(b"others")
    found.add(litert_key(folder, "clips", "int8"))
    monkeypatch.setattr(elsewhere, "pinned_packages", lambda: ["litert-torch==9"])
    found.add(litert_key(folder, "clips", "int8"))
    monkeypatch.setattr(elsewhere, "litert_worker", numpy_helper)
    found.add(litert_key(folder, "clips", "int8"))
    assert len(found) == 6
