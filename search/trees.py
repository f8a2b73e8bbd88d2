"""Configurations as trees of plain values, before anything is known of what they may say: files, presets, `--set key=value`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from paretolens.errors import ConfigurationError
from paretolens.naming import nearest

__all__ = ["PRESETS", "Tree", "beyond", "check_preset", "merge", "parse_assignment", "preset_of", "read_yaml"]

Tree = dict[str, Any]
PRESETS = Path(__file__).parent / "presets"


def check_preset(name: str) -> str:
    """The name of a preset that there is.

    Raises:
        ConfigurationError: there is none of that name; the nearest is named.
    """
    available = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    if name not in available:
        raise ConfigurationError(f"preset {name}: not known{nearest(name, available)}")
    return name


def preset_of(family: str) -> str:
    """The preset that a family is searched with unless another is named."""
    own = f"{family}-quick"
    return own if (PRESETS / f"{own}.yaml").is_file() else "default"


def read_yaml(path: Path) -> Tree:
    """Read a configuration file as a tree of plain values.

    Raises:
        ConfigurationError: the file is missing, is no YAML, or is not a mapping of keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigurationError(f"configuration file {path}: cannot be read ({reason}); give the path of a YAML file") from error
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise ConfigurationError(f"configuration file {path}{where}: not valid YAML ({problem})") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigurationError(f"configuration file {path}: expected keys with values, found a {type(tree).__name__}")
    return tree


def parse_assignment(text: str) -> Tree:
    """Turn `a.b=value` into `{"a": {"b": value}}`; the value is read as YAML.

    Raises:
        ConfigurationError: there is no key or no value, or the value is no YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigurationError(f"--set {text}: expected key=value, for example --set search.trials=48")
    try:
        tree: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {text}: the value is not valid YAML; quote it") from error
    for part in reversed(key.split(".")):
        tree = {part: tree}
    return dict(tree)


def merge(*trees: Mapping[str, Any]) -> Tree:
    """Merge trees of keys; later ones win, key by key."""
    merged: Tree = {}
    for tree in trees:
        for key, value in tree.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            merged[key] = merge(merged[key], value) if both else value
    return merged


def beyond(tree: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """What a tree says that the usual one does not: equal values are left out, and branches that hold nothing else."""
    found = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and isinstance(usual.get(key), Mapping):
            if inner := beyond(value, usual[key]):
                found[key] = inner
        elif key not in usual or value != usual[key]:
            found[key] = value
    return found
