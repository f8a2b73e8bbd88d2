"""Knobs that every family shares: distillation, pruning, low rank, alignment of explanations, quantisation."""

from paretolens.spaces.knobs import Genome, Knob, Stage

__all__ = ["ONE_STAGE", "TWO_STAGES", "idle_stages", "stage_knobs", "stages_of"]

ONE_STAGE, TWO_STAGES = "one-stage", "two-stages"

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
_PATCH_WEIGHT = Knob(
    name="patch_weight", stage=Stage.DISTILL, doc="δ, weight of the agreement with the teacher patch by patch; 0 = none",
    default=1.0, choices=(0.0, 0.5, 1.0, 2.0), limits=(0.0, 1000.0),
)  # fmt: skip
_PATCH_LOSS = Knob(
    name="patch_loss", stage=Stage.DISTILL, doc="squared error of patch logits, or divergence of patch probabilities at T",
    default="squared", choices=("squared", "divergence"), allowed=("squared", "divergence"),
)  # fmt: skip
_SCHEDULE = Knob(
    name="schedule", stage=Stage.DISTILL, doc="train all at once, or first the head and then the last block with it",
    default=ONE_STAGE, choices=(ONE_STAGE, TWO_STAGES), allowed=(ONE_STAGE, TWO_STAGES),
)  # fmt: skip
_PRUNE_RATIO = Knob(
    name="prune_ratio", stage=Stage.PRUNE, doc="part of the heads, neurons and channels that is taken away for real; 0 = none",
    default=0.3, low=0.0, high=0.6, step=0.1, limits=(0.0, 0.95),
)  # fmt: skip
_RANK_ENERGY = Knob(
    name="rank_energy", stage=Stage.FACTORISE, doc="share of the energy that layers of low rank keep; 1 = layers stay whole",
    default=1.0, choices=(1.0,), limits=(0.1, 1.0),
)  # fmt: skip
_GAMMA = Knob(
    name="gamma", stage=Stage.ALIGN, doc="γ, weight of the alignment of explanations after distillation and pruning; 0 = none",
    default=0.0, choices=(0.0,), limits=(0.0, 1000.0),
)  # fmt: skip
_ALIGN_EVERY = Knob(
    name="align_every", stage=Stage.ALIGN, doc="align explanations in every so many steps",
    default=2, choices=(2,), limits=(1, 1000),
)  # fmt: skip
_QAT = Knob(
    name="qat", stage=Stage.QUANTISE, doc="train with int8 rounding and ship an int8 file",
    default=False, choices=(False, True), allowed=(False, True),
)  # fmt: skip


def stage_knobs(*, attention: bool = True, patches: bool = False) -> tuple[Knob, ...]:
    """The knobs of the stages after the student, in their order.

    Args:
        attention: whether the family has maps to align; without them there is no β.
        patches: whether teacher and students judge patches, which can be aligned, and name their head and last block.
    """
    beta = (_BETA,) if attention else ()
    patch = (_PATCH_WEIGHT, _PATCH_LOSS, _SCHEDULE) if patches else ()
    return (_TEMPERATURE, _ALPHA, *beta, *patch, _PRUNE_RATIO, _RANK_ENERGY, _GAMMA, _ALIGN_EVERY, _QAT)


def stages_of(genome: Genome) -> tuple[str, ...]:
    """The trained stages that a complete genome goes through, in their order; the one place that says when each applies."""
    goes_through = {
        "head": genome.get("schedule") == TWO_STAGES,
        "distill": True,
        "prune": float(genome["prune_ratio"]) > 0,
        "factorise": float(genome["rank_energy"]) < 1,
        "align": float(genome["gamma"]) > 0,
        "qat": bool(genome["qat"]),
    }
    return tuple(stage for stage, applies in goes_through.items() if applies)


def idle_stages(genome: Genome) -> frozenset[str]:
    """The shared knobs without effect: the temperature where nothing is softened, the rhythm where γ = 0, the way to compare
    patches where they aren't compared."""
    compared = float(genome.get("patch_weight", 0.0)) > 0
    softened = genome.get("alpha") != 1 or (compared and genome.get("patch_loss") == "divergence")
    idle = {
        "temperature": not softened,
        "align_every": not genome.get("gamma"),
        "patch_loss": "patch_loss" in genome and not compared,
    }
    return frozenset(name for name, without_effect in idle.items() if without_effect)
