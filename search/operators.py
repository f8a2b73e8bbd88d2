"""Whether TensorRT takes the networks of a search, before anything is trained: untrained graphs are parsed, none is built."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from paretolens.errors import BackendError
from paretolens.evaluators.latency import Backend
from paretolens.exporters.onnx import export_onnx
from paretolens.exporters.probe_inputs import probe_tensors
from paretolens.exporters.tensorrt import check_operators, flavours, load_flavour
from paretolens.search.cheap import shapes
from paretolens.search.config import Config
from paretolens.spaces.knobs import Genome, Knob, Stage, Value
from paretolens.trainers.quantise import freeze

__all__ = ["Taken", "check_networks", "flavours", "networks_of"]

_ENDS: Mapping[str, Callable[[list[float]], float]] = {"the lowest": min, "the highest": max}


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What was parsed."""

    runtime: str
    """Library and version."""
    networks: int
    """Networks that it takes, the teacher among them."""


def check_networks(config: Config, tell: Callable[[int, int, str], None] = lambda done, total, note: None) -> Taken:
    """Parse the teacher and those students that may hold other operators than the default one.

    Args:
        config: valid; quantisers are placed for TensorRT.
        tell: told how many of how many are done, and which is next.

    Raises:
        BackendError: no TensorRT is installed, or it does not know an operator: operator, node and the genes are named.
        ConfigurationError: quantisers shall stand where TensorRT takes none.
    """
    flavour = load_flavour()
    config = replace(config, latency=replace(config.latency, backend=Backend.TENSORRT))
    networks = networks_of(config)
    _check("the teacher", config.make_family().teacher(config.make_model_settings(), seed=config.seed), config)
    for number, (label, genome) in enumerate(networks.items(), 1):
        tell(number, len(networks) + 1, label)
        *_, (_, student) = shapes(genome, config)
        _check(f"a student with {label}", student, config)
    tell(len(networks) + 1, len(networks) + 1, "")
    return Taken(runtime=f"{flavour.name} {flavour.version}", networks=len(networks) + 1)


def networks_of(config: Config) -> dict[str, Genome]:
    """Genomes by what sets them apart: every value of a knob that names something, and all numbers lowest and highest.

    Widths and depths change how often an operator occurs, not which ones there are; each genome is the default one but for that.
    """
    space = config.make_space()
    default = space.default()
    changes: dict[str, dict[str, Value]] = {}
    for label, end in _ENDS.items():
        changes[f"{label} numbers"] = {knob.name: number for knob in space.knobs if (number := _end(knob, end)) is not None}
    changes |= {f"{knob.name} {value}": {knob.name: value} for knob in space.knobs for value in _names(knob)}
    found: dict[str, Genome] = {}
    for label, change in changes.items():
        if (genome := space.repair({**default, **change})) not in found.values():
            found[label] = genome
    return found


def _names(knob: Knob) -> Iterator[str | bool]:
    yield from (value for value in knob.grid if isinstance(value, str | bool))


def _end(knob: Knob, end: Callable[[list[float]], float]) -> float | None:
    """The lowest or highest number of a knob of the network itself, in its own type."""
    numbers = [value for value in knob.grid if isinstance(value, int | float) and not isinstance(value, bool)]
    return end(numbers) if numbers and knob.stage is Stage.STUDENT else None


def _check(label: str, model: nn.Module, config: Config) -> None:
    freeze(model)
    signature = config.make_family().signature(config.make_model_settings())
    with tempfile.TemporaryDirectory(prefix="paretolens-operators-") as folder:
        artefact = export_onnx(model, signature, probe_tensors(signature), Path(folder) / "untrained.onnx")
        try:
            check_operators(artefact.path)
        except BackendError as error:
            raise BackendError(f"{label}: {error}; leave that choice out of the space, or time another runtime") from error
