"""After the trials: pull the front out of MLflow, measure it again in quiet, draw it, ship a member."""

import dataclasses
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from paretolens.data.samples import SampleSet
from paretolens.data.sources import source_label
from paretolens.errors import ConfigurationError, IntegrityError, StoreError
from paretolens.evaluators.latency import LatencyResult, LatencySettings
from paretolens.exporters.bundle import LABELS, BundleContent, Objective, write_bundle
from paretolens.exporters.files import write_atomic
from paretolens.exporters.onnx import OnnxArtefact
from paretolens.exporters.parity import Parity
from paretolens.mlflow.explorer import write_explorer
from paretolens.mlflow.front import FILTERED, Front, front, tag_front
from paretolens.mlflow.names import teacher_metrics
from paretolens.mlflow.objectives import DEFAULT_OBJECTIVES
from paretolens.mlflow.plots import draw_png
from paretolens.mlflow.store import sqlite_path
from paretolens.mlflow.table import to_csv, to_json
from paretolens.mlflow.tracking import Tracker
from paretolens.models.receptive import Field
from paretolens.naming import nearest
from paretolens.search.cascade import timed
from paretolens.search.limits_of_use import limits_of_use
from paretolens.search.progress import Steps
from paretolens.search.study import Study
from paretolens.search.trial import ARTEFACT

if TYPE_CHECKING:
    from paretolens.search.targets import Targets

__all__ = [
    "FrontFiles",
    "bundle_content",
    "choose",
    "export_member",
    "pull_front",
    "quiet_pass",
    "require_members",
    "trial_folder",
    "write_front",
]

_QUIET = {"latency_ms": "quiet_ms", "latency_p50_ms": "quiet_p50_ms", "latency_p90_ms": "quiet_p90_ms"}
_QUIET |= {"latency_p99_ms": "quiet_p99_ms", "latency_load_average": "quiet_load_average"}
SAMPLES = 4
"""Clips that travel with a bundle."""


@dataclass(frozen=True, kw_only=True)
class FrontFiles:
    """Where a front was written."""

    png: Path
    """Picture."""
    html: Path
    """The explorer, self-contained."""
    csv: Path
    """Table."""
    json: Path
    """The same with the study's figures."""


def pull_front(
    study: Study, objectives: Mapping[str, str] | None = None, where: str | None = None, *, refresh: bool = False
) -> Front:
    """The study's front, read back from its store; with `refresh`, without what an earlier read kept.

    Raises:
        StoreError: the store cannot be read or does not know the study.
        ConfigurationError: an unknown objective or filter.
    """
    database = sqlite_path(study.uri)
    if database is not None and not database.exists():
        raise StoreError(
            f"study {study.name}: its tracking store {database} is gone; 'paretolens search --name {study.name} --resume' "
            "writes it again from the study's journal"
        )
    return front(
        study.run_id(), objectives or DEFAULT_OBJECTIVES, where,
        tracking_uri=study.uri, experiment=study.config.tracking.experiment,
        cache=study.workspace.cache / "tracking", refresh=refresh,
    )  # fmt: skip


def quiet_pass(study: Study, found: Front, tracker: Tracker, steps: Steps) -> None:
    """Measure the front's artefacts and the teacher again, one after another with nothing else running."""
    config, calibration = study.config.latency, study.calibration()
    settings = LatencySettings(**{name: getattr(config, name) for name in LatencySettings.__dataclass_fields__})
    members = [(str(row["trial"]), trial_folder(study, row) / "model.onnx") for row in found.members.to_dict("records")]

    def measure(path: Path) -> LatencyResult:
        return study.bench.measure(path, config.backend, settings, calibration)

    with steps.step("quiet latencies") as update:
        for number, (trial, path) in enumerate([("", study.folder / "baseline" / "model.onnx"), *members]):
            measured = timed(path, measure).to_metrics()
            figures = {new: measured[old] for old, new in _QUIET.items() if old in measured}
            if trial:
                tracker.log_trial(trial, figures)
            else:
                tracker.log_study(teacher_metrics(figures))
            update(number + 1, len(members) + 1, f"{len(members)} members and the teacher")


def write_front(study: Study, found: Front, tracker: Tracker | None = None) -> FrontFiles:
    """Tag the runs of the front, draw it and write its table into the study's folder and the parent run."""
    files = FrontFiles(
        png=study.folder / "front.png",
        html=study.folder / "front.html",
        csv=study.folder / "front.csv",
        json=study.folder / "front.json",
    )
    tag_front(found)
    draw_png(found, files.png)
    write_explorer(found, files.html)
    write_atomic(files.csv, to_csv(found).encode())
    write_atomic(files.json, to_json(found).encode())
    if tracker is not None:
        tracker.log_artifacts(None, {"front": [files.png, files.html, files.csv, files.json]})
    return files


def require_members(found: Front) -> None:
    """Say why a front is empty.

    Raises:
        ConfigurationError: it is.
    """
    if len(found.members):
        return
    filtered = int((found.excluded["why"] == FILTERED).sum())
    if filtered:
        raise ConfigurationError(f"the front is empty: --where leaves out all {filtered} complete trials; widen it")
    raise ConfigurationError("the front is empty: no trial is complete yet; go on with 'paretolens search --resume'")


def choose(found: Front, selection: str, *, anywhere: bool = False) -> list["pd.Series[Any]"]:
    """Members by name: knee, fastest, most-faithful, most-accurate, all (or front), or a trial.

    Args:
        found: The front.
        selection: The name.
        anywhere: Whether a trial that is not on the front may be named too, if it is complete and the front's filter keeps it.

    Raises:
        ConfigurationError: the front is empty or has no such member.
    """
    members = found.members
    trials = found.trials if anywhere else members
    require_members(found)
    named = {
        "knee": members[members["knee"].astype(bool)],
        "fastest": members.nsmallest(1, "latency_ms"),
        "most-faithful": members.nlargest(1, "eps"),
        "most-accurate": members.nlargest(1, "accuracy"),
        "all": members,
        "front": members,
    }
    rows = named.get(selection, trials[trials["trial"].astype(str).isin([selection, _trial_of(selection)])])
    if not len(rows):
        names = [*named, *(str(name) for name in trials["trial"])]
        wrong = "no such complete trial" if anywhere else "no such member of the front"
        raise ConfigurationError(f"--select {selection}: {wrong}{nearest(selection, names)}")
    return [row for _, row in rows.iterrows()]


def export_member(
    study: Study, row: "pd.Series[Any]", folder: Path, *, val: SampleSet,
    replace: bool = False, targets: "Targets | None" = None, tell: Callable[[str], None] = lambda line: None,
) -> Path:  # fmt: skip
    """Write one member as a bundle, with files for other runtimes where there are `targets` (see `search.targets`).

    Args:
        study: The study.
        row: The member.
        folder: Where the bundle goes.
        val: The study's validation split, which is opened and checked once for all members.
        replace: Whether a bundle that is there goes.
        targets: Further files; None = none.
        tell: Told in a line what is going on.

    Raises:
        IntegrityError: the trial's files are missing or were changed since they were scored.
        StoreError: the folder exists or cannot be written.
        BackendError: a target's runtime is missing, or its file does not agree with the torch model.
    """
    content = bundle_content(study, row, val)
    if targets is None:
        return write_bundle(folder, content, replace=replace)
    from paretolens.search.targets import write_targets

    with tempfile.TemporaryDirectory(prefix="paretolens-targets-") as out:
        made = write_targets(study, trial_folder(study, row), targets, Path(out), tell, val=val)
        content = dataclasses.replace(content, targets=made.records, extra={**content.extra, **made.files})
        return write_bundle(folder, content, replace=replace)


def bundle_content(study: Study, row: "pd.Series[Any]", val: SampleSet) -> BundleContent:
    """What is known of one member: artefact, scores, limits, where it comes from.

    Args:
        study: The study.
        row: The member.
        val: The study's validation split, some clips of which travel along.

    Raises:
        IntegrityError: the trial's files are missing or damaged.
    """
    place = trial_folder(study, row)
    artefact, parity, patches = _exported(place)
    source = study.config.make_source()
    overlays = sorted((place / "overlays").glob("*.png"))
    return BundleContent(
        name=f"{study.name}-{row['trial']}",
        summary=f"Student of the {study.config.family} family, found by study {study.name} ({row['trial']}).",
        artefact=artefact,
        signature=val.signature,
        preprocessing=val.preprocessing,
        objectives=_objectives(row),
        parity=parity,
        patches=patches,
        sample=_sample(val),
        labels=val.signature.classes or LABELS,
        limits=limits_of_use(source_label(source.name)),
        details={
            "study": study.name,
            "trial": str(row["trial"]),
            "run_id": str(row["run_id"]),
            "data": source.summary,
            "genome": {
                str(name).removeprefix("params."): _plain(row[name])
                for name in row.index
                if str(name).startswith("params.") and not pd.isna(row[name])  # a knob that is idle for this genome
            },
        },
        extra={**{f"overlays/{path.name}": path for path in overlays}, **_face_model(study)},
    )


def _face_model(study: Study) -> dict[str, Path]:
    """The file that found the faces to train on, by its name in a bundle; none where no model did."""
    from paretolens.exporters.framing import FACE_MODEL

    path = getattr(study.config.make_data_settings(), "face_model", None)
    return {} if path is None else {FACE_MODEL: path}


def trial_folder(study: Study, row: "Mapping[Any, Any] | pd.Series[Any]") -> Path:
    """Where a trial's files are."""
    return study.folder / "trials" / str(row["genome"])


def _exported(place: Path) -> tuple[OnnxArtefact, Parity, Field | None]:
    try:
        stored = json.loads((place / ARTEFACT).read_text(encoding="utf-8"))
        artefact = OnnxArtefact(**{**stored["artefact"], "path": place / stored["artefact"]["path"]})
        patches = stored.get("patches")
        return artefact, Parity(**stored["parity"]), None if patches is None else Field(**patches)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"trial {place}: its files are missing or damaged ({error}); put them back from a copy, or make such a student "
            "again with 'paretolens search --name NEW': trained stages that the cache still has are not trained again"
        ) from error


def _sample(samples: SampleSet) -> dict[str, np.ndarray]:
    """A few clips of every class."""
    labels = range(len(samples.signature.classes) or 2)
    rows = np.concatenate([np.flatnonzero(samples.labels == label)[: max(1, SAMPLES // len(labels))] for label in labels])
    names = [spec.name for spec in samples.signature.inputs]
    return {name: tensor.numpy() for name, tensor in zip(names, samples.batch(rows), strict=True)}


def _objectives(row: "pd.Series[Any]") -> dict[str, Objective]:
    def one(name: str, unit: str = "") -> Objective:
        ends = [float(row.get(f"{name}_{end}", math.nan)) for end in ("low", "high")]
        known = all(math.isfinite(end) for end in ends)
        return Objective(
            value=float(row[name]), low=ends[0] if known else None, high=ends[1] if known else None,
            unit=unit, direction="lower" if unit or name in lower else "higher",
        )  # fmt: skip

    lower = ("cascade_leakage", "cascade_false_alarms")
    shares = (
        "accuracy",
        "eps",
        "neps",
        "agreement",
        "auc",
        "test_accuracy",
        "test_auc",
        "unseen_auc",
        "cascade_filtration",
        *lower,
    )
    units = {**dict.fromkeys(shares, ""), "latency_ms": "ms", "quiet_p50_ms": "ms", "size_mb": "MB"}
    return {name: one(name, unit) for name, unit in units.items() if name in row.index and not pd.isna(row[name])}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _trial_of(selection: str) -> str:
    number = selection.removeprefix("#")
    return f"trial-{int(number):04d}" if number.isdigit() else selection
