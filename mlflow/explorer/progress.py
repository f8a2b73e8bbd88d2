"""How far a search had come after each of its trials."""

from dataclasses import dataclass

import numpy as np

from paretolens.mlflow.front import Front

__all__ = ["Progress", "search_progress"]

_MOST = 200
"""Steps that a picture can show."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The front's growth; lists of equal length, one entry per step."""

    trials: list[int]
    """Complete trials so far."""
    hours: list[float | None]
    """Hours since the first of them began; None where the store has no times."""
    hypervolume: list[float]
    """Share of the box from the best to the worst value of every objective that the front dominated, 0…1."""
    attained: list[float]
    """Share of the final front's members that were found, 0…1."""


def search_progress(front: Front) -> Progress:
    """Where the search stood after its first trial, after each that changed something, and after the last; at most 200 steps.

    The box is that of all trials, so that the curve ends at `Front.hypervolume()`.
    """
    history = front.history()
    volumes = history["hypervolume"].to_numpy(dtype=np.float64)
    attained = history["attained"].to_numpy(dtype=np.float64)
    grown = np.flatnonzero((np.diff(volumes) > 0) | (np.diff(attained) > 0)) + 1
    steps = np.unique([*range(min(1, len(volumes))), *grown, *range(len(volumes))[-1:]])
    if len(steps) > _MOST:
        steps = steps[np.unique(np.linspace(0, len(steps) - 1, _MOST).round().astype(int))]
    steps = steps.astype(int)
    hours: list[float | None] = [None] * len(steps)
    if "started_ms" in front.trials and "run_seconds" in front.trials:
        since = history["ended_ms"].to_numpy(dtype=np.float64)[steps] - float(front.trials["started_ms"].min())
        hours = [float(value) / 3.6e6 if np.isfinite(value) else None for value in since]
    return Progress(
        trials=[int(step) + 1 for step in steps],
        hours=hours,
        hypervolume=volumes[steps].tolist(),
        attained=attained[steps].tolist(),
    )
