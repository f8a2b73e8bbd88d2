"""What goes into a model and what comes out: the one contract every family, trainer, evaluator and exporter shares.

A model is an `nn.Module` called with its inputs in the signature's order, `model(*inputs)`, that returns a NamedTuple whose
fields are the signature's outputs in order. The field `logit` is always there: (B, 1), the raw score, positive = fake; of a
signature with classes (B, K), a raw score per class. `models.decision` says what they mean.
Masks are bool, True = ignore that position (padding), as in `torch.nn.MultiheadAttention`'s `key_padding_mask`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Self

from torch import Tensor

__all__ = ["REAL", "Detection", "EarlyLogits", "InputKind", "InputSpec", "Signature", "Verdict"]


REAL = "real"
"""Kind of a sample that nobody manipulated, and the name of its class."""


class InputKind(StrEnum):
    """What an input holds, which decides how it is normalised, explained and drawn."""

    VIDEO = "video"  # (T, 3, H, W)
    IMAGE = "image"  # (3, H, W)
    AUDIO = "audio"  # (L, F): frames x coefficients
    MASK = "mask"  # (T,) or (L,), bool, True = ignore


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One named input tensor, without its batch dimension."""

    name: str
    """Name of the tensor, also its name in the ONNX graph."""
    shape: tuple[int, ...]
    """Shape without the batch dimension."""
    kind: InputKind
    """What it holds."""
    mask: str | None = None
    """Name of the mask input that marks the ignored positions along this input's first axis."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Inputs and outputs of a model, in call order."""

    inputs: tuple[InputSpec, ...]
    """Inputs in the order of `model(*inputs)`."""
    outputs: tuple[str, ...]
    """Fields of the NamedTuple that the model returns; the first is `logit`."""
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of their scores; empty = one logit, real or fake. `real`, if it is one, is the first."""

    @property
    def has_real(self) -> bool:
        """Whether label 0 means that nobody manipulated the sample."""
        return not self.classes or self.classes[0] == REAL

    @property
    def explained(self) -> tuple[InputSpec, ...]:
        """The inputs that saliency maps are computed for: all but the masks."""
        return tuple(spec for spec in self.inputs if spec.kind is not InputKind.MASK)

    @classmethod
    def of_picture(cls, side: int, outputs: tuple[str, ...] = ("logit",), *, classes: tuple[str, ...] = ()) -> Self:
        """One input, image, of `side` pixels along each side."""
        image = InputSpec(name="image", shape=(3, side, side), kind=InputKind.IMAGE)
        return cls(inputs=(image,), outputs=outputs, classes=classes)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Inverse of `to_plain`, also after a trip through JSON."""
        inputs = [
            InputSpec(**{**item, "shape": tuple(item["shape"]), "kind": InputKind(item["kind"])}) for item in plain["inputs"]
        ]
        return cls(inputs=tuple(inputs), outputs=tuple(plain["outputs"]), classes=tuple(plain.get("classes", ())))

    def to_plain(self) -> dict[str, Any]:
        """Plain values; without classes their key is left out, so that what is named by a hash of them keeps its name."""
        plain = asdict(self)
        return plain if self.classes else {key: value for key, value in plain.items() if key != "classes"}


class Detection(NamedTuple):
    """Output of the audio-visual detectors."""

    logit: Tensor
    """(B, 1), raw score, positive = fake."""
    offset: Tensor
    """(B, 11), logits of the audio-video offset classes."""
    attention: Tensor
    """(B, T_audio, T_video), attention of the last block averaged over heads; rows sum to 1 over the unmasked frames."""


class Verdict(NamedTuple):
    """Output of a picture classifier."""

    logit: Tensor
    """(B, 1), raw score, positive = fake; or (B, K), raw scores of K classes."""


class EarlyLogits(NamedTuple):
    """What a detector says of each modality before they meet, for deep supervision in training."""

    frames: Tensor
    """(B, T_s), logit of every frame that the model looks at."""
    frame_ignore: Tensor
    """(B, T_s) bool, True = padding."""
    sound: Tensor
    """(B, 1), logit of the sound."""
