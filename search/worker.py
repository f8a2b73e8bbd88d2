"""What runs in a worker process: one trial after another, each fenced in, none able to take the search down.

A trial that raises is answered with a verdict, not an exception: Tune would call that an error of the worker. Only a process that
really dies (a segmentation fault, the kernel's memory killer, a time-out) is seen as dead.
"""

import errno
import gc
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from paretolens.errors import (
    ConfigurationError,
    DataError,
    IntegrityError,
    ParetolensError,
    SlotLostError,
    StoreError,
    TrialError,
    UserError,
)
from paretolens.search import limits
from paretolens.search.outcome import TrialFunction, TrialOutcome, check_outcome
from paretolens.spaces.knobs import Genome

__all__ = ["Blame", "Guards", "Verdict", "Work", "attempt", "evaluate", "load", "reported"]

Emit: TypeAlias = Callable[[dict[str, Any]], None]
BEGUN = "begun"
REPORT = "report"
_PREFIX = f"{REPORT}/"
VERDICT = "verdict"
STEP = "step"
_BROKEN_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE)
_FULL = ("No space left on device", "Disk quota exceeded", "File too large")  # how libraries without an errno put it


@dataclass(frozen=True, kw_only=True)
class Work:
    """What every trial of a search runs."""

    target: str | TrialFunction
    """`package.module:function`, called once per worker process with the payload, returns the trial function; or the trial
    function itself, `objective(genome, report) -> TrialOutcome`, if it can be pickled."""
    payload: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able argument of a named target."""
    objectives: tuple[str, ...]
    """Names that `TrialOutcome.values` must hold."""


@dataclass(frozen=True, kw_only=True)
class Guards:
    """Fences around one trial."""

    threads: int = 1
    """Threads of numerical libraries."""
    memory_bytes: int | None = None
    """How much a trial's process may grow; None for no cap."""
    seconds: float | None = None
    """How long a trial may take; None for no limit."""


class Blame(StrEnum):
    """Whose fault a failure is."""

    TRIAL = "trial"
    """The genome's: it would fail again."""
    PLACE = "place"
    """That of where it ran, such as a full disk or a damaged cache: every other genome would fail too."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a trial ended, as sent to the driver."""

    outcome: TrialOutcome | None
    """What it returned; None if it failed."""
    reason: str = ""
    """Why it failed."""
    blame: Blame = Blame.TRIAL
    """Whose fault it is, if it failed."""

    def encode(self) -> str:
        """As JSON text, which passes through Tune untouched."""
        parts = self.outcome and self.outcome.plain()
        return json.dumps({"outcome": parts, "reason": self.reason, "blame": self.blame})

    @staticmethod
    def decode(text: str) -> "Verdict":
        """The reverse of `encode`."""
        parts = json.loads(text)
        outcome = parts["outcome"] and TrialOutcome(**parts["outcome"])
        return Verdict(outcome=outcome, reason=parts["reason"], blame=Blame(parts["blame"]))


class _Stopped(BaseException):
    """The driver ended the trial while it reported; not a fault, and no `except Exception` may swallow it."""


def evaluate(config: Mapping[str, Any], *, work: Work, guards: Guards) -> None:
    """The Tune trainable: run one trial and report its epochs and its verdict."""
    from ray import tune

    tune.report({BEGUN: True})
    try:
        verdict = attempt(json.loads(config["genome"]), seed=config["seed"], work=work, guards=guards, emit=tune.report)
    except _Stopped as stop:
        raise SystemExit(0) from stop  # ends the thread without the further report that Tune adds to a return
    gc.freeze()  # what is left are libraries and data: walking them at every collection took a thirtieth of a training step
    tune.report({VERDICT: verdict.encode(), "done": True})


def attempt(genome: Genome, *, seed: int, work: Work, guards: Guards, emit: Emit) -> Verdict:
    """Run one trial in this process, inside its fences.

    Args:
        genome: what to evaluate.
        seed: of the global random generators.
        work: the trial function.
        guards: memory, time and thread limits.
        emit: takes each epoch's report; may raise SystemExit to end the trial, as Tune's does.
    """
    limits.pin_threads(guards.threads)
    ready = False
    try:
        with limits.deadline(guards.seconds):
            objective = load(work)  # libraries and data are shared by all trials of the process: not on this one's account
            ready = True
            limits.seed_everything(seed)
            with limits.memory_cap(guards.memory_bytes):
                outcome = objective(genome, _reporter(emit))
            return Verdict(outcome=_sendable(check_outcome(outcome, work.objectives)))
    except MemoryError:
        return Verdict(outcome=None, reason=_out_of_memory(guards))
    except (Exception, SystemExit) as error:  # the search goes on whatever a trial does
        return Verdict(outcome=None, reason=_reason(error), blame=_blame(error, ready=ready))
    finally:
        gc.collect()
        limits.release_memory()


_loaded: dict[str, TrialFunction] = {}


def load(work: Work) -> TrialFunction:
    """The trial function of this process; a named target is set up once and kept.

    Raises:
        ConfigurationError: the target cannot be found.
    """
    if not isinstance(work.target, str):
        return work.target
    identity = json.dumps([work.target, dict(work.payload)], sort_keys=True)
    if identity not in _loaded:
        module, _, name = work.target.partition(":")
        try:
            factory = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(f"trial function {work.target}: cannot be imported ({error})") from error
        _loaded.clear()
        _loaded[identity] = factory(work.payload)
    return _loaded[identity]


def reported(result: Mapping[str, Any]) -> dict[str, float]:
    """The figures that a trial reported, from a result of Tune, which puts `report/` before their names."""
    return {name.removeprefix(_PREFIX): value for name, value in result.items() if name.startswith(_PREFIX)}


def _reporter(emit: Emit) -> Callable[[Mapping[str, float]], None]:
    step = 0

    def report(metrics: Mapping[str, float]) -> None:
        nonlocal step
        step += 1
        try:
            emit({STEP: step, REPORT: {name: float(value) for name, value in metrics.items()}})
        except SystemExit as error:
            raise _Stopped from error

    return report


def _sendable(outcome: TrialOutcome) -> TrialOutcome:
    try:
        json.dumps(dict(outcome.details))
    except (TypeError, ValueError) as error:
        raise TrialError(f"the trial's details cannot be written as JSON ({error})") from error
    return outcome


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())[:500]
    if "can't allocate memory" in text or "std::bad_alloc" in text:
        return f"out of memory: {text}"
    return text if isinstance(error, ParetolensError) and text else f"{type(error).__name__}: {text}"


def _blame(error: BaseException, *, ready: bool) -> Blame:
    """Whose fault an error is; before this process was `ready`, no genome had a part in what went wrong."""
    outside = isinstance(error, StoreError | IntegrityError | DataError | SlotLostError if ready else UserError)
    broken = isinstance(error, OSError) and error.errno in _BROKEN_PLACE
    full = any(text in str(error) for text in _FULL)
    return Blame.PLACE if outside or broken or full else Blame.TRIAL


def _out_of_memory(guards: Guards) -> str:
    if guards.memory_bytes is None:
        return "out of memory"
    return f"out of memory: it needed more than the {guards.memory_bytes / 2**20:.0f} MiB that a trial may take"
