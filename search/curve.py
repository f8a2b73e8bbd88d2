"""The reports of one trial: what every epoch of every stage says, in one numbering, with what schedulers judge by.

Beside the stage's own figures each report has
  progress_epoch    epochs so far over all stages, from 1
  progress_epochs   epochs of all stages of this trial
  progress_error    share of wrong verdicts on the validation split after the epoch, 0..1
  cheap_latency_ms, cheap_parameters, cheap_macs, cheap_size_mb    cost of the untrained student, the same in every report
"""

from collections.abc import Iterable, Mapping

from paretolens.search.outcome import Report

__all__ = ["Curve"]


class Curve:
    """Called as a `Report`; adds the counters, remembers, and passes on.

    Args:
        report: where the completed figures go; may raise to stop the trial.
        epochs: epochs of all stages of the trial.
        constants: figures that every report repeats.
    """

    def __init__(self, report: Report, *, epochs: int, constants: Mapping[str, float]) -> None:
        self._report = report
        self._epochs = epochs
        self._constants = dict(constants)
        self.told: list[Mapping[str, float]] = []
        """The figures of every epoch so far, as they came."""

    def __call__(self, figures: Mapping[str, float]) -> None:
        """One epoch of a stage, with the figures that `train_loop` gives."""
        self.told.append(dict(figures))
        progress = {"progress_epoch": float(len(self.told)), "progress_epochs": float(self._epochs)}
        accuracy = next((value for name, value in figures.items() if name.endswith("_val_accuracy")), None)
        if accuracy is not None:
            progress["progress_error"] = 1.0 - accuracy
        self._report({**self._constants, **figures, **progress})

    def replay(self, epochs: Iterable[Mapping[str, float]]) -> None:
        """Tell the epochs of a stage that was trained before, from where the curve is."""
        for figures in list(epochs)[len(self.told) :]:
            self(figures)
