"""The family of picture classifiers: any network of timm or torchvision as the teacher, and as students.

All that may vary is in `_student_knobs`; `student` says what each knob means for the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt
from torch import nn

from paretolens.data.sources import DataKind
from paretolens.errors import ConfigurationError
from paretolens.models.backbones import backbone_names
from paretolens.models.classifier import VIT, BackboneClassifier, check_network
from paretolens.models.registry import build_seeded
from paretolens.models.rules import KeptLayer, PruningRules, attentions, shuffled_layers
from paretolens.models.signature import Signature, Verdict
from paretolens.models.weights import load_weights
from paretolens.spaces.family import Published, preset_space
from paretolens.spaces.knobs import Genome, Knob, Space, Stage, Value
from paretolens.spaces.stages import idle_stages, stage_knobs
from paretolens.spaces.widths import nearest_width

__all__ = ["ClassifierSettings", "ClassifierTeacher", "ImageClassifierFamily"]


@dataclass(frozen=True, kw_only=True)
class ClassifierTeacher:
    """The teacher's network."""

    network: str = "resnet18"
    """A backbone of ours, vit, timm:NAME or torchvision:NAME."""
    multiplier: Annotated[float, Gt(0)] = 0.5
    """Width multiplier of one of our backbones; 1 for other networks."""
    input_size: Annotated[int, Ge(16)] | None = None
    """Side in pixels to which it shrinks the picture; None = as it is."""
    sharpen: Annotated[float, Ge(0)] = 4.0
    """How much fine structure is brought out of the picture first; 0 with pretrained weights, which never saw that."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """More arguments of the library's constructor, such as embed_dim, depth, num_heads and patch_size of vit."""
    weights: str | None = None
    """A .safetensors or torch file to begin from; None = from nothing. Nothing is ever downloaded. A trained teacher is known by
    this path and by what the file holds."""


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings:
    """The input that teacher and students share, and the teacher."""

    size: Annotated[int, Ge(32)] = 128
    """Side of a picture in pixels."""
    teacher: ClassifierTeacher = field(default_factory=ClassifierTeacher)
    """The teacher's network."""
    classes: tuple[str, ...] = ()
    """Names of the classes, as `data.classes` has them, which fills this in; without any, one logit says real or fake."""


def _student_knobs(
    *,
    networks: tuple[str, ...],
    multipliers: tuple[float, ...],
    input_size: tuple[int, ...],
    sharpen: tuple[float, ...],
    vit: Mapping[str, tuple[int, ...]],
    default: Mapping[str, Value],
) -> tuple[Knob, ...]:
    """The student's knobs; the arguments are the choices in which the presets differ."""

    def knob(name: str, choices: tuple[Value, ...], doc: str, low: float = 0.0, high: float = 0.0) -> Knob:
        return Knob(name=name, stage=Stage.STUDENT, doc=doc, default=default[name], choices=choices, limits=(low, high))

    network = Knob(
        name="network", stage=Stage.STUDENT, default=default["network"], choices=networks, judge=check_network,
        doc="network that sees the picture: a backbone of ours, vit, timm:NAME or torchvision:NAME",
    )  # fmt: skip
    return (
        network,
        knob("multiplier", multipliers, "width multiplier of one of our backbones", 0.1, 4),
        knob("input_size", input_size, "side in pixels to which it shrinks the picture", 16, 4096),
        knob("sharpen", sharpen, "how much fine structure is brought out of it; 0 = as it is", 0, 64),
        knob("vit_width", vit["width"], "width of a vit's tokens", 8, 2048),
        knob("vit_depth", vit["depth"], "number of a vit's blocks", 1, 48),
        knob("vit_heads", vit["heads"], "attention heads of a vit's block", 1, 64),
        knob("vit_patch", vit["patch"], "side of a vit's patches in pixels", 2, 128),
    )


def _quick_space() -> Space:
    student = _student_knobs(
        networks=("mobilenet_v3_small", "mobilenetv4_conv_small", "efficientnet_lite0", "regnet_y_400mf", "resnet18", VIT),
        multipliers=(0.125, 0.25, 0.35, 0.5, 0.75),
        input_size=(48, 64, 96),
        sharpen=(4.0,),
        vit={"width": (32, 48, 64), "depth": (2, 3, 4), "heads": (2, 4), "patch": (8, 16)},
        default={
            "network": "mobilenet_v3_small", "multiplier": 0.5, "input_size": 64, "sharpen": 4.0,
            "vit_width": 48, "vit_depth": 3, "vit_heads": 4, "vit_patch": 8,
        },
    )  # fmt: skip
    return Space(knobs=(*student, *stage_knobs(attention=False)), rule=_quick_rule, idle=_idle)


def _published_space() -> Space:
    student = _student_knobs(
        networks=(
            *backbone_names(), VIT,
            "timm:mobilenetv4_conv_medium", "timm:efficientnet_lite2", "timm:regnety_002", "timm:resnet34",
        ),
        multipliers=(0.25, 0.35, 0.5, 0.75, 1.0, 1.5),
        input_size=(112, 128, 160, 192, 224),
        sharpen=(0.0, 4.0),
        vit={"width": (96, 128, 192), "depth": (4, 6, 9, 12), "heads": (2, 3, 4), "patch": (16, 32)},
        default={
            "network": "mobilenet_v3_small", "multiplier": 1.0, "input_size": 224, "sharpen": 0.0,
            "vit_width": 192, "vit_depth": 12, "vit_heads": 3, "vit_patch": 16,
        },
    )  # fmt: skip
    return Space(knobs=(*student, *stage_knobs(attention=False)), rule=_published_rule, idle=_idle)


_PRESETS = {"default": _quick_space, "published": _published_space}
LEAST_PLACES = 4
_VIT_KNOBS = frozenset({"vit_width", "vit_depth", "vit_heads", "vit_patch"})


def _idle(genome: Genome) -> frozenset[str]:
    network = str(genome["network"])
    without = _VIT_KNOBS if network != VIT else frozenset()
    return idle_stages(genome) | without | (frozenset() if network in backbone_names() else {"multiplier"})


# The default preset keeps to networks that are no larger than its teacher (resnet18 × .5).
_QUICK_WIDTHS: Mapping[str, tuple[float, ...]] = {
    "efficientnet_lite0": (0.25, 0.35, 0.5),
    "mobilenet_v3_small": (0.25, 0.35, 0.5, 0.75),
    "mobilenetv4_conv_small": (0.35, 0.5),
    "resnet18": (0.125, 0.25, 0.5),
}


def _quick_rule(space: Space, genome: Genome) -> Genome:
    return _repaired(space, genome, _QUICK_WIDTHS)


def _published_rule(space: Space, genome: Genome) -> Genome:
    return _repaired(space, genome, {})


def _repaired(space: Space, genome: Genome, preferred: Mapping[str, tuple[float, ...]]) -> Genome:
    """The nearest multiplier that the backbone has; for a vit patches that cover the picture and heads that divide the width."""
    network, changes = str(genome["network"]), dict[str, Value]()
    if network in backbone_names():
        changes["multiplier"] = nearest_width(space, genome, "multiplier", network, preferred=preferred.get(network, ()))
    if network == VIT:
        width, side = int(genome["vit_width"]), int(genome["input_size"])
        heads = f"no choice divides width {width}; allow a divisor of {width}"
        patches = f"no choice covers {side} pixels; allow a divisor of {side} up to {side // LEAST_PLACES}"
        changes["vit_heads"] = space.nearest("vit_heads", genome, lambda value: width % int(value) == 0, heads)
        changes["vit_patch"] = space.nearest("vit_patch", genome, lambda value: _covers(int(value), side), patches)
    return {**genome, **changes}


def _covers(patch: int, side: int) -> bool:
    """Whether patches cover a picture without rest, at least four along each side: fewer places are no explanation."""
    return side % patch == 0 and side // patch >= LEAST_PLACES


_PUBLISHED = {
    "timm:efficientnet_lite0": 4_652_008,
    "timm:mobilenetv4_conv_small": 3_774_024,
    "timm:vit_tiny_patch16_224": 5_717_416,
    "torchvision:mobilenet_v3_small": 2_542_856,
    "torchvision:regnet_y_400mf": 4_344_144,
    "torchvision:resnet18": 11_689_512,
}
"""With the head for ImageNet's 1,000 classes."""


class ImageClassifierFamily:
    """Real or fake pictures, judged by common networks; see `models.classifier`."""

    name = "image-classifier"
    summary = "any timm or torchvision network: is this picture fake?"
    data_kind = DataKind.PICTURES
    settings_type = ClassifierSettings
    presets = tuple(_PRESETS)
    published: ClassVar[Mapping[str, Published]] = {
        name: Published(
            builder="picture-classifier",
            arguments={"network": name, "input_size": 224, "arguments": {"num_classes": 1000}},
            parameters=parameters,
        )
        for name, parameters in _PUBLISHED.items()
    }

    def signature(self, settings: ClassifierSettings) -> Signature:
        """One picture; a logit, or a score per class."""
        return Signature.of_picture(settings.size, Verdict._fields, classes=settings.classes)

    def teacher(self, settings: ClassifierSettings, seed: int = 0) -> nn.Module:
        """The teacher before training: from its file of weights, else untrained."""
        teacher = settings.teacher
        model = build_seeded(
            "picture-classifier",
            seed,
            network=teacher.network,
            multiplier=teacher.multiplier if teacher.network in backbone_names() else 1.0,
            input_size=settings.size,
            size=teacher.input_size,
            sharpen=teacher.sharpen,
            arguments=dict(teacher.arguments),
            **_heads(settings.classes),
        )
        if teacher.weights is not None:
            load_weights(model.get_submodule("network"), Path(teacher.weights))
        return model

    def space(self, preset: str = "default") -> Space:
        """The knobs of a preset: "default" for 2 cores and 128 pixels, "published" for 224 pixels and whole networks."""
        return preset_space(self.name, _PRESETS, preset)

    def check(self, space: Space, settings: ClassifierSettings) -> None:
        """See that the teacher can be built, and every network at its first size, and that no size is above the input's.

        Raises:
            ConfigurationError: one of these, or the teacher has another number of outputs than there are classes.
        """
        given, wanted = settings.teacher.arguments.get("num_classes"), max(1, len(settings.classes))
        if given not in (None, wanted):
            raise ConfigurationError(
                f"model.teacher.arguments.num_classes is {given}: {len(settings.classes) or 'without'} classes need {wanted}; "
                "leave it out, or name as many in data.classes"
            )
        self.teacher(settings)
        space.require_at_most("input_size", settings.size, "enlarge model.size and data.size")
        for network in space.knob("network").grid:
            self.student(space.repair({**space.default(), "network": network}), self.signature(settings))

    def student(self, genome: Genome, signature: Signature, seed: int = 0) -> nn.Module:
        """The untrained student of a genome; the same seed gives the same weights."""
        network = str(genome["network"])
        vit = {
            "embed_dim": int(genome["vit_width"]),
            "depth": int(genome["vit_depth"]),
            "num_heads": int(genome["vit_heads"]),
            "patch_size": int(genome["vit_patch"]),
        }
        return build_seeded(
            "picture-classifier",
            seed,
            network=network,
            multiplier=float(genome["multiplier"]) if network in backbone_names() else 1.0,
            input_size=signature.inputs[0].shape[-1],
            size=int(genome["input_size"]),
            sharpen=float(genome["sharpen"]),
            arguments=vit if network == VIT else {},
            **_heads(signature.classes),
        )

    def pruning_rules(self, model: nn.Module) -> PruningRules:
        """The last layer keeps its width, and with attention or layer norms all but the hidden layers of feed-forwards."""
        if isinstance(model, BackboneClassifier):
            kept = [KeptLayer(path="head", reason=_OUTPUT), *shuffled_layers(model)]
            return PruningRules(kept=tuple(kept), attentions=())
        heads = tuple(path for path, _ in attentions(model))
        return PruningRules(kept=tuple(_kept(model, heads)), attentions=heads)


_OUTPUT = "output: the logit"
_STREAM = "writes to the residual stream, whose width is one for all layers"
_HIDDEN = ("fc1", "mlp.0", "linear_1")
"""Endings of the layers that widen a feed-forward, in timm and in torchvision."""


def _kept(model: nn.Module, heads: tuple[str, ...]) -> list[KeptLayer]:
    """Rules for a network of a library: its last layer, and what hangs on a residual stream that is not pruned."""
    layers = [(path, layer) for path, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    width = getattr(model, "outputs", 1)
    last = next(path for path, layer in reversed(layers) if isinstance(layer, nn.Linear) and layer.out_features == width)
    kept = [KeptLayer(path=last, reason=_OUTPUT)]
    if any(isinstance(module, nn.LayerNorm) for module in model.modules()):
        inside = tuple(f"{path}.{name}" for path in heads for name in ("q", "k", "v"))
        for path, _ in layers:
            if path != last and path not in inside and not path.endswith(_HIDDEN):
                kept.append(KeptLayer(path=path, reason=_STREAM))
    return [*kept, *shuffled_layers(model)]


def _heads(classes: tuple[str, ...]) -> dict[str, int]:
    """The builder's argument for classes; without any none, so that a model of one logit is recorded as ever."""
    return {"outputs": len(classes)} if classes else {}
