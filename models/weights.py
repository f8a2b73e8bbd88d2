"""Weights from a file that the user names, never from the network: safetensors, or a torch file read without pickled code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError

__all__ = ["load_weights"]

SHOWN = 4


def load_weights(model: nn.Module, path: Path) -> tuple[str, ...]:
    """Load a state dict into a model in place; layers whose shape differs (the head of other classes) keep their own weights.

    Args:
        model: whose names the file uses; a prefix that all of the file's names share, such as `module.`, is taken away.
        path: .safetensors, or what `torch.save` wrote of a state dict, also under `state_dict`, `model` or `model_state_dict`.

    Returns:
        The model's tensors that were not loaded.

    Raises:
        ConfigurationError: the file cannot be read, holds more than tensors, or fits less than half of the model's tensors.
    """
    found = _unprefixed(_read(path), model)
    own = model.state_dict()
    fitting = {name: value for name, value in found.items() if name in own and own[name].shape == value.shape}
    missing = tuple(name for name in own if name not in fitting)
    if len(fitting) <= len(missing):
        strange = [name for name in found if name not in own]
        raise ConfigurationError(
            f"weights {path}: only {len(fitting)} of the model's {len(own)} tensors are in it; missing {list(missing[:SHOWN])}, "
            f"not the model's {strange[:SHOWN]}: name the network that the file was made with"
        )
    model.load_state_dict(fitting, strict=False)
    return missing


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds, down to the unpickler's
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigurationError(
            f"weights {path}: cannot be read as tensors ({reason}); give a .safetensors file or a torch file of a state dict"
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise ConfigurationError(f"weights {path}: holds {type(content).__name__}, not a state dict of tensors; save that")
    return content


def _unprefixed(found: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    own = set(model.state_dict())
    for prefix in ("", "module.", "model.", "network."):
        if own & {name.removeprefix(prefix) for name in found if name.startswith(prefix)}:
            return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    return found
