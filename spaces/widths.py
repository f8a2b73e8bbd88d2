"""Width multipliers as a knob: each backbone has been built for some of them only."""

from collections.abc import Collection

from paretolens.models.backbones import backbone_widths
from paretolens.spaces.knobs import Genome, Space, Value

__all__ = ["nearest_width"]


def nearest_width(space: Space, genome: Genome, knob: str, backbone: str, *, preferred: Collection[float] = ()) -> Value:
    """The multiplier that a backbone has and that lies closest to the genome's.

    Args:
        space: Holds the knob.
        genome: Asks for a multiplier.
        knob: The knob's name.
        backbone: One of ours.
        preferred: Those to keep to, as far as the knob offers any of them.

    Raises:
        ConfigurationError: the knob offers none that the backbone has.
    """
    widths = backbone_widths(backbone)
    offered = [float(value) for value in space.knob(knob).grid if float(value) in widths]
    wanted = [value for value in offered if value in preferred] or offered
    allowed = ", ".join(f"{value:g}" for value in widths)
    problem = f"no choice fits backbone {backbone}; allow one of {allowed}"
    return space.nearest(knob, genome, lambda value: float(value) in wanted, problem)
