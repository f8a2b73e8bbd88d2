"""torch-pruning's graph of which tensors of a model hang together."""

import warnings
from functools import cache
from typing import Any

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
    with warnings.catch_warnings():
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
