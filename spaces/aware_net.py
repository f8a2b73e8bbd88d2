"""The AWARE-NET family: cascades of a light picture classifier and an expert, thresholds and trees among the knobs.

Knobs of a stage carry its name as a prefix. All that may vary is in `_student_knobs`; `student` says what each knob means.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt
from torch import nn

from paretolens.data.sources import DataKind
from paretolens.errors import ConfigurationError
from paretolens.models.aware import Cascade, CascadeVerdict
from paretolens.models.backbone_layout import from_library, without_head
from paretolens.models.backbones import backbone_names
from paretolens.models.classifier import check_network
from paretolens.models.genconvit import CONVNEXTS
from paretolens.models.registry import build_seeded
from paretolens.models.rules import KeptLayer, PruningRules, shuffled_layers
from paretolens.models.signature import Signature
from paretolens.models.weights import load_weights
from paretolens.spaces.family import Published, preset_space
from paretolens.spaces.knobs import Genome, Knob, Space, Stage, Value
from paretolens.spaces.stages import idle_stages, stage_knobs
from paretolens.spaces.widths import nearest_width

__all__ = ["AwareNetFamily", "AwareSettings", "AwareTeacher"]


@dataclass(frozen=True, kw_only=True)
class AwareTeacher:
    """The teacher: the expert of stage 2 alone, which sees every picture. Published: the defaults of `aware_expert`."""

    cnn: str = "efficientnet_b0"
    """A backbone of ours, or timm:NAME; published: timm:tf_efficientnetv2_b3."""
    multiplier: Annotated[float, Gt(0)] = 0.75
    """Width multiplier of one of our backbones; 1 for timm:NAME."""
    convnext: str = "mote"
    """Size of GenConViT's ConvNeXt: tiny (published), nano, pico, femto, atto, mote."""
    autoencoder: Annotated[float, Gt(0)] = 0.25
    """Width multiplier of GenConViT's autoencoder; published: 1."""
    embed: Annotated[int, Ge(1)] = 64
    """Outputs of the ConvNeXt; published: 1000."""
    hidden: Annotated[int, Ge(1)] = 64
    """Width of GenConViT's features; published: 500."""
    align: Annotated[int, Ge(1)] = 64
    """Width to which either network's features are brought; published: 256."""
    size: Annotated[int, Ge(32)] | None = None
    """Side in pixels to which it shrinks the picture, a multiple of 32; None = as it is."""
    sharpen: Annotated[float, Ge(0)] = 4.0
    """How much fine structure is brought out first; 0 with pretrained weights, which never saw that."""
    backbone_weights: str | None = None
    """A file with the weights of `cnn` as a classifier, by its library's names, to begin from; None = from nothing."""
    convnext_weights: str | None = None
    """The same for the ConvNeXt (timm's names; with `embed` 1000 its last layer is ImageNet's, as published)."""


@dataclass(frozen=True, kw_only=True)
class AwareSettings:
    """The input that teacher and students share, and the teacher."""

    size: Annotated[int, Ge(32)] = 96
    """Side of a picture in pixels, a multiple of 32."""
    teacher: AwareTeacher = field(default_factory=AwareTeacher)
    """The teacher's shape."""


def _student_knobs(
    *,
    first: tuple[str, ...],
    cnns: tuple[str, ...],
    first_widths: tuple[float, ...],
    second_widths: tuple[float, ...],
    convnexts: tuple[str, ...],
    autoencoders: tuple[float, ...],
    sizes: tuple[int, ...],
    align: tuple[int, ...],
    sharpen: tuple[float, ...],
    trees: tuple[int, ...],
    default: Mapping[str, Value],
) -> tuple[Knob, ...]:
    """The student's knobs; the arguments are the choices in which the presets differ."""

    def knob(name: str, choices: tuple[Value, ...], doc: str, low: float = 0.0, high: float = 0.0) -> Knob:
        return Knob(name=name, stage=Stage.STUDENT, doc=doc, default=default[name], choices=choices, limits=(low, high))

    def late(name: str, choices: tuple[Value, ...], doc: str, high: float) -> Knob:
        return Knob(name=name, stage=Stage.SETTLE, doc=doc, default=default[name], choices=choices, limits=(0.0, high))

    def network(name: str, choices: tuple[str, ...], doc: str) -> Knob:
        return Knob(name=name, stage=Stage.STUDENT, doc=doc, default=default[name], choices=choices, judge=check_network)

    convnext = Knob(
        name="second_convnext", stage=Stage.STUDENT, default=default["second_convnext"], choices=convnexts,
        allowed=tuple(CONVNEXTS), doc="size of the ConvNeXt in stage 2's GenConViT",
    )  # fmt: skip
    return (
        network("first_network", first, "stage 1: a backbone of ours, timm:NAME or torchvision:NAME"),
        knob("first_multiplier", first_widths, "width multiplier of stage 1's backbone", 0.1, 4),
        knob("first_size", sizes, "side in pixels to which stage 1 shrinks the picture", 16, 4096),
        network("second_cnn", cnns, "convolutional network of stage 2: a backbone of ours, or timm:NAME"),
        knob("second_multiplier", second_widths, "width multiplier of stage 2's backbone", 0.1, 4),
        convnext,
        knob("second_autoencoder", autoencoders, "width multiplier of stage 2's autoencoder", 0.05, 4),
        knob("second_size", sizes, "side in pixels to which stage 2 shrinks the picture, a multiple of 32", 32, 4096),
        knob("second_align", align, "width to which stage 2 brings the features of its two networks", 4, 4096),
        knob("sharpen", sharpen, "how much fine structure is brought out before either stage; 0 = as it is", 0, 64),
        late("third_trees", trees, "boosted trees over stage 2's features that decide in the end; 0 = a linear layer", 10000),
        late("trust_fake", (0.7, 0.8, 0.9, 0.95, 0.98, 1.0), "P(fake) from which stage 1 is believed; 1 = never", 1),
        late("trust_real", (0.0, 0.02, 0.05, 0.1, 0.2, 0.3), "P(fake) up to which stage 1 is believed; 0 = never", 1),
    )


def _quick_space() -> Space:
    student = _student_knobs(
        first=("mobilenetv4_conv_small", "mobilenet_v3_small", "shufflenet_v2_x0_5"),
        cnns=("efficientnet_b0", "mobilenetv4_conv_small", "resnet18"),
        first_widths=(0.25, 0.35, 0.5),
        second_widths=(0.125, 0.25, 0.35),
        convnexts=("mote",),
        autoencoders=(0.25, 0.5),
        sizes=(32, 64),
        align=(16, 32, 64),
        sharpen=(4.0,),
        trees=(0, 30),
        default={
            "first_network": "mobilenetv4_conv_small", "first_multiplier": 0.35, "first_size": 64,
            "second_cnn": "efficientnet_b0", "second_multiplier": 0.35, "second_convnext": "mote", "second_autoencoder": 0.25,
            "second_size": 64, "second_align": 32, "sharpen": 4.0, "third_trees": 0, "trust_fake": 0.9, "trust_real": 0.1,
        },
    )  # fmt: skip
    return Space(knobs=(*student, *_stage_knobs()), rule=_repaired, idle=_idle)


def _published_space() -> Space:
    student = _student_knobs(
        first=("timm:mobilenetv4_conv_small_050", "timm:mobilenetv4_conv_small", "timm:mobilenetv4_conv_medium"),
        cnns=("timm:tf_efficientnetv2_b0", "timm:tf_efficientnetv2_b3"),
        first_widths=(1.0,),
        second_widths=(1.0,),
        convnexts=("atto", "femto", "pico", "nano", "tiny"),
        autoencoders=(0.5, 0.75, 1.0),
        sizes=(160, 192, 224, 256),
        align=(64, 128, 256),
        sharpen=(0.0, 4.0),
        trees=(0, 50, 100, 200),
        default={
            "first_network": "timm:mobilenetv4_conv_small", "first_multiplier": 1.0, "first_size": 256,
            "second_cnn": "timm:tf_efficientnetv2_b0", "second_multiplier": 1.0, "second_convnext": "atto",
            "second_autoencoder": 1.0, "second_size": 256, "second_align": 256, "sharpen": 0.0, "third_trees": 100,
            "trust_fake": 0.98, "trust_real": 0.02,
        },
    )  # fmt: skip
    return Space(knobs=(*student, *_stage_knobs()), rule=_repaired, idle=_idle)


def _stage_knobs() -> tuple[Knob, ...]:
    """The shared knobs without quantisation: a graph with branches is rounded by no trainer of ours yet."""
    whole = Knob(
        name="qat", stage=Stage.QUANTISE, default=False, choices=(False,), allowed=(False,),
        doc="train with int8 rounding: not offered for cascades",
    )  # fmt: skip
    return (*(knob for knob in stage_knobs(attention=False) if knob.name != whole.name), whole)


_PRESETS = {"default": _quick_space, "published": _published_space}


def _idle(genome: Genome) -> frozenset[str]:
    pairs = (("first_network", "first_multiplier"), ("second_cnn", "second_multiplier"))
    return idle_stages(genome) | {multiplier for name, multiplier in pairs if genome[name] not in backbone_names()}


def _repaired(space: Space, genome: Genome) -> Genome:
    """The nearest multiplier that each backbone has."""
    changes: dict[str, Value] = {}
    for name, multiplier in (("first_network", "first_multiplier"), ("second_cnn", "second_multiplier")):
        network = str(genome[name])
        if network in backbone_names():
            changes[multiplier] = nearest_width(space, genome, multiplier, network)
    return {**genome, **changes}


class AwareNetFamily:
    """Real or fake pictures, judged in stages; see `models.aware`."""

    name = "aware-net"
    summary = "a cascade: a light network decides what it is sure of, an expert and trees the rest"
    data_kind = DataKind.PICTURES
    settings_type = AwareSettings
    presets = tuple(_PRESETS)
    published: ClassVar[Mapping[str, Published]] = {
        **{
            name: Published(
                builder="picture-classifier", arguments={"network": f"timm:{name}", "input_size": 256}, parameters=parameters
            )
            for name, parameters in (
                ("mobilenetv4_conv_small_050", 959_233),
                ("mobilenetv4_hybrid_medium", 9_794_929),
                ("tf_efficientnetv2_b3", 12_822_943),
            )
        },
        "GenConViT-ED": Published(builder="genconvit", arguments={}, parameters=30_157_753),
    }

    def signature(self, settings: AwareSettings) -> Signature:
        """One picture; a logit and the number of the stage that gave it."""
        return Signature.of_picture(settings.size, CascadeVerdict._fields)

    def teacher(self, settings: AwareSettings, seed: int = 0) -> nn.Module:
        """The expert before training: its networks from their files of weights, else untrained."""
        shape = asdict(settings.teacher)
        files = {"cnn": shape.pop("backbone_weights"), "convit.backbone": shape.pop("convnext_weights")}
        model = build_seeded("aware-expert", seed, input_size=settings.size, **shape)
        if files["cnn"] is not None:
            layout = from_library(shape["cnn"]) if shape["cnn"] in backbone_names() else without_head
            load_weights(model.get_submodule("cnn"), Path(files["cnn"]), whole=True, layout=layout)
        if files["convit.backbone"] is not None:
            load_weights(model.get_submodule("convit.backbone"), Path(files["convit.backbone"]))
        return model

    def space(self, preset: str = "default") -> Space:
        """The knobs of a preset: "default" for 2 cores and 96 pixels, "published" for 256 pixels and whole networks."""
        return preset_space(self.name, _PRESETS, preset)

    def check(self, space: Space, settings: AwareSettings) -> None:
        """See that the teacher and a student can be built, and that no size is above the input's."""
        self.teacher(settings)
        for name in ("first_size", "second_size"):
            space.require_at_most(name, settings.size, "enlarge model.size and data.size")
        odd = [value for value in space.knob("second_size").grid if float(value) % 32]
        if odd:
            raise ConfigurationError(f"knob second_size: {odd[0]} is no multiple of 32, as GenConViT needs it; leave it out")
        self.student(space.default(), self.signature(settings))

    def student(self, genome: Genome, signature: Signature, seed: int = 0) -> nn.Module:
        """The untrained cascade of a genome, which passes everything on: thresholds and trees come after training."""
        side = signature.inputs[0].shape[-1]
        shared = {"input_size": side, "sharpen": float(genome["sharpen"])}
        align = int(genome["second_align"])
        first = {
            "network": str(genome["first_network"]),
            "multiplier": _multiplier(genome, "first_network", "first_multiplier"),
            "size": int(genome["first_size"]),
        }
        second = {
            "cnn": str(genome["second_cnn"]),
            "multiplier": _multiplier(genome, "second_cnn", "second_multiplier"),
            "convnext": str(genome["second_convnext"]),
            "autoencoder": float(genome["second_autoencoder"]),
            "embed": 2 * align,
            "hidden": 2 * align,
            "align": align,
            "size": int(genome["second_size"]),
        }
        return build_seeded("aware-cascade", seed, first=first | shared, second=second | shared)

    def pruning_rules(self, model: nn.Module) -> PruningRules:
        """What ends in a logit or in features of a set width stays; of GenConViT only its blocks' hidden layers are pruned."""
        kept = []
        for path, layer in model.named_modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and (reason := _kept(path)):
                kept.append(KeptLayer(path=path, reason=reason))
        if isinstance(model, Cascade):
            last = [p for p, layer in model.first.named_modules() if isinstance(layer, nn.Linear) and layer.out_features == 1]
            kept += [KeptLayer(path=f"first.{path}", reason="output: the logit") for path in last]
        return PruningRules(kept=(*kept, *shuffled_layers(model)), attentions=())


def _multiplier(genome: Genome, name: str, multiplier: str) -> float:
    """1 for networks of the libraries, which have none."""
    return float(genome[multiplier]) if genome[name] in backbone_names() else 1.0


def _kept(path: str) -> str:
    """Why a layer of the expert keeps its outputs; empty where it need not."""
    if path.endswith(("head", "align_cnn", "align_convit")) and "cnn." not in path and "convit." not in path:
        return "output: the logit, or features whose width is a knob"
    if "convit.autoencoder" in path:
        return "the autoencoder's width is a knob"
    if "convit." in path and not path.endswith("fc1"):
        return "writes to the residual stream of the ConvNeXt, or to features whose width is a knob"
    return ""
