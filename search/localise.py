"""Where in time a detector of clips places a fake, scored against the manipulated periods that a set marks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paretolens.data.samples import SampleSet
from paretolens.evaluators.localisation import LocalisationMetrics, localisation_metrics, proposals_of_scores, soft_nms
from paretolens.models.signature import InputKind
from paretolens.search.score import BATCH

__all__ = ["localisation_of"]


def localisation_of(model: nn.Module, samples: SampleSet) -> LocalisationMetrics | None:
    """AP and AR of the periods that a model's own logits along a clip propose; None where there is nothing to compare.

    What the verdict's layer says of each frame and of each moment of sound (`patch_logits`) becomes a probability; of both the
    larger counts. Runs of it are proposals (`proposals_of_scores`), weakened where they overlap (`soft_nms`).

    Args:
        model: in evaluation mode; must offer `patch_logits` with `video` (B, T, h, w) and `audio` (B, L).
        samples: clips whose manipulated periods are marked.
    """
    read, clip = getattr(model, "patch_logits", None), samples.preprocessing.clip
    if read is None or clip is None or not samples.periods.any():
        return None
    masked = [number for number, spec in enumerate(samples.signature.inputs) if spec.kind is InputKind.MASK]
    sound = next(number for number in masked if samples.signature.inputs[number].name == "audio_mask")
    found = []
    for start in range(0, len(samples), BATCH):
        inputs = samples.batch(slice(start, start + BATCH))
        with torch.inference_mode():
            scores = _along(read(*inputs))
        for row, heard in zip(scores, (~inputs[sound]).sum(1).tolist(), strict=True):
            length = heard or row.shape[0]  # a clip without sound: all of it
            duration = clip.seconds * length / row.shape[0]
            found.append(soft_nms(proposals_of_scores(row[:length].numpy(), duration), duration))
    truth: Sequence[list[tuple[float, float]]] = [
        [(float(begin), float(end))] if end > begin else [] for begin, end in samples.periods
    ]
    return localisation_metrics(truth, found)


def _along(logits: dict[str, Tensor]) -> Tensor:
    """(B, L) probabilities: the larger of a moment of sound's and of its frame's."""
    seen, heard = torch.sigmoid(logits["video"].mean((2, 3))), torch.sigmoid(logits["audio"])
    L, T = heard.shape[1], seen.shape[1]
    return torch.maximum(seen[:, torch.arange(L) * T // L], heard)
