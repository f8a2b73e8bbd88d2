"""Which members of a front differ, judged on the samples that they were scored on together.

Students are scored on the same clips, so their difference is known several times better than either score: the mean of the
differences sample by sample, resampled by source clip.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretolens.data.bootstrap import paired_difference
from paretolens.mlflow.pareto import Floats
from paretolens.mlflow.store import one_line

__all__ = ["Samples", "different", "read_samples", "samples_file"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """One model's scores, sample by sample."""

    values: Floats
    """(N,) score of each sample, NaN where it has none."""
    groups: NDArray[np.int64]
    """(N,) source clip of each sample: the unit of resampling."""
    rows: NDArray[np.int64]
    """(N,) which samples of the set they are."""

    def matches(self, other: "Samples") -> bool:
        """Whether both were scored on the same samples."""
        return np.array_equal(self.rows, other.rows) and np.array_equal(self.groups, other.groups)


def samples_file(objective: str) -> str:
    """Artefact of a trial with the scores of each sample, if the objective is a mean over samples."""
    return f"{objective}_samples.json"


def read_samples(
    client: Any, run_ids: Sequence[str], objectives: Iterable[str]
) -> tuple[dict[str, list[Samples | None]], list[str]]:
    """Samples of every run by objective, and one line for each objective of which runs lack them, with the reason.

    Objectives of which no run has samples are left out of the former.
    """
    found: dict[str, list[Samples | None]] = {}
    notes: list[str] = []
    for objective in objectives:
        had = [_download(client, run_id, objective) for run_id in run_ids]
        lost = {run_id: own for run_id, own in zip(run_ids, had, strict=True) if isinstance(own, str)}
        if len(lost) < len(run_ids):
            found[objective] = [None if isinstance(own, str) else own for own in had]
        if lost:
            shown = ", ".join([*lost][:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
            whose = "any member's run" if len(lost) == len(run_ids) else shown
            why = next(iter(lost.values()))
            what = f"{samples_file(objective)} can't be read in {whose} ({why})"
            notes.append(f"{what}: judged by the intervals of each model alone")
    return found, notes


def _download(client: Any, run_id: str, objective: str) -> Samples | str:
    """The samples, or why they can't be had."""
    try:
        path = Path(client.download_artifacts(run_id, samples_file(objective)))
        return _parse(json.loads(path.read_text(encoding="utf-8")), objective)
    except Exception as error:  # every store and artefact repository has errors of its own
        _log.debug("run %s: no %s", run_id, samples_file(objective), exc_info=True)
        return one_line(error, longest=120)


def _parse(content: Mapping[str, Any], objective: str) -> Samples:
    values = np.array([np.nan if value is None else value for value in content[objective]], dtype=np.float64)
    groups = np.asarray(content["groups"], dtype=np.int64)
    rows = np.asarray(content.get("rows", range(len(values))), dtype=np.int64)
    if not values.shape == groups.shape == rows.shape:
        raise ValueError(f"{samples_file(objective)}: values, groups and rows must be as many")
    return Samples(values=values, groups=groups, rows=rows)


def different(first: Samples, second: Samples, *, confidence: float = 0.95) -> bool | None:
    """Whether the interval of the mean difference, over samples that both have, leaves out 0; None if they have none in common.

    Args:
        first: Scores of one model.
        second: Scores of another on the same samples.
        confidence: Level of the interval, 0…1.
    """
    if np.isnan(first.values - second.values).all():
        return None
    return not paired_difference(first.values, second.values, first.groups, confidence=confidence).tied
