"""A teacher's logits on one scale: one fixed affine map of logit and patch logits alike, fitted on the training split.

The verdict of a patch detector is a mean of many numbers that nothing bounds, and a trained teacher's reach thousands: its
probabilities are 0 or 1, no threshold is its own, and a squared error of its patches is millions. Platt's method (1999) finds the
slope and the offset by which the verdicts are probabilities, judged at logit 0; the patches take the same, so that they still
average to the verdict. A teacher that can takes the map into its last layer; the outputs of any other are mapped.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from paretolens.data.store import digest_of_json
from paretolens.errors import ConfigurationError
from paretolens.trainers.cache import TeacherBatch, TeacherSource
from paretolens.trainers.validation import predict_logits

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet
    from paretolens.models.receptive import Field
    from paretolens.trainers.views import View

__all__ = ["Calibrated", "Calibration", "Rescaled", "calibrate", "calibrate_teacher", "platt"]

CHUNK = 256
STEPS = 100
LEAST_SLOPE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """z → slope·z + offset."""

    slope: float
    """Above 0: the order of verdicts stays."""
    offset: float
    """What is added."""
    spread: float
    """Variance of all calibrated patch logits of the training split: the unit of their squared error."""


@runtime_checkable
class Rescaled(Protocol):
    """A detector whose last layer takes an affine map of its logits."""

    def rescale(self, slope: float, offset: float) -> None:
        """From now on give slope·z + offset in place of each logit z, those of patches too."""


class Calibrated:
    """A teacher's outputs with logit and patches calibrated, otherwise as they are.

    Args:
        outputs: of a teacher with patch logits.
        calibration: the map.
    """

    def __init__(self, outputs: TeacherSource, calibration: Calibration) -> None:
        self._outputs = outputs
        self.calibration = calibration
        """The map."""
        self.views: tuple[View, ...] = outputs.views
        """Versions of each clip that can be asked for."""
        self.has_maps = outputs.has_maps
        """Whether there are attention maps."""
        self.patch_field: Field | None = outputs.patch_field
        """What a patch of the teacher is."""
        self.patch_spread = calibration.spread
        """The unit of the patches' squared error."""
        self.fingerprint = digest_of_json({"of": outputs.fingerprint, "slope": calibration.slope, "offset": calibration.offset})
        """Names the teacher, the samples and the map."""

    def __len__(self) -> int:
        return len(self._outputs)

    def batch(self, index: Tensor, mirrored: Tensor | None = None) -> TeacherBatch:
        """Outputs for rows (B,) int64, of the mirrored view where `mirrored` (B,) bool is True."""
        raw, slope, offset = self._outputs.batch(index, mirrored), self.calibration.slope, self.calibration.offset
        return TeacherBatch(
            logit=raw.logit * slope + offset,
            offset=raw.offset,
            attention=raw.attention,
            patches=raw.patches * slope + offset,
        )


def calibrate_teacher(teacher: nn.Module, train: "SampleSet") -> nn.Module:
    """Fit the map on a split, and let a teacher that can take it into its weights; any other stays as it is.

    Args:
        teacher: trained; changed in place where it is `Rescaled`.
        train: the split it was trained on, in its plain view.

    Returns:
        The teacher.

    Raises:
        ConfigurationError: its logits are not finite, or higher for real than for fake.
    """
    if isinstance(teacher, Rescaled):
        logits = predict_logits(teacher, train)
        teacher.rescale(*platt(logits[:, 0], train.targets(slice(0, len(train)))[:, 0]))
    return teacher


def calibrate(outputs: TeacherSource, train: "SampleSet") -> Calibrated:
    """Fit the map on a split, in its plain view.

    Raises:
        ConfigurationError: the teacher's logits are not finite, or higher for real than for fake.
    """
    rows = torch.arange(len(outputs)).split(CHUNK)
    logits = torch.cat([outputs.batch(part).logit[:, 0] for part in rows])
    slope, offset = platt(logits, train.targets(slice(0, len(train)))[:, 0])
    return Calibrated(outputs, Calibration(slope=slope, offset=offset, spread=slope**2 * _variance(outputs, rows)))


def platt(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Slope and offset by which sigmoid(slope·z + offset) is the likeliest probability of label 1 (Platt 1999, section 2.2).

    Newton's method on the cross-entropy against (N₊ + 1)/(N₊ + 2) and 1/(N₋ + 2) in place of 1 and 0, which keeps the answer
    finite where a threshold separates the classes.

    Args:
        logits: (N,).
        labels: (N,) 0/1.

    Raises:
        ConfigurationError: a logit is not finite, or the slope is not above 0.
    """
    z, y = logits.double(), labels.double()
    middle, width = z.mean(), z.std().clamp(min=1e-12)
    positives, negatives = y.sum(), (1 - y).sum()
    targets = torch.where(y > 0.5, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    points = torch.stack(((z - middle) / width, torch.ones_like(z)), dim=1)
    found = torch.zeros(2, dtype=torch.float64)
    for _ in range(STEPS):
        p = torch.sigmoid(points @ found)
        gradient = points.T @ (p - targets)
        step = torch.linalg.solve((points * (p * (1 - p) + 1e-9)[:, None]).T @ points, gradient)
        found = found - step * min(1.0, 2.0 / float(step.abs().max().clamp(min=1e-12)))
        if float(step.abs().max()) < 1e-9:
            break
    slope, offset = float(found[0] / width), float(found[1] - found[0] * middle / width)
    if not slope * float(width) > LEAST_SLOPE:
        raise ConfigurationError(
            "the teacher's logits on the training split must be finite and higher for fake than for real, or no student can "
            f"learn from them; their slope is {slope:g}: raise teacher.epochs, or lower teacher.learning_rate"
        )
    return slope, offset


def _variance(outputs: TeacherSource, rows: tuple[Tensor, ...]) -> float:
    """Variance of all patch logits, a few samples at a time; 1 where they are all alike or there are none."""
    count, total, squares = 0, 0.0, 0.0
    for part in rows:
        patches = outputs.batch(part).patches.double()
        count, total, squares = count + patches.numel(), total + float(patches.sum()), squares + float(patches.square().sum())
    variance = squares / count - (total / count) ** 2 if count else 0.0
    return variance if variance > 0 else 1.0
