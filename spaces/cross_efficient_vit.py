"""The Cross Efficient ViT family: faces judged by two transformers over the features of an EfficientNet.

All that may vary is in `_student_knobs`; `student` says what each knob means for the network.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Lt
from torch import nn

from paretolens.data.sources import DataKind
from paretolens.errors import ConfigurationError
from paretolens.models.cross_efficient_vit import CrossAttend
from paretolens.models.cross_layout import from_published
from paretolens.models.efficientnet_layout import from_efficientnet
from paretolens.models.registry import build_seeded
from paretolens.models.rules import KeptLayer, PruningRules, attentions
from paretolens.models.signature import Signature, Verdict
from paretolens.models.transformer import Layer
from paretolens.models.trunk import BACKBONE, HEAD, grid_of
from paretolens.models.weights import load_weights
from paretolens.spaces.family import Published, preset_space
from paretolens.spaces.knobs import Genome, Knob, Space, Stage, Value
from paretolens.spaces.stages import idle_stages, stage_knobs
from paretolens.spaces.widths import nearest_width

__all__ = ["CrossEfficientViTFamily", "CrossSettings", "CrossTeacher"]

LARGE_STAGE = 2
STAGES = (3, 4, 5, 6, 7, HEAD)


@dataclass(frozen=True, kw_only=True)
class CrossTeacher:
    """The teacher's shape. Published: backbone_width 1, patches 7 and 56, widths 192 and 384, layers 2 and 3, depth 4, 8 heads
    of 64, hidden 2048, 2 crossings, dropout 0.15, whole."""

    backbone_width: Annotated[float, Gt(0)] = 0.5
    """Width multiplier of both EfficientNet-B0s."""
    small_patch: Annotated[int, Ge(1)] = 1
    """Places of the last map along a side of the small branch's patches."""
    large_patch: Annotated[int, Ge(1)] = 8
    """Places of the early map along a side of the large branch's patches."""
    small_width: Annotated[int, Ge(1)] = 96
    """Width of the small branch's tokens."""
    large_width: Annotated[int, Ge(1)] = 128
    """Width of the large branch's tokens."""
    small_layers: Annotated[int, Ge(1)] = 1
    """Layers of the small branch in every scale."""
    large_layers: Annotated[int, Ge(1)] = 1
    """Layers of the large branch in every scale."""
    depth: Annotated[int, Ge(1)] = 2
    """Scales."""
    heads: Annotated[int, Ge(1)] = 4
    """Attention heads of every layer."""
    head_dim: Annotated[int, Ge(1)] = 32
    """Width of one head."""
    hidden: Annotated[int, Ge(1)] = 256
    """Hidden width of every feed-forward layer."""
    crossings: Annotated[int, Ge(1)] = 1
    """How often the class tokens cross in a scale."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Dropout of tokens, attention and feed-forward."""
    whole: bool = False
    """Hold what the published network holds and never runs, so that its parameters count as published."""
    same_padding: bool = False
    """Let the EfficientNets pad and normalise as TensorFlow does, as weights that were trained there need it."""
    backbone_weights: str | None = None
    """A file with the weights of an EfficientNet-B0 that both branches begin from, by EfficientNet-PyTorch's or torchvision's
    names; None = from nothing. Nothing is ever downloaded."""
    weights: str | None = None
    """A published checkpoint, or a file with the weights of this teacher, to begin from; None = from nothing."""


@dataclass(frozen=True, kw_only=True)
class CrossSettings:
    """The input that teacher and students share, and the teacher."""

    size: Annotated[int, Ge(32)] = 96
    """Side of a picture in pixels; published: 224."""
    teacher: CrossTeacher = field(default_factory=CrossTeacher)
    """The teacher's shape."""


def _student_knobs(choices: Mapping[str, tuple[Value, ...]], default: Mapping[str, Value]) -> tuple[Knob, ...]:
    """The student's knobs; the arguments are what the presets differ in."""

    def knob(name: str, doc: str, **bounds: tuple[Any, ...]) -> Knob:
        low, high = bounds.get("limits", (1, 4096))
        return Knob(
            name=name, stage=Stage.STUDENT, doc=doc, default=default[name], choices=choices[name],
            allowed=bounds.get("allowed", ()), limits=(low, high),
        )  # fmt: skip

    return (
        knob("backbone_width", "width multiplier of EfficientNet-B0", limits=(0.1, 4)),
        knob("shared", "whether both branches read the same backbone", allowed=(False, True)),
        knob("small_stage", "stage that the small branch reads; later ones are cut off", allowed=STAGES),
        knob("small_patch", "places of its map along a side of a patch", limits=(1, 64)),
        knob("large_patch", "the same for the large branch, of the map of stage 2", limits=(1, 256)),
        knob("small_width", "width of the small branch's tokens"),
        knob("large_width", "width of the large branch's tokens"),
        knob("small_layers", "layers of the small branch in every scale", limits=(1, 24)),
        knob("large_layers", "layers of the large branch in every scale", limits=(1, 24)),
        knob("depth", "number of scales, each with a crossing", limits=(1, 24)),
        knob("heads", "attention heads of every layer", limits=(1, 64)),
        knob("head_dim", "width of one head", limits=(1, 256)),
        knob("hidden", "hidden width of the feed-forward layers", limits=(1, 16384)),
    )


def _quick_space() -> Space:
    student = _student_knobs(
        choices={
            "backbone_width": (0.25, 0.35, 0.5), "shared": (True, False), "small_stage": (4, 5, 6), "small_patch": (1, 3),
            "large_patch": (4, 8, 12), "small_width": (32, 48, 64), "large_width": (48, 64, 96), "small_layers": (1,),
            "large_layers": (1, 2), "depth": (1, 2), "heads": (2, 4), "head_dim": (16,), "hidden": (64, 128),
        },
        default={
            "backbone_width": 0.35, "shared": True, "small_stage": 5, "small_patch": 1, "large_patch": 8, "small_width": 48,
            "large_width": 64, "small_layers": 1, "large_layers": 1, "depth": 1, "heads": 4, "head_dim": 16, "hidden": 128,
        },
    )  # fmt: skip
    return Space(knobs=(*student, *stage_knobs(attention=False)), rule=_repaired, idle=idle_stages)


def _published_space() -> Space:
    student = _student_knobs(
        choices={
            "backbone_width": (0.25, 0.35, 0.5, 0.75, 1.0), "shared": (True, False), "small_stage": (4, 5, 6, HEAD),
            "small_patch": (1, 7), "large_patch": (7, 8, 14, 28, 56), "small_width": (48, 96, 192),
            "large_width": (96, 192, 384), "small_layers": (1, 2), "large_layers": (1, 2, 3), "depth": (1, 2, 3, 4),
            "heads": (2, 4, 8), "head_dim": (32, 64), "hidden": (256, 512, 1024, 2048),
        },
        default={
            "backbone_width": 0.35, "shared": True, "small_stage": 5, "small_patch": 1, "large_patch": 8, "small_width": 48,
            "large_width": 96, "small_layers": 1, "large_layers": 1, "depth": 1, "heads": 2, "head_dim": 32, "hidden": 256,
        },
    )  # fmt: skip
    return Space(knobs=(*student, *stage_knobs(attention=False)), rule=_repaired, idle=idle_stages)


_PRESETS = {"default": _quick_space, "published": _published_space}


def _repaired(space: Space, genome: Genome) -> Genome:
    """The nearest multiplier that the backbone has."""
    return {**genome, "backbone_width": nearest_width(space, genome, "backbone_width", BACKBONE)}


_PUBLISHED = {
    "Cross Efficient ViT": Published(builder="cross-efficient-vit", arguments={"whole": True}, parameters=101_377_610),
    "with 49 patches a branch": Published(
        builder="cross-efficient-vit",
        arguments={"whole": True, "small_patch": 1, "large_patch": 8},
        parameters=71_001_674,
    ),
    "Efficient ViT": Published(builder="efficient-vit", arguments={"whole": True}, parameters=109_447_781),
}


class CrossEfficientViTFamily:
    """Real or fake faces, judged on two scales that read each other; see `models.cross_efficient_vit`."""

    name = "cross-efficient-vit"
    summary = "EfficientNet features read by two transformers: is this face fake?"
    data_kind = DataKind.PICTURES
    settings_type = CrossSettings
    presets = tuple(_PRESETS)
    published = _PUBLISHED

    def signature(self, settings: CrossSettings) -> Signature:
        """One picture; a logit."""
        return Signature.of_picture(settings.size, Verdict._fields)

    def teacher(self, settings: CrossSettings, seed: int = 0) -> nn.Module:
        """The teacher before training: with the weights of its files, else untrained."""
        wanted = settings.teacher
        shape = {
            name: getattr(wanted, name) for name in wanted.__dataclass_fields__ if name not in ("weights", "backbone_weights")
        }
        model = build_seeded("cross-efficient-vit", seed, input_size=settings.size, **shape)
        if wanted.backbone_weights is not None:
            for branch in ("small_trunk", "large_trunk"):
                load_weights(model.get_submodule(branch), Path(wanted.backbone_weights), whole=True, layout=from_efficientnet)
        if wanted.weights is not None:
            load_weights(model, Path(wanted.weights), whole=True, layout=from_published)
        return model

    def space(self, preset: str = "default") -> Space:
        """The knobs of a preset: "default" for 2 cores and 96 pixels, "published" for 224 pixels."""
        return preset_space(self.name, _PRESETS, preset)

    def check(self, space: Space, settings: CrossSettings) -> None:
        """See that the teacher can be built and that every patch divides every map that it may be cut from."""
        self.teacher(settings)
        stages = {"small_patch": space.knob("small_stage").grid, "large_patch": (LARGE_STAGE,)}
        for name, read in stages.items():
            for stage in read:
                grid = grid_of(settings.size, int(stage))
                wrong = [value for value in space.knob(name).grid if grid % int(value)]
                if wrong:
                    fitting = ", ".join(str(size) for size in range(1, grid + 1) if grid % size == 0)
                    raise ConfigurationError(
                        f"knob {name}: {wrong[0]} does not divide the {grid} × {grid} places of stage {stage} at "
                        f"{settings.size} pixels; choose among {fitting}, or change model.size and data.size"
                    )

    def student(self, genome: Genome, signature: Signature, seed: int = 0) -> nn.Module:
        """The untrained student of a genome; the same seed gives the same weights. It has one crossing and no dropout."""
        shape = {knob.name: genome[knob.name] for knob in _quick_space().knobs if knob.stage is Stage.STUDENT}
        return build_seeded(
            "cross-efficient-vit", seed, input_size=signature.inputs[0].shape[-1], crossings=1, dropout=0.0, **shape
        )

    def pruning_rules(self, model: nn.Module) -> PruningRules:
        """The verdicts and all that writes to the two streams of tokens stay as wide as they are."""
        return PruningRules(kept=tuple(_kept(model)), attentions=tuple(path for path, _ in attentions(model)))


_STREAM = "writes to a stream of tokens, whose width a knob sets for all layers at once"


def _kept(model: nn.Module) -> Iterator[KeptLayer]:
    for branch in ("small", "large"):
        yield KeptLayer(path=f"{branch}_verdict.1", reason="output: the logit")
        yield KeptLayer(path=f"{branch}_tokens.project", reason=_STREAM)
    for path, module in model.named_modules():
        if isinstance(module, Layer):
            yield KeptLayer(path=f"{path}.attend.proj", reason=_STREAM)
            yield KeptLayer(path=f"{path}.ffn.contract", reason=_STREAM)
        elif isinstance(module, CrossAttend):
            names = [name for name in ("project_in", "project_out") if isinstance(module.get_submodule(name), nn.Linear)]
            for name in (*names, "attend.proj"):
                yield KeptLayer(path=f"{path}.{name}", reason=_STREAM)
