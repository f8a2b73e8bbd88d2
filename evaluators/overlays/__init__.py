"""Pictures of what teacher and student look at: frame strips and time × coefficient heat maps, on one scale.

Evidence maps are drawn as they are scored, on their grid. Each model's map is divided by its own 99th percentile: EPS does not
depend on scale, so what may differ in a picture is where the evidence lies. Colours are safe for the colour-blind: inferno for
evidence, purple to orange for signed values, and blue, orange and white for the masks. A modality that the score leaves out,
because the teacher's verdict does not rest on it, is drawn pale.
"""

from paretolens.evaluators.overlays.figure import draw_overlay
from paretolens.evaluators.overlays.write import draw_overlays, pick_samples, write_overlays

__all__ = ["draw_overlay", "draw_overlays", "pick_samples", "write_overlays"]
