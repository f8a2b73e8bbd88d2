"""What a person sees while trials run: how many are done, what runs now, the front so far, the time left."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from paretolens.mlflow.pareto import non_dominated
from paretolens.search.observer import Epoch, TrialStart
from paretolens.search.outcome import BUDGETED, Fate, Objective, TrialRecord
from paretolens.spaces.knobs import Genome

__all__ = ["LiveTable", "clock", "short_genome"]

_SHOWN = 8


def clock(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def short_genome(genome: Genome) -> str:
    """A genome in a few words: the knobs that shape the student."""
    backbone = f"{genome.get('backbone', '')} x{genome.get('backbone_width', 1):g}" if "backbone" in genome else ""
    parts = [backbone, *(f"{short}{genome[name]}" for name, short in _SHORT.items() if name in genome)]
    parts += [f"prune {genome['prune_ratio']:g}"] if genome.get("prune_ratio") else []
    parts += [f"rank {genome['rank_energy']:g}"] if float(genome.get("rank_energy", 1)) < 1 else []
    parts += ["aligned"] if genome.get("gamma") else []
    parts += ["int8"] if genome.get("qat") else []
    return " ".join(part for part in parts if part)


def _one_row(text: str, style: str = "") -> Text:
    """Text of which a narrow terminal cuts the end off, rather than the figures beside it."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


_SHORT = {"width": "d", "depth": "L", "heads": "h", "frames": "T", "frame_size": "px"}


@dataclass
class _Running:
    began: float
    genome: Genome
    stage: str = "waiting for a worker"


@dataclass
class LiveTable:
    """An observer that draws a live table on a terminal and prints a line per trial elsewhere.

    Use as a context manager around the search.
    """

    console: Console
    objectives: Sequence[Objective]
    trials: int
    teacher: Mapping[str, float]
    history: Sequence[TrialRecord] = ()
    _ended: list[TrialRecord] = field(default_factory=list)
    _running: dict[int, _Running] = field(default_factory=dict)
    _warned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._ended = list(self.history)
        self._warned = {warning for entry in self.history for warning in entry.details.get("warnings", ())}
        self._began = time.monotonic()
        self._live = (
            Live(console=self.console, get_renderable=self._render, refresh_per_second=1, transient=True)
            if self.console.is_terminal
            else None
        )

    def __enter__(self) -> "LiveTable":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def trial_started(self, start: TrialStart) -> None:
        """Show it among those that run."""
        self._running[start.number] = _Running(began=time.monotonic(), genome=start.genome)
        self._refresh()

    def trial_begun(self, number: int) -> None:
        """Count its time from now on."""
        self._running[number] = _Running(began=time.monotonic(), genome=self._running[number].genome, stage="starting")
        self._refresh()

    def trial_reported(self, epoch: Epoch) -> None:
        """Show its stage and epoch."""
        stage = next((name.removesuffix("_loss") for name in epoch.metrics if name.endswith("_loss") and "_val" not in name), "")
        figures = epoch.metrics
        if epoch.number in self._running and "epoch" in figures:
            accuracy = figures.get(f"{stage}_val_accuracy", float("nan"))
            text = f"{stage} {figures['epoch']:.0f}/{figures['epochs']:.0f}, accuracy {accuracy:.3f}"
            self._running[epoch.number].stage = text
        self._refresh()

    def trial_ended(self, entry: TrialRecord) -> None:
        """Add it to the front, or say why it is not there."""
        self._running.pop(entry.number, None)
        self._ended.append(entry)
        if self._live is None or entry.fate is Fate.FAILED:
            self.console.print(self._line(entry), highlight=False, soft_wrap=True)
        for warning in entry.details.get("warnings", ()):
            if warning not in self._warned:
                self._warned.add(warning)
                self.console.print(f"trial #{entry.number}: {warning}", highlight=False, soft_wrap=True)
        self._refresh()

    def _refresh(self) -> None:
        if self._live:
            self._live.refresh()

    def _render(self) -> Group:
        return Group(self._head(), self._table(), *self._rows_running())

    def _count(self) -> int:
        """Trials that count towards the budget."""
        return sum(entry.fate in BUDGETED for entry in self._ended)

    def _front(self) -> list[TrialRecord]:
        done = [entry for entry in self._ended if entry.fate is Fate.EVALUATED]
        if not done:
            return []
        points = [[axis.sign * entry.values[axis.name] for axis in self.objectives] for entry in done]
        import numpy as np

        kept = non_dominated(np.array(points))
        return sorted((entry for entry, keep in zip(done, kept, strict=True) if keep), key=lambda e: -e.values["accuracy"])

    def _left(self) -> str:
        done, elapsed = self._count(), time.monotonic() - self._began
        here = done - sum(entry.fate in BUDGETED for entry in self.history)
        return f"about {clock(elapsed / here * (self.trials - done))} left" if here else "time left known after the first trial"

    def _head(self) -> Text:
        done, elapsed = self._count(), time.monotonic() - self._began
        failed = sum(entry.fate is Fate.FAILED for entry in self._ended)
        text = f"trials {done}/{self.trials}   {clock(elapsed)} gone, {self._left()}   front {len(self._front())}"
        early = sum(entry.fate is Fate.EARLY_STOPPED for entry in self._ended)
        over = sum(entry.fate is Fate.INFEASIBLE for entry in self._ended)
        notes = {"stopped early": early, "failed": failed, "over a limit": over}
        text += "".join(f"   {name} {number}" for name, number in notes.items() if number)
        return Text(text, style="bold")

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for name in ("trial", "accuracy", "latency", "vs teacher", "EPS", "size", "student"):
            table.add_column(name, justify="left" if name in ("trial", "student") else "right", no_wrap=name != "student")
        front = self._front()
        for entry in front[:_SHOWN]:
            *figures, student = self._cells(entry)
            table.add_row(*figures, _one_row(student))
        if len(front) > _SHOWN:
            table.add_row(f"… {len(front) - _SHOWN} more")
        return table

    def _cells(self, entry: TrialRecord) -> list[str]:
        figures = {**entry.metrics, **entry.values}
        speed = self.teacher.get("latency_ms", float("nan")) / figures["latency_ms"]
        return [
            f"#{entry.number}",
            f"{figures['accuracy']:.3f}",
            f"{figures['latency_ms']:.2f} ms",
            f"{speed:.1f}x",
            f"{figures['eps']:.3f}",
            f"{figures.get('size_mb', float('nan')):.2f} MB",
            short_genome(entry.genome),
        ]

    def _line(self, entry: TrialRecord) -> str:
        if entry.fate not in BUDGETED:
            return f"trial #{entry.number} {entry.fate}: {entry.reason or 'a limit was exceeded'}"
        count, place = f"[{self._count()}/{self.trials}]", f"front {len(self._front())}, {self._left()}"
        if entry.fate is Fate.EARLY_STOPPED:
            return f"{count} #{entry.number}: {entry.reason}, {short_genome(entry.genome)}, {entry.seconds:.0f} s; {place}"
        number, accuracy, latency, speed, eps, size, student = self._cells(entry)
        said = f"accuracy {accuracy}, {latency} ({speed}), EPS {eps}, {size}, {student}, {entry.seconds:.0f} s"
        return f"{count} {number}: {said}; {place}"

    def _rows_running(self) -> list[Text]:
        now = time.monotonic()
        return [
            _one_row(f"running #{number}  {clock(now - run.began)}  {run.stage}  {short_genome(run.genome)}", style="dim")
            for number, run in sorted(self._running.items())
        ]
