"""What is drawn of one modality of one sample, collected from the reference and the score."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paretolens.data.preprocessing import PictureSettings, Preprocessing
from paretolens.evaluators.eps import EpsScore, ExplainedSet, TeacherReference
from paretolens.evaluators.eps.masks import top_mask
from paretolens.evaluators.overlays.colours import Floats
from paretolens.models.signature import InputKind

__all__ = ["Panel", "make_panel"]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One modality of one sample, ready to be drawn."""

    name: str
    kind: InputKind
    image: Floats
    """Input: (T, 3, H, W) in 0..1, or (L, F)."""
    teacher: Floats
    """(T, g, g) or (cells, F), scaled to 0..1."""
    student: Floats
    """The same of the student."""
    teacher_mask: NDArray[np.bool_]
    """Top share of the teacher's map, same shape."""
    student_mask: NDArray[np.bool_]
    """The same of the student."""
    ignored: NDArray[np.bool_]
    """(T,) or (L,), True = padding."""
    region: NDArray[np.bool_] | None
    """(T, h, w), true manipulated region."""
    caption: str
    """ρ and J of this modality."""
    scored: bool
    """Whether it counts on this sample."""


def make_panel(reference: TeacherReference, score: EpsScore, row: int, column: int) -> Panel:
    """Collect what is drawn of one modality."""
    explained, name = reference.explained, reference.modalities[column]
    position, spec = next((i, spec) for i, spec in enumerate(explained.signature.inputs) if spec.name == name)
    maps = reference.grids[name].rows(torch.tensor([row]), torch.device("cpu"))
    mine = torch.from_numpy(score.samples.grids[name][row : row + 1])
    mask = top_mask(mine, score.settings.top_share, maps.valid)
    ignored = explained.ignored(name, torch.tensor([row]))
    image = shown(explained, explained.inputs[position][row], spec.kind)
    no_padding = np.zeros(1 if spec.kind is InputKind.IMAGE else len(image), dtype=bool)
    rho, iou = score.samples.rho[row, column], score.samples.iou[row, column]
    share = float(reference.share[row, column])
    counts = not np.isnan(rho)
    scored = f"ρ {rho:.2f}   J {iou:.2f}" if counts else "not scored: the verdict does not rest on it"
    return Panel(
        name=name,
        kind=spec.kind,
        image=image[None] if spec.kind is InputKind.IMAGE else image,
        teacher=scaled(maps.values, maps.shape, spec.kind),
        student=scaled(mine, maps.shape, spec.kind),
        teacher_mask=shaped(maps.mask, maps.shape, spec.kind),
        student_mask=shaped(mask, maps.shape, spec.kind),
        ignored=no_padding if ignored is None else ignored[0].numpy(),
        region=true_region(explained.regions, row) if spec.kind is not InputKind.AUDIO else None,
        caption=f"{name}   {scored}   teacher's share {share:.0%}",
        scored=counts,
    )


def shown(explained: ExplainedSet, values: torch.Tensor, kind: InputKind) -> Floats:
    """One input as it can be drawn: sound as it is, pictures as they were before they were scaled."""
    if kind is InputKind.AUDIO:
        return values.numpy().astype(np.float64)
    preprocessing = explained.preprocessing or Preprocessing(picture=PictureSettings(size=values.shape[-1]))
    pixels: Floats = preprocessing.pixels(values)
    return pixels


def true_region(regions: NDArray[np.generic] | None, row: int) -> NDArray[np.bool_] | None:
    """The region of a sample; None where there is none to see."""
    region = None if regions is None else np.asarray(regions[row], dtype=bool)
    return region if region is not None and region.any() else None


def shaped(flat: torch.Tensor, shape: tuple[int, ...], kind: InputKind) -> NDArray[Any]:
    """A flattened map (1, N) in its own shape; images get a time axis of 1."""
    array: NDArray[Any] = flat[0].reshape(shape).numpy()
    return array[None] if kind is InputKind.IMAGE else array


def scaled(flat: torch.Tensor, shape: tuple[int, ...], kind: InputKind) -> Floats:
    """A map divided by its 99th percentile (its maximum where that is 0), clipped to 0..1."""
    array = shaped(flat, shape, kind).astype(np.float64)
    top = float(np.percentile(array, 99)) or float(array.max())
    return np.clip(array / top, 0.0, 1.0) if top > 0 else np.zeros_like(array)
