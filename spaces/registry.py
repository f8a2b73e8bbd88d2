"""Families by name."""

import importlib
from typing import Any

from paretolens.errors import ConfigurationError
from paretolens.naming import did_you_mean
from paretolens.spaces.family import Family

__all__ = ["families", "get_family"]

_FAMILIES = {
    "image-classifier": ("paretolens.spaces.image_classifier", "ImageClassifierFamily"),
    "pinpoint": ("paretolens.spaces.pinpoint", "PinpointFamily"),
}


def families() -> tuple[str, ...]:
    """The names of all families, sorted."""
    return tuple(sorted(_FAMILIES))


def get_family(name: str) -> Family[Any]:
    """The family of this name; its modules are imported now.

    Raises:
        ConfigurationError: there is none; the nearest is named.
    """
    if name not in _FAMILIES:
        raise ConfigurationError(f"family {name!r} is not known{did_you_mean(name, families())}")
    module, kind = _FAMILIES[name]
    family: Family[Any] = getattr(importlib.import_module(module), kind)()
    return family
