"""The LaDeDa family: pictures judged patch by patch, taught by a large detector of small patches.

All that may vary is in `_student_knobs`; `student` says what each knob means for the network.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le
from torch import nn

from paretolens.data.sources import DataKind
from paretolens.models.ladeda import LaDeDa, PatchDetection
from paretolens.models.prefilter import PreFilterKind
from paretolens.models.registry import build_seeded
from paretolens.models.rules import KeptLayer, PruningRules
from paretolens.models.signature import Signature
from paretolens.models.tiny_ladeda import TINY_FIELDS, TINY_STRIDES
from paretolens.models.weights import load_weights
from paretolens.spaces.family import Published, preset_space
from paretolens.spaces.knobs import Genome, Knob, Space, Stage, Value
from paretolens.spaces.stages import idle_stages, stage_knobs

__all__ = ["LadedaFamily", "LadedaSettings", "LadedaTeacher"]

MEAN, TOP = "mean", "top"
PREFILTERS = tuple(str(kind) for kind in PreFilterKind)


@dataclass(frozen=True, kw_only=True)
class LadedaTeacher:
    """The teacher's shape. The published LaDeDa9 has width 64, blocks 3, 4, 6, 3 and a stem momentum of 0.001."""

    field: int = 9
    """Pixels of a patch: 5, 9, 17 or 33."""
    width: Annotated[int, Ge(1)] = 12
    """Channels of the first layer; the last has 32 times as many."""
    blocks: tuple[Annotated[int, Ge(1)], ...] = (1, 2, 2, 1)
    """Blocks of the four layers."""
    prefilter: str = "nearest"
    """What is done to a picture first: raw, diagonal or nearest."""
    stem_momentum: Annotated[float, Gt(0), Le(1)] = 0.1
    """Momentum of the first batch norm; the published one needs thousands of steps to settle."""
    weights: str | None = None
    """A published checkpoint (.pth or .safetensors) to begin from; None = from nothing. Nothing is ever downloaded."""


@dataclass(frozen=True, kw_only=True)
class LadedaSettings:
    """The input that teacher and students share, and the teacher."""

    size: Annotated[int, Ge(33)] = 96
    """Side of a picture in pixels; published: 256."""
    teacher: LadedaTeacher = field(default_factory=LadedaTeacher)
    """The teacher's shape."""


def _student_knobs(width: tuple[int, ...], top_share: tuple[float, ...]) -> tuple[Knob, ...]:
    """The student's knobs; the arguments are the choices in which the presets differ. The defaults are Tiny-LaDeDa."""

    def knob(name: str, choices: tuple[Value, ...], doc: str, default: Value, limits: tuple[float, float] | None = None) -> Knob:
        return Knob(
            name=name, stage=Stage.STUDENT, doc=doc, default=default, choices=choices,
            allowed=choices if limits is None else (), limits=limits or (-math.inf, math.inf),
        )  # fmt: skip

    return (
        knob("width", width, "channels of every layer", 8, limits=(1, 1024)),
        knob("layers", (1, 2, 3), "number of 3×3 convolutions", 2),
        knob("field", TINY_FIELDS, "side in pixels of what a patch sees", 5),
        knob("stride", TINY_STRIDES, "pixels between neighbouring patches", 2),
        knob("prefilter", PREFILTERS, "what is done to the picture first", "diagonal"),
        knob("pooling", (MEAN, TOP), "the verdict is the mean of all patches, or of the highest", MEAN),
        knob("top_share", top_share, "share of the patches that are the highest", 0.1, limits=(0.001, 1.0)),
    )


def _quick_space() -> Space:
    knobs = _student_knobs((4, 8, 16), (0.05, 0.1, 0.25, 0.5))
    return Space(knobs=(*knobs, *stage_knobs(attention=False, patches=True)), rule=_repaired, idle=_idle)


def _published_space() -> Space:
    knobs = _student_knobs((4, 8, 12, 16, 32), (0.02, 0.05, 0.1, 0.2, 0.5))
    return Space(knobs=(*knobs, *stage_knobs(attention=False, patches=True)), rule=_repaired, idle=_idle)


_PRESETS = {"default": _quick_space, "published": _published_space}


def _idle(genome: Genome) -> frozenset[str]:
    return idle_stages(genome) | (frozenset() if genome["pooling"] == TOP else frozenset({"top_share"}))


def _repaired(space: Space, genome: Genome) -> Genome:
    """The nearest field that so many layers can have: each 3×3 convolution sees at least two pixels more."""
    least = 2 * int(genome["layers"]) + 1
    problem = f"{genome['layers']} layers see at least {least} pixels; allow {least} or more"
    return {**genome, "field": space.nearest("field", genome, lambda value: int(value) >= least, problem)}


_PUBLISHED = {
    "LaDeDa5": Published(builder="ladeda", arguments={"field": 5}, parameters=13_510_721),
    "LaDeDa9": Published(builder="ladeda", arguments={"field": 9}, parameters=13_641_793),
    "LaDeDa17": Published(builder="ladeda", arguments={"field": 17}, parameters=14_166_081),
    "LaDeDa33": Published(builder="ladeda", arguments={"field": 33}, parameters=16_263_233),
    "Tiny-LaDeDa": Published(builder="tiny-ladeda", arguments={}, parameters=1_297),
}


class LadedaFamily:
    """Real or fake pictures, judged by what patches of a few pixels show; see `models.ladeda` and `models.tiny_ladeda`."""

    name = "ladeda"
    summary = "patch detector: is this picture fake, and which patches say so?"
    data_kind = DataKind.PICTURES
    settings_type = LadedaSettings
    presets = tuple(_PRESETS)
    published = _PUBLISHED

    def signature(self, settings: LadedaSettings) -> Signature:
        """One picture; a logit and the logits of its patches."""
        return Signature.of_picture(settings.size, PatchDetection._fields)

    def teacher(self, settings: LadedaSettings, seed: int = 0) -> nn.Module:
        """The teacher before training: with the weights of its checkpoint, else untrained."""
        shape = settings.teacher
        model = build_seeded(
            "ladeda",
            seed,
            field=shape.field,
            width=shape.width,
            depths=list(shape.blocks),
            prefilter=shape.prefilter,
            stem_momentum=shape.stem_momentum,
        )
        if shape.weights is not None:
            load_weights(model, Path(shape.weights), whole=True)
        return model

    def space(self, preset: str = "default") -> Space:
        """The knobs of a preset: "default" for 2 cores and 96 pixels, "published" for 256 pixels."""
        return preset_space(self.name, _PRESETS, preset)

    def check(self, space: Space, settings: LadedaSettings) -> None:
        """See that the teacher can be built and that it sees whole patches of the picture."""
        teacher = self.teacher(settings)
        assert isinstance(teacher, LaDeDa)
        teacher.patch_field.cells(settings.size)

    def student(self, genome: Genome, signature: Signature, seed: int = 0) -> nn.Module:
        """The untrained student of a genome; the same seed gives the same weights."""
        return build_seeded(
            "tiny-ladeda",
            seed,
            width=int(genome["width"]),
            layers=int(genome["layers"]),
            field=int(genome["field"]),
            stride=int(genome["stride"]),
            prefilter=str(genome["prefilter"]),
            top_share=float(genome["top_share"]) if genome["pooling"] == TOP else 1.0,
        )

    def pruning_rules(self, model: nn.Module) -> PruningRules:
        """All channels may go but the patches' logit; the published width of 8 is too narrow to lose any."""
        return PruningRules(kept=(KeptLayer(path="fc", reason="output: the logit of every patch"),), attentions=())
