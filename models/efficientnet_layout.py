"""Files with the weights of an EfficientNet-B0, as EfficientNet-PyTorch and torchvision name them, for a `Trunk`.

EfficientNet-PyTorch has TensorFlow's weights and numbers all blocks through; torchvision's network pads otherwise.
"""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.trunk import HEAD, Trunk

__all__ = ["from_efficientnet", "name_in_trunk", "require_padding"]

DEPTHS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of the stages 1 to 7."""
NUMBERED, STAGED = "_conv_stem.weight", "features.0.0.weight"
"""A tensor that tells EfficientNet-PyTorch's files, and torchvision's."""
_BLOCK = re.compile(r"_blocks\.(\d+)\._(\w+)\.(.*)")
_STAGE = re.compile(r"features\.(\d)\.(.*)")


def from_efficientnet(found: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """Tensors of a file by the names that they have in a trunk; what the trunk does not build, as it never runs, is left out.

    Args:
        found: tensors of the file.
        model: a `Trunk`.

    Raises:
        ConfigurationError: it is neither library's file, or the trunk pads otherwise than that library's network.
    """
    assert isinstance(model, Trunk)
    if NUMBERED not in found and STAGED not in found:
        raise ConfigurationError(
            f"weights of an EfficientNet-B0 must have the names of EfficientNet-PyTorch or torchvision ({NUMBERED} or {STAGED}), "
            f"these begin with {', '.join(list(found)[:3])}; give another file"
        )
    numbered = NUMBERED in found
    require_padding(model, same=numbered, of="EfficientNet-PyTorch" if numbered else "torchvision")
    naming = name_in_trunk if numbered else _staged_name
    names, known = {name: naming(name, model) or name for name in found}, set(model.state_dict())
    return {own: found[name] for name, own in names.items() if not own.startswith("idle.") or own in known}


def require_padding(trunk: Trunk, *, same: bool, of: str) -> None:
    """Refuse weights whose network looks at other pixels than the trunk does.

    Raises:
        ConfigurationError: it does.
    """
    if trunk.same_padding is not same:
        way = "as TensorFlow does" if same else "both sides alike"
        raise ConfigurationError(
            f"weights of {of} are of an EfficientNet that pads {way}, the model's would look at other pixels; "
            f"set model.teacher.same_padding to {str(same).lower()}"
        )


def name_in_trunk(name: str, trunk: Trunk) -> str:
    """EfficientNet-PyTorch's name as a trunk has it, `idle.…` for what comes after the trunk's last map; empty if not known."""
    if match := _BLOCK.fullmatch(name):
        own = _in_block(int(match[1]), match[2])
        return f"{_stage(own[0], trunk)}.{own[1]}.{match[3]}" if own else ""
    for theirs, own_name in (
        ("_conv_stem.", f"{_stage(0, trunk)}.0."),
        ("_bn0.", f"{_stage(0, trunk)}.1."),
        ("_conv_head.", f"{_stage(HEAD, trunk)}.0."),
        ("_bn1.", f"{_stage(HEAD, trunk)}.1."),
        ("_fc.", f"{_stage(HEAD + 1, trunk)}."),
    ):
        if name.startswith(theirs):
            return own_name + name.removeprefix(theirs)
    return ""


def _staged_name(name: str, trunk: Trunk) -> str:
    """The same for torchvision's names."""
    if match := _STAGE.fullmatch(name):
        return f"{_stage(int(match[1]), trunk)}.{match[2]}"
    classifier = "classifier.1."
    return f"{_stage(HEAD + 1, trunk)}.{name.removeprefix(classifier)}" if name.startswith(classifier) else ""


def _stage(number: int, trunk: Trunk) -> str:
    """Path of a stage; number HEAD + 1 is the classifier."""
    built = trunk.ends[-1] + 1
    return f"stages.stage{number}" if number < built else f"idle.{number - built}"


def _in_block(number: int, layer: str) -> tuple[int, str] | None:
    """The stage of a block, and the path of one of its layers there; the first stage expands nothing."""
    stage, place = 1, number
    while stage <= len(DEPTHS) and place >= DEPTHS[stage - 1]:
        place, stage = place - DEPTHS[stage - 1], stage + 1
    first = 0 if stage == 1 else 1
    layers = {
        "depthwise_conv": f"{first}.0", "bn1": f"{first}.1", "se_reduce": f"{first + 1}.fc1", "se_expand": f"{first + 1}.fc2",
        "project_conv": f"{first + 2}.0", "bn2": f"{first + 2}.1",
    } | ({"expand_conv": "0.0", "bn0": "0.1"} if first else {})  # fmt: skip
    return (stage, f"{place}.block.{layers[layer]}") if stage <= len(DEPTHS) and layer in layers else None
