"""Things of ours by name, whose modules are imported when they are asked for."""

import importlib
from collections.abc import Mapping
from typing import Any

from paretolens.errors import ConfigurationError
from paretolens.naming import did_you_mean

__all__ = ["Places", "make"]

Places = Mapping[str, tuple[str, str]]
"""Name → module and class, which takes no arguments."""


def make(what: str, name: str, places: Places) -> Any:
    """One of what `places` names; its module is imported now.

    Args:
        what: what it is, for the message.
        name: which one.
        places: all there are.

    Raises:
        ConfigurationError: there is none of that name; the nearest is named.
    """
    if name not in places:
        raise ConfigurationError(f"{what} {name!r} is not known{did_you_mean(name, sorted(places))}")
    module, kind = places[name]
    return getattr(importlib.import_module(module), kind)()
