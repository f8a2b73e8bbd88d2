"""Weights from a file that the user names, never from the network: safetensors, or a torch file read without pickled code."""

from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError

__all__ = ["Layout", "load_weights"]

Layout = Callable[[Mapping[str, Tensor], nn.Module], Mapping[str, Tensor]]
"""Tensors of a file, and the model that takes them → the same by the model's names."""

SHOWN = 4
COUNTER = "num_batches_tracked"
"""Counted by batch norms and used by none of ours; older files lack it."""


def load_weights(model: nn.Module, path: Path, *, whole: bool = False, layout: Layout | None = None) -> tuple[str, ...]:
    """Load a state dict into a model in place; a head of other classes, or none, leaves the model's own (its last layer).

    The matrix of a linear layer fills a 1×1 convolution, which is the same map.

    Args:
        model: whose names the file uses; a prefix that all of the file's names share, such as `module.`, is taken away.
        path: .safetensors, or what `torch.save` wrote of a state dict, also under `state_dict`, `model` or `model_state_dict`.
        whole: take every tensor of the model from the file and leave none of the file's, or change nothing.
        layout: of files that name their tensors otherwise; None = they have the model's names.

    Returns:
        The model's tensors that were not loaded.

    Raises:
        ConfigurationError: the file cannot be read, holds more than tensors, or differs beyond the head (with `whole`: at all).
    """
    own = model.state_dict()
    read = _read(path) if layout is None else layout(_read(path), model)
    found = {name: _as_convolution(value, own.get(name)) for name, value in _unprefixed(read, model).items()}
    if whole:
        _require_all(found, own, path, type(model).__name__)
    fitting = {name: value for name, value in found.items() if name in own and own[name].shape == value.shape}
    head = next(reversed(own)).rpartition(".")[0]
    strange = [name for name in found if name not in own]
    lacking = [name for name in own if name not in fitting and not name.startswith(head) and not name.endswith(COUNTER)]
    if strange or lacking:
        raise ConfigurationError(
            f"weights {path}: not those of this network: {len(lacking)} of its {len(own)} tensors are missing or of another "
            f"shape {lacking[:SHOWN]}, {len(strange)} are not its own {strange[:SHOWN]}; name the network that the file is of"
        )
    model.load_state_dict(fitting, strict=False)
    return tuple(name for name in own if name not in fitting)


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds, down to the unpickler's
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, UnpicklingError):  # torch advises to run what is in it
            reason = "it is no torch file, or holds more than tensors, which is never loaded"
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


def _require_all(found: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path, kind: str) -> None:
    problems = [f"{name} is missing" for name in own if name not in found and not name.endswith(COUNTER)]
    problems += [f"{name} is none of the model's" for name in found if name not in own]
    problems += [
        f"{name} is {_size(value)}, the model's is {_size(own[name])}"
        for name, value in found.items()
        if name in own and value.shape != own[name].shape
    ]
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ConfigurationError(
            f"weights {path}: not those of a {kind} of this shape ({'; '.join(problems[:SHOWN])}{more}); "
            "set the model's shape to that of the file"
        )


def _as_convolution(value: Tensor, wanted: Tensor | None) -> Tensor:
    """(out, in) as (out, in, 1, 1) where the model has a 1×1 convolution."""
    if wanted is not None and value.ndim == 2 and wanted.shape == (*value.shape, 1, 1):
        return value[:, :, None, None]
    return value


def _size(value: Tensor) -> str:
    return "×".join(map(str, value.shape)) or "a number"
