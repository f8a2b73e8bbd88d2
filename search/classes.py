"""Whether all parts of a configuration agree on what is told apart."""

from typing import TYPE_CHECKING

from paretolens.errors import ConfigurationError
from paretolens.evaluators.eps.settings import BaselineKind

if TYPE_CHECKING:
    from paretolens.search.config import Config

__all__ = ["check_classes"]

ONE_LOGIT = ("patch_logits",)
"""Explainers of models with one logit."""


def check_classes(config: "Config") -> None:
    """Hold the classes of the data against the model's, and the explanations against both.

    Raises:
        ConfigurationError: the family has other classes or none, or EPS is set up for what there is not.
    """
    given = config.make_source().signature(config.make_data_settings())
    known = config.make_family().signature(config.make_model_settings()).classes
    if known != given.classes:
        raise ConfigurationError(
            f"data.classes is {', '.join(given.classes) or 'empty'}, and the models of family {config.family} tell "
            f"{', '.join(known) or 'real from fake'}: leave model.classes out and take a family that has classes "
            "(image-classifier), or leave data.classes out"
        )
    asked = [name for name in (config.eps.explainer, config.eps.second) if name in ONE_LOGIT]
    if given.classes and asked:
        raise ConfigurationError(
            f"eps.explainer or eps.second is {asked[0]}, which explains models of one logit: take another beside data.classes"
        )
    if not given.has_real and config.eps.baseline is BaselineKind.REAL:
        raise ConfigurationError(
            f"eps.baseline is real, which is the mean real sample, and no class of {', '.join(given.classes)} is real; "
            "set eps.baseline to mean or zero"
        )
