"""Knobs that every family shares: distillation, pruning and quantisation."""

from paretolens.spaces.knobs import Genome, Knob, Stage

__all__ = ["idle_stages", "stage_knobs"]

_TEMPERATURE = Knob(
    name="temperature", stage=Stage.DISTILL, doc="T, softens the teacher's probability sigmoid(z / T)",
    default=2.0, low=1.0, high=8.0, log=True, limits=(0.1, 100.0),
)  # fmt: skip
_ALPHA = Knob(
    name="alpha", stage=Stage.DISTILL, doc="α, weight of the true labels; 1 - α is the teacher's",
    default=0.5, low=0.0, high=1.0, step=0.05, limits=(0.0, 1.0),
)  # fmt: skip
_BETA = Knob(
    name="beta", stage=Stage.DISTILL, doc="β, weight of the attention alignment; 0 = none",
    default=0.3, low=0.0, high=3.0, step=0.1, limits=(0.0, 1000.0),
)  # fmt: skip
_PRUNE_RATIO = Knob(
    name="prune_ratio", stage=Stage.PRUNE, doc="part of the heads, neurons and channels that is taken away for real; 0 = none",
    default=0.3, low=0.0, high=0.6, step=0.1, limits=(0.0, 0.95),
)  # fmt: skip
_QAT = Knob(
    name="qat", stage=Stage.QUANTISE, doc="train with int8 rounding and ship an int8 file",
    default=False, choices=(False, True), allowed=(False, True),
)  # fmt: skip


def stage_knobs(*, attention: bool = True) -> tuple[Knob, ...]:
    """The knobs of the stages after the student, in their order.

    Args:
        attention: whether the family has maps to align; without them there is no β.
    """
    return (_TEMPERATURE, _ALPHA, *((_BETA,) if attention else ()), _PRUNE_RATIO, _QAT)


def idle_stages(genome: Genome) -> frozenset[str]:
    """The shared knobs without effect: with α = 1 no soft targets are used, so their temperature does not matter."""
    return frozenset({"temperature"}) if genome.get("alpha") == 1 else frozenset()
