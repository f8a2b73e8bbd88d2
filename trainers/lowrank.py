"""Low rank: layers are replaced by chains of thinner ones that do nearly the same with fewer multiply-accumulates.

Linear layers and 1×1 convolutions by SVD; other convolutions by Tucker-2 (Kim et al. 2016: 1×1, core, 1×1) or by CP (Lebedev et
al. 2015: 1×1, one depthwise convolution per axis, 1×1). Ranks are the smallest that keep a share of the energy, the sum of the
squared singular values (of the unfoldings for Tucker; of the whole weight for CP). A chain that saves nothing is not kept.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from paretolens.models.attention import Attention
from paretolens.models.modes import standing_still
from paretolens.models.rules import PruningRules
from paretolens.trainers.cost import Cost, cost_of

__all__ = ["Decomposition", "FactorisedLayer", "LowRankReport", "LowRankSettings", "factorise"]

Layer = nn.Linear | nn.Conv1d | nn.Conv2d


class Decomposition(StrEnum):
    """How convolutions with more than one position are taken apart; all else by SVD."""

    TUCKER = "tucker"
    CP = "cp"


@dataclass(frozen=True, kw_only=True)
class LowRankSettings:
    """How much of each layer stays."""

    energy: Annotated[float, Gt(0), Le(1)] = 0.9
    """Share of the sum of the squared singular values that stays; 1 leaves the model alone."""
    decomposition: Decomposition = Decomposition.TUCKER
    """How convolutions are taken apart."""
    least_saving: Annotated[float, Ge(0), Le(1)] = 0.1
    """Least share of a layer's multiply-accumulates that must go: a chain has more launches and more memory traffic."""
    iterations: Annotated[int, Ge(1)] = 50
    """Alternating least squares steps of Tucker and CP."""


@dataclass(frozen=True, kw_only=True)
class FactorisedLayer:
    """What happened to one layer."""

    path: str
    """Where it is."""
    ranks: tuple[int, ...]
    """Widths inside of the chain; empty where the layer stayed."""
    macs_before: int
    """Multiply-accumulates of the layer for one sample."""
    macs_after: int
    """The same of the chain."""
    reason: str = ""
    """Why it stayed as it was; empty where it did not."""


@dataclass(frozen=True, kw_only=True)
class LowRankReport:
    """What factorising did to a model."""

    layers: tuple[FactorisedLayer, ...]
    """Every convolution and linear layer."""
    before: Cost
    """Parameters and multiply-accumulates before."""
    after: Cost
    """The same after."""


def factorise(model: nn.Module, example: tuple[Tensor, ...], settings: LowRankSettings, rules: PruningRules) -> LowRankReport:
    """Factorise `model` in place; it stays trainable, exportable and recordable, in the mode it was in.

    Args:
        model: trained, and pruned before if it is to be.
        example: inputs of one or two samples, for counting positions.
        settings: how much stays.
        rules: the projections of its attentions stay whole, since heads are counted in them.
    """
    cost = cost_of(model, example)
    positions = _positions(model, example)
    whole: dict[int, str] = {}
    for path in rules.attentions:
        attention = model.get_submodule(path)
        assert isinstance(attention, Attention)
        whole |= {id(layer): "projection of an attention" for layer in (attention.q, attention.k, attention.v, attention.proj)}
    layers = []
    for path, layer in list(model.named_modules()):
        if type(layer) not in (nn.Linear, nn.Conv1d, nn.Conv2d):
            continue
        found = _Chain(layer, *positions.get(path, (0, 0)), settings)
        reason = whole.get(id(layer)) or found.why_not()
        if not reason:
            model.set_submodule(path, found.build().train(layer.training))
        after = found.macs if reason else found.macs_of(found.ranks)
        ranks = () if reason else found.ranks
        layers.append(FactorisedLayer(path=path, ranks=ranks, macs_before=found.macs, macs_after=after, reason=reason))
    return LowRankReport(layers=tuple(layers), before=cost, after=cost_of(model, example))


class _Chain:
    """The chain that would take a layer's place."""

    def __init__(self, layer: nn.Module, sources: int, targets: int, settings: LowRankSettings) -> None:
        assert isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
        self.layer: Layer = layer
        self.settings = settings
        self.sources, self.targets = sources, targets
        self.kernel = tuple(layer.kernel_size) if isinstance(layer, nn.Conv1d | nn.Conv2d) else ()
        self.taps = math.prod(self.kernel)
        out, into = layer.weight.shape[:2]
        self.macs = targets * out * into * self.taps
        self.cp: list[Tensor] = []
        self.refusal = self._refusal()
        self.ranks: tuple[int, ...] = () if self.refusal else self._ranks()

    def why_not(self) -> str:
        """Why the layer had better stay; empty where the chain saves enough."""
        if self.refusal or not self.ranks:
            return self.refusal or f"no rank keeps {self.settings.energy:.0%} of its energy with fewer multiply-accumulates"
        after = self.macs_of(self.ranks)
        if after > (1 - self.settings.least_saving) * self.macs:
            return (
                f"at rank {'×'.join(map(str, self.ranks))} it would take {after:,} multiply-accumulates instead of {self.macs:,}"
            )
        return ""

    def _refusal(self) -> str:
        """Why the layer can't be taken apart at all; empty where it can."""
        layer = self.layer
        if self.settings.energy == 1:
            return "all of the energy was asked to stay"
        if not self.macs:
            return "it does not run"
        if isinstance(layer, nn.Linear):
            return ""
        if layer.groups > 1:
            return "a grouped convolution is thin already"
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            return f"its padding is {layer.padding!r} of {layer.padding_mode}; numbers of zeros can be taken apart"
        return ""

    def macs_of(self, ranks: tuple[int, ...]) -> int:
        """Multiply-accumulates of the chain for one sample; what comes before the stride runs at every source."""
        out, into = self.layer.weight.shape[:2]
        if self.taps == 1:
            return ranks[0] * (self.targets * into + self.targets * out)
        if self.settings.decomposition is Decomposition.TUCKER:
            return self.sources * into * ranks[0] + self.targets * (ranks[0] * ranks[1] * self.taps + ranks[1] * out)
        axes = [k for k in self.kernel if k > 1]
        between = sum(axes) * self.sources  # an upper bound: each axis shrinks as its stride is taken
        return ranks[0] * (self.sources * into + between + self.targets * out)

    def build(self) -> nn.Sequential:
        """The chain, with the layer's weights taken apart."""
        if self.taps == 1:
            return self._by_svd()
        return self._by_tucker() if self.settings.decomposition is Decomposition.TUCKER else self._by_cp()

    def _ranks(self) -> tuple[int, ...]:
        weight = self.layer.weight.detach().double()
        if self.taps == 1:
            return (_rank(weight.flatten(1), self.settings.energy),)
        if self.settings.decomposition is Decomposition.TUCKER:
            return tuple(_rank(weight.transpose(0, mode).flatten(1), self.settings.energy) for mode in (1, 0))
        return self._cp_rank(weight)

    def _cp_rank(self, weight: Tensor) -> tuple[int, ...]:
        """The first of a growing row of ranks whose error is small enough; none where it would save nothing."""
        most = (1 - self.settings.least_saving) * self.macs
        rank, wanted = 1, (1 - self.settings.energy) * float(weight.square().sum())
        while self.macs_of((rank,)) <= most:
            factors = self._parafac(weight, rank)
            if float((_whole(factors).reshape(weight.shape) - weight).square().sum()) <= wanted:
                self.cp = factors
                return (rank,)
            rank = max(rank + 1, round(rank * 1.25))
        return ()

    def _parafac(self, weight: Tensor, rank: int) -> list[Tensor]:
        from tensorly.decomposition import parafac

        squeezed = weight.reshape(*weight.shape[:2], *(size for size in self.kernel if size > 1)).numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of more components than a kernel has positions: they start at random
            found = parafac(squeezed, rank, n_iter_max=self.settings.iterations, init="svd", random_state=0, tol=1e-6)
        factors = [torch.from_numpy(factor.copy()) for factor in found.factors]
        factors[0] = factors[0] * torch.from_numpy(found.weights.copy())
        return factors

    def _by_svd(self) -> nn.Sequential:
        u, s, v = torch.linalg.svd(self.layer.weight.detach().double().flatten(1), full_matrices=False)
        (rank,) = self.ranks
        root = s[:rank].sqrt()
        first, last = root[:, None] * v[:rank], u[:, :rank] * root
        if isinstance(self.layer, nn.Linear):
            return nn.Sequential(_linear(first, None), _linear(last, self.layer.bias))
        stride, padding = self.layer.stride, self.layer.padding
        return nn.Sequential(self._conv(first, stride=stride, padding=padding), self._conv(last, bias=self.layer.bias))

    def _by_tucker(self) -> nn.Sequential:
        from tensorly.decomposition import partial_tucker

        assert not isinstance(self.layer, nn.Linear)
        weight, (narrow, wide) = self.layer.weight.detach().double().numpy(), self.ranks
        (core, (last, first)), _ = partial_tucker(
            weight, rank=[wide, narrow], modes=[0, 1], n_iter_max=self.settings.iterations, tol=1e-8
        )
        middle = self._conv(
            torch.from_numpy(core.copy()), kernel=self.kernel, stride=self.layer.stride, padding=self.layer.padding,
            dilation=self.layer.dilation,
        )  # fmt: skip
        first_layer = self._conv(torch.from_numpy(first.T.copy()))
        return nn.Sequential(first_layer, middle, self._conv(torch.from_numpy(last.copy()), bias=self.layer.bias))

    def _by_cp(self) -> nn.Sequential:
        layer = self.layer
        assert not isinstance(layer, nn.Linear)
        last, first, *axes = self.cp
        (rank,) = self.ranks
        chain: list[nn.Module] = [self._conv(first.T)]
        places = [place for place, size in enumerate(self.kernel) if size > 1]
        assert isinstance(layer.padding, tuple), "a padding in words is refused"
        for place, factor in zip(places, axes, strict=True):
            alone = [int(other == place) for other in range(len(self.kernel))]
            chain.append(
                self._conv(
                    factor.T[:, None, :].reshape(rank, 1, -1),
                    kernel=tuple(k if a else 1 for k, a in zip(self.kernel, alone, strict=True)),
                    stride=tuple(s if a else 1 for s, a in zip(layer.stride, alone, strict=True)),
                    padding=tuple(p if a else 0 for p, a in zip(layer.padding, alone, strict=True)),
                    dilation=tuple(d if a else 1 for d, a in zip(layer.dilation, alone, strict=True)),
                    groups=rank,
                )
            )
        return nn.Sequential(*chain, self._conv(last, bias=layer.bias))

    def _conv(
        self,
        weight: Tensor,
        *,
        kernel: tuple[int, ...] = (),
        stride: tuple[int, ...] | int = 1,
        padding: tuple[int, ...] | int | str = 0,
        dilation: tuple[int, ...] | int = 1,
        groups: int = 1,
        bias: Tensor | None = None,
    ) -> nn.Module:
        """A convolution of the layer's kind; 1×1 without a kernel."""
        kernel = kernel or (1,) * len(self.kernel)
        kind: Callable[..., nn.Conv1d | nn.Conv2d] = nn.Conv2d if isinstance(self.layer, nn.Conv2d) else nn.Conv1d
        into = weight.shape[1] * groups
        made = kind(
            into, weight.shape[0], kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias is not None
        )
        return _filled(made, weight.reshape(made.weight.shape), bias)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Module:
    return _filled(nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None), weight, bias)


def _filled(made: nn.Linear | nn.Conv1d | nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Module:
    with torch.no_grad():
        made.weight.copy_(weight)
        if bias is not None and made.bias is not None:
            made.bias.copy_(bias)
    return made


def _rank(matrix: Tensor, energy: float) -> int:
    """Smallest rank whose squared singular values sum to the share `energy` of all."""
    squares = torch.linalg.svdvals(matrix).square().cumsum(0)
    return int((squares < energy * squares[-1]).sum()) + 1


def _whole(factors: list[Tensor]) -> Tensor:
    """The tensor that CP factors stand for; axes of length 1 are left out."""
    letters = "abcd"[: len(factors)]
    return torch.einsum(",".join(f"{letter}z" for letter in letters) + f"->{letters}", *factors)


def _positions(model: nn.Module, example: tuple[Tensor, ...]) -> dict[str, tuple[int, int]]:
    """Path → positions per sample at which a layer's input and its output have values."""
    found: dict[str, tuple[int, int]] = {}
    samples = len(example[0])
    hooks = [
        module.register_forward_hook(_noting(path, found, samples))
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
    ]
    try:
        with standing_still(model), torch.no_grad():
            model(*example)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _noting(path: str, found: dict[str, tuple[int, int]], samples: int) -> Callable[..., None]:
    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        into = module.in_features if isinstance(module, nn.Linear) else inputs[0].shape[1]
        out = module.out_features if isinstance(module, nn.Linear) else output.shape[1]
        before, after = found.get(path, (0, 0))  # a layer may run more than once
        found[path] = (before + inputs[0].numel() // into // samples, after + output.numel() // out // samples)

    return note
