"""EPS as a first version would compute it: Captum sample by sample for both models, SciPy sample by sample."""

import numpy as np
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from scipy.stats import spearmanr
from torch import Tensor, nn

from bench_eps.cases import Case
from paretolens.evaluators.eps import EpsSettings
from paretolens.evaluators.explain import logit_of
from paretolens.models.signature import InputKind

CHANNELS = {InputKind.VIDEO: 1, InputKind.IMAGE: 0}
Maps = list[tuple[list[Tensor], float]]
"""Of each sample: attributions to each explained input, and ΔF."""


def pooled(values: Tensor, kind: InputKind, settings: EpsSettings, ignored: Tensor | None) -> np.ndarray:
    """Evidence of one sample on the grid, padding left out, written for reading and not for speed."""
    kept = values if ignored is None else values[~ignored]
    if kind is InputKind.AUDIO:
        pool = settings.audio_pool
        return torch.stack([kept[i : i + pool].mean(0) for i in range(0, len(kept), pool)]).flatten().numpy()
    grid = settings.video_grid if kind is InputKind.VIDEO else settings.image_grid
    return nn.functional.adaptive_avg_pool2d(kept, grid).flatten().numpy() if kept.dim() == 3 else pooled_image(kept, grid)


def pooled_image(kept: Tensor, grid: int) -> np.ndarray:
    """An image has no time axis."""
    return nn.functional.adaptive_avg_pool2d(kept[None], grid).flatten().numpy()


def top(values: np.ndarray, share: float) -> set[int]:
    """The top share of the strictly positive cells."""
    best = np.argsort(-values, kind="stable")[: max(1, round(share * len(values)))]
    return {int(i) for i in best if values[i] > 0}


def plain_maps(model: nn.Module, case: Case, row: int, settings: EpsSettings) -> tuple[list[Tensor], float]:
    """Captum's attributions of one sample to each explained input, and ΔF."""
    explained = case.explained
    moving = [i for i, b in enumerate(explained.baseline) if b is not None]
    fixed = [i for i in range(len(explained.inputs)) if i not in moving]

    def forward(*tensors: Tensor) -> Tensor:
        return logit_of(model(*tensors))

    found, delta = CaptumIntegratedGradients(forward).attribute(
        tuple(explained.inputs[i][row : row + 1] for i in moving),
        tuple(explained.baseline[i] for i in moving),
        additional_forward_args=tuple(explained.inputs[i][row : row + 1] for i in fixed),
        n_steps=settings.nodes,
        return_convergence_delta=True,
    )
    return [part[0].detach() for part in found], float(sum(part.sum() for part in found) - delta)


def all_plain_maps(model: nn.Module, case: Case, settings: EpsSettings) -> Maps:
    """Every sample's."""
    return [plain_maps(model, case, row, settings) for row in range(len(case.explained))]


def plain_eps(case: Case, theirs: Maps, mine: Maps, settings: EpsSettings) -> float:
    """EPS as a first version would compute it."""
    explained, scores = case.explained, []
    for row in range(len(explained)):
        one = [x[row : row + 1] for x in explained.inputs]
        with torch.no_grad():
            sign = 1.0 if float(logit_of(case.teacher(*one))) > 0 else -1.0
        (wanted, change), (found, _), values = theirs[row], mine[row], []
        for spec, a, b in zip(explained.signature.explained, wanted, found, strict=True):
            if abs(float(a.sum())) < settings.gate * abs(change):
                continue
            ignored = explained.ignored(spec.name)
            axis = CHANNELS.get(spec.kind)
            kept = None if ignored is None else ignored[row]
            maps = [sign * (x if axis is None else x.sum(axis)) for x in (a, b)]
            cells = [pooled(x.relu(), spec.kind, settings, kept) for x in maps]
            masks = [top(x, settings.top_share) for x in cells]
            iou = len(masks[0] & masks[1]) / len(masks[0] | masks[1])
            values.append(settings.rank_weight * spearmanr(*cells).statistic + (1 - settings.rank_weight) * iou)
        scores.append(float(np.mean(values)))
    return float(np.mean(scores))
