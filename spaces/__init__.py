"""Search spaces: what may vary, its ranges, and how a genome becomes a student. One module per family."""

from paretolens.spaces.knobs import Genome, Knob, Space, Stage, Value

__all__ = ["Genome", "Knob", "Space", "Stage", "Value"]
