"""A GPU for tests that have none: tensors sent to it are told apart from those that stay, and refuse what CUDA refuses.

Values are computed on the CPU as always. What a test learns is whether everything that meets in an operation was sent to the same
place, and whether what is handed to NumPy was fetched back.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["CUDA", "pretended_gpu"]

CUDA = torch.device("cuda")


class There(Tensor):
    """A tensor that is on the GPU, so to say."""


class _Mode(TorchFunctionMode):
    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        there = [_is_there(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dim()]
        if func == Tensor.device.__get__:
            return CUDA if _is_there(args[0]) else torch.device("cpu")
        if func == Tensor.is_cuda.__get__:
            return _is_there(args[0])
        if name in ("numpy", "__array__") and any(there):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        if name in ("to", "cpu", "cuda"):
            return _sent(func, args, kwargs)
        indexing = name in ("__getitem__", "__setitem__") and _is_there(args[0])  # CUDA takes an index from the CPU
        if any(there) and not all(there) and not indexing and name not in ("copy_", "__set__"):
            raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices ({name})")
        asked = kwargs.pop("device", None)
        found = func(*args, **kwargs)
        return _marked(found) if any(there) or (asked is not None and torch.device(asked).type == "cuda") else found


def _is_there(value: Any) -> bool:
    return isinstance(value, There) or getattr(value, "there", False)


def _marked(found: Any) -> Any:
    return tree_map(lambda leaf: leaf.as_subclass(There) if isinstance(leaf, Tensor) and not _is_there(leaf) else leaf, found)


def _sent(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """`to` with a device, a tensor or neither."""
    wanted = [leaf for leaf in (*args[1:], *kwargs.values()) if isinstance(leaf, torch.device | str | Tensor)]
    to_gpu = _is_there(args[0])
    if func is Tensor.cpu or wanted:
        to_gpu = bool(wanted) and (_is_there(wanted[0]) if isinstance(wanted[0], Tensor) else "cuda" in str(wanted[0]))
    here = tree_map(lambda leaf: torch.device("cpu") if isinstance(leaf, torch.device | str) else leaf, (args, kwargs))
    found = func(*here[0], **here[1]).as_subclass(Tensor)
    return found.as_subclass(There) if to_gpu else found


def _moved(model: nn.Module, device: Any) -> nn.Module:
    for value in (*model.parameters(), *model.buffers()):
        value.there = torch.device(device).type == "cuda"
    return model


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Within, modules and tensors can be sent to `CUDA`."""
    with patch.object(nn.Module, "to", _moved), patch.object(nn.RNNBase, "flatten_parameters", lambda _: None), _Mode():
        yield
