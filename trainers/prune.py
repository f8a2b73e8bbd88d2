"""Structured pruning: attention heads, feed-forward neurons and convolution channels are taken out of the graph for real.

torch-pruning finds which tensors hang together (its dependency graph; Fang et al. 2023, DepGraph) and scores them; which
channels go is decided here, because its own selection rounds narrow layers down to nothing and miscounts heads. What must keep
its width comes from the family's `PruningRules`.
"""

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le, Lt
from torch import Tensor, nn

from paretolens.errors import ConfigurationError, TrialError
from paretolens.models.attention import Attention
from paretolens.models.rules import PruningRules, StreamRules
from paretolens.trainers.cost import Cost, cost_of
from paretolens.trainers.pruning_graph import dependency_graph
from paretolens.trainers.stream import all_paths, narrow_stream, stream_importance

__all__ = ["Importance", "LayerChange", "PruneReport", "PruneSettings", "Scope", "Widths", "prune", "widths_of"]

Widths = Mapping[str, tuple[str, int]]
"""Path → (kind, output width or number of heads) of every layer that could be pruned."""


_RECURRENT = ("gru", "lstm", "rnn")


class Importance(StrEnum):
    """How channels are scored."""

    MAGNITUDE = "magnitude"  # norm of the weights that hang together (Fang et al. 2023, eq. 4)
    TAYLOR = "taylor"  # |weight · gradient| (Molchanov et al. 2019, eq. 8); needs a loss
    BN_SCALE = "bn_scale"  # |γ| of the batch norm (Liu et al. 2017); magnitude where there is none


class Scope(StrEnum):
    """Where scores are compared."""

    LAYER = "layer"  # every layer loses the same share
    MODEL = "model"  # the lowest scores of the whole model go


@dataclass(frozen=True, kw_only=True)
class PruneSettings:
    """How much is pruned, and how it is chosen."""

    ratio: Annotated[float, Ge(0), Lt(1)] = 0.3
    """Share of the channels and neurons that go; 0 leaves the model alone."""
    head_ratio: Annotated[float, Ge(0), Lt(1)] | None = None
    """Share of each attention's heads that go, rounded down; None takes `ratio`. One head always stays."""
    stream_ratio: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the residual stream's channels (the width of the tokens) that go, by magnitude; 0 leaves it to the knob `width`.
    Takes effect where `ratio` is above 0."""
    round_to: Annotated[int, Ge(1)] = 8
    """Widths that stay are multiples of this, which runtimes like; layers narrower than that are left alone. Grouped convolutions
    lose the same from each group, and come as near as that allows."""
    max_ratio: Annotated[float, Ge(0), Le(1)] = 0.8
    """Largest share that one layer may lose."""
    limits: Mapping[str, Annotated[float, Ge(0), Le(1)]] = field(default_factory=dict)
    """The same for layers and attentions by patterns of their paths, such as `{"video.backbone.stages.layer4.*": 0.25}`; the
    first that fits counts. Layers that hang together lose no more than the least of theirs."""
    importance: Importance = Importance.MAGNITUDE
    """How channels are scored."""
    scope: Scope = Scope.LAYER
    """Where scores are compared."""
    steps: Annotated[int, Ge(1)] = 1
    """How often pruning and repair alternate (`prune_in_steps`); `prune` itself is one shot."""

    def limit(self, path: str, *, heads: bool = False) -> float:
        """Largest share that a layer, or an attention of its heads, may lose."""
        found = self.limits.get(self.limited_by(path))
        return found if found is not None else 1.0 if heads else self.max_ratio

    def limited_by(self, path: str) -> str:
        """The pattern of `limits` that fits a layer first; empty if none does."""
        return next((pattern for pattern in self.limits if fnmatch.fnmatchcase(path, pattern)), "")


@dataclass(frozen=True, kw_only=True)
class LayerChange:
    """What happened to one layer."""

    path: str
    """Where it is."""
    kind: str
    """Its type, or `heads` for the heads of an attention."""
    before: int
    """Output channels, or heads, before."""
    after: int
    """The same after."""
    reason: str = ""
    """Why it has lost nothing; empty where it has."""


@dataclass(frozen=True, kw_only=True)
class PruneReport:
    """What pruning did to a model."""

    layers: tuple[LayerChange, ...]
    """Every convolution, linear and recurrent layer, and every attention."""
    before: Cost
    """Parameters and MACs before."""
    after: Cost
    """The same after."""
    idle_limits: tuple[str, ...] = ()
    """Patterns of `PruneSettings.limits` that fit no layer of this model."""

    @property
    def unpruned(self) -> tuple[LayerChange, ...]:
        """The layers that lost nothing, with the reasons."""
        return tuple(layer for layer in self.layers if layer.reason)


def prune(
    model: nn.Module,
    example: tuple[Tensor, ...],
    settings: PruneSettings,
    rules: PruningRules,
    *,
    loss: Callable[[nn.Module], Tensor] | None = None,
    first: Widths | None = None,
) -> PruneReport:
    """Prune `model` in place; it stays trainable, exportable and recordable.

    Args:
        model: any model with its rules.
        example: inputs of one or two samples, for tracing.
        settings: how much, and how it is chosen.
        rules: layers that keep their outputs; attentions.
        loss: loss of the model on some training batch; needed by Taylor importance alone.
        first: `widths_of` the model before the first of several steps, of which the largest shares are taken; None = now.

    Raises:
        ConfigurationError: Taylor importance without a loss, or a rule that names no layer of the model.
        TrialError: the pruned model does not run (a graph that torch-pruning cannot follow).
    """
    if settings.importance is Importance.TAYLOR and loss is None:
        raise ConfigurationError("taylor importance needs a loss on a training batch; give one or choose magnitude")
    known = dict(model.named_modules())
    _require_known(known, rules, settings)
    widths, cost = widths_of(model, rules), cost_of(model, example)
    paths = {id(module): path for path, module in known.items()}
    most = _Most(settings=settings, first=widths if first is None else first, paths=paths)
    if settings.ratio > 0 or (settings.head_ratio or 0) > 0:
        training = model.training
        _Surgery(model, example, rules, loss, most).run()
        if settings.ratio > 0 and settings.stream_ratio and rules.stream is not None:
            _narrow(model, rules.stream, settings, most)
        _require_running(model, example)
        model.train(training)
    layers = tuple(_changes(widths, widths_of(model, rules), settings, rules))
    idle = tuple(pattern for pattern in settings.limits if not any(fnmatch.fnmatchcase(path, pattern) for path in widths))
    return PruneReport(layers=layers, before=cost, after=cost_of(model, example), idle_limits=idle)


def _require_known(known: Mapping[str, nn.Module], rules: PruningRules, settings: PruneSettings) -> None:
    """See that the rules are made for a model of these modules, and say what the settings ask for."""
    stream = tuple(all_paths(rules.stream)) if rules.stream else ()
    unknown = [path for path in (*rules.paths, *rules.attentions, *stream) if path not in known]
    if unknown:
        raise ConfigurationError(
            f"pruning rules must name layers of the model; {unknown[0]!r} is none: make rules for this model"
        )
    if settings.stream_ratio and rules.stream is None:
        raise ConfigurationError(
            f"student.prune.stream_ratio {settings.stream_ratio:g}: this model names no residual stream to narrow; set it to 0"
        )


@dataclass(frozen=True, kw_only=True)
class _Most:
    """How much of what is left layers may lose: limits are shares of the first width."""

    settings: PruneSettings
    """The limits."""
    first: Widths
    """The first widths."""
    paths: Mapping[int, str]
    """Path of each module by its identity."""

    def share(self, *modules: nn.Module) -> float:
        """Of layers that hang together, or of an attention's heads."""
        kept = []
        for module in modules:
            path = self.paths.get(id(module), "")
            if path in self.first:
                heads = isinstance(module, Attention)
                kept.append((1 - self.settings.limit(path, heads=heads)) * self.first[path][1] / _width(module)[1])
        return max(0.0, 1 - max(kept, default=1 - self.settings.max_ratio))


class _Surgery:
    """One pass over a traced model."""

    def __init__(
        self,
        model: nn.Module,
        example: tuple[Tensor, ...],
        rules: PruningRules,
        loss: Callable[[nn.Module], Tensor] | None,
        most: _Most,
    ) -> None:
        import torch_pruning

        self.library = torch_pruning
        self.model = model
        self.most = most
        self.settings = settings = most.settings
        self.trained = {name: p.requires_grad for name, p in model.named_parameters()}
        self.maps = getattr(model, "return_maps", None)
        self.attentions: list[Attention] = [
            m for path in rules.attentions if isinstance(m := model.get_submodule(path), Attention)
        ]
        self.kept = [model.get_submodule(path) for path in rules.paths]
        self.importance = self._importance()
        model.eval().requires_grad_(True)
        if self.maps is not None:
            model.return_maps = False  # type: ignore[assignment]  # traced, a stack of maps hides the heads from the graph
        if loss is not None and settings.importance is Importance.TAYLOR:
            model.zero_grad()
            loss(model).backward()
        self.graph = dependency_graph(model, example)

    def run(self) -> None:
        heads = self.settings.ratio if self.settings.head_ratio is None else self.settings.head_ratio
        for attention in self.attentions:
            self._prune_heads(attention, heads)
        if self.settings.ratio > 0:
            for root, handler, indices in list(self._chosen()):
                self.graph.get_pruning_group(root, handler, indices).prune()
        if self.maps is not None:
            self.model.return_maps = self.maps
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self.trained[name])
            parameter.grad = None

    def _importance(self) -> Callable[[Any], Tensor | None]:
        scorers = self.library.importance
        magnitude: Callable[[Any], Tensor | None] = scorers.GroupMagnitudeImportance(p=2)
        if self.settings.importance is Importance.TAYLOR:
            taylor: Callable[[Any], Tensor | None] = scorers.GroupTaylorImportance()
            return taylor
        if self.settings.importance is Importance.BN_SCALE:
            scale = scorers.BNScaleImportance()
            return lambda group: magnitude(group) if (score := scale(group)) is None else score
        return magnitude

    def _prune_heads(self, attention: Attention, ratio: float) -> None:
        """Take whole heads out of q, k, v and the inputs of proj."""
        share = min(ratio, self.most.share(attention))
        count = min(int(share * attention.num_heads + 1e-6), attention.num_heads - 1)
        if count < 1:
            return
        handler = self.library.prune_linear_in_channels
        group = self.graph.get_pruning_group(attention.proj, handler, list(range(attention.num_heads * attention.head_dim)))
        score = _required(self.importance(group)).reshape(attention.num_heads, attention.head_dim).mean(1)
        gone = score.argsort()[:count]
        indices = (gone[:, None] * attention.head_dim + torch.arange(attention.head_dim)).reshape(-1).tolist()
        self.graph.get_pruning_group(attention.proj, handler, sorted(indices)).prune()
        attention.num_heads -= count

    def _chosen(self) -> Iterator[tuple[nn.Module, Any, list[int]]]:
        """Root layer, pruning function and channels to remove of every group."""
        scored = list(self._scored())
        threshold = torch.inf
        if self.settings.scope is Scope.MODEL and scored:
            everything = torch.cat([score.repeat_interleave(groups) for _, _, score, groups, _ in scored])
            threshold = float(everything.sort().values[int(self.settings.ratio * (len(everything) - 1))])
        for root, handler, score, groups, most in scored:
            wanted = self.settings.ratio * len(score)
            if self.settings.scope is Scope.MODEL:
                wanted = float((score <= threshold).sum())
            count = removable(len(score), wanted, groups=groups, round_to=self.settings.round_to, most=most)
            gone = score.argsort()[:count]
            indices = torch.cat([gone + group * len(score) for group in range(groups)]).tolist()
            if indices:
                yield root, handler, sorted(indices)

    def _scored(self) -> Iterator[tuple[nn.Module, Any, Tensor, int, float]]:
        """Root layer, pruning function, score per channel, number of convolution groups and largest share to lose of every group
        that can be pruned."""
        projections = [layer for attention in self.attentions for layer in (attention.q, attention.k, attention.v)]
        types = [self.library.ops.TORCH_CONV, self.library.ops.TORCH_LINEAR]
        for group in self.graph.get_all_groups(ignored_layers=[*self.kept, *projections], root_module_types=types):
            root, handler = group[0].dep.target.module, group[0].dep.handler
            score = self.importance(group)
            if score is None:
                continue
            groups = max((_convolution_groups(dep.target.module) for dep, _ in group), default=1)
            if len(score) % groups == 0:
                narrowed = [dep.target.module for dep, _ in group if self.graph.is_out_channel_pruning_fn(dep.handler)]
                yield root, handler, score.detach().reshape(groups, -1).mean(0), groups, self.most.share(*narrowed)


def _narrow(model: nn.Module, stream: StreamRules, settings: PruneSettings, most: _Most) -> None:
    """Take the weakest channels out of the residual stream."""
    score = stream_importance(model, stream)
    wanted = settings.stream_ratio * len(score)
    share = most.share(*(model.get_submodule(path) for path in stream.writers))
    count = removable(len(score), wanted, groups=1, round_to=settings.round_to, most=share)
    narrow_stream(model, stream, score.argsort()[count:].sort().values)


def removable(width: int, wanted: float, *, groups: int, round_to: int, most: float) -> int:
    """How many of `width` channels (per convolution group) may go so that the rest is a multiple of `round_to`.

    The nearest multiple is taken; at least one multiple stays, and at most the share `most` goes.
    """
    total = width * groups
    unit = round_to if groups == 1 else groups * max(1, round_to // groups)
    least = max(unit, -((1e-6 - total * (1 - most)) // unit) * unit)
    left = min(total, max(least, round((total - wanted * groups) / unit) * unit))
    return max(0, int(total - left) // groups)


def _convolution_groups(module: nn.Module) -> int:
    """Groups of a grouped convolution; a depthwise one simply follows its producer."""
    if isinstance(module, nn.Conv1d | nn.Conv2d) and 1 < module.groups < module.out_channels:
        return module.groups
    return 1


def _required(score: Tensor | None) -> Tensor:
    if score is None:
        raise TrialError("attention heads cannot be scored; choose magnitude importance")
    return score.detach()


def _require_running(model: nn.Module, example: tuple[Tensor, ...]) -> None:
    try:
        with torch.no_grad():
            model.eval()(*example)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise TrialError(
            f"the pruned model must run, it does not ({reason}): add the layer to the family's pruning rules"
        ) from error


def widths_of(model: nn.Module, rules: PruningRules) -> Widths:
    """What could be pruned of a model."""
    found = {}
    for path, module in model.named_modules():
        if not isinstance(module, Attention) or path in rules.attentions:
            kind, width = _width(module)
            if kind:
                found[path] = (kind, width)
    return found


def _width(module: nn.Module) -> tuple[str, int]:
    """Kind and output width of a layer, or heads of an attention; no kind where it is none."""
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return "depthwise" if module.groups == module.out_channels > 1 else "conv", module.out_channels
    if isinstance(module, nn.Linear):
        return "linear", module.out_features
    if isinstance(module, nn.RNNBase):
        return type(module).__name__.lower(), module.hidden_size
    return ("heads", module.num_heads) if isinstance(module, Attention) else ("", 0)


def _changes(before: Widths, after: Widths, settings: PruneSettings, rules: PruningRules) -> Iterator[LayerChange]:
    reasons = {layer.path: layer.reason for layer in rules.kept}
    for path, (kind, width) in before.items():
        left = after[path][1]
        reason = "" if left < width else reasons.get(path) or _why(path, kind, width, settings)
        yield LayerChange(path=path, kind=kind, before=width, after=left, reason=reason)


def _why(path: str, kind: str, width: int, settings: PruneSettings) -> str:
    """Why a layer that no rule keeps has lost nothing."""
    if settings.ratio == 0 and not settings.head_ratio:
        return "nothing was asked to go"
    if (pattern := settings.limited_by(path)) and _held_by_limit(path, kind, width, settings):
        return f"limits let {pattern} lose {settings.limits[pattern]:.0%} at most"
    if kind == "heads":
        return "the ratio of so few heads is less than one head"
    if kind in _RECURRENT:
        return "a recurrent state is not pruned"
    if width <= settings.round_to:
        return f"not wider than round_to = {settings.round_to}"
    return f"its ratio of {width} rounds to nothing, or it hangs together with a layer that is kept"


def _held_by_limit(path: str, kind: str, width: int, settings: PruneSettings) -> bool:
    """Whether a layer would lose something but for the limit of its own."""
    own = settings.limit(path)
    if kind in _RECURRENT:
        return False
    if kind == "heads":
        ratio = settings.ratio if settings.head_ratio is None else settings.head_ratio
        return width > 1 and int(ratio * width + 1e-6) > int(min(ratio, own) * width + 1e-6) == 0
    wanted = width if settings.scope is Scope.MODEL else settings.ratio * width
    held, free = (removable(width, wanted, groups=1, round_to=settings.round_to, most=most) for most in (own, settings.max_ratio))
    return free > held == 0
