"""What a family of models must offer to be searched: its inputs, a teacher, a space, and a student of every genome."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import nn

from paretolens.data.sources import DataKind
from paretolens.errors import ConfigurationError
from paretolens.models.rules import PruningRules
from paretolens.models.signature import Signature
from paretolens.naming import did_you_mean
from paretolens.spaces.knobs import Genome, Space

__all__ = ["Family", "Published", "preset_space"]


@dataclass(frozen=True, kw_only=True)
class Published:
    """A network of a publication as we build it; the tests hold it to its parameter count."""

    builder: str
    """Name of the registered builder."""
    arguments: Mapping[str, Any]
    """Its arguments."""
    parameters: int
    """Parameters, as published or as the published code gives them."""


Settings_contra = TypeVar("Settings_contra", contravariant=True)


@runtime_checkable
class Family(Protocol[Settings_contra]):
    """One family; it holds no state, so that any process may make its own."""

    name: str
    """Name in the registry and in configurations."""
    summary: str
    """One line: what it detects, from what."""
    data_kind: DataKind
    """What its models look at; a study's source of data must give the same."""
    settings_type: type[Any]
    """The frozen dataclass of its settings: the shape of the input and of the teacher."""
    presets: tuple[str, ...]
    """The names `space` knows, the default first."""
    published: Mapping[str, Published]
    """Networks whose parameter counts are asserted, by name; empty where the family has none."""

    def signature(self, settings: Settings_contra) -> Signature:
        """Inputs and outputs that teacher and students share."""
        ...

    def teacher(self, settings: Settings_contra, seed: int = 0) -> nn.Module:
        """The untrained teacher; the same seed gives the same weights.

        Raises:
            ConfigurationError: the settings cannot be built.
        """
        ...

    def space(self, preset: str) -> Space:
        """The knobs of a preset.

        Raises:
            ConfigurationError: the preset is not known.
        """
        ...

    def check(self, space: Space, settings: Settings_contra) -> None:
        """See before anything is trained that the space and the settings fit together.

        Raises:
            ConfigurationError: the teacher cannot be built, or a choice asks for more than the input has.
        """
        ...

    def student(self, genome: Genome, signature: Signature, seed: int = 0) -> nn.Module:
        """The untrained student of a valid genome; the same seed gives the same weights.

        Raises:
            ConfigurationError: the genome cannot be built.
        """
        ...

    def pruning_rules(self, model: nn.Module) -> PruningRules:
        """What structured pruning must leave alone in a model of this family, with the reasons."""
        ...


def preset_space(family: str, presets: Mapping[str, Callable[[], Space]], preset: str) -> Space:
    """The space of one of a family's presets, for `Family.space`.

    Raises:
        ConfigurationError: the preset is not known.
    """
    if preset not in presets:
        raise ConfigurationError(f"preset {preset!r} of family {family} is not known{did_you_mean(preset, presets)}")
    return presets[preset]()
