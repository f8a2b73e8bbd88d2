"""A study from start to finish: open, prepare, search, pull the front, measure it again in quiet, ship the knee."""

import json
import re
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from paretolens.data.samples import SampleSet
from paretolens.data.sources import DataKind, source_label
from paretolens.data.store import digest_of_json
from paretolens.errors import ConfigurationError, StoreError
from paretolens.evaluators.latency import Backend, Calibration
from paretolens.exporters.files import write_atomic
from paretolens.mlflow.environment import describe_environment, packages
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.store import check_store, is_server, resolve_uri, sqlite_path, without_password
from paretolens.mlflow.tracking import DatasetInfo, MlflowTracker, StudyInfo, teacher_metrics
from paretolens.mlflow.twin import TWIN
from paretolens.models.record import MODEL_FILE, WEIGHTS_FILE
from paretolens.naming import did_you_mean
from paretolens.search import environment, schema
from paretolens.search.baseline import Baseline, measure_baseline
from paretolens.search.bounds import resolve
from paretolens.search.config import Config, TrackingSettings, load_stored, make_config
from paretolens.search.engine import EngineResult, EngineSettings, run
from paretolens.search.epochs import EpochLog, milestones, read_epochs
from paretolens.search.gate import gate_of
from paretolens.search.gpus import gpus_here, shared_out
from paretolens.search.journal import Journal, read_records
from paretolens.search.measuring import Bench, bench_of
from paretolens.search.outcome import Objective
from paretolens.search.placement import placed
from paretolens.search.recorder import Recorder
from paretolens.search.seeding import adapted, front_genomes
from paretolens.search.stored import read_json
from paretolens.search.task import Task
from paretolens.search.trial import OBJECTIVES
from paretolens.search.worker import Work
from paretolens.search.workspace import Workspace, check_name
from paretolens.spaces.knobs import Genome, Space

__all__ = ["Study", "load_study", "new_study", "resume_study", "tracking_uri"]

CONFIG = "study.yaml"
CALIBRATION = "calibration.json"
RUN = "mlflow_run_id"
LATENCY = "latency.json"
IDENTITY = "study_id"
PACKAGES = "packages.txt"
SEEDS = "seed_from.json"
_SYSTEM_METRICS_S = 10.0
_PLAIN = re.compile(r"[\w-]+")
"""Keys of tables that flattened names may hold: no dots, and no patterns, which MLflow refuses."""
OBJECTIVE_AXES = tuple(Objective(name=name, maximise=maximise) for name, maximise in OBJECTIVES.items())
"""The axes of every study's search."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A named study in a workspace. Holds paths and settings only; `search` does the work."""

    name: str
    """Its name, also its folder's and the parent run's."""
    config: Config
    """What it depends on."""
    workspace: Workspace
    """Where it lives."""

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.workspace.study(self.name)

    @property
    def uri(self) -> str:
        """Its tracking store."""
        return tracking_uri(self.config, self.workspace)

    @property
    def bench(self) -> Bench:
        """Where its latencies are measured."""
        return bench_of(self.config.search, gate_of(self.config, self.workspace))

    def measured_on(self) -> dict[str, str]:
        """The back end (never auto) and the device that its latencies are measured with."""
        return self.bench.device(self.config.latency.backend)

    def calibration(self) -> Calibration:
        """The study's unit of time on a CPU, measured when first asked for."""
        path = self.folder / CALIBRATION
        if not path.exists():
            write_atomic(path, json.dumps(self.bench.calibrate().to_json(), indent=1).encode())
        return Calibration.from_json(read_json(path, *(field.name for field in fields(Calibration))))

    def baseline(self, task: Task) -> Baseline:
        """The teacher, measured once per study."""
        return measure_baseline(task, self.folder / "baseline", self.calibration())

    def check(self) -> None:
        """Find out before the study takes its name whether its store and its latency back end can be used.

        Raises:
            StoreError: the store cannot be reached or written.
            BackendError: the back end is missing, has nothing to run on, or does not know an operator of a network; workers take
                more GPUs than there are.
            ConfigurationError: the study's earlier latencies come from another back end, device or runtime, its quantisers
                would stand where the timed runtime takes none, its workers lack the GPU that they are to use, or the study to
                begin from does not exist.
        """
        backend = Backend(self.measured_on()["backend"])
        self._settings()
        placed(self.config.student.quantise, backend)
        if backend is Backend.TENSORRT:
            from paretolens.search.operators import check_networks, flavours

            if any(flavour.usable for flavour in flavours()):  # else it runs on another node
                check_networks(self.config)
        if (self.folder / CALIBRATION).exists():
            self.bench.check_calibration(self.calibration())
        self.first_genomes(self.config.make_space())
        check_store(self.uri, experiment=self.config.tracking.experiment, artifact_root=self._artifact_root())
        here, path = self.measured_on(), self.folder / LATENCY
        if path.exists() and (before := read_json(path, *here)) != here:
            raise ConfigurationError(
                f"study {self.name}: its latencies were measured with {before['backend']} on {before['device']}, here it would "
                f"be {here['backend']} on {here['device']}; resume it there, or start another study here"
            )

    def write_config(self) -> None:
        """Keep the configuration, so that later commands and sessions use the same.

        Raises:
            StoreError: the study's folder cannot be written.
            BackendError: the latency back end is missing, or has nothing to run on.
        """
        text = yaml.safe_dump(schema.to_plain(self.config), sort_keys=False, allow_unicode=True)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.folder / CONFIG, text.encode(), mode=0o600)  # the address of a store may hold a password
            write_atomic(self.folder / LATENCY, json.dumps(self.measured_on(), indent=1).encode())
        except OSError as error:
            raise StoreError(f"study folder {self.folder}: cannot be written ({error.strerror})") from error

    def _shown_config(self) -> dict[str, Any]:
        plain: dict[str, Any] = schema.to_plain(self.config)
        return plain | {"tracking": plain["tracking"] | {"uri": without_password(self.uri)}}

    def open_journal(self) -> Journal:
        """The record, for writing."""
        return Journal(self.folder, objectives=OBJECTIVE_AXES, fingerprint=self.config.identity())

    def identity(self) -> str:
        """32 random hexadecimal digits, drawn once: what tells this study's run from those of others of its name."""
        path = self.folder / IDENTITY
        if not path.exists():
            write_atomic(path, uuid.uuid4().hex.encode())
        return path.read_text(encoding="utf-8").strip()

    def _artifact_root(self) -> str | None:
        """Where runs' files go if the store is a database that keeps none; MLflow's own default is the folder one stands in."""
        own = is_server(self.uri) or sqlite_path(self.uri) is not None
        return None if own else (self.workspace.root.resolve() / "artifacts").as_uri()

    def open_tracker(self) -> MlflowTracker:
        """The tracking store, with the parent run open; an exception within `with` ends the run as failed or killed."""
        tracker = MlflowTracker(
            tracking_uri=self.uri,
            spool=self.folder / "spool.jsonl",
            experiment=self.config.tracking.experiment,
            artifact_root=self._artifact_root(),
            system_metrics_s=_SYSTEM_METRICS_S,
        )
        source = self.config.make_source()
        info = StudyInfo(
            name=self.name,
            identity=self.identity(),
            configuration=flatten(self._shown_config()),
            tags={"family": self.config.family, "data": source_label(source.name), **describe_environment()},
            description=f"Paretolens study **{self.name}**: {self.config.make_family().summary} Data: {source.summary}.",
        )
        with ExitStack() as opened:
            opened.enter_context(tracker)
            tracker.start_study(info)
            write_atomic(self.folder / RUN, tracker.run_id.encode())
            opened.pop_all()
        return tracker

    def run_id(self) -> str:
        """Run id of the study's parent run.

        Raises:
            StoreError: the study never reached its store.
        """
        path = self.folder / RUN
        if not path.exists():
            raise StoreError(
                f"study {self.name}: it has no run in {without_password(self.uri)} yet; start it with 'paretolens search'"
            )
        return path.read_text(encoding="utf-8").strip()

    def _describe(self, task: Task, baseline: Baseline, tracker: MlflowTracker) -> None:
        """The teacher's figures, what they were measured with, data sets and packages."""
        latency, sets = baseline.details["latency"], datasets(task.samples, self.workspace.root)
        tags = {f"latency_{key}": str(latency[key]) for key in ("backend", "device", "runtime")}
        tags["data.version"] = digest_of_json({one.context: one.digest for one in sets})[:16]
        tracker.log_study({"eps_floor": task.floor, **teacher_metrics(baseline.metrics)}, tags=tags)
        tracker.log_datasets(sets)
        path = self.folder / PACKAGES
        write_atomic(path, packages().encode())
        twin = [task.teacher_folder / name for name in (MODEL_FILE, WEIGHTS_FILE)]
        tracker.log_artifacts(None, {"environment": [path], TWIN: twin})

    def first_genomes(self, space: Space) -> list[Genome]:
        """What is evaluated before the sampler is asked: the configuration's, then the front of the study to begin from.

        Raises:
            ConfigurationError: that study does not exist, or is this one.
            StoreError: it has no record.
        """
        genomes: list[Genome] = list(self.config.first_genomes())
        earlier = self.config.search.seed_from
        if earlier is None:
            return genomes
        kept = self.folder / SEEDS
        if kept.exists() and (found := read_json(kept, "study", "genomes"))["study"] == earlier:
            return [*genomes, *found["genomes"]]  # it may be gone, or have grown
        return [*genomes, *self._front_of(earlier, space)]

    def _front_of(self, earlier: str, space: Space) -> list[Genome]:
        known = [name for name in self.workspace.studies() if name != self.name]
        if earlier not in known:
            hint = did_you_mean(earlier, known, said="there are") if known else "; there is no other"
            raise ConfigurationError(f"search.seed_from {earlier}: no such study in {self.workspace.root}{hint}")
        front = front_genomes(read_records(self.workspace.study(earlier)), OBJECTIVE_AXES)
        return [adapted(space, genome) for genome in front]

    def _keep_seeds(self, space: Space) -> list[Genome]:
        """What is evaluated first, with what came from another study kept: resuming does not need that one."""
        first, earlier = self.first_genomes(space), self.config.search.seed_from
        if earlier is not None:
            seeds = [dict(genome) for genome in first[len(self.config.first) :]]
            write_atomic(self.folder / SEEDS, json.dumps({"study": earlier, "genomes": seeds}, indent=1).encode())
        return first

    def _settings(self) -> EngineSettings:
        """How the search is run, with this machine's GPUs shared out."""
        backend = Backend(self.measured_on()["backend"])
        return shared_out(self.config.search, device=self.config.device, backend=backend, gpus=gpus_here())

    def _config_of_workers(self) -> Config:
        """Without the store, whose address may hold a password and which no worker uses; with the back end that was found in
        place of auto: what a worker's own machine has, or what it is shown of that, does not count.
        """
        latency = replace(self.config.latency, backend=Backend(self.measured_on()["backend"]))
        return replace(self.config, tracking=TrackingSettings(), latency=latency)

    def payload(self, teacher: Mapping[str, float]) -> dict[str, Any]:
        """What every worker is told, plain values (see `make_trial`); limits in shares are of the teacher's figures."""
        return {
            "config": schema.to_plain(self._config_of_workers()),
            "workspace": str(self.workspace.root),
            "study": self.name,
            "calibration": self.calibration().to_json(),
            "limits": resolve(self.config.limits, teacher),
        }

    def search(self, task: Task, baseline: Baseline, journal: Journal, tracker: MlflowTracker, live: Any) -> EngineResult:
        """Run the trials that are still missing."""
        self._describe(task, baseline, tracker)
        payload = self.payload(baseline.metrics)
        work = Work(target="paretolens.search.trial:make_trial", payload=payload, objectives=tuple(OBJECTIVES))
        first = self._keep_seeds(task.space)
        recorder = Recorder(tracker, task.space)
        recorder.catch_up(journal.records(), read_epochs(self.folder))
        result = run(
            task.space, work, settings=self._settings(), journal=journal,
            observers=(live, recorder, EpochLog(self.folder)), first=first,
            history=milestones(self.folder),
        )  # fmt: skip
        state = TrialState.KILLED if result.interrupted else TrialState.COMPLETE if result.as_asked else TrialState.FAILED
        tracker.finish_study(state, reason=result.reason)
        return result


def new_study(config: Config, workspace: Workspace, name: str | None) -> Study:
    """A study that is to begin; its folder is not made yet.

    Args:
        config: what it depends on.
        workspace: where studies are.
        name: None for the first free one.

    Raises:
        ConfigurationError: the name is taken, or cannot be a folder's.
    """
    chosen = workspace.free_name(config.family) if name is None else check_name(name)
    if chosen in workspace.studies():
        raise ConfigurationError(
            f"study {chosen} exists in {workspace.root}; add --resume to go on with it, or choose another --name"
        )
    return Study(name=chosen, config=_tracked_where_it_began(config), workspace=workspace)


def resume_study(workspace: Workspace, name: str | None, *, named: Mapping[str, Any], preset: str | None = None) -> Study:
    """A study in its next session: budget, workers, cache and store may differ from the last, nothing else.

    Args:
        workspace: where studies are.
        name: the study; None for the one touched last.
        named: the tree of what the flags and the file that they name say.
        preset: what the rest is to be compared with; None for what the study itself was set to.

    Raises:
        ConfigurationError: there is no such study, it was set up otherwise, or what is named is wrong.
    """
    if name is None and not workspace.studies():
        raise ConfigurationError(f"nothing to resume: {workspace.root} holds no study; leave --resume out to start one")
    chosen = workspace.chosen(name)
    stored = load_stored(workspace.study(chosen) / CONFIG)
    wanted = make_config(named, preset=preset, base=schema.to_plain(stored))
    if stored.identity() != wanted.identity():
        raise ConfigurationError(
            f"study {chosen} was started with another configuration ({_first_difference(stored, wanted)}); "
            f"resume it without configuration flags, or choose another --name"
        )
    uri = wanted.tracking.uri and resolve_uri(wanted.tracking.uri)
    wanted = replace(wanted, tracking=replace(wanted.tracking, uri=uri))
    return Study(name=chosen, config=stored.resumed(wanted, named), workspace=workspace)


def load_study(workspace: Workspace, name: str | None) -> Study:
    """An existing study by name; the one touched last without.

    Raises:
        ConfigurationError: there is none of that name; the nearest is named.
    """
    chosen = workspace.chosen(name)
    return Study(name=chosen, config=load_stored(workspace.study(chosen) / CONFIG), workspace=workspace)


def datasets(samples: Mapping[str, SampleSet], root: Path) -> list[DatasetInfo]:
    """Every split as MLflow lists it (`clips-train`, `pictures-train`, `generated-train` …): its fingerprint is its version, its
    folder is told from the workspace's root."""
    found = []
    for split, own in samples.items():
        folder = own.folder.resolve() if own.folder else None
        place = folder.relative_to(root).as_posix() if folder and folder.is_relative_to(root) else str(folder or "memory")
        fakes = int(own.labels.sum())
        profile: dict[str, Any] = {"samples": len(own), "fakes": fakes, "real": len(own) - fakes}
        if classes := own.signature.classes:
            profile = {"samples": len(own), **{name: own.kinds.count(name) for name in classes}}
        profile["kinds"] = sorted(set(own.kinds))
        media = DataKind.CLIPS if own.preprocessing.picture is None else DataKind.PICTURES
        name = f"{source_label(f'generated-{media}') if own.generated else media}-{split}"
        found.append(
            DatasetInfo(name=name, digest=own.fingerprint[:36], context=split, source=place, profile=json.dumps(profile))
        )
    return found


def tracking_uri(config: Config, workspace: Workspace) -> str:
    """The tracking store of a study: the one it was begun with, else the workspace's."""
    return config.tracking.uri or workspace.tracking_uri


def _tracked_where_it_began(config: Config) -> Config:
    """MLFLOW_TRACKING_URI counts when a study begins; from then on its own record says where its runs are."""
    found = config.tracking.uri or environment.default_tracking_uri()
    return replace(config, tracking=replace(config.tracking, uri=found and resolve_uri(found)))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` → `{"a.b": 1}`; lists become text, and so do tables whose keys are paths or patterns."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and all(_PLAIN.fullmatch(name) for name in value):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, bool | int | float | str) else json.dumps(value)
    return flat


def _first_difference(stored: Config, wanted: Config) -> str:
    bound = flatten(stored.bound()).keys() | flatten(wanted.bound()).keys()
    before, after = flatten(schema.to_plain(stored)), flatten(schema.to_plain(wanted))
    for key in sorted(bound):
        if before.get(key) != after.get(key):
            return f"{key} was {before.get(key)}, now {after.get(key)}"
    return "its identity differs"
