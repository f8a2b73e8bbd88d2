"""Samples of more than two kinds: the class of a sample is its kind, and its label the number of the class."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from paretolens.errors import ConfigurationError, DataError
from paretolens.models.signature import REAL, Signature

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

NAME = re.compile(r"[\w./-][\w./ -]*")

__all__ = ["by_kind", "check_classes", "with_classes"]


def check_classes(classes: Sequence[str]) -> None:
    """See that names can be those of classes; none are always right.

    Raises:
        ConfigurationError: there is only one, one stands twice or has other characters than names of metrics may have, or
            `real` is not the first.
    """
    if not classes:
        return
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if len(classes) < 2 or twice or not all(NAME.fullmatch(name) for name in classes):
        raise ConfigurationError(
            "data.classes must be two or more names of letters, digits, spaces and _ . / -, each once; got "
            f"{', '.join(map(repr, classes))}: mend the list"
        )
    if REAL in classes[1:]:
        raise ConfigurationError(f"data.classes must begin with {REAL} where that is a class; got {', '.join(classes)}: move it")


def with_classes(signature: Signature, classes: tuple[str, ...]) -> Signature:
    """A signature with these classes."""
    return replace(signature, classes=classes) if classes else signature


def by_kind(splits: "dict[str, SampleSet]", classes: tuple[str, ...]) -> "dict[str, SampleSet]":
    """The same samples, labelled by the number of their kind among `classes`; without classes they stay as they are.

    The split `unseen` is left out: its kind is in no other split, so that no class is right for it.

    Raises:
        DataError: a sample is of a kind that is no class, or a split lacks a class.
    """
    return {name: _labelled(name, split, classes) for name, split in splits.items() if name != "unseen"} if classes else splits


def _labelled(name: str, split: "SampleSet", classes: tuple[str, ...]) -> "SampleSet":
    from paretolens.data.store import digest_of_json

    found = set(split.kinds)
    if found != set(classes):
        wrong = [f"{', '.join(sorted(found - set(classes)))} of its kinds are no classes"] * bool(found - set(classes))
        wrong += [f"it has no {', '.join(sorted(set(classes) - found))}"] * bool(set(classes) - found)
        raise DataError(
            f"data.classes must be the kinds of the samples in every split, in {name} {' and '.join(wrong)}: "
            f"its kinds are {', '.join(sorted(found))}; mend data.classes or the data"
        )
    return replace(
        split,
        signature=replace(split.signature, classes=classes),
        labels=np.array([classes.index(kind) for kind in split.kinds], dtype=np.float32),
        fingerprint=digest_of_json({"parent": split.fingerprint, "classes": list(classes)}),
        folder=None,  # what lies there is labelled otherwise
    )
