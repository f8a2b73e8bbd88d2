"""A finished study's artefacts on another device or runtime: measured again, nothing trained, and the front that holds there.

Figures of a device have names of their own (`on_DEVICE_1t_p50_ms`), and all of one name are of one machine and one version of its
runtime: the study's run says which (tag `paretolens.on.LABEL`). Another machine takes another name, or measures all anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paretolens.errors import BackendError, ConfigurationError, TrialError
from paretolens.evaluators.latency import LatencySettings
from paretolens.mlflow.amend import add_metrics, add_tag, read_tag
from paretolens.mlflow.front import Front
from paretolens.mlflow.names import ON_PREFIX
from paretolens.mlflow.objectives import Direction
from paretolens.search.devices import DEVICES, LITERT, TENSORRT
from paretolens.search.elsewhere import Ground, convert_ahead, figures_of, place_of
from paretolens.search.finish import pull_front, trial_folder
from paretolens.search.progress import Steps
from paretolens.search.study import Study

__all__ = ["Retargeted", "Target", "retarget"]

_MIXED = "more than one machine or version"
"""What is noted of figures while they are replaced."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a study is measured on."""

    device: str
    """One of DEVICES."""
    threads: int = 1
    """Threads of the runtime."""
    litert: Path | None = None
    """Interpreter of LiteRT's environment, for the devices that need it."""
    name: str = ""
    """What tells this machine from another with such a device; lower-case letters and digits."""

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise ConfigurationError(f"--device {self.device}: must be one of {', '.join(DEVICES)}")
        if self.name and not (self.name.isascii() and self.name.isalnum() and self.name == self.name.lower()):
            raise ConfigurationError(f"--name {self.name}: must be lower-case letters and digits, such as laptop2")

    @property
    def label(self) -> str:
        """Its part of a metric's name."""
        return "_".join(filter(None, (self.device.replace("-", "_"), self.name, f"{self.threads}t")))

    @property
    def metric(self) -> str:
        """The latency there: median wall time of one sample, ms. No study's own metric has such a name."""
        return f"on_{self.label}_p50_ms"

    @property
    def accuracy(self) -> str:
        """The accuracy of what runs there: files that are converted, or rounded in another way, are judged anew."""
        return f"on_{self.label}_accuracy" if self.device in (*LITERT, *TENSORRT) else "accuracy"

    @property
    def objectives(self) -> dict[str, Direction]:
        """What the new front trades off."""
        return {self.accuracy: "max", self.metric: "min", "eps": "max"}


@dataclass(frozen=True, kw_only=True)
class Retargeted:
    """What came of it."""

    front: Front
    """The front that holds there, of the trials that run there."""
    failed: dict[str, str]
    """Reasons by trial that does not run there."""


def retarget(study: Study, target: Target, settings: LatencySettings, steps: Steps, *, again: bool = False) -> Retargeted:
    """Measure every complete trial's artefact on a target, log it to the trial's run, and pull the front.

    A trial that the runtime does not take is passed over and named in the result.

    Args:
        study: A study of this workspace.
        target: Device and runtime.
        settings: Runs and warm-up.
        steps: Told how far it is.
        again: Also measure trials that have figures of this target, even another machine's; without it a run that was stopped
            goes on.

    Raises:
        ConfigurationError: figures of that name are of another machine or version, and are not measured again, or not all can be.
        BackendError: the runtime is missing, or takes no artefact at all.
        IntegrityError: the study's clips are damaged.
    """
    rows = pull_front(study, refresh=True).trials.to_dict("records")  # a clock that is behind hides no figures then
    taken_over = _claim(study, target, rows, again=again)
    todo = [row for row in rows if again or not _known(row, target)]
    failed = _measure(Ground(study=study, device=target.device, settings=settings, litert=target.litert), target, todo, steps)
    if failed and len(failed) == len(rows):
        trial, reason = next(iter(failed.items()))
        raise BackendError(f"--device {target.device}: none of the {len(rows)} trials runs there; {trial}: {reason}")
    if taken_over:
        _settle(study, target, [str(row["trial"]) for row in rows if _known(row, target) and str(row["trial"]) in failed])
    return Retargeted(front=pull_front(study, target.objectives, refresh=True), failed=failed)


def _measure(ground: Ground, target: Target, rows: list[dict[Any, Any]], steps: Steps) -> dict[str, str]:
    """Measure trials and log it to their runs; why one does not run there, by its name."""
    failed = dict[str, str]()
    folders = [trial_folder(ground.study, row) for row in rows]
    refused = _converted(ground, folders, steps) if target.device in LITERT else {}
    with steps.step(f"measuring on {target.device}") as update:
        for number, (row, folder) in enumerate(zip(rows, folders, strict=True)):
            update(number, len(rows), str(row["trial"]))
            try:
                if folder.name in refused:
                    raise BackendError(refused[folder.name])
                found = figures_of(ground, folder)
            except (BackendError, TrialError) as error:
                failed[str(row["trial"])] = str(error)
                continue
            figures = {f"on_{target.label}_{name}": value for name, value in found.items()}
            add_metrics(str(row["run_id"]), figures, tracking_uri=ground.study.uri, stamped=True)
    return failed


def _converted(ground: Ground, folders: list[Path], steps: Steps) -> dict[str, str]:
    """Make all files for LiteRT first, in parallel; why it does not take a trial, by the name of its folder."""
    with steps.step("converting for LiteRT") as update:
        return convert_ahead(ground, folders, lambda count: update(count, len(folders), f"{count} of {len(folders)}"))


def _claim(study: Study, target: Target, rows: list[dict[Any, Any]], *, again: bool) -> bool:
    """Note which machine and runtime the figures are of; returns whether they are to replace those of another.

    Raises:
        ConfigurationError: there are some of another, to which only a part would be added.
    """
    here, tag = place_of(target.device), f"{ON_PREFIX}{target.label}"
    if any(_known(row, target) for row in rows):
        before = read_tag(study.run_id(), tag, tracking_uri=study.uri) or "a machine that was not noted"
        if before != here and again:
            add_tag(study.run_id(), tag, _MIXED, tracking_uri=study.uri)  # until all are replaced, should this be stopped
            return True
        if before != here:
            raise ConfigurationError(
                f"study {study.name}: its figures on_{target.label}_* are of {before}, this is {here}: give those of this one a "
                "name of their own, such as --name laptop, or replace them all: --again"
            )
    add_tag(study.run_id(), tag, here, tracking_uri=study.uri)
    return False


def _settle(study: Study, target: Target, left: list[str]) -> None:
    """Note that all figures of another machine were replaced.

    Raises:
        ConfigurationError: some were not, since their trials don't run here.
    """
    if left:
        raise ConfigurationError(
            f"study {study.name}: {', '.join(left)} cannot be measured here, so that figures of another machine stay among those "
            f"of on_{target.label}_*: give those of this one a name of their own, such as --name laptop"
        )
    add_tag(study.run_id(), f"{ON_PREFIX}{target.label}", place_of(target.device), tracking_uri=study.uri)


def _known(row: Mapping[Any, Any], target: Target) -> bool:
    return bool(np.isfinite(float(row.get(target.metric, np.nan))))
