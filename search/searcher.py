"""The seam to Ray Tune: its searcher and its callback, both thin around the dispatcher."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from paretolens.errors import InternalError, StoreError, UserError
from paretolens.search.dispatcher import Dispatcher, Next
from paretolens.search.observer import Epoch, Observer
from paretolens.search.outcome import TrialOutcome
from paretolens.search.worker import BEGUN, REPORT, STEP, VERDICT, Blame, Verdict, reported

__all__ = ["Events", "ParetoSearcher", "WhenInterrupted"]

_logger = logging.getLogger(__name__)
_PATIENCE_S = 5.0
_STALL_S = 120.0
_NODE_GONE = ("node has died", "node is terminated", "node was preempted", "node died", "unexpectedly exited or crashed: raylet")
_OUT_OF_REACH = "temporarily unavailable"
"""What Ray says while it does not know yet whether a process or its whole machine is gone."""


class ParetoSearcher(Searcher):
    """Tune's source of trials: asks the dispatcher and hands it every verdict.

    Its state is the journal, so Tune's own snapshots of it are empty and `Tuner.restore` is never used.
    """

    def __init__(self, dispatcher: Dispatcher, *, seed: int) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self._seed = seed
        self.numbers: dict[str, int] = {}
        """Tune's trial id → number in the journal, for trials that run."""
        self.fault: UserError | InternalError | None = None
        """What kept the journal from being written, or what is wrong in the search itself; it stops and the caller raises it."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's configuration, None to wait, or FINISHED."""
        try:
            return self._suggest(trial_id)
        except Exception as error:
            self.stop_for(error)
            return str(Searcher.FINISHED)

    def stop_for(self, error: Exception) -> None:
        """Keep a fault of the journal, or of ours, from being taken for one of a trial or of Ray: remember it and stop."""
        fault = error if isinstance(error, UserError) else InternalError.of(error)
        self.fault = self.fault or fault
        self._dispatcher.stop(str(fault))

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        step = self._dispatcher.next()
        if step is Next.DONE:
            return str(Searcher.FINISHED)
        if step is Next.WAIT:
            return None
        self.numbers[trial_id] = step.number
        seed = (int(step.proposal.key, 16) + self._seed) % 2**31  # the same genome gets the same seed in every order
        return {"genome": json.dumps(dict(step.proposal.genome)), "key": step.proposal.key, "seed": seed}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take the verdict. Errors are taken by `Events`, which sees why."""
        if error or trial_id not in self.numbers:
            return
        try:
            self._take(self.numbers.pop(trial_id), result or {})
        except Exception as fault:
            self.stop_for(fault)

    def _take(self, number: int, result: Mapping[str, Any]) -> None:
        text = result.get(VERDICT)
        if text is None:
            self._dispatcher.early_stopped(number, TrialOutcome(values=reported(result)))
            return
        verdict = Verdict.decode(text)
        if verdict.blame is Blame.PLACE:
            self._dispatcher.postpone(number, verdict.reason)
            raise StoreError(f"trial {number} could not be run here: {verdict.reason}. Mend that and go on with --resume")
        if verdict.outcome is None:
            self._dispatcher.failed(number, verdict.reason)
        else:
            self._dispatcher.evaluated(number, verdict.outcome)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal is the state."""
        Path(checkpoint_path).write_text("the state is in the study's journal\n", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Never used: a search goes on from the journal with a fresh Tuner."""
        raise RuntimeError(f"{checkpoint_path}: a search is resumed from its journal, not from Tune's snapshots")


class Events(Callback):
    """Tune's events that no searcher sees: epochs, and why a worker died."""

    def __init__(
        self,
        searcher: ParetoSearcher,
        dispatcher: Dispatcher,
        observer: Observer,
        *,
        timeout: float | None,
        on_setup: Callable[[], None],
    ) -> None:
        self._searcher = searcher
        self._dispatcher = dispatcher
        self._observer = observer
        self._timeout = timeout
        self._on_setup = on_setup
        self._live: dict[str, Trial] = {}
        self._overdue: set[str] = set()
        self._left: set[str] = set()
        self._progress = time.monotonic()

    def setup(self, *_: Any, **__: Any) -> None:
        """Tune has just replaced the signal handlers; put ours back."""
        self._on_setup()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Remember those that have a worker."""
        self._live[trial.trial_id] = trial

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Look after trials: end those whose own timer did not, tell when none runs that should, begin none after the end."""
        self._end_left()
        self._live = {key: trial for key, trial in self._live.items() if key in self._searcher.numbers}
        if not self._dispatcher.going_on():
            self._leave_waiting()
        self._tell_stall(working=bool(self._live))
        if self._timeout is not None:
            self._end_overdue(self._timeout + _PATIENCE_S)

    def end_workers(self) -> None:
        """Kill the processes of running trials: asking would wait for the end of an epoch."""
        for trial in self._live.values():
            _kill(trial)

    @property
    def over(self) -> bool:
        """Whether nothing more is to begin and nothing runs."""
        return bool(self._dispatcher.stopped) and not self._searcher.numbers

    def _leave_waiting(self) -> None:
        """Leave to a resume what was handed out and has no worker yet: Tune would begin it as soon as there is a place."""
        for key in [key for key in self._searcher.numbers if key not in self._live]:
            self._left.add(key)
            try:
                self._dispatcher.postpone(self._searcher.numbers.pop(key), self._dispatcher.stopped)
            except Exception as error:
                self._searcher.stop_for(error)

    def _end_left(self) -> None:
        """Kill the workers that Tune found all the same while others were at work."""
        for key in self._left & self._live.keys():
            _kill(self._live[key])

    def _tell_stall(self, *, working: bool) -> None:
        """Say so when trials wait for workers that nobody has room for, as on a cluster that lost all its machines."""
        now = time.monotonic()
        if working or not self._dispatcher.running:
            self._progress = now
        elif now - self._progress > _STALL_S:
            _logger.warning("no trial has run for %.0f s: no machine has room for one; the search goes on when one has", _STALL_S)
            self._progress = now

    def _end_overdue(self, limit_s: float) -> None:
        """Kill workers whose timer does not fire: a library that never yields to Python, or a machine out of reach."""
        for key, trial in self._live.items():
            if key not in self._overdue and self._dispatcher.elapsed(self._searcher.numbers[key]) > limit_s:
                self._overdue.add(key)
                _kill(trial)

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any) -> None:
        """Start the trial's clock, or pass an epoch on."""
        number = self._searcher.numbers.get(trial.trial_id)
        if number is None:
            return
        if BEGUN in result:
            self._dispatcher.begun(number)
        elif REPORT in result:
            seconds = self._dispatcher.elapsed(number)
            epoch = Epoch(number=number, step=result[STEP], metrics=dict(result[REPORT]), seconds=seconds)
            self._observer.trial_reported(epoch)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A worker died, or could not be started."""
        number = self._searcher.numbers.pop(trial.trial_id, None)
        if number is None:
            return
        try:
            self._take(number, trial)
        except Exception as error:
            self._searcher.stop_for(error)

    def _take(self, number: int, trial: Trial) -> None:
        if self._timeout is not None and self._dispatcher.elapsed(number) >= self._timeout:
            self._dispatcher.failed(number, f"it took longer than the limit of {self._timeout:g} s per trial")
            return
        reason = _last_error(trial)
        gone = any(text in reason for text in _NODE_GONE) or (_OUT_OF_REACH in reason and _machines() > 1)
        if gone:
            self._dispatcher.lose_node(number)
        else:
            self._dispatcher.crashed(number, f"its worker process died: {reason}")


class WhenInterrupted(Stopper):
    """Tune's question whether everything is to stop at once."""

    def __init__(self, events: Events, interrupted: Callable[[], bool]) -> None:
        self._events = events
        self._interrupted = interrupted

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped on its own."""
        return False

    def stop_all(self) -> bool:
        """Whether a signal came, and then the workers are dead when this returns; or whether only what may not begin is left."""
        if self._interrupted():
            self._events.end_workers()
            return True
        return self._events.over


def _machines() -> int:
    """Machines that Ray knows, those it lost included. The only one cannot be lost: the driver runs on it."""
    import ray

    return len(ray.nodes())


def _kill(trial: Trial) -> None:
    import ray

    actor = trial.temporary_state.ray_actor
    if trial.status == Trial.RUNNING and actor is not None:
        ray.kill(actor)


def _last_error(trial: Trial) -> str:
    path = Path(trial.error_file) if trial.error_file else None
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path and path.is_file() else []
    told = [line.strip() for line in lines if line.strip() and not line.startswith("Failure #")]
    return " ".join(told)[:400] or "no reason was given"
