"""Families by name."""

from typing import Any

from paretolens.lookup import Places, make
from paretolens.spaces.family import Family

__all__ = ["families", "get_family"]

_FAMILIES: Places = {
    "aware-net": ("paretolens.spaces.aware_net", "AwareNetFamily"),
    "cross-efficient-vit": ("paretolens.spaces.cross_efficient_vit", "CrossEfficientViTFamily"),
    "image-classifier": ("paretolens.spaces.image_classifier", "ImageClassifierFamily"),
    "ladeda": ("paretolens.spaces.ladeda", "LadedaFamily"),
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
    family: Family[Any] = make("family", name, _FAMILIES)
    return family
