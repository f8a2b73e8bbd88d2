"""Iterative pruning: a little is taken, the model recovers, a little more is taken (Han et al. 2015, section 3)."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import Tensor, nn

from paretolens.models.rules import PruningRules
from paretolens.trainers.prune import LayerChange, PruneReport, PruneSettings, prune, widths_of

__all__ = ["prune_in_steps", "step_shares"]


def prune_in_steps(
    model: nn.Module,
    example: tuple[Tensor, ...],
    settings: PruneSettings,
    rules: PruningRules,
    *,
    repair: Callable[[], None],
    loss: Callable[[nn.Module], Tensor] | None = None,
) -> PruneReport:
    """Prune `model` in place in `settings.steps` steps, with a repair after each; what is left is about the same as in one step.

    Widths stay multiples of `round_to`, so that a narrow layer may lose its whole share in one of the steps, or in none.

    Args:
        model: any model with its rules.
        example: inputs of one or two samples, for tracing.
        settings: how much in all, and in how many steps.
        rules: layers that keep their outputs; attentions.
        repair: fine-tunes the model.
        loss: as `prune` takes it.

    Raises:
        ConfigurationError, TrialError: as `prune` raises them.
    """
    reports = []
    heads = settings.ratio if settings.head_ratio is None else settings.head_ratio
    wanted, first = (settings.ratio, heads, settings.stream_ratio), widths_of(model, rules)
    for share, head_share, stream_share in zip(*(step_shares(ratio, settings.steps) for ratio in wanted), strict=True):
        now = replace(settings, ratio=share, head_ratio=head_share, stream_ratio=stream_share)
        reports.append(prune(model, example, now, rules, loss=loss, first=first))
        repair()
    return _joined(reports)


def step_shares(ratio: float, steps: int) -> Iterator[float]:
    """Share of what is left that each step takes, so that `ratio` of the first width goes in even parts."""
    for step in range(1, steps + 1):
        yield 1 - (1 - ratio * step / steps) / (1 - ratio * (step - 1) / steps)


def _joined(reports: list[PruneReport]) -> PruneReport:
    """From before the first step to after the last; a layer keeps the last reason if it has lost nothing in any."""
    pairs = zip(reports[0].layers, reports[-1].layers, strict=True)
    layers = tuple(
        LayerChange(
            path=last.path, kind=last.kind, before=first.before, after=last.after,
            reason=last.reason if last.after == first.before else "",
        )
        for first, last in pairs
    )  # fmt: skip
    return PruneReport(
        layers=layers, before=reports[0].before, after=reports[-1].after, idle_limits=reports[-1].idle_limits
    )  # fmt: skip
