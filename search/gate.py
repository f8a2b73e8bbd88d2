"""Who may use a device: any number of trainings at once, or one measurement alone.

Two locks per device lie in the workspace, and the system lets go of those of a process that died. A training shares `use`, and
gives way once a second at most; a measurement holds `turn` while it waits for `use`, so that no training that begins meanwhile
goes before it.
"""

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from paretolens.errors import StoreError
from paretolens.evaluators.latency import Backend, probe
from paretolens.search.config import Config
from paretolens.search.placement import timed_backend
from paretolens.search.workspace import Workspace

__all__ = ["OPEN", "Gate", "gate_of"]

_GIVE_WAY_S = 1.0
"""How long a model may run before a measurement that waits goes first: far less than one takes, far more than the locks cost."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The way to one device. Not to be entered again by a thread that is within."""

    folder: Path | None = None
    """Where its locks lie; None lets everybody through."""
    kind: str = "cpu"
    """`cuda` or `cpu`, what trainings must run on to disturb a measurement there."""

    @contextmanager
    def working(self, device: torch.device) -> Iterator[Callable[[], None]]:
        """Train or explain on a device, beside others who do; wait while a measurement runs or is due.

        Yields:
            What to call whenever nothing is left to run there: it lets a measurement that waits go first.

        Raises:
            StoreError: the locks cannot be used.
        """
        if not self._concerns(device):
            yield lambda: None
            return
        with self._opened("use") as use:
            self._join(use)

            def give_way() -> None:
                fcntl.flock(use, fcntl.LOCK_UN)
                self._join(use)

            yield give_way

    @contextmanager
    def running(
        self, model: nn.Module, device: torch.device, *, whole: bool = False, every_s: float = _GIVE_WAY_S
    ) -> Iterator[None]:
        """`working` with one model, which gives way by itself: before it is called, wherever it is in an epoch.

        Args:
            model: what is trained or explained.
            device: where it runs.
            whole: it is only called as a whole, and its layers stay without hooks: EPS folds no layer that has some. Else a model
                with a `forward_deep`, which calls its parts, also gives way before each of them.
            every_s: how long it runs before it gives way.

        Raises:
            StoreError: the locks cannot be used.
        """
        with self.working(device) as give_way:
            if not self._concerns(device):
                yield
                return
            pauses = _Pauses(give_way, device, every_s)
            parts = [] if whole or not hasattr(model, "forward_deep") else model.children()
            hooks = [part.register_forward_pre_hook(pauses) for part in (model, *parts)]
            try:
                yield
            finally:
                for hook in hooks:
                    hook.remove()

    def _concerns(self, device: torch.device) -> bool:
        """Whether what runs there disturbs a measurement."""
        return self.folder is not None and (self.kind == "cpu" or device.type == "cuda")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Measure; wait until all who work have given way.

        Raises:
            StoreError: the locks cannot be used.
        """
        if self.folder is None:
            yield
            return
        with self._opened("turn") as turn, self._opened("use") as use:
            _take(turn, fcntl.LOCK_EX)
            _take(use, fcntl.LOCK_EX)
            yield

    def _join(self, use: int) -> None:
        with self._opened("turn") as turn:
            _take(turn, fcntl.LOCK_EX)  # behind whoever waits to measure
            _take(use, fcntl.LOCK_SH)

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        assert self.folder is not None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(f"{self.folder / name}: cannot be opened ({error.strerror}); check its permissions") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class _Pauses:
    """A hook before forward passes: gives way whenever the model has run for a while."""

    def __init__(self, give_way: Callable[[], None], device: torch.device, every_s: float) -> None:
        self._give_way = give_way
        self._device = device
        self._every_s = every_s
        self._since = time.monotonic()

    def __call__(self, *_: object) -> None:
        if time.monotonic() - self._since < self._every_s:
            return
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # what was launched may still run
        self._give_way()
        self._since = time.monotonic()


OPEN = Gate()
"""Nobody waits."""


def gate_of(config: Config, workspace: Workspace) -> Gate:
    """The gate of a study's timed device, from within the process that trains or times.

    It is open where neighbours don't count: on a CPU, a single thread's own time is taken and compared with a calibration model
    (`measure_latency`), and the measuring slot of a cluster has its device for itself. So it is where the back end can't be used:
    nothing is timed there, and whoever tries is told why (`measuring_device`).
    """
    if config.search.latency_resource is not None:
        return OPEN
    locks = workspace.root / "locks"
    if timed_backend(config.latency.backend) is Backend.TENSORRT:
        if not probe().of(Backend.TENSORRT).usable:
            return OPEN
        return Gate(folder=locks / f"{socket.gethostname()}-{torch.cuda.get_device_properties(0).uuid}", kind="cuda")
    return Gate(folder=locks / f"{socket.gethostname()}-cpu") if config.latency.threads > 1 else OPEN


def _take(descriptor: int, how: int) -> None:
    try:
        fcntl.flock(descriptor, how)
    except OSError as error:
        raise StoreError(
            f"a device's lock cannot be taken ({error.strerror}); put the workspace on a file system with locks (--workspace)"
        ) from error
