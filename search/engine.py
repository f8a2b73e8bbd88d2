"""Runs a search: Ray Tune executes, Optuna proposes, the journal remembers.

Knows nothing of models: it evaluates a trial function over a space. A search that ended for any reason, a killed driver included,
goes on by opening its journal and calling `run` again; a fresh Tuner continues the record.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from paretolens.errors import BackendError, InternalError, UserError
from paretolens.search import limits
from paretolens.search.dispatcher import Dispatcher
from paretolens.search.gpus import wanted_gpus
from paretolens.search.halving import Halving, Milestone
from paretolens.search.journal import Journal
from paretolens.search.observer import Observer, Observers
from paretolens.search.runtime import SIGNALS, ray_runtime
from paretolens.search.settings import EngineSettings, Scheduler
from paretolens.search.wiring import make_dispatcher
from paretolens.search.worker import Guards, Work
from paretolens.spaces.knobs import Genome, Space

__all__ = ["EngineResult", "EngineSettings", "Scheduler", "run"]

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

_logger = logging.getLogger(__name__)
_MAX_SETBACKS = 3


@dataclass(frozen=True, kw_only=True)
class EngineResult:
    """How a search ended."""

    completed: int
    """Trials of the study that count towards the budget, earlier sessions included."""
    signal: int
    """Number of the signal that ended it, 0 if none did."""
    as_asked: bool
    """Whether it ended as it was told to: budget used, time up, or nothing left to try."""
    reason: str
    """Why it ended before its budget was used; empty if it was used."""
    seconds: float
    """Duration of this session, Ray's start included."""

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended it; resuming goes on."""
        return self.signal != 0


def run(
    space: Space,
    work: Work,
    *,
    settings: EngineSettings,
    journal: Journal,
    observers: Sequence[Observer] = (),
    first: Sequence[Genome] = (),
    history: Sequence[Milestone] = (),
    scheduler: "TrialScheduler | None" = None,
) -> EngineResult:
    """Evaluate genomes until the journal holds `settings.trials` evaluated ones.

    SIGINT, SIGTERM and SIGUSR1 end it cleanly if it runs in the main thread: trials that run are ended, recorded as interrupted
    and evaluated first on resume. A second SIGINT raises KeyboardInterrupt at once.

    Args:
        space: what may vary.
        work: the trial function.
        settings: budget, workers and fences; `gpus_per_worker` left open is none.
        journal: the study's record, open for writing.
        observers: told of starts, epochs and endings, from this thread.
        first: genomes to evaluate before the sampler is asked, unless the record has them.
        history: what trials of earlier sessions reported, oldest first, from which early stopping takes up its rungs.
        scheduler: Tune's judge of running trials in place of the settings' own; it sees every `report` as `report/<metric>`
            with its number as `step`, and what it stops is recorded as stopped early.

    Raises:
        StoreError: the disk is full or the journal cannot be written.
        BackendError: Ray cannot be started, or broke down several times without a trial completed in between.
        InternalError: sampler, record or bookkeeping raised what they should not; the study can be resumed.
    """
    began = time.monotonic()
    limits.ensure_free_space(journal.folder, limits.MINIMUM_FREE_BYTES)
    observer = Observers(observers)
    dispatcher = make_dispatcher(space, settings, journal, observer, first)
    if dispatcher.finished:
        return EngineResult(completed=dispatcher.completed, signal=0, as_asked=True, reason="", seconds=0.0)
    cpus, gpus = settings.workers * settings.cpus_per_worker, wanted_gpus(settings.workers, settings.gpus_per_worker or 0.0)
    waiting = settings.workers if settings.address else 1  # for an autoscaler to start machines for all workers together
    with (
        _clean_stop(dispatcher) as stop,
        ray_runtime(address=settings.address, cpus=cpus, gpus=gpus, threads=settings.threads, waiting=waiting) as scratch,
    ):
        stop.install()  # Ray has replaced the handlers
        scheduler = scheduler or _scheduler(settings, history)
        fit = partial(_fit, dispatcher, observer, scratch, stop, work=work, settings=settings, scheduler=scheduler)
        _search(dispatcher, scratch, fit)
    return EngineResult(
        completed=dispatcher.completed,
        signal=stop.received,
        as_asked=dispatcher.as_asked,
        reason=dispatcher.stopped,
        seconds=time.monotonic() - began,
    )


def _scheduler(settings: EngineSettings, history: Sequence[Milestone]) -> "TrialScheduler | None":
    if settings.scheduler is Scheduler.NONE:
        return None
    from paretolens.search.scheduler import EarlyStopping

    return EarlyStopping(Halving(settings.halving, history).goes_on)


def _search(dispatcher: Dispatcher, folder: Path, fit: Callable[[], None]) -> None:
    """Run Tune's loop, `fit`, with its files in `folder`; again after a breakdown of Ray, until nothing is left to do."""
    setbacks = 0
    while dispatcher.going_on():
        before = dispatcher.completed
        fault = "it ended early"
        try:
            fit()
        except (UserError, InternalError):
            raise
        except Exception as error:  # Ray's own kinds vary: out of memory, a lost node, an end of file on a full disk
            _logger.debug("Tune broke down", exc_info=True)
            fault = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if dispatcher.stopped:
            dispatcher.interrupt(dispatcher.stopped)
            continue
        dispatcher.lose()
        limits.ensure_free_space(folder, limits.MINIMUM_FREE_BYTES)
        setbacks = 0 if dispatcher.completed > before else setbacks + 1
        if setbacks >= _MAX_SETBACKS:
            raise BackendError(f"Ray broke down {setbacks} times without a trial in between ({fault}); the study can be resumed")


def _fit(
    dispatcher: Dispatcher,
    observer: Observer,
    folder: Path,
    stop: "_Stop",
    *,
    work: Work,
    settings: EngineSettings,
    scheduler: "TrialScheduler | None",
) -> None:
    from ray import tune

    from paretolens.search.searcher import Events, ParetoSearcher, WhenInterrupted

    searcher = ParetoSearcher(dispatcher, seed=settings.seed)
    events = Events(searcher, dispatcher, observer, timeout=settings.trial_timeout_s, on_setup=stop.install)
    tuner = tune.Tuner(
        _trainable(work, settings),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            callbacks=[events],
            stop=WhenInterrupted(events, lambda: bool(stop.received)),
            verbose=0,
        ),
    )
    tuner.fit()
    if searcher.fault is not None:
        raise searcher.fault


def _trainable(work: Work, settings: EngineSettings) -> Any:
    """What Tune runs in a worker, with its fences and what it takes of a machine."""
    from ray import tune

    from paretolens.search.worker import evaluate

    guards = Guards(
        threads=settings.threads,
        seconds=settings.trial_timeout_s,
        memory_bytes=None if settings.gpus_per_worker else settings.trial_memory_bytes,
    )
    return tune.with_resources(
        tune.with_parameters(evaluate, work=work, guards=guards),
        {"cpu": settings.cpus_per_worker, "gpu": settings.gpus_per_worker or 0.0, **settings.worker_resources},
    )


class _Stop:
    """Turns signals into a clean end of the search."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self.received = 0
        """Number of the signal that ended the search, 0 if none has."""

    def install(self) -> None:
        """Handle the signals; no effect off the main thread, where Python forbids it."""
        if threading.current_thread() is threading.main_thread():
            for name in SIGNALS:
                signal.signal(name, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
        self._dispatcher.stop(f"stopped by {signal.Signals(number).name}")


@contextmanager
def _clean_stop(dispatcher: Dispatcher) -> Iterator[_Stop]:
    before = {name: signal.getsignal(name) for name in SIGNALS}
    stop = _Stop(dispatcher)
    stop.install()
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            for name, handler in before.items():
                signal.signal(name, handler)
