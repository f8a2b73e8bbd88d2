"""Pruning the residual stream: the width of the tokens is narrowed in every layer that writes to it or reads it, at once.

Which channels go is decided by the norm of all weights that hang together with each (Fang et al. 2023, eq. 4). A dependency graph
cannot follow this stream: recurrent states write to it, and fixed position tables are added to it. So the model's rules name its
layers, and their weights are cut by index. Layer norms then average over fewer channels, which the fine-tuning after it repairs.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.rules import StreamRules

__all__ = ["all_paths", "narrow_stream", "stream_importance", "stream_width"]

GATES = 3
"""Blocks of a GRU's weights: reset, update, new."""


def stream_width(model: nn.Module, stream: StreamRules) -> int:
    """Channels of the stream, as its first writer has them."""
    return _width(model.get_submodule(stream.writers[0]))


def stream_importance(model: nn.Module, stream: StreamRules) -> Tensor:
    """(d,) sum of the squares of all weights of each channel of the stream.

    Raises:
        ConfigurationError: the rules name a layer of another kind or width.
    """
    width = stream_width(model, stream)
    total = torch.zeros(width)
    for path in stream.writers:
        total += _of_width(path, _rows(model.get_submodule(path)), width)
    for path in stream.readers:
        total += _of_width(path, _columns(path, model.get_submodule(path)), width)
    return total


def narrow_stream(model: nn.Module, stream: StreamRules, kept: Tensor) -> None:
    """Keep the channels `kept` (k,) int64, ascending, of the stream, in place."""
    for path in stream.writers:
        _cut_outputs(model.get_submodule(path), kept)
    for path in stream.readers:
        _cut_inputs(model.get_submodule(path), kept)
    for path in stream.norms:
        _cut_norm(model.get_submodule(path), kept)
    for path in stream.tables:
        owner, _, name = path.rpartition(".")
        _cut_table(model.get_submodule(owner), name, kept)


def _width(module: nn.Module) -> int:
    if isinstance(module, nn.GRU):
        return module.hidden_size
    return _weight(module).shape[0]


def _weight(module: nn.Module) -> Tensor:
    weight = getattr(module, "weight", None)
    if not isinstance(module, nn.Linear | nn.Conv1d) or not isinstance(weight, Tensor):
        raise ConfigurationError(f"a layer of the residual stream must be linear, a 1-d convolution or a GRU; got {type(module)}")
    return weight


def _rows(module: nn.Module) -> Tensor:
    """(d,) squares of the weights that write each channel."""
    if isinstance(module, nn.GRU):
        recurrent: Tensor = module.get_parameter("weight_hh_l0").detach()
        blocks = torch.cat([module.get_parameter("weight_ih_l0").detach(), recurrent], dim=1).unflatten(0, (GATES, -1))
        total: Tensor = blocks.square().sum((0, 2)) + recurrent.square().sum(0)
        return total
    return _weight(module).detach().flatten(1).square().sum(1)


def _columns(path: str, module: nn.Module) -> Tensor:
    """(d,) squares of the weights that read each channel."""
    if isinstance(module, nn.Conv1d) and module.groups != 1:
        raise ConfigurationError(f"layer {path} reads the residual stream in groups, which cannot be narrowed; leave ratio 0")
    return _weight(module).detach().transpose(0, 1).flatten(1).square().sum(1)


def _of_width(path: str, found: Tensor, width: int) -> Tensor:
    if len(found) != width:
        raise ConfigurationError(f"the residual stream has {width} channels, layer {path} {len(found)}: mend the pruning rules")
    return found.cpu()


def _cut_outputs(module: nn.Module, kept: Tensor) -> None:
    if isinstance(module, nn.GRU):
        _cut_gru(module, kept)
        return
    _replace(module, "weight", 0, kept)
    if getattr(module, "bias", None) is not None:
        _replace(module, "bias", 0, kept)
    setattr(module, "out_features" if isinstance(module, nn.Linear) else "out_channels", len(kept))


def _cut_gru(module: nn.GRU, kept: Tensor) -> None:
    """The state is the stream: its rows in every block, and its columns of the recurrent weights."""
    rows = torch.cat([kept + block * module.hidden_size for block in range(GATES)])
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        if isinstance(getattr(module, name, None), Tensor):
            _replace(module, name, 0, rows)
    _replace(module, "weight_hh_l0", 1, kept)
    module.hidden_size = len(kept)
    module.flatten_parameters()


def _cut_inputs(module: nn.Module, kept: Tensor) -> None:
    _replace(module, "weight", 1, kept)
    setattr(module, "in_features" if isinstance(module, nn.Linear) else "in_channels", len(kept))


def _cut_norm(module: nn.Module, kept: Tensor) -> None:
    for name in ("weight", "bias"):
        if isinstance(getattr(module, name, None), Tensor):
            _replace(module, name, 0, kept)
    module.normalized_shape = (len(kept),)  # type: ignore[assignment]  # a layer norm's own attribute


def _cut_table(module: nn.Module, name: str, kept: Tensor) -> None:
    """A table (..., d): a parameter, or a buffer, which is recorded with the weights from now on."""
    table = getattr(module, name)
    if isinstance(table, nn.Parameter):
        _replace(module, name, table.ndim - 1, kept)
    elif table is not None:
        module.register_buffer(name, table.index_select(-1, kept.to(table.device)).clone(), persistent=True)


def _replace(module: nn.Module, name: str, axis: int, kept: Tensor) -> None:
    old: Tensor = getattr(module, name)
    value = old.detach().index_select(axis, kept.to(old.device)).clone()
    setattr(module, name, nn.Parameter(value, requires_grad=old.requires_grad))


def all_paths(stream: StreamRules) -> Iterable[str]:
    """Every path that the rules name, for checks; of tables their modules."""
    yield from (*stream.writers, *stream.readers, *stream.norms)
    yield from (path.rpartition(".")[0] for path in stream.tables)
