"""Which run of the tracking store belongs to a study, and what it is told before the first trial."""

import argparse
import json
import platform
import random
import re
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from paretolens.data.preprocessing import PictureSettings, Preprocessing
from paretolens.errors import BackendError, ConfigurationError, IntegrityError, StoreError
from paretolens.mlflow.environment import code_version
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.report.reproduce import configuration_yaml
from paretolens.mlflow.store import open_client
from paretolens.search import schema
from paretolens.search.baseline import Baseline
from paretolens.search.cli import search
from paretolens.search.config import Config, load_config
from paretolens.search.engine import EngineResult
from paretolens.search.finish import pull_front
from paretolens.search.outcome import Fate
from paretolens.search.progress import ConsoleSteps
from paretolens.search.sampling import distributions
from paretolens.search.study import Study, datasets, load_study, new_study, resume_study
from paretolens.search.task import Task
from paretolens.search.workspace import Workspace


@pytest.fixture
def store(tmp_path: Path, new_store: Callable[[Path], str]) -> str:
    return new_store(tmp_path / "shared.db")


def _study(root: Path, store: str) -> Study:
    config = load_config(preset="default", file=None, assignments=[], flags={"tracking": {"uri": store}})
    study = Study(name="pinpoint-1", config=config, workspace=Workspace(root))
    study.write_config()
    return study


def _open(study: Study) -> str:
    with study.open_tracker() as tracker:
        assert study.run_id() == tracker.run_id
        return tracker.run_id


def test_a_study_is_found_by_its_own_number_and_not_by_its_name(store: str, tmp_path: Path) -> None:
    here, there = _study(tmp_path / "here", store), _study(tmp_path / "there", store)
    first = _open(here)
    assert _open(here) == first
    other = _open(there)
    shutil.rmtree(here.folder)
    again = _open(_study(tmp_path / "here", store))
    assert len({first, other, again}) == 3
    assert _open(there) == other


def test_a_study_whose_store_is_gone_says_how_it_is_written_again(tmp_path: Path) -> None:
    study = _study(tmp_path / "here", f"sqlite:///{tmp_path}/gone.db")
    with pytest.raises(StoreError, match=r"gone\.db is gone; 'paretolens search --name pinpoint-1 --resume' writes it again"):
        pull_front(study)


def test_the_parent_run_says_what_it_ran_on_and_ends_with_a_fault(store: str, tmp_path: Path) -> None:
    study = _study(tmp_path / "here", store)
    with pytest.raises(RuntimeError), study.open_tracker():
        raise RuntimeError("no teacher")
    run = open_client(store).get_run(study.run_id())
    wanted = {
        "paretolens.code": code_version(),
        "paretolens.env.torch": version("torch"),
        "paretolens.env.python": platform.python_version(),
        "paretolens.reason": "no teacher",
    }
    assert wanted.items() <= run.data.tags.items()
    assert run.info.status == "FAILED"


def test_limits_of_layers_by_patterns_are_one_parameter_and_can_be_run_again(store: str, tmp_path: Path) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "search.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"--set '(student\.prune\.limits=.*?)'", docs)
    config = load_config(assignments=[example], flags={"tracking": {"uri": store}})
    study = Study(name="pinpoint-1", config=config, workspace=Workspace(tmp_path / "here"))
    study.write_config()
    _open(study)
    params = open_client(store).get_run(study.run_id()).data.params
    assert list(json.loads(params["student.prune.limits"])) == ["video.backbone.stages.layer4.*", "blocks.0.*"]
    path = tmp_path / "again.yaml"
    path.write_text(configuration_yaml(params), encoding="utf-8")
    again = load_config(file=path, flags={})
    assert list(again.student.prune.limits.items()) == list(config.student.prune.limits.items())
    assert again.identity() == config.identity()


def test_a_study_whose_folder_can_not_be_written_leaves_no_run_running(store: str, tmp_path: Path) -> None:
    study = _study(tmp_path / "here", store)
    (study.folder / "mlflow_run_id").mkdir()  # the file can't replace a folder
    with pytest.raises(StoreError, match="mlflow_run_id"):
        study.open_tracker()
    client = open_client(store)
    (experiment,) = [found.experiment_id for found in client.search_experiments() if found.name == "paretolens"]
    assert [run.info.status for run in client.search_runs([experiment])] == ["FAILED"]


def test_data_sets_are_named_by_what_they_hold(tiny_task: Task) -> None:
    clips = replace(tiny_task.samples["val"], generated=False)
    pictures = replace(clips, preprocessing=Preprocessing(picture=PictureSettings()))
    given = {"train": clips, "val": pictures, "test": replace(clips, generated=True), "unseen": replace(pictures, generated=True)}
    found = datasets(given, Path("/"))
    assert [entry.name for entry in found] == ["clips-train", "pictures-val", "generated-test", "generated-pictures-unseen"]
    assert [entry.context for entry in found] == ["train", "val", "test", "unseen"]


def test_latencies_of_another_device_are_refused(store: str, tmp_path: Path) -> None:
    study = _study(tmp_path / "here", store)
    study.check()
    study.write_config()
    study.check()
    path = study.folder / "latency.json"
    path.write_text(path.read_text().replace("onnxruntime", "tensorrt"))
    with pytest.raises(ConfigurationError, match="measured with tensorrt"):
        study.check()
    path.write_text("{")
    with pytest.raises(IntegrityError, match=r"latency\.json"):
        study.check()


def test_a_study_stays_in_the_store_it_began_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/first.db")
    new_study(load_config(flags={}), Workspace(tmp_path), "mine").write_config()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/second.db")
    for preset in (None, "default"):
        assert resume_study(Workspace(tmp_path), "mine", named={}, preset=preset).uri.endswith("first.db")
    assert load_study(Workspace(tmp_path), "mine").uri.endswith("first.db")


def test_a_study_is_moved_by_naming_another_store(store: str, tmp_path: Path) -> None:
    study, other = _study(tmp_path / "here", store), f"sqlite:///{tmp_path}/other.db"
    first = _open(study)
    moved = resume_study(study.workspace, study.name, named={"tracking": {"uri": other}})
    moved.write_config()
    assert _open(moved) != first
    here = load_study(study.workspace, study.name)
    assert (here.uri, here.run_id()) == (other, open_client(other).search_runs(["1"])[0].info.run_id)
    assert open_client(store).get_run(first).data.tags["paretolens.study"] == study.name  # the old one is left as it is


def test_a_unit_of_time_from_another_runtime_is_refused_before_the_search(store: str, tmp_path: Path) -> None:
    study = _study(tmp_path / "here", store)
    unit = study.calibration()
    (study.folder / "calibration.json").write_text(json.dumps({**unit.to_json(), "runtime": "onnxruntime 1.0"}))
    with pytest.raises(ConfigurationError, match=r"was onnxruntime 1\.0"):
        study.check()


def _resumed(root: Path, *arguments: str) -> Study:
    """The study that `paretolens search --resume` with these flags would go on with."""
    parser = argparse.ArgumentParser()
    search.add_arguments(parser)
    return search.study_of(parser.parse_args(["--resume", "--workspace", str(root), *arguments]))


def test_a_resumed_study_keeps_every_setting_that_is_not_named(tmp_path: Path) -> None:
    assignments = ["search.attempts=5", "search.workers=4", "search.trials=96", "cache.patience_s=7", "tracking.experiment=mine"]
    begun = load_config(assignments=[*assignments, "data.train=64"], flags={})
    Study(name="mine", config=begun, workspace=Workspace(tmp_path)).write_config()
    file = tmp_path / "more.yaml"
    file.write_text("search: {workers: 3}\n")
    store = f"sqlite:///{tmp_path}/other.db"
    found = _resumed(tmp_path, "--set", "cache.max_gb=10", "--config", str(file), "--trials", "120", "--tracking-uri", store)
    wanted = {"trials": 120, "workers": 3, "attempts": 5}
    assert {key: getattr(found.config.search, key) for key in wanted} == wanted
    assert (found.config.cache.max_gb, found.config.cache.patience_s) == (10, 7)
    assert (found.config.tracking.uri, found.config.tracking.experiment) == (store, "mine")
    assert found.config.identity() == begun.identity()
    again = _resumed(tmp_path, "--preset", "default", "--set", "data.train=64")
    assert (again.config.search.trials, again.config.search.attempts) == (96, 5)
    same = _resumed(tmp_path, "--set", "data.train=64", "--seed", "0")  # held against the study, not against a preset
    assert (same.config.data["train"], same.config.identity()) == (64, begun.identity())
    with pytest.raises(ConfigurationError, match=r"data\.train was 64, now 32"):
        _resumed(tmp_path, "--set", "data.train=32")
    with pytest.raises(ConfigurationError, match=r"data\.train was 64, now 640"):
        _resumed(tmp_path, "--preset", "default")


def test_a_study_goes_on_without_the_one_it_was_seeded_from(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    config = load_config(flags={"search": {"seed_from": "gone"}})
    study = Study(name="mine", config=config, workspace=workspace)
    space = config.make_space()
    with pytest.raises(ConfigurationError, match="seed_from gone: no such study"):
        study.first_genomes(space)
    seed = space.sample(random.Random(5))
    study.write_config()
    (study.folder / "seed_from.json").write_text(json.dumps({"study": "gone", "genomes": [seed]}))
    assert study.first_genomes(space) == [*config.first_genomes(), seed]
    other = replace(study, config=replace(config, search=replace(config.search, seed_from="other")))
    with pytest.raises(ConfigurationError, match="seed_from other: no such study"):
        other.first_genomes(space)


def test_the_address_of_the_store_stays_with_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = "postgresql://somebody:secret@there/runs"
    rights: list[int] = []
    rename = Path.replace

    def watched(path: Path, target: Path) -> Path:
        if target.name == "study.yaml":
            rights.append(stat.S_IMODE(path.stat().st_mode))
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", watched)
    study = _study(tmp_path / "here", store)
    assert rights == [0o600]
    assert store in (study.folder / "study.yaml").read_text()
    payload = study.payload({})
    assert store not in json.dumps(payload)
    told = schema.build(Config, payload["config"])
    assert told.latency.backend == study.measured_on()["backend"]  # not auto: a worker may see fewer GPUs than the driver
    assert replace(told, latency=study.config.latency).identity() == study.config.identity()


def test_more_gpus_than_there_are_are_refused_before_the_study_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paretolens.search.study.gpus_here", lambda: 1)
    config = load_config(flags={"search": {"workers": 8, "gpus_per_worker": 1}})
    study = new_study(config, Workspace(tmp_path), "fleet")
    with pytest.raises(
        BackendError, match=r"search.workers=8 with search.gpus_per_worker=1 take 8 GPUs at once, and torch sees 1 here"
    ):
        study.check()
    assert not study.folder.exists()


@pytest.mark.parametrize(("quiet", "seconds"), [(True, 60.0), (False, 10.0)])
def test_a_search_that_was_told_to_stop_does_not_wait_long_for_its_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], quiet: bool, seconds: float
) -> None:
    waited: list[float] = []

    class Away:
        def flush(self, timeout_s: float) -> bool:
            waited.append(timeout_s)
            return False

    console = Console(width=200)
    task: Any = None  # not looked at without a store
    study = _study(tmp_path, f"sqlite:///{tmp_path}/away.db")
    search._finish(study, task, Away(), ConsoleSteps(console), console, quiet=quiet)
    assert waited == [seconds]
    assert "--name pinpoint-1 --resume" in capsys.readouterr().out


def test_settings_of_another_version_are_told_with_their_key_and_what_to_do(tmp_path: Path) -> None:
    Study(name="mine", config=load_config(flags={}), workspace=Workspace(tmp_path)).write_config()
    path = tmp_path / "studies" / "mine" / "study.yaml"
    path.write_text(path.read_text().replace("space_preset:", "space_presets:"))
    with pytest.raises(
        ConfigurationError, match=r"study\.yaml: .*space_presets \(did you mean space_preset\?\).*paretolens\.code"
    ):
        load_study(Workspace(tmp_path), "mine")


def test_a_search_that_is_stopped_with_nothing_but_early_stopped_trials_says_how_to_go_on(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, paretolens: Callable[..., Any]
) -> None:
    def stopped(study: Study, *given: Any) -> EngineResult:
        _, _, journal, tracker, live = given
        genome, space = study.config.first_genomes()[0], study.config.make_space()
        number = journal.begin(genome, distributions(space), key="k", system={})
        live.trial_ended(journal.end(number, Fate.EARLY_STOPPED, reason="stopped early by the scheduler"))
        tracker.finish_study(TrialState.KILLED)
        return EngineResult(completed=1, signal=2, as_asked=False, reason="stopped by SIGINT", seconds=1.0)

    baseline = Baseline(metrics={"latency_ms": 1.0}, details={}, folder=tmp_path)
    monkeypatch.setattr(search, "_prepare", lambda *_: (None, baseline))
    monkeypatch.setattr(Study, "search", stopped)
    done = paretolens("search", "--name", "early", "--trials", "4", "--workspace", str(tmp_path), "--tracking-uri", store)
    assert done.returncode == 130, done.stderr
    assert "[1/4] #0: stopped early by the scheduler" in done.stdout
    assert "0 evaluated, 1 stopped early; stopped by SIGINT" in done.stdout
    assert "The study is not finished: 1 of 4 trials." in done.stdout
    assert "--name early --resume" in done.stdout
    assert done.stderr == ""
