"""Tune's seam to early stopping: hands every epoch's report to the rungs in `search.halving` and passes their verdict on."""

from collections.abc import Callable
from typing import Any

from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from paretolens.search.halving import Milestone
from paretolens.search.worker import reported

__all__ = ["EarlyStopping"]


class EarlyStopping(FIFOScheduler):
    """Ends running trials that a judge gives up.

    It keeps no state of its own and Tune snapshots none: after a restart the judge is built anew from the study's epochs.

    Args:
        judge: says of every milestone whether its trial may go on.
    """

    def __init__(self, judge: Callable[[Milestone], bool]) -> None:
        super().__init__()
        self._judge = judge

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Judge a report; what is not one of an epoch passes."""
        milestone = Milestone.of(trial.config["key"], reported(result))
        if milestone is None or self._judge(milestone):
            return str(FIFOScheduler.CONTINUE)
        return str(FIFOScheduler.STOP)
