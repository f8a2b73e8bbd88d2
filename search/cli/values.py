"""Values of flags, checked while the command line is read: a wrong one is answered before anything slow is imported."""

import argparse
import math
import os
from collections.abc import Callable, Collection
from pathlib import Path

from paretolens.errors import UserError
from paretolens.naming import nearest

__all__ = [
    "assignment", "checked", "choices", "config_file", "filter_text", "number", "objectives", "one_member", "output_file",
    "preset", "ray_address", "study_name", "tracking_uri", "whole",
]  # fmt: skip


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A whole number from `least` on, up to `most`."""
    allowed = f"{least} or more" if most is None else f"{least} to {most}"

    def read(text: str) -> int:
        number = int(text) if text.strip().lstrip("+-").isdecimal() else None
        if number is None or number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"{text!r}: give a whole number, {allowed}")
        return number

    return read


def number(*, least: float | None = None, above: float | None = None) -> Callable[[str], float]:
    """A finite number, not below `least`, or larger than `above`."""
    allowed = f"{least:g} or more" if least is not None else f"above {above:g}" if above is not None else "finite"

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        low = (least is not None and value < least) or (above is not None and value <= above)
        if low or not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{text!r}: give a number, {allowed}")
        return value

    return read


def choices(allowed: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Words with commas between them, each of those allowed."""

    def read(text: str) -> tuple[str, ...]:
        words = tuple(filter(None, (word.strip() for word in text.split(","))))
        wrong = [word for word in words if word not in allowed]
        if wrong or not words:
            raise argparse.ArgumentTypeError(f"{(wrong or [text])[0]!r}: not known{nearest(''.join(wrong[:1]), allowed)}")
        return words

    return read


def checked(check: Callable[[str], object]) -> Callable[[str], str]:
    """The text as it is, once `check` has raised no error of the user's over it."""

    def read(text: str) -> str:
        try:
            check(text)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return text

    return read


def preset(text: str) -> str:
    """The name of a built-in configuration."""
    from paretolens.search.trees import check_preset

    return checked(check_preset)(text)


def assignment(text: str) -> str:
    """KEY=VALUE; whether there is such a key is known later."""
    from paretolens.search.trees import parse_assignment

    return checked(parse_assignment)(text)


def config_file(text: str) -> Path:
    """A file that can be read; what it says is judged later."""
    path = Path(text)
    if not path.is_file() or not os.access(path, os.R_OK):
        why = "it is a folder" if path.is_dir() else "no right to" if path.is_file() else "there is no such file"
        raise argparse.ArgumentTypeError(f"configuration file {path}: cannot be read ({why}); give the path of a YAML file")
    return path


def study_name(text: str) -> str:
    """What can be a study's folder's name."""
    from paretolens.search.workspace import check_name

    return checked(check_name)(text)


def ray_address(text: str) -> str:
    """auto, local, or HOST:PORT; whether anybody answers there is found out later."""
    from paretolens.search.runtime import check_address

    return text if text == "local" else checked(check_address)(text)


def output_file(text: str) -> Path:
    """A file that can be written once its folders are made."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: is a folder; name a file in it")
    place = next(folder for folder in path.absolute().parents if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{text!r}: nothing can be written in {place}; choose another place")
    return path


def tracking_uri(text: str) -> str:
    """A store of a kind that is supported; whether it answers is found out later."""
    from paretolens.mlflow.store import resolve_uri

    return checked(resolve_uri)(text)


def objectives(text: str) -> dict[str, str]:
    """Metrics and directions; whether trials have them is known later."""
    from paretolens.mlflow.objectives import parse_objectives

    checked(parse_objectives)(text)
    return parse_objectives(text)


def one_member(text: str) -> str:
    """A member of the front; words that mean all of it are refused."""
    if text in ("all", "front"):
        raise argparse.ArgumentTypeError(
            f"{text!r}: one model is needed; give knee, fastest, most-faithful, most-accurate, or a trial such as 12"
        )
    return text


def filter_text(text: str) -> str:
    """An expression; whether there are such columns is known later."""
    from paretolens.mlflow.filter_syntax import parse_filter

    return checked(parse_filter)(text)
