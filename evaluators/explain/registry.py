"""Explainers by name: one dict. A name may carry an argument after a colon, such as `grad_cam:features.3`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from paretolens.errors import ConfigurationError
from paretolens.evaluators.explain.attention import AttentionMaps, Depth
from paretolens.evaluators.explain.attribution import Explainer
from paretolens.evaluators.explain.grad_cam import GradCam
from paretolens.evaluators.explain.gradient_shap import GradientShap
from paretolens.evaluators.explain.integrated_gradients import IntegratedGradients
from paretolens.evaluators.explain.occlusion import Occlusion
from paretolens.evaluators.explain.patch_logits import PatchLogits
from paretolens.naming import did_you_mean

__all__ = ["EXPLAINERS", "Entry", "check_explainer", "make_explainer", "register_explainer"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How an explainer is made."""

    make: Callable[..., Explainer]
    """A dataclass; its fields take the settings of the same name."""
    summary: str
    """One line for help texts."""
    fixed: Mapping[str, Any]
    """Fields that the name decides."""
    argument: str | None
    """Field that takes what follows the colon; None = no argument."""


EXPLAINERS: dict[str, Entry] = {}


def register_explainer(
    name: str, make: Callable[..., Explainer], summary: str, *, argument: str | None = None, **fixed: Any
) -> None:
    """Make an explainer known by name: a frozen dataclass that follows the protocol `Explainer`.

    Raises:
        ValueError: the name is taken or holds a colon.
    """
    if name in EXPLAINERS or ":" in name:
        raise ValueError(f"explainer {name!r} is registered twice, or holds a colon")
    EXPLAINERS[name] = Entry(make=make, summary=summary, fixed=fixed, argument=argument)


def check_explainer(text: str) -> tuple[Entry, dict[str, str]]:
    """The entry a text names, and its argument by field.

    Raises:
        ConfigurationError: an unknown name, or an argument where none is taken.
    """
    name, colon, argument = text.partition(":")
    if name not in EXPLAINERS:
        raise ConfigurationError(f"explainer {name!r} is not known{did_you_mean(name, list(EXPLAINERS))}")
    entry = EXPLAINERS[name]
    if colon and (entry.argument is None or not argument):
        takes = "no argument" if entry.argument is None else f"the name of a {entry.argument} after the colon"
        raise ConfigurationError(f"explainer {text!r}: {name} takes {takes}")
    return entry, {entry.argument: argument} if entry.argument and argument else {}


def make_explainer(text: str, **settings: Any) -> Explainer:
    """The explainer a text names, with those of the settings (nodes, chunk, seed, …) that it has.

    Raises:
        ConfigurationError: see `check_explainer`.
    """
    entry, argument = check_explainer(text)
    names = {field.name for field in fields(entry.make)}  # type: ignore[arg-type]  # a dataclass, see Entry.make
    return entry.make(**{name: value for name, value in settings.items() if name in names} | dict(entry.fixed) | argument)


register_explainer(
    "integrated_gradients", IntegratedGradients, "Integrated Gradients, nodes where the logit moves, completeness checked"
)
register_explainer(
    "integrated_gradients_uniform",
    IntegratedGradients,
    "Integrated Gradients at Gauss–Legendre nodes, completeness checked",
    probes=0,
)
register_explainer("gradient_shap", GradientShap, "expected gradients around the path, by Captum")
register_explainer(
    "grad_cam", GradCam, "Grad-CAM on a layer (grad_cam:LAYER; else the last of 4 × 4 places or more)", argument="layer"
)
register_explainer("attention", AttentionMaps, "the attention map that the model returns, over frames", depth=Depth.LAST)
register_explainer(
    "attention_rollout", AttentionMaps, "attention rolled out over all blocks, frames and sound", depth=Depth.ROLLOUT
)
register_explainer("patch_logits", PatchLogits, "what the model's verdict layer says of every place")
register_explainer("occlusion", Occlusion, "how far the logit falls when a patch is taken away; forward passes alone")
