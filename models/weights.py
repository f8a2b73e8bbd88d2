"""Weights that others have published: a state dict in a .pth or .safetensors file, read without running any code of it.

A file is taken whole or not at all: every tensor of the model must be there, in its shape, and nothing beside them.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError, DataError

__all__ = ["load_weights", "read_weights"]

WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Under which key training scripts keep the state dict beside their optimiser's."""


def load_weights(model: nn.Module, path: Path) -> None:
    """Give a model the weights of a published checkpoint.

    The names are those of the model. Names that all begin with `module.` lose it (data parallel), and a linear layer's matrix
    fills a 1×1 convolution, which is the same map.

    Raises:
        ConfigurationError: the file is not there, or its tensors are not the model's; the first that differ are named.
        DataError: it holds no state dict, or something other than tensors.
    """
    found, wanted = read_weights(path), model.state_dict()
    fitted = {name: _as_convolution(value, wanted.get(name)) for name, value in found.items()}
    problems = [f"{name} is missing" for name in wanted if name not in fitted and not name.endswith("num_batches_tracked")]
    problems += [f"{name} is none of the model's" for name in fitted if name not in wanted]
    problems += [
        f"{name} is {_size(value)}, the model's is {_size(wanted[name])}"
        for name, value in fitted.items()
        if name in wanted and value.shape != wanted[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ConfigurationError(
            f"weights {path}: they are not a {type(model).__name__}'s of this shape ({'; '.join(problems[:3])}{more}); "
            "set the model's shape to that of the checkpoint"
        )
    model.load_state_dict(fitted, strict=False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    Raises:
        ConfigurationError: the file is not there.
        DataError: it holds no state dict, or something other than tensors.
    """
    if not path.is_file():
        raise ConfigurationError(f"weights {path}: there is no such file; give the path of a .pth or .safetensors file")
    try:
        content = _read(path)
    except Exception as error:  # torch, pickle, zip and safetensors each have their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"weights {path}: cannot be read as plain tensors ({reason}); save the model's state_dict() alone with torch.save"
        ) from error
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = content if isinstance(content, Mapping) else {}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise DataError(f"weights {path}: no state dict is in it; save the model's state_dict() alone with torch.save")
    parallel = all(name.startswith("module.") for name in tensors)
    return {name.removeprefix("module.") if parallel else name: value for name, value in tensors.items()}


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    content: object = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _as_convolution(value: Tensor, wanted: Tensor | None) -> Tensor:
    """(out, in) as (out, in, 1, 1) where the model has a 1×1 convolution."""
    if wanted is not None and value.ndim == 2 and wanted.shape == (*value.shape, 1, 1):
        return value[:, :, None, None]
    return value


def _size(value: Tensor) -> str:
    return "×".join(map(str, value.shape)) or "a number"
