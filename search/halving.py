"""Asynchronous successive halving on several objectives: which running trial is not worth its remaining epochs.

Pure decisions: plain values in, a verdict out; Tune's seam (`search.scheduler`) and the replay (`search.replay`) both use it.
Every time a trial reaches a rung it is ranked among all that reached it before; it goes on if it belongs to the best
1/reduction of them. Objectives are ranked by non-dominated sorting; within one front an epsilon-net prefers trials far from
those already preferred, so that all ends of the front survive.

Sources: asynchronous successive halving, Li et al., "A system for massively parallel hyperparameter tuning" (2020), in its
stopping variant; ranks and epsilon-net, Schmucker et al., "Multi-objective asynchronous successive halving" (2021).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from paretolens.mlflow.pareto import ranks

__all__ = ["CONSTANTS", "MOVING", "Halving", "HalvingSettings", "Milestone", "preference"]

Floats = NDArray[np.float64]

EPOCH = "progress_epoch"
EPOCHS = "progress_epochs"
MOVING = {"progress_error": False, "progress_eps": True}
"""What a training trial reports → whether more is better."""
CONSTANTS = {"cheap_latency_ms": False}
"""What is known of a trial from its start on and does not move."""
_AXES = {**MOVING, **CONSTANTS}


@dataclass(frozen=True, kw_only=True)
class HalvingSettings:
    """How strict early stopping is."""

    reduction: Annotated[int, Ge(2)] = 3
    """At every rung the best 1/reduction go on; rungs lie at grace_epochs times the powers of it."""
    grace_epochs: Annotated[int, Ge(1)] = 2
    """No trial is stopped before this many epochs."""
    brackets: Annotated[int, Ge(1)] = 1
    """Groups of trials with rungs of their own, each starting one power of `reduction` later: a hedge against slow starters."""


@dataclass(frozen=True, kw_only=True)
class Milestone:
    """What a trial reported after an epoch."""

    key: str
    """`genome_key` of the trial: the same genome is the same trial, also after a restart."""
    epoch: int
    """Epochs it has trained, from 1."""
    values: Mapping[str, float]
    """What it reported; entries of other names are ignored."""
    last: bool = False
    """Whether no epoch follows: stopping would save little and lose a trained student."""

    @staticmethod
    def of(key: str, report: Mapping[str, float]) -> "Milestone | None":
        """From a report; None for one that is not of an epoch."""
        epoch = report.get(EPOCH, math.nan)
        if not math.isfinite(epoch) or epoch < 1 or "progress_error" not in report:
            return None
        values = {name: report[name] for name in _AXES if name in report}
        return Milestone(key=key, epoch=int(epoch), values=values, last=epoch >= report.get(EPOCHS, math.inf))


class Halving:
    """The rungs and who reached them.

    Args:
        settings: reduction, grace and brackets.
        history: milestones of earlier sessions, oldest first; they are taken up without being judged again.
    """

    def __init__(self, settings: HalvingSettings, history: Iterable[Milestone] = ()) -> None:
        self._settings = settings
        self._rungs: dict[tuple[int, int], dict[str, Mapping[str, float]]] = {}
        for milestone in history:
            self._climb(milestone)

    def goes_on(self, milestone: Milestone) -> bool:
        """Take up a milestone and say whether the trial may go on.

        Between two rungs, after its last epoch, and where fewer than `reduction` trials were before it, every trial may.
        """
        rung = self._climb(milestone)
        if rung is None or milestone.last or len(rung) < self._settings.reduction:
            return True
        keys = list(rung)
        order = preference(_table(list(rung.values())))
        place = int(np.flatnonzero(order == keys.index(milestone.key))[0])
        return place < math.ceil(len(keys) / self._settings.reduction)

    def sizes(self) -> dict[tuple[int, int], int]:
        """(bracket, epochs of the rung) → trials that reached it."""
        return {place: len(rung) for place, rung in self._rungs.items()}

    def _climb(self, milestone: Milestone) -> dict[str, Mapping[str, float]] | None:
        """Enter the highest rung within reach; None if the trial has been there already.

        A trial of an earlier session that runs again is entered with what it reports now.
        """
        bracket = int(milestone.key, 16) % self._settings.brackets
        level = self._level(milestone.epoch, bracket)
        if level is None:
            return None
        rung = self._rungs.setdefault((bracket, level), {})
        if milestone.key in rung and milestone.epoch != level:
            return None
        rung[milestone.key] = dict(milestone.values)
        return rung

    def _level(self, epoch: int, bracket: int) -> int | None:
        level = self._settings.grace_epochs * int(self._settings.reduction**bracket)
        if epoch < level:
            return None
        while level * self._settings.reduction <= epoch:
            level *= self._settings.reduction
        return level


def preference(values: Floats) -> NDArray[np.int64]:
    """(n,) order of (n, m) minimised points, best first: by non-dominated rank, within a front by epsilon-net.

    Rows that hold NaN or an infinity come last.
    """
    rank = ranks(values)
    order: list[int] = []
    for level in range(int(rank.max(initial=-1)) + 1):
        rows = np.flatnonzero(rank == level)
        order += rows[_epsilon_net(values[rows])].tolist()
    order += np.flatnonzero(rank < 0).tolist()
    return np.array(order, dtype=np.int64)


def _epsilon_net(front: Floats) -> NDArray[np.int64]:
    """Order the points of one front: the best by the first objective, then always the one farthest from those before."""
    span = np.ptp(front, axis=0)
    scaled = (front - front.min(axis=0)) / np.where(span > 0, span, 1.0)
    order = [int(np.lexsort(front.T[::-1])[0])]
    distance = np.linalg.norm(scaled - scaled[order[0]], axis=1)
    while len(order) < len(front):
        distance[order] = -1.0
        order.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[order[-1]], axis=1))
    return np.array(order, dtype=np.int64)


def _table(entries: Sequence[Mapping[str, float]]) -> Floats:
    """(n, m) minimised values of the objectives that every entry has."""
    names = [name for name in _AXES if all(name in entry for entry in entries)]
    return np.array([[-entry[name] if _AXES[name] else entry[name] for name in names] for entry in entries], dtype=np.float64)
