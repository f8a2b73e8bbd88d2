"""torch-pruning's graph of which tensors of a model hang together."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from paretolens.errors import TrialError
from paretolens.models.rules import shuffled_layers

__all__ = ["dependency_graph"]


def dependency_graph(model: nn.Module, example: tuple[Tensor, ...]) -> Any:
    """The `torch_pruning.DependencyGraph` of a model, by tracing it once.

    Raises:
        TrialError: the library cannot follow the model.
    """
    import torch_pruning

    _let_shuffles_pass()
    with warnings.catch_warnings(), _recurrent_whole(model):
        warnings.filterwarnings("ignore", message="Unwrapped parameters")  # of the residual stream, which is not pruned
        try:
            return torch_pruning.DependencyGraph().build_dependency(model, example_inputs=example)
        except TrialError:
            raise
        except Exception as error:  # whatever breaks while it guesses at shapes
            raise _not_followed(model, error) from error


def _not_followed(model: nn.Module, error: Exception) -> TrialError:
    return TrialError(
        f"torch-pruning cannot follow this {type(model).__name__} ({type(error).__name__}: {error}): "
        "leave prune_ratio at 0 for it, or choose another network"
    )


class _Whole(torch.autograd.Function):
    """A recurrent layer as one operation, which is never differentiated."""

    @staticmethod
    def forward(ctx: Any, run: Any, *inputs: Tensor) -> Any:
        return run(*inputs)


@contextmanager
def _recurrent_whole(model: nn.Module) -> Iterator[None]:
    """Let recurrent layers be one node of the graph each, as cuDNN has them.

    On a CPU they are a dozen nodes for each step of time, and the library walks all of them for every layer that it prunes. It
    prunes none of them either way; LSTMs, which it knows as layers, stay as they are.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.GRU | nn.RNN)]
    for layer in layers:
        layer.forward = partial(_run_whole, layer.forward)  # type: ignore[method-assign]  # of this instance, for a while
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _run_whole(run: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    if named or not all(isinstance(x, Tensor) for x in inputs):  # a packed sequence: autograd would lose it
        return run(*inputs, **named)
    return _Whole.apply(run, *inputs)


@cache
def _let_shuffles_pass() -> None:
    """Mend torch-pruning 1.6 in this process: behind ShuffleNet's shuffle it infers no channels at all, and divides by them.

    Such a reshape gets no mapping of channels; what would need one is kept there (`rules.shuffled_layers`). A model without such
    layers is refused. For good in this process, because the library maps them again for every group it makes.
    """
    from torch_pruning.dependency import index_mapping

    mapped = index_mapping.update_reshape_index_mapping

    def tolerant(graph: Any, node: Any) -> None:
        try:
            mapped(graph, node)
        except ZeroDivisionError as error:
            if not any(shuffled_layers(graph.model)):
                raise _not_followed(graph.model, error) from error

    index_mapping.update_reshape_index_mapping = tolerant
