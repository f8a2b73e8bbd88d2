"""The teacher asked anew in every step, in place of its cached outputs: what a comparison without that cache trains with."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from paretolens.models.receptive import Field
from paretolens.trainers.cache import TeacherBatch, model_checksum
from paretolens.trainers.views import View, view

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = ["LiveTeacher"]


class LiveTeacher:
    """A teacher's outputs for the clips of a split, computed whenever they are asked for; the attention is not rounded.

    Args:
        model: the teacher; put into eval mode.
        samples: the split.
    """

    def __init__(self, model: nn.Module, samples: "SampleSet") -> None:
        self._model = model.eval()
        self._samples = samples
        self.views: tuple[View, ...] = tuple(View)
        """Both: any view can be computed."""
        self.fingerprint = f"live-{model_checksum(model)}-{samples.fingerprint}"
        """The hash of teacher and samples."""
        self.patch_field: Field | None = getattr(model, "patch_field", None)
        """What a patch of the teacher is."""
        self.patch_spread = 1.0
        """The unit of the patches' squared error."""
        self.has_maps = self.batch(torch.arange(1)).attention.numel() > 0
        """Whether the teacher gives attention maps."""

    def __len__(self) -> int:
        return len(self._samples)

    def batch(self, index: Tensor, mirrored: Tensor | None = None) -> TeacherBatch:
        """Outputs for rows (B,) int64, of the mirrored view where `mirrored` (B,) bool is True."""
        inputs = self._samples.batch(index)
        shown = inputs if mirrored is None else view(inputs, self._samples.signature, mirrored)
        device = next(self._model.parameters()).device
        with torch.no_grad():
            return TeacherBatch.of(self._model(*(x.to(device) for x in shown)))
