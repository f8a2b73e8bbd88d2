"""Models by name: one dict, one decorator, and `build`, which notes on the model how it was made so that it can be saved."""

import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.naming import did_you_mean

__all__ = ["InputShapes", "build", "build_seeded", "builder_of", "input_shapes", "names", "register"]

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])

InputShapes = Mapping[str, tuple[int, ...]]
"""Name of an input, as its signature has it, in call order → its shape without the batch."""

_BUILDERS: dict[str, Callable[..., nn.Module]] = {}
_INPUTS: dict[str, Callable[..., InputShapes]] = {}
_MODULES = (  # imported at the first look-up; each registers its own builders
    "paretolens.models.aware",
    "paretolens.models.classifier",
    "paretolens.models.cross_efficient_vit",
    "paretolens.models.efficient_vit",
    "paretolens.models.ladeda",
    "paretolens.models.pinpoint",
    "paretolens.models.tiny_ladeda",
)


def register(name: str, *, inputs: Callable[..., InputShapes] | None = None) -> Callable[[Builder], Builder]:
    """Make a builder known as `name`. A builder takes keyword arguments of plain JSON types only.

    Args:
        name: what `build` knows it by.
        inputs: what its models take, by the builder's arguments (all of them, by name); None = it is not known.

    Raises:
        ValueError: the name is taken.
    """

    def add(builder: Builder) -> Builder:
        if name in _BUILDERS:
            raise ValueError(f"model {name!r} is registered twice")
        _BUILDERS[name] = builder
        if inputs is not None:
            _INPUTS[name] = inputs
        return builder

    return add


def names() -> tuple[str, ...]:
    """The registered names, sorted."""
    for module in _MODULES:
        importlib.import_module(module)
    return tuple(sorted(_BUILDERS))


def build(name: str, **arguments: Any) -> nn.Module:
    """Build a registered model; `builder_of(model)` then tells how it was made.

    Raises:
        ConfigurationError: an unknown name or argument, an argument that is not plain JSON, or a value the builder refuses.
    """
    if name not in names():
        raise ConfigurationError(f"model {name!r} is not known{did_you_mean(name, names())}")
    builder = _BUILDERS[name]
    allowed = tuple(inspect.signature(builder).parameters)
    for key in arguments:
        if key not in allowed:
            raise ConfigurationError(f"model {name} has no argument {key!r}{did_you_mean(key, allowed)}")
    try:
        plain = json.loads(json.dumps(arguments, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"model {name}: arguments must be plain JSON values ({error})") from error
    model = builder(**plain)
    object.__setattr__(model, "builder", (name, plain))
    return model


def build_seeded(name: str, seed: int, **arguments: Any) -> nn.Module:
    """`build`, with weights that the seed decides; torch's own generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(name, **arguments)


def builder_of(model: nn.Module) -> tuple[str, Mapping[str, Any]]:
    """Name and arguments with which `build` made this model.

    Raises:
        ConfigurationError: the model was not made by `build`.
    """
    made: tuple[str, Mapping[str, Any]] | None = vars(model).get("builder")
    if made is None:
        raise ConfigurationError(
            f"a {type(model).__name__} not made by paretolens.models.registry.build cannot be saved; build it by its name"
        )
    return made


def input_shapes(model: nn.Module) -> InputShapes | None:
    """What a model takes, by how it was built; None where it was not made by `build` or its builder does not tell."""
    made: tuple[str, Mapping[str, Any]] | None = vars(model).get("builder")
    if made is None or made[0] not in _INPUTS:
        return None
    bound = inspect.signature(_BUILDERS[made[0]]).bind(**made[1])
    bound.apply_defaults()
    return _INPUTS[made[0]](**bound.arguments)
