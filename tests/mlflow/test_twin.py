"""Torch twins out of a store: of trials' runs, of a study's teacher, of registered versions; and what has none."""

from pathlib import Path

import pytest

from paretolens.errors import BackendError, ConfigurationError, StoreError
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.records import StudyRecord, read_study
from paretolens.mlflow.store import open_client
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo
from paretolens.mlflow.twin import TWIN, fetch_twin, is_address

FILES = ("model.json", "model.safetensors")


def written(folder: Path, text: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).write_text(f"{text} {name}")
    return [folder / name for name in FILES]


@pytest.fixture
def study(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> StudyRecord:
    """A teacher on the study's run; trial 0 with its twin, trial 1 with an exported file only."""
    name = f"twins-{request.node.name[:60]}"
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    with MlflowTracker(tracking_uri=store, spool=None) as tracker:
        tracker.start_study(StudyInfo(name=name))
        tracker.log_artifacts(None, {TWIN: written(tmp_path / "t", "teacher")})
        for trial in "01":
            tracker.start_trial(trial, params={}, genome=f"g{trial}")
            twin = {TWIN: written(tmp_path / "s", "student")} if trial == "0" else {}
            tracker.log_artifacts(trial, {"model": [tmp_path / "model.onnx"], **twin})
            tracker.finish_trial(trial, TrialState.COMPLETE, metrics={})
    return read_study(name, tracking_uri=store)


def run_of(study: StudyRecord, trial: int) -> str:
    return str(study.trials["run_id"][study.trials["trial"].astype(int) == trial].iloc[0])


def content(address: str, store: str, folder: Path) -> list[str]:
    folder.mkdir()
    found = fetch_twin(address, folder, tracking_uri=store)
    return [(found / name).read_text() for name in FILES]


def test_a_runs_twin_is_the_students_and_the_studys_is_the_teachers(study: StudyRecord, store: str, tmp_path: Path) -> None:
    student = [f"student {name}" for name in FILES]
    assert content(f"runs:/{run_of(study, 0)}", store, tmp_path / "a") == student
    assert content(f"runs:/{run_of(study, 0)}/{TWIN}", store, tmp_path / "b") == student
    assert content(f"runs:/{study.run_id}", store, tmp_path / "c") == [f"teacher {name}" for name in FILES]


def test_a_version_has_its_own_twin_or_that_of_its_run(study: StudyRecord, store: str, tmp_path: Path) -> None:
    client, name = open_client(store), study.name
    client.create_registered_model(name)
    written(tmp_path / "version" / TWIN, "carried")
    (tmp_path / "bare").mkdir()
    for source, trial, alias in (("version", 1, "own"), ("bare", 0, "runs"), ("bare", 1, "none")):
        made = client.create_model_version(name, source=str(tmp_path / source), run_id=run_of(study, trial))
        client.set_registered_model_alias(name, alias, made.version)
    assert content(f"models:/{name}@own", store, tmp_path / "a") == [f"carried {name}" for name in FILES]
    assert content(f"models:/{name}/1", store, tmp_path / "b") == [f"carried {name}" for name in FILES]
    assert content(f"models:/{name}@runs", store, tmp_path / "c") == [f"student {name}" for name in FILES]
    with pytest.raises(BackendError, match=r"no torch twin .* give the trial's folder"):
        fetch_twin(f"models:/{name}@none", tmp_path, tracking_uri=store)
    for address, words in (
        (f"models:/{name}@knees", r"; it has @none, @own, @runs, and versions 1 to 3"),
        (f"models:/{name}/9", "versions 1 to 3"),
        (f"models:/{name}s@own", rf"; did you mean {name}\? There are: .*{name}.*; 'paretolens register STUDY'"),
    ):
        with pytest.raises(StoreError, match=words):
            fetch_twin(address, tmp_path, tracking_uri=store)


def test_what_is_not_there_is_told_in_one_line(study: StudyRecord, store: str, tmp_path: Path) -> None:
    for address, error, words in (
        (f"runs:/{run_of(study, 1)}", BackendError, "an exported file has no gradients"),
        ("runs:/" + "0" * 32, StoreError, "not found.*paretolens ui"),
        ("models:/nobody@knee", StoreError, "not found; .*paretolens register STUDY"),
        ("models:/name", ConfigurationError, "models:/NAME@ALIAS"),
        ("runs:/", ConfigurationError, "runs:/RUN_ID"),
    ):
        with pytest.raises(error, match=words) as caught:
            fetch_twin(address, tmp_path, tracking_uri=store)
        assert len(str(caught.value).splitlines()) == 1
        assert address in str(caught.value)


def test_addresses_are_told_from_folders() -> None:
    assert is_address("models:/a@b") and is_address("runs:/1")
    assert not is_address("models/a") and not is_address("runs/studies")
