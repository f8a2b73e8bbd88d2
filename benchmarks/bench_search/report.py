"""Figures of the arms, measured and replayed, as the Markdown that docs/search.md holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench_search.replays import Outcome

__all__ = ["Measured", "breakdown", "measure", "median_share", "table"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one arm did for real."""

    trained: int
    """Students that it trained, exported and scored."""
    refused: int
    """Genomes that the limit ended before training; these are no trials."""
    within: int
    """Trained students that keep to the limit."""
    wall_seconds: float
    """Seconds from the arm's start, before anything of Ray ran, until its workers were through, the mean of the workers."""
    trained_seconds: float
    """Mean seconds that a trained genome took of one worker, starts of workers and gaps between trials included."""
    refused_seconds: float | None
    """Mean seconds of a genome that was ended by the limit; None if there was none."""
    once_seconds: float
    """Seconds before the start that the arm spends once a study and not per trial: opening what is cached, the baseline."""
    parts: Mapping[str, float]
    """Mean seconds of a trained trial's parts."""

    @property
    def trained_per_hour(self) -> float:
        """Trials trained per hour; the time that refused genomes took counts, they themselves do not."""
        return 3600 * self.trained / self.wall_seconds

    @property
    def within_per_hour(self) -> float:
        """Students within the limit per hour."""
        return 3600 * self.within / self.wall_seconds


def measure(lines: Sequence[Mapping[str, Any]], *, workers: int, limit_ms: float) -> Measured:
    """From an arm's log: one line with its `start`, then one per trial.

    Raises:
        ValueError: a trained student's file is not of the precision that its genome asks for; the arms would not be comparable.
    """
    (opened,) = (line for line in lines if "start" in line)
    trials = [line for line in lines if "genome" in line]
    trained = [line for line in trials if "int8" in line["figures"]]
    for line in trained:
        if bool(line["figures"]["int8"]) != bool(line["genome"]["qat"]):
            raise ValueError(f"a file is int8: {bool(line['figures']['int8'])}, its genome asks for the other: {line['genome']}")
    ends = sorted(line["ended"] for line in trials)
    busy = min(workers, len(ends))
    slots = sum(ends[-workers:]) - busy * opened["start"]
    refused = [line["ended"] - line["began"] for line in trials if line["fate"] == "infeasible" and line not in trained]
    return Measured(
        trained=len(trained),
        refused=len(refused),
        within=sum(line["figures"]["latency_ms"] <= limit_ms for line in trained),
        wall_seconds=slots / busy,
        trained_seconds=max(0.0, slots - sum(refused)) / max(1, len(trained)),
        refused_seconds=float(np.mean(refused)) if refused else None,
        once_seconds=opened["once"],
        parts=_parts(trained),
    )


PARTS = {
    "training": (
        "seconds_distill",
        "seconds_prune",
        "seconds_factorise",
        "seconds_align",
        "seconds_qat",
        "seconds_train",
    ),
    "explaining, scoring": ("seconds_eps", "seconds_score"),
    "export": ("seconds_export",),
    "cheap figures": ("seconds_cheap",),
}


def _parts(trained: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    whole = [line["figures"] for line in trained]
    return {
        part: float(np.mean([sum(figures.get(name, 0.0) for name in names) for figures in whole])) if whole else 0.0
        for part, names in PARTS.items()
    }


def table(
    measured: Mapping[str, Measured], replays: Mapping[str, Mapping[str, Outcome]], titles: Mapping[str, str], base: str
) -> str:
    """Markdown: measured columns first, then two per replayed table."""
    heads = ["", "trials trained an hour", f"x ({base})", "of them within the limit", "refused genomes"]
    for name in replays:
        heads += [f"{name}: time to (b)'s hypervolume", f"{name}: hypervolume at equal time"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for arm, title in titles.items():
        cells = [title, *_rates(measured, arm, base)]
        for found in replays.values():
            cells += _replayed(found.get(arm))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def breakdown(measured: Mapping[str, Measured], titles: Mapping[str, str]) -> str:
    """Markdown: where the seconds of a trained trial go."""
    heads = ["seconds of a trained trial", *PARTS, "starts, gaps, rest", "in all", "a refused one", "once a study"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for arm, title in titles.items():
        if arm in measured:
            one = measured[arm]
            rest, refused = one.trained_seconds - sum(one.parts.values()), one.refused_seconds
            cells = [*one.parts.values(), rest, one.trained_seconds]
            lines.append(
                f"| {title} | {' | '.join(f'{cell:.1f}' for cell in cells)} | {'' if refused is None else f'{refused:.1f}'} "
                f"| {one.once_seconds:.1f} |"
            )
    return "\n".join(lines)


def _rates(measured: Mapping[str, Measured], arm: str, base: str) -> list[str]:
    if arm not in measured:
        return ["", "", "", ""]
    mine, theirs = measured[arm], measured.get(base)
    ratio = f"{mine.trained_per_hour / theirs.trained_per_hour:.2f}" if theirs else ""
    return [f"{mine.trained_per_hour:.0f}", ratio, f"{mine.within_per_hour:.0f}", f"{mine.refused}"]


def median_share(outcome: Outcome) -> float:
    """Median over the seeds of the share of (b)'s time; inf if most seeds did not get there."""
    return float(np.median(outcome.reached))


def _replayed(outcome: Outcome | None) -> list[str]:
    if outcome is None:
        return ["", ""]
    share, missed = median_share(outcome), sum(not np.isfinite(value) for value in outcome.reached)
    note = f" ({missed} of {len(outcome.reached)} never)" if missed else ""
    reached = f"{100 * share:.0f} %" if np.isfinite(share) else "not reached"
    error = np.std(outcome.shares, ddof=1) / len(outcome.shares) ** 0.5 if len(outcome.shares) > 1 else 0.0
    return [f"{reached}{note}", f"{np.mean(outcome.shares):.3f} ± {error:.3f}"]
