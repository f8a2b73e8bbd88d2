"""The PinPoint family: an audio-visual transformer over a video backbone and an audio branch.

All that may vary is in `_student_knobs`; `student` says what each knob means for the network.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Le, Lt
from torch import nn

from paretolens.data.sources import DataKind
from paretolens.errors import ConfigurationError
from paretolens.models.audio import AudioEncoder
from paretolens.models.backbone_layout import from_library
from paretolens.models.backbones import backbone_names
from paretolens.models.pinpoint import Block
from paretolens.models.registry import build_seeded
from paretolens.models.rules import KeptLayer, PruningRules, StreamRules, attentions, shuffled_layers
from paretolens.models.signature import Detection, InputKind, InputSpec, Signature
from paretolens.models.weights import load_weights
from paretolens.spaces.family import Published, preset_space
from paretolens.spaces.knobs import Genome, Knob, Space, Stage, Value
from paretolens.spaces.stages import idle_stages, stage_knobs
from paretolens.spaces.widths import nearest_width

__all__ = ["PinpointFamily", "PinpointSettings", "PinpointTeacher"]


@dataclass(frozen=True, kw_only=True)
class PinpointTeacher:
    """The teacher's shape. The published one is resnet18 × 1, width 256, depth 3, 8 heads, at 30 frames of 128 pixels."""

    backbone: str = "resnet18"
    """Backbone of the video branch."""
    backbone_width: Annotated[float, Gt(0)] = 0.5
    """Width multiplier of the backbone."""
    width: Annotated[int, Ge(8)] = 128
    """Width of the tokens; divisible by heads."""
    depth: Annotated[int, Ge(1), Le(24)] = 3
    """Number of blocks."""
    heads: Annotated[int, Ge(1)] = 8
    """Attention heads per block."""
    ffn: Annotated[float, Gt(0)] = 4.0
    """Hidden width of the feed-forward layers as a multiple of width."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Dropout in attention and feed-forward layers; published: 0.1."""
    sharpen: Annotated[float, Ge(0)] = 4.0
    """How much fine structure is brought out of the frames first; published: 0, with a pretrained backbone."""
    freeze_through: str | None = None
    """Last backbone stage that is not trained, such as layer2; none without `backbone_weights`. Published: layer2."""
    backbone_weights: str | None = None
    """A file with the weights of a classifier whose features the backbone begins from, as torchvision or timm (MobileNetV4,
    EfficientNet-Lite) name them: ResNet18 trained on ImageNet, as published; None = from nothing."""


@dataclass(frozen=True, kw_only=True)
class PinpointSettings:
    """The input that teacher and students share, and the teacher."""

    frames: Annotated[int, Ge(1)] = 8
    """Video frames per clip."""
    frame_size: Annotated[int, Ge(16)] = 64
    """Side of a frame in pixels."""
    audio_frames: Annotated[int, Ge(1)] = 80
    """Audio frames per clip."""
    coefficients: Annotated[int, Ge(1)] = 13
    """MFCC per audio frame."""
    teacher: PinpointTeacher = field(default_factory=PinpointTeacher)
    """The teacher's shape."""


def _student_knobs(
    *,
    backbones: tuple[str, ...],
    multipliers: tuple[float, ...],
    width: tuple[int, ...],
    frames: tuple[int, ...],
    frame_size: tuple[int, ...],
    sharpen: tuple[float, ...],
    default: Mapping[str, Value],
) -> tuple[Knob, ...]:
    """The student's knobs; the arguments are the choices in which the presets differ."""

    def knob(name: str, choices: tuple[Value, ...], doc: str, **bounds: tuple[Value, ...]) -> Knob:
        allowed = bounds.get("allowed", ())
        low, high = bounds.get("limits", (0, 0))
        limits = (float(low), float(high))
        return Knob(
            name=name, stage=Stage.STUDENT, doc=doc, default=default[name], choices=choices, allowed=allowed, limits=limits
        )

    return (
        knob("backbone", backbones, "network that sees each frame", allowed=backbone_names()),
        knob("backbone_width", multipliers, "its width multiplier", limits=(0.1, 4)),
        knob("frames", frames, "frames it looks at, spread over the clip", limits=(1, 1024)),
        knob("frame_size", frame_size, "side in pixels to which it shrinks them", limits=(16, 1024)),
        knob("sharpen", sharpen, "how much fine structure is brought out of them; 0 = as they are", limits=(0, 64)),
        knob("audio_width", (32, 64, 128), "width of the last audio convolution; the first has half", limits=(2, 1024)),
        knob("audio_head", ("gru", "tcn"), "recurrent or convolutional audio encoder", allowed=("gru", "tcn")),
        knob("width", width, "d, width of the tokens", limits=(8, 1024)),
        knob("depth", (1, 2, 3), "number of transformer blocks", limits=(1, 24)),
        knob("heads", (2, 4, 8), "attention heads per block", limits=(1, 64)),
        knob("ffn", (1, 2, 4), "hidden width of the feed-forward as a multiple of d", limits=(1, 16)),
    )


def _quick_space() -> Space:
    student = _student_knobs(
        backbones=tuple(_QUICK_WIDTHS),
        multipliers=(0.125, 0.25, 0.35, 0.5, 0.75),
        width=(32, 48, 64),
        frames=(4, 8),
        frame_size=(32, 48, 64),
        sharpen=(4.0,),
        default={
            "backbone": "mobilenet_v3_small",
            "backbone_width": 0.5,
            "frames": 8,
            "frame_size": 64,
            "sharpen": 4.0,
            "audio_width": 64,
            "audio_head": "gru",
            "width": 64,
            "depth": 2,
            "heads": 4,
            "ffn": 2,
        },
    )
    return Space(knobs=(*student, *stage_knobs()), rule=_quick_rule, idle=idle_stages)


def _published_space() -> Space:
    student = _student_knobs(
        backbones=backbone_names(),
        multipliers=(0.5, 1.0),
        width=(64, 96, 128, 160, 192),
        frames=(8, 16, 30),
        frame_size=(96, 112, 128),
        sharpen=(0.0, 4.0),
        default={
            "backbone": "mobilenet_v3_small",
            "backbone_width": 1.0,
            "frames": 30,
            "frame_size": 128,
            "sharpen": 0.0,
            "audio_width": 128,
            "audio_head": "gru",
            "width": 128,
            "depth": 2,
            "heads": 4,
            "ffn": 4,
        },
    )
    dropout = Knob(
        name="dropout",
        stage=Stage.STUDENT,
        doc="dropout in attention and feed-forward",
        default=0.15,
        choices=(0.0, 0.1, 0.15, 0.2),
        limits=(0.0, 0.9),
    )
    return Space(knobs=(*student, dropout, *_ATTENTION_KNOBS, *stage_knobs()), rule=_published_rule, idle=idle_stages)


_ATTENTION_KNOBS = (
    Knob(
        name="shared_keys", stage=Stage.STUDENT, default=False, choices=(False, True), allowed=(False, True),
        doc="whether an attention's heads share keys and values; none of them is pruned then",
    ),
    Knob(
        name="attention_rank", stage=Stage.STUDENT, default=1.0, choices=(1.0, 0.5, 0.25), limits=(0.01, 1.0),
        doc="rank of an attention's projections as a share of d; below 1 no head is pruned",
    ),
)  # fmt: skip


_PRESETS = {"default": _quick_space, "published": _published_space}

# The default preset keeps to multipliers whose training step stays within 1.3 ms a frame on one core (64 px, d 64, two blocks).
_QUICK_WIDTHS: Mapping[str, tuple[float, ...]] = {
    "mobilenet_v3_small": (0.25, 0.5, 0.75),
    "mobilenetv4_conv_small": (0.35, 0.5),
    "resnet18": (0.125, 0.25),
    "shufflenet_v2_x0_5": (0.5, 0.75),
}


def _quick_rule(space: Space, genome: Genome) -> Genome:
    return _repaired(space, genome, _QUICK_WIDTHS)


def _published_rule(space: Space, genome: Genome) -> Genome:
    return _repaired(space, genome, {})


def _repaired(space: Space, genome: Genome, preferred: Mapping[str, tuple[float, ...]]) -> Genome:
    """The nearest multiplier that the backbone has, and the nearest number of heads that divides the width."""
    name, width = str(genome["backbone"]), int(genome["width"])
    problem = f"no choice divides width {width}; allow a divisor of {width}"
    return {
        **genome,
        "backbone_width": nearest_width(space, genome, "backbone_width", name, preferred=preferred.get(name, ())),
        "heads": space.nearest("heads", genome, lambda value: width % int(value) == 0, problem),
    }


_PIN_LITE: Mapping[str, Any] = {"backbone": "mobilenet_v3_small", "width": 128, "depth": 2, "heads": 4, "dropout": 0.15}


class PinpointFamily:
    """Audio-visual deepfake detection after PinPoint; see `models.pinpoint` for the network."""

    name = "pinpoint"
    summary = "audio-visual transformer: is this talking face fake, and where does the voice look?"
    data_kind = DataKind.CLIPS
    settings_type = PinpointSettings
    presets = tuple(_PRESETS)
    published: ClassVar[Mapping[str, Published]] = {
        "teacher": Published(builder="pinpoint", arguments={}, parameters=14_998_732),
        "PIN-Lite": Published(builder="pinpoint", arguments=_PIN_LITE, parameters=1_694_508),
    }

    def signature(self, settings: PinpointSettings) -> Signature:
        """Video, audio and their masks; a logit, offset classes and the attention map."""
        side = settings.frame_size
        return Signature(
            inputs=(
                InputSpec(name="video", shape=(settings.frames, 3, side, side), kind=InputKind.VIDEO, mask="video_mask"),
                InputSpec(
                    name="audio", shape=(settings.audio_frames, settings.coefficients), kind=InputKind.AUDIO, mask="audio_mask"
                ),
                InputSpec(name="video_mask", shape=(settings.frames,), kind=InputKind.MASK),
                InputSpec(name="audio_mask", shape=(settings.audio_frames,), kind=InputKind.MASK),
            ),
            outputs=Detection._fields,
        )

    def teacher(self, settings: PinpointSettings, seed: int = 0) -> nn.Module:
        """The teacher before training: its backbone from its file of weights, the rest untrained."""
        shape = asdict(settings.teacher)
        file = shape.pop("backbone_weights")
        model = build_seeded("pinpoint", seed, **_input_arguments(self.signature(settings)), **shape)
        if file is not None:
            layout = from_library(settings.teacher.backbone)
            load_weights(model.get_submodule("video.backbone"), Path(file), whole=True, layout=layout)
        return model

    def space(self, preset: str = "default") -> Space:
        """The knobs of a preset: "default" for 2 cores and 64 pixels, "published" for the full size."""
        return preset_space(self.name, _PRESETS, preset)

    def check(self, space: Space, settings: PinpointSettings) -> None:
        """See that the teacher can be built and that no choice asks for more frames or pixels than the input has."""
        shape = settings.teacher
        if shape.freeze_through is not None and shape.backbone_weights is None:
            raise ConfigurationError(
                f"model.teacher.freeze_through is {shape.freeze_through}: stages that begin from nothing must be trained; "
                "name a file with model.teacher.backbone_weights, or leave it out"
            )
        self.teacher(settings)
        for name, most in (("frames", settings.frames), ("frame_size", settings.frame_size)):
            space.require_at_most(name, most, "enlarge the input")

    def student(self, genome: Genome, signature: Signature, seed: int = 0) -> nn.Module:
        """The untrained student of a genome; the same seed gives the same weights.

        Without a knob `dropout` there is none: on a CPU its random numbers cost an eighth of a training step.
        """
        audio_width = int(genome["audio_width"])
        return build_seeded(
            "pinpoint",
            seed,
            **_input_arguments(signature),
            backbone=str(genome["backbone"]),
            backbone_width=float(genome["backbone_width"]),
            frames=int(genome["frames"]),
            frame_size=int(genome["frame_size"]),
            sharpen=float(genome["sharpen"]),
            audio_convs=[max(1, audio_width // 2), audio_width],
            audio_head=str(genome["audio_head"]),
            width=int(genome["width"]),
            depth=int(genome["depth"]),
            heads=int(genome["heads"]),
            ffn=float(genome["ffn"]),
            dropout=float(genome.get("dropout", 0.0)),
            shared_keys=bool(genome.get("shared_keys", False)),
            attention_rank=float(genome.get("attention_rank", 1.0)),
        )

    def pruning_rules(self, model: nn.Module) -> PruningRules:
        """The output layers, what writes to the residual stream, and what feeds the GRU stay as wide as they are."""
        kept = [
            KeptLayer(path="verdict", reason="output: the logit"),
            KeptLayer(path="offset", reason="output: the offset classes"),
            KeptLayer(path="video.project", reason=_STREAM),
        ]
        for path, module in model.named_modules():
            if isinstance(module, Block):
                kept += _kept_block(path, module)
            elif isinstance(module, AudioEncoder):
                kept += _kept_audio(path, module)
        kept += shuffled_layers(model)
        heads = tuple(path for path, attention in attentions(model) if attention.divisible)
        return PruningRules(kept=tuple(kept), attentions=heads, stream=_stream_of(model))


_STREAM = "writes to the residual stream, whose width the knob `width` sets for all layers at once"
_BLOCK_WRITERS = ("cross.proj", "gate", "attend.proj", "ffn.contract")


def _kept_block(path: str, block: Block) -> list[KeptLayer]:
    """What writes to the residual stream, and all of an attention whose heads can't be taken one by one."""
    whole = [layer for name in _BLOCK_WRITERS for layer in _linear(f"{path}.{name}", block.get_submodule(name))]
    kept = [KeptLayer(path=layer, reason=_STREAM) for layer in whole]
    for inner, attention in attentions(block):
        names = [name for name in _linear(f"{path}.{inner}", attention) if name not in whole]
        if not attention.divisible:
            kept += [KeptLayer(path=name, reason="its heads share keys, or its rank is a knob") for name in names]
    return kept


def _linear(path: str, module: nn.Module) -> list[str]:
    """Paths of the linear layers at and below a module."""
    return [f"{path}.{name}".rstrip(".") for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]


def _stream_of(model: nn.Module) -> StreamRules:
    """Frames, sounds and what the blocks make of them live in one space, which the verdict reads."""
    writers, readers, norms = ["video.project"], ["verdict", "offset"], list[str]()
    for path, module in model.named_modules():
        if isinstance(module, Block):
            inner = [f"{attention}.{name}" for attention in ("cross", "attend") for name in ("q", "k", "v")]
            writers += [_linear(f"{path}.{name}", module.get_submodule(name))[-1] for name in _BLOCK_WRITERS]
            readers += [_linear(f"{path}.{name}", module.get_submodule(name))[0] for name in (*inner, "gate", "ffn.expand")]
            norms += [f"{path}.norm1", f"{path}.norm2"]
        elif isinstance(module, AudioEncoder) and isinstance(module.head, nn.GRU):
            writers.append(f"{path}.head")
        elif isinstance(module, AudioEncoder):
            layers = [f"{path}.head.{name}" for name, _ in _convolutions(module.head)]
            writers += layers
            readers += [layer for layer in layers if not layer.endswith(".entry")]
    tables = ("positions.table", "video.positions.table")
    return StreamRules(writers=tuple(writers), readers=tuple(readers), norms=tuple(norms), tables=tables)


def _kept_audio(path: str, encoder: AudioEncoder) -> list[KeptLayer]:
    if isinstance(encoder.head, nn.GRU):
        last = f"{path}.convs.{len(encoder.convs) - 1}"
        return [
            KeptLayer(path=last, reason="feeds the GRU, whose input is not narrowed"),
            KeptLayer(path=f"{path}.head", reason="a GRU's state is the residual stream"),
        ]
    return [KeptLayer(path=f"{path}.head.{name}", reason=_STREAM) for name, _ in _convolutions(encoder.head)]


def _convolutions(module: nn.Module) -> list[tuple[str, nn.Conv1d]]:
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Conv1d)]


def _input_arguments(signature: Signature) -> dict[str, int]:
    shapes = {spec.name: spec.shape for spec in signature.inputs}
    frames, _, side, _ = shapes["video"]
    audio_frames, coefficients = shapes["audio"]
    return {"input_frames": frames, "input_size": side, "audio_frames": audio_frames, "coefficients": coefficients}
