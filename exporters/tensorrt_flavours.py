"""Which TensorRT is installed: the data-centre library `tensorrt`, or TensorRT-RTX; their interfaces are nearly the same."""

import importlib
from dataclasses import dataclass
from typing import Any

from paretolens.errors import BackendError

__all__ = ["Flavour", "flavours", "load_flavour"]

_MODULES = {"tensorrt": ("tensorrt",), "tensorrt_rtx": ("tensorrt_rtx_bindings", "tensorrt_rtx")}
_HINTS = {"tensorrt": "pip install 'paretolens[tensorrt]'", "tensorrt_rtx": "pip install 'paretolens[tensorrt-rtx]'"}


@dataclass(frozen=True, kw_only=True)
class Flavour:
    """One of the two libraries."""

    name: str
    """`tensorrt` or `tensorrt_rtx`."""
    usable: bool
    """Whether it can be imported."""
    version: str
    """Its version; empty if it cannot be imported."""
    reason: str
    """Why it cannot be imported; empty if it can."""
    module: Any = None
    """The imported module."""


def flavours() -> tuple[Flavour, ...]:
    """Both libraries in order of preference, with the reason where one cannot be imported."""
    return tuple(_load(name) for name in _MODULES)


def load_flavour(name: str | None = None) -> Flavour:
    """The named library, or the first that can be imported.

    Raises:
        BackendError: there is none; what to install is said.
    """
    if name is not None and name not in _MODULES:
        raise BackendError(f"TensorRT flavour {name!r} is not known: use {' or '.join(_MODULES)}")
    found = [_load(key) for key in _MODULES if name in (None, key)]
    for flavour in found:
        if flavour.usable:
            return flavour
    raise BackendError("TensorRT is not installed: " + "; ".join(f"{flavour.name}: {flavour.reason}" for flavour in found))


def _load(name: str) -> Flavour:
    reason = ""
    for module_name in _MODULES[name]:
        try:
            module = importlib.import_module(module_name)
            version = str(module.__version__)
        except (ImportError, OSError, RuntimeError, AttributeError) as error:  # a missing shared library is an OSError
            first = str(error).strip().splitlines()
            reason = reason or f"{first[0] if first else type(error).__name__} ({_HINTS[name]})"
            continue
        if hasattr(module, "Builder"):
            return Flavour(name=name, usable=True, version=version, reason="", module=module)
    return Flavour(name=name, usable=False, version="", reason=reason or f"no Builder in it ({_HINTS[name]})")
