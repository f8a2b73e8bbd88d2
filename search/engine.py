"""Runs a search: Ray Tune executes, Optuna proposes, the journal remembers.

Knows nothing of models: it evaluates a trial function over a space. A search that ended for any reason, a killed driver included,
goes on by opening its journal and calling `run` again; a fresh Tuner continues the record.
"""

import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge, Gt

from paretolens.errors import BackendError, UserError
from paretolens.search import limits
from paretolens.search.dispatcher import Dispatcher, Limits
from paretolens.search.journal import Journal
from paretolens.search.observer import Observer, Observers
from paretolens.search.proposer import Proposer
from paretolens.search.runtime import Runtime, ray_runtime
from paretolens.search.sampling import Sampler, make_sampler, population_size
from paretolens.search.worker import Guards, Work
from paretolens.spaces.knobs import Genome, Space

__all__ = ["EngineResult", "EngineSettings", "run"]

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

_logger = logging.getLogger(__name__)
_MINIMUM_FREE_BYTES = 512 * 2**20
_MAX_SETBACKS = 3


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How a search is run."""

    trials: Annotated[int, Ge(1)] = 24
    """Evaluated trials that the study holds in the end, those of earlier sessions included."""
    workers: Annotated[int, Ge(1)] = 2
    """Trials that run at the same time. Only one worker gives the same proposals every time."""
    cpus_per_worker: Annotated[float, Gt(0)] = 1.0
    """CPU cores of each worker, and the threads it may use, rounded down."""
    gpus_per_worker: Annotated[float, Ge(0)] = 0.0
    """GPUs of each worker; a fraction shares one."""
    seed: Annotated[int, Ge(0)] = 0
    """Of the sampler and of every trial."""
    sampler: Sampler = Sampler.NSGA2
    """Who proposes genomes."""
    population: Annotated[int, Ge(2)] | None = None
    """Population of a genetic sampler; None sizes it to the budget."""
    time_limit_s: Annotated[float, Gt(0)] | None = None
    """No trial begins after this many seconds; those that run are completed."""
    trial_timeout_s: Annotated[float, Gt(0)] | None = None
    """A trial that takes longer is ended and failed."""
    trial_memory_bytes: Annotated[int, Gt(0)] | None = None
    """How much memory a trial may take beyond what its process holds before it; more fails the trial. Not applied with GPUs."""
    attempts: Annotated[int, Ge(1)] = 2
    """How often a genome whose worker died is tried in all."""
    failures: Annotated[int, Ge(1)] | None = None
    """Failed trials after which the search gives up; None for half the trials, at least 5."""
    address: str | None = None
    """Ray cluster to join, "auto" for the one of this machine; None starts a private one."""

    @property
    def threads(self) -> int:
        """Threads of numerical libraries in each worker."""
        return max(1, int(self.cpus_per_worker))


@dataclass(frozen=True, kw_only=True)
class EngineResult:
    """How a search ended."""

    completed: int
    """Trials of the study that count towards the budget, earlier sessions included."""
    interrupted: bool
    """Whether a signal ended it; resuming goes on."""
    as_asked: bool
    """Whether it ended as it was told to: budget used, time up, or nothing left to try."""
    reason: str
    """Why it ended before its budget was used; empty if it was used."""
    seconds: float
    """Duration of this session, Ray's start included."""
    ray_seconds: float
    """How much of that was starting or joining Ray."""


def run(
    space: Space,
    work: Work,
    *,
    settings: EngineSettings,
    journal: Journal,
    observers: Sequence[Observer] = (),
    first: Sequence[Genome] = (),
    scheduler: "TrialScheduler | None" = None,
) -> EngineResult:
    """Evaluate genomes until the journal holds `settings.trials` evaluated ones.

    SIGINT, SIGTERM and SIGUSR1 end it cleanly if it runs in the main thread: trials that run are ended, recorded as interrupted
    and evaluated first on resume. A second SIGINT raises KeyboardInterrupt at once.

    Args:
        space: what may vary.
        work: the trial function.
        settings: budget, workers and fences.
        journal: the study's record, open for writing.
        observers: told of starts, epochs and endings, from this thread.
        first: genomes to evaluate before the sampler is asked, unless the record has them.
        scheduler: Tune's judge of running trials; it sees every `report` as `report/<metric>` with its number as `step`,
            and what it stops is recorded as stopped early. None lets every trial finish.

    Raises:
        StoreError: the disk is full or the journal cannot be written.
        BackendError: Ray cannot be started, or broke down several times without a trial completed in between.
    """
    began = time.monotonic()
    limits.ensure_free_space(journal.folder, _MINIMUM_FREE_BYTES)
    observer = Observers(observers)
    dispatcher = _dispatcher(space, settings, journal, observer, first)
    if dispatcher.finished:
        return EngineResult(
            completed=dispatcher.completed, interrupted=False, as_asked=True, reason="", seconds=0.0, ray_seconds=0.0
        )
    cpus, gpus = settings.workers * settings.cpus_per_worker, settings.workers * settings.gpus_per_worker
    with (
        _clean_stop(dispatcher) as stop,
        ray_runtime(address=settings.address, cpus=cpus, gpus=gpus, threads=settings.threads) as runtime,
    ):
        stop.install()  # Ray has replaced the handlers
        _search(dispatcher, observer, runtime, stop, work=work, settings=settings, scheduler=scheduler)
    return EngineResult(
        completed=dispatcher.completed,
        interrupted=bool(stop.received),
        as_asked=dispatcher.as_asked,
        reason=dispatcher.stopped,
        seconds=time.monotonic() - began,
        ray_seconds=runtime.start_seconds,
    )


def _dispatcher(
    space: Space, settings: EngineSettings, journal: Journal, observer: Observer, first: Sequence[Genome]
) -> Dispatcher:
    history = journal.trials()
    seed = int(np.random.SeedSequence([settings.seed, len(history)]).generate_state(1)[0])
    population = settings.population or population_size(trials=settings.trials, workers=settings.workers)
    if settings.sampler is not Sampler.RANDOM and population >= settings.trials:
        _logger.warning("the population of %d is not below the %d trials: the search is random", population, settings.trials)
    proposer = Proposer(
        space=space,
        objectives=journal.objectives,
        sampler=make_sampler(settings.sampler, population=population, seed=seed),
        seed=seed,
        history=history,
    )
    bounds = Limits(
        trials=settings.trials,
        workers=settings.workers,
        failures=settings.failures or max(5, settings.trials // 2),
        infeasible=max(50, 10 * settings.trials),
        attempts=settings.attempts,
        seconds=settings.time_limit_s,
    )
    return Dispatcher(journal=journal, proposer=proposer, observer=observer, limits=bounds, first=first)


def _search(
    dispatcher: Dispatcher,
    observer: Observer,
    runtime: Runtime,
    stop: "_Stop",
    *,
    work: Work,
    settings: EngineSettings,
    scheduler: "TrialScheduler | None",
) -> None:
    setbacks = 0
    while dispatcher.going_on():
        before = dispatcher.completed
        fault = "it ended early"
        try:
            _fit(dispatcher, observer, runtime, stop, work=work, settings=settings, scheduler=scheduler)
        except UserError:
            raise
        except Exception as error:  # Ray's own kinds vary: out of memory, a lost node, an end of file on a full disk
            _logger.debug("Tune broke down", exc_info=True)
            fault = " ".join(str(error).split())[:300]
        if dispatcher.stopped:
            dispatcher.interrupt(dispatcher.stopped)
            continue
        dispatcher.lose()
        limits.ensure_free_space(runtime.folder, _MINIMUM_FREE_BYTES)
        setbacks = 0 if dispatcher.completed > before else setbacks + 1
        if setbacks >= _MAX_SETBACKS:
            raise BackendError(f"Ray broke down {setbacks} times without a trial in between ({fault}); the study can be resumed")


def _fit(
    dispatcher: Dispatcher,
    observer: Observer,
    runtime: Runtime,
    stop: "_Stop",
    *,
    work: Work,
    settings: EngineSettings,
    scheduler: "TrialScheduler | None",
) -> None:
    from ray import tune

    from paretolens.search.searcher import Events, ParetoSearcher, WhenInterrupted
    from paretolens.search.worker import evaluate

    guards = Guards(
        threads=settings.threads,
        seconds=settings.trial_timeout_s,
        memory_bytes=None if settings.gpus_per_worker else settings.trial_memory_bytes,
    )
    searcher = ParetoSearcher(dispatcher, seed=settings.seed)
    events = Events(searcher, dispatcher, observer, timeout=settings.trial_timeout_s, on_setup=stop.install)
    trainable = tune.with_resources(
        tune.with_parameters(evaluate, work=work, guards=guards),
        {"cpu": settings.cpus_per_worker, "gpu": settings.gpus_per_worker},
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(runtime.folder),
            callbacks=[events],
            stop=WhenInterrupted(events, lambda: bool(stop.received)),
            verbose=0,
        ),
    )
    tuner.fit()
    if searcher.fault is not None:
        raise searcher.fault


class _Stop:
    """Turns signals into a clean end of the search."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self.received = ""
        """Name of the signal that ended the search."""

    def install(self) -> None:
        """Handle the signals; no effect off the main thread, where Python forbids it."""
        if threading.current_thread() is threading.main_thread():
            for name in _SIGNALS:
                signal.signal(name, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
        self._dispatcher.stop(f"stopped by {self.received}")


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def _clean_stop(dispatcher: Dispatcher) -> Iterator[_Stop]:
    before = {name: signal.getsignal(name) for name in _SIGNALS}
    stop = _Stop(dispatcher)
    stop.install()
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            for name, handler in before.items():
                signal.signal(name, handler)
