"""The picture of one sample, a stretch per modality."""

import io
from typing import Any

from paretolens.evaluators.eps import EpsScore, TeacherReference
from paretolens.evaluators.overlays.panel import make_panel
from paretolens.evaluators.overlays.part import WIDTH_INCHES, Part
from paretolens.evaluators.overlays.sound import SOUND_INCHES, draw_sound
from paretolens.evaluators.overlays.still import STILL_INCHES, draw_still
from paretolens.evaluators.overlays.strip import draw_strip, strip_inches
from paretolens.models.signature import InputKind

__all__ = ["draw_overlay"]

TITLE_INCHES = 0.34
_HEIGHTS = {InputKind.AUDIO: SOUND_INCHES, InputKind.IMAGE: STILL_INCHES}
_DRAW = {InputKind.AUDIO: draw_sound, InputKind.IMAGE: draw_still, InputKind.VIDEO: draw_strip}
TITLE: dict[str, Any] = {"fontsize": 10.5, "ha": "left", "va": "center", "weight": "bold"}


def draw_overlay(reference: TeacherReference, score: EpsScore, row: int, name: str = "") -> bytes:
    """PNG of one sample: input, teacher, student, top-share masks and the true region, every modality.

    Args:
        reference: the teacher's side.
        score: a score of that reference.
        row: sample of the explained set that was scored.
        name: what to call the sample in the title, such as `best`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [make_panel(reference, score, row, column) for column in range(len(reference.modalities))]
    heights = [_HEIGHTS.get(panel.kind) or strip_inches(panel) for panel in panels]
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights) + TITLE_INCHES), dpi=100)
    FigureCanvasAgg(figure)
    figure.text(0.012, 1 - 0.5 * TITLE_INCHES / figure.get_figheight(), title_of(reference, score, row, name), **TITLE)
    top = figure.get_figheight() - TITLE_INCHES
    for panel, height in zip(panels, heights, strict=True):
        top -= height
        _DRAW[panel.kind](Part(figure=figure, bottom=top, height=height), panel, score.settings.audio_pool)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 4})
    return buffer.getvalue()


def title_of(reference: TeacherReference, score: EpsScore, row: int, name: str) -> str:
    """What the sample is and how it scored."""
    kind = f"{reference.explained.kinds[row]}{' fake' * (reference.classes is None)}"
    chosen = "" if reference.classes is None else f" of {reference.explained.signature.classes[int(reference.classes[row])]}"
    said = f"logit{chosen}: teacher {float(reference.logit[row]):+.1f}, student {score.samples.logit[row]:+.1f}"
    lead = f"{name} sample" if name else f"sample {row}"
    return f"{lead} ({kind})   EPS {score.samples.eps[row]:.2f}   (all samples {score.eps:.2f})   {said}"
