"""How long work is shown: one line per finished step, and a moving bar while one runs. Only the command line makes one."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["ConsoleSteps", "Silent", "Steps", "Update"]

Update = Callable[[int, int, str], None]
"""(done, total, note): how far a step has come."""


class Steps(Protocol):
    """Told which step of the preparation runs."""

    @contextmanager
    def step(self, name: str) -> Iterator[Update]:
        """Everything within is one step; call the update as often as you like."""
        ...

    def note(self, text: str) -> None:
        """Something a person should read."""
        ...


class Silent:
    """Shows nothing; for workers."""

    @contextmanager
    def step(self, name: str) -> Iterator[Update]:
        """Do nothing."""
        yield lambda done, total, note: None

    def note(self, text: str) -> None:
        """Do nothing."""


class ConsoleSteps:
    """Shows steps on a console: a bar on a terminal, a line per step elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, name: str) -> Iterator[Update]:
        """Show a bar while the step runs and one line when it is done."""
        began = time.monotonic()
        last = ""
        columns = (TextColumn("  {task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
        with Progress(
            *columns,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        ) as progress:
            task = progress.add_task(f"{name:<22}", total=None, note="")

            def update(done: int, total: int, note: str = "") -> None:
                nonlocal last
                last = note
                progress.update(task, completed=done, total=total, note=note)

            yield update
        self.console.print(f"  {name:<22} [dim]{time.monotonic() - began:6.1f} s[/]  {last}", highlight=False)

    def note(self, text: str) -> None:
        """Print an indented line."""
        self.console.print(f"  {text}", highlight=False)
