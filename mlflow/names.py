"""Every name that Paretolens writes into MLflow, so that what is written is what is read, and a person can filter on it.

Runs: one parent per study, one child per trial (`mlflow.parentRunId`). In the UI:
`tags.paretolens.pareto = "true" and metrics.eps > 0.6`.

Metrics of a child: the objectives and costs by plain name (`accuracy`, `latency_ms`, `eps`, …) with `<name>_low` and
`<name>_high` as the ends of the interval where there is one; curves of training under `epoch/`. Metrics of the parent: the
teacher's figures under `teacher/`, and `eps_floor` and `eps_reference`, the lines drawn in every EPS plot.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum

__all__ = ["RunKind", "Tag", "TrialState", "finite", "interval_names", "teacher_metrics"]

EPOCH_PREFIX = "epoch/"
EPOCH_INDEX = "epoch/index"
TEACHER_PREFIX = "teacher/"
EPS_FLOOR = "eps_floor"
EPS_REFERENCE = "eps_reference"
SYSTEM_PREFIX = "system/"
UPDATED = "paretolens/updated_ms"
"""Metric of a child that has ended: when we last wrote to it, ms since the epoch. A metric, since MLflow orders no tags."""
ON_PREFIX = "paretolens.on."
"""Tags of a study: machine and runtime that the figures `on_LABEL_*` of its trials are of, by label."""
ELSEWHERE = re.compile(r"on_(?P<label>(?P<device>\w+?)_(?P<threads>\d+)t)_(?P<figure>\w+)")
"""What `paretolens retarget` logs on trials."""
PARENT_TAG = "mlflow.parentRunId"
LONGEST = 250
"""Characters of a metric's name that MLflow takes."""
_REFUSED = re.compile(r"[^\w.\- /]")
"""What its names of metrics may not hold; a colon it takes on some systems only."""
_NO_PATH = re.compile(r"^/|^\.\.|^\.?(?=/|\Z)|/(?=\.{0,2}(?:/|\Z))")
"""What keeps a name from being the plain path that they must be: slashes at its ends or before another, parts of dots, and two
dots at the start."""
_MARK = 8
"""Characters of the hash by which names are told apart that would become one."""
LISTING = "'paretolens front STUDY --columns' lists all"
"""How a person sees every metric and knob that objectives and filters may name."""


class Tag(StrEnum):
    """Keys of the tags on runs."""

    STUDY = "paretolens.study"
    IDENTITY = "paretolens.identity"
    KIND = "paretolens.kind"
    STATE = "paretolens.state"
    TRIAL = "paretolens.trial"
    GENOME = "paretolens.genome"
    REASON = "paretolens.reason"
    NONFINITE = "paretolens.nonfinite"
    PARETO = "paretolens.pareto"
    KNEE = "paretolens.knee"
    RANK = "paretolens.rank"
    OBJECTIVES = "paretolens.objectives"
    STAMPED = "paretolens.stamped"


class RunKind(StrEnum):
    """What a run stands for."""

    STUDY = "study"
    TRIAL = "trial"


class TrialState(StrEnum):
    """How far a trial, or a whole study, came."""

    RUNNING = "running"
    COMPLETE = "complete"  # every stage done, every objective measured
    PRUNED = "pruned"  # stopped early: its values are partial and never enter a front
    INFEASIBLE = "infeasible"  # over a limit, ended before training
    FAILED = "failed"  # an error of its own
    KILLED = "killed"  # the driver or the user ended it

    @property
    def mlflow_status(self) -> str:
        """The run status that MLflow's UI shows for it."""
        return {
            TrialState.RUNNING: "RUNNING",
            TrialState.FAILED: "FAILED",
            TrialState.KILLED: "KILLED",
        }.get(self, "FINISHED")


def interval_names(metric: str) -> tuple[str, str]:
    """Names of the metrics that hold the low and the high end of a metric's interval."""
    return f"{metric}_low", f"{metric}_high"


def teacher_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """The teacher's figures under the names the parent run keeps them by."""
    return {f"{TEACHER_PREFIX}{name}": value for name, value in metrics.items()}


def finite(metrics: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """The metrics that are finite, and the names of those that are not (MLflow reads inf back as 1.797e308).

    Kinds of manipulation are part of some names (`test_auc_video+audio`): characters that MLflow refuses, with all figures of
    the batch, become `_`, as do slashes that lead nowhere. Names that would become one get a hash of what they were.
    """
    names = _allowed(metrics)
    kept = {names[name]: float(value) for name, value in metrics.items() if math.isfinite(value)}
    return kept, sorted(names[name] for name, value in metrics.items() if not math.isfinite(value))


def _allowed(names: Iterable[str]) -> dict[str, str]:
    """Each name as MLflow takes it; no two are alike, and one that is fine stays."""
    plain = {name: _NO_PATH.sub("_", _REFUSED.sub("_", name)[:LONGEST]) for name in names}
    count = Counter(plain.values())
    return {name: short if short == name or count[short] == 1 else _marked(name, short) for name, short in plain.items()}


def _marked(name: str, short: str) -> str:
    mark = hashlib.sha256(name.encode()).hexdigest()[:_MARK]
    return f"{short[: LONGEST - _MARK - 1]}_{mark}"
