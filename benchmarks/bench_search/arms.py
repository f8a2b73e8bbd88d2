"""One arm in a process of its own: the engine, Tune with stock parts, or plain Optuna. Writes one JSON line per trial.

    python -m bench_search.arms KIND FOLDER

FOLDER holds arm.json (what to do), task.yaml (the arm's configuration) and runs/ (its workspace, with the prepared cache).
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretolens.search.config import load_config
from paretolens.search.observer import Epoch, TrialStart
from paretolens.search.outcome import TrialRecord
from paretolens.search.progress import Silent
from paretolens.search.task import Task
from paretolens.search.workspace import Workspace
from paretolens.spaces.knobs import Genome

LOG = "trials.jsonl"
METRICS, MODES = ["accuracy", "latency_ms", "eps"], ["max", "min", "max"]


def engine(folder: Path, order: Mapping[str, Any]) -> None:
    """The engine as `paretolens search` runs it, up to the end of the trials."""
    from paretolens.search.study import new_study

    config = load_config(file=folder / "task.yaml", flags={"search": {"trials": order["trials"]}})
    began = time.time()
    study = new_study(config, Workspace.at(folder / "runs"), "arm")
    study.check()
    with study.open_journal() as journal:
        study.write_config()
        with study.open_tracker() as tracker:
            task = Task.prepare(study.config, study.workspace, Silent())
            baseline = study.baseline(task)
            start(folder, once=time.time() - began)
            study.search(task, baseline, journal, tracker, _Log(folder / LOG))


class _Log:
    """An observer that writes endings down."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def trial_started(self, start: TrialStart) -> None:
        """Nothing."""

    def trial_begun(self, number: int) -> None:
        """Nothing."""

    def trial_reported(self, epoch: Epoch) -> None:
        """Nothing."""

    def trial_ended(self, entry: TrialRecord) -> None:
        """One line."""
        ended = time.time()
        figures = {**entry.metrics, **entry.values}
        if "precision" in entry.details:
            figures["int8"] = float(entry.details["precision"] == "int8")
        note(self._path, entry.genome, figures, began=ended - entry.seconds, ended=ended, fate=str(entry.fate))


def start(folder: Path, *, once: float = 0.0) -> None:
    """Zero of an arm's time, before anything of Ray runs. `once`: seconds that were spent before on what is done once a study."""
    (folder / LOG).write_text(json.dumps({"start": time.time(), "once": once}) + "\n")


def tune(folder: Path, order: Mapping[str, Any]) -> None:
    """Tuner, OptunaSearch with its own default sampler, MLflowLoggerCallback; every setting not named is Ray's default."""
    import ray
    from ray import tune as raytune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    from paretolens.search.sampling import distributions

    space = load_config(file=folder / "task.yaml", flags={}).make_space()
    start(folder)
    ray.init(num_cpus=order["workers"], log_to_driver=False)
    search = OptunaSearch(space=distributions(space), metric=METRICS, mode=MODES, points_to_evaluate=order["genomes"])
    logger = MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="plain")
    tuner = raytune.Tuner(
        raytune.with_resources(raytune.with_parameters(_tuned, folder=str(folder), order=dict(order)), {"cpu": 1}),
        tune_config=raytune.TuneConfig(search_alg=search, num_samples=order["trials"]),
        run_config=raytune.RunConfig(name="tune", storage_path=str(folder / "ray"), callbacks=[logger], verbose=0),
    )
    tuner.fit()
    ray.shutdown()


def _tuned(config: dict[str, Any], folder: str, order: dict[str, Any]) -> None:
    """A function trainable: each trial has a process of its own, Tune's default."""
    from ray import tune as raytune

    raytune.report(_plain(Path(folder), order, threads=1)(config))


def optuna(folder: Path, order: Mapping[str, Any]) -> None:
    """Ask and tell with NSGA-II in this process, which has all cores; the limit is told as a constraint."""
    import optuna as library
    from optuna.samplers import NSGAIISampler

    from paretolens.search.sampling import distributions

    space = load_config(file=folder / "task.yaml", flags={}).make_space()
    start(folder)
    trial = _plain(folder, order, threads=order["workers"])
    study = library.create_study(
        directions=["maximize", "minimize", "maximize"], storage=f"sqlite:///{folder}/optuna.db", sampler=NSGAIISampler(seed=0)
    )
    for genome in order["genomes"]:
        study.enqueue_trial(genome)
    for _ in range(order["trials"]):
        asked = study.ask(distributions(space))
        found = trial(asked.params)
        asked.set_constraint("latency_ms", found["latency_ms"] / order["limit_ms"] - 1.0)
        study.tell(asked, [found[name] for name in METRICS])


def _plain(folder: Path, order: Mapping[str, Any], *, threads: int) -> Any:
    """Genome → figures, by the plain trial; writes a line for each."""
    from bench_search.plain import PlainTrial, pin_threads

    pin_threads(threads)
    config = load_config(file=folder / "task.yaml", flags={})
    task = Task.prepare(config, Workspace.at(folder / "runs"), Silent())
    trial = PlainTrial(task, order["captum_steps"])

    def run(wish: Genome) -> dict[str, float]:
        began, genome = time.time(), task.space.repair(dict(wish))
        figures = trial(genome, folder / "files" / str(time.monotonic_ns()))
        note(folder / LOG, genome, figures, began=began, ended=time.time(), fate="evaluated")
        return figures

    return run


def note(path: Path, genome: Genome, figures: Mapping[str, float], *, began: float, ended: float, fate: str) -> None:
    """Append a trial; short lines of several processes do not mix."""
    line = {"genome": dict(genome), "figures": dict(figures), "began": began, "ended": ended, "fate": fate}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


KINDS = {"engine": engine, "tune": tune, "optuna": optuna}

if __name__ == "__main__":
    place = Path(sys.argv[2])
    KINDS[sys.argv[1]](place, json.loads((place / "arm.json").read_text()))
