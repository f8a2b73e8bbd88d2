"""Where in time a detector of clips places a fake, scored against the manipulated periods that a set marks."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from paretolens.data.samples import SampleSet
from paretolens.evaluators.localisation import LocalisationMetrics, localisation_metrics, proposals_of_scores, soft_nms
from paretolens.models.video import frame_index
from paretolens.search.score import BATCH

__all__ = ["localisation_of"]


def localisation_of(model: nn.Module, samples: SampleSet) -> LocalisationMetrics | None:
    """AP and AR of the periods that a model's own logits along a clip propose; None where there is nothing to compare.

    What the verdict's layer says of each frame and of each moment of sound (`patch_logits`) becomes a probability; of both the
    larger counts, and padding counts for nothing. Of frames that were chosen at uneven distances the nearest speaks for a moment.
    Runs of probabilities are proposals (`proposals_of_scores`), weakened where they overlap (`soft_nms`).

    Args:
        model: in evaluation mode; must offer `patch_logits` with `video` (B, T, h, w) and `audio` (B, L).
        samples: clips whose manipulated periods are marked.
    """
    read, clip = getattr(model, "patch_logits", None), samples.preprocessing.clip
    if read is None or clip is None or not samples.periods.any():
        return None
    found = []
    for start in range(0, len(samples), BATCH):
        rows = slice(start, start + BATCH)
        with torch.inference_mode():
            scores = _along(read(*samples.batch(rows)), samples, rows, clip.seconds)
        for row, length in zip(scores, _lengths(samples, rows), strict=True):
            duration = clip.seconds * length / row.shape[0]
            found.append(soft_nms(proposals_of_scores(row[:length].numpy(), duration), duration))
    truth: Sequence[list[tuple[float, float]]] = [
        [(float(begin), float(end))] if end > begin else [] for begin, end in samples.periods
    ]
    return localisation_metrics(truth, found)


def _along(logits: dict[str, Tensor], samples: SampleSet, rows: slice, seconds: float) -> Tensor:
    """(B, L) probabilities: the larger of a moment of sound's and of its frame's; 0 where both are padding."""
    hidden, silent = (torch.from_numpy(np.array(samples.arrays[name][rows])) for name in ("video_mask", "audio_mask"))
    T, L = logits["video"].shape[1], silent.shape[1]
    index = frame_index(hidden.shape[1], T)
    seen = torch.sigmoid(logits["video"].mean((2, 3))).masked_fill(hidden[:, index], 0.0)
    heard = torch.sigmoid(logits["audio"]).masked_fill(silent, 0.0)
    if samples.moments is None:
        places = (torch.arange(L) * T // L).expand(len(seen), L)
    else:
        shown = torch.from_numpy(np.array(samples.moments[rows], np.float64))[:, index].masked_fill(hidden[:, index], torch.inf)
        times = torch.arange(L, dtype=shown.dtype) * (seconds / L)
        places = (times[None, :, None] - shown[:, None, :]).abs().argmin(2)
    return torch.maximum(seen.gather(1, places), heard)


def _lengths(samples: SampleSet, rows: slice) -> list[int]:
    """Of each clip, how many moments of sound it lasts; without sound as long as its frames, of chosen ones all of the window."""
    hidden, silent = (np.asarray(samples.arrays[name][rows]) for name in ("video_mask", "audio_mask"))
    L = silent.shape[1]
    pictured = np.ceil(L * (~hidden).mean(1)) if samples.moments is None else np.full(len(hidden), L)
    lengths: list[int] = np.maximum(1, np.where(silent.all(1), pictured, (~silent).sum(1))).astype(int).tolist()
    return lengths
