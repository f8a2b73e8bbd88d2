"""From YAML and `--set key=value` to frozen dataclasses, with every mistake named at once.

The schema *is* the tree of settings dataclasses: a key is a field, its type and `annotated_types` bounds are what is allowed,
its docstring is the help. Unknown keys are found by walking that tree (so that the nearest valid key can be named); values are
checked by pydantic.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from paretolens.errors import ConfigurationError
from paretolens.naming import nearest
from paretolens.search.trees import merge, parse_assignment, read_yaml

__all__ = ["MistakesError", "build", "merge", "parse_assignment", "read_yaml", "to_plain"]

T = TypeVar("T")


class MistakesError(ValueError):
    """What is wrong with a part that a validator of its own checks; the text stands beside the other mistakes as it is."""


def build(kind: type[T], tree: Mapping[str, Any], *, path: tuple[str, ...] = ()) -> T:
    """Validate a tree of plain values into the dataclass `kind`.

    Args:
        kind: a settings dataclass.
        tree: plain values.
        path: keys that lead to the tree within the whole file, for messages.

    Raises:
        ConfigurationError: one line that lists every unknown key (with the nearest valid one) and every value out of range.
    """
    problems = [*_unknown_keys(kind, tree, path), *_misplaced_bools(kind, tree, path)]
    try:
        value = TypeAdapter(kind).validate_python(dict(tree))
    except ValidationError as error:
        problems += [_describe(item, path) for item in error.errors()]
        value = None
    if problems:
        raise ConfigurationError("configuration: " + "; ".join(dict.fromkeys(problems)))
    return value  # type: ignore[return-value]  # None only where there are problems


def to_plain(value: Any) -> Any:
    """The reverse of `build`: dataclasses, enums, tuples and paths as plain YAML values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, str):
        return str(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _unknown_keys(kind: Any, tree: Any, path: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(tree, Mapping):
        return
    for branch in _dataclasses_in(kind):
        hints = get_type_hints(branch)
        names = [field.name for field in dataclasses.fields(branch)]
        for key, value in tree.items():
            if key in names:
                yield from _unknown_keys(hints[key], value, (*path, str(key)))
                continue
            dotted = ".".join((*path, str(key)))
            yield f"unknown key {dotted}{nearest(str(key), names, prefix=path)}"


def _misplaced_bools(kind: Any, tree: Any, path: tuple[str, ...]) -> Iterator[str]:
    """true and false where a number is wanted: Python, and so the validation, takes them for 1 and 0."""
    if not isinstance(tree, Mapping):
        return
    for branch in _dataclasses_in(kind):
        hints = get_type_hints(branch)
        for key, value in tree.items():
            table = isinstance(value, Mapping) and not _dataclasses_in(hints.get(key))
            items = value.values() if table else value if isinstance(value, list | tuple) else [value]
            wrong = next((item for item in items if isinstance(item, bool)), None)
            if key in hints and wrong is not None and not _takes_bool(hints[key]):
                yield f"{'.'.join((*path, str(key)))} is {str(wrong).lower()}: a number is needed, not true or false"
            yield from _misplaced_bools(hints.get(key), value, (*path, str(key)))


def _takes_bool(hint: Any) -> bool:
    """Whether a type says more of true and false than that they are numbers."""
    return hint in (Any, bool, object) or any(_takes_bool(arm) for arm in get_args(hint))


def _dataclasses_in(kind: Any) -> list[Any]:
    if dataclasses.is_dataclass(kind):
        return [kind]
    if get_origin(kind) in (Union, UnionType):
        return [arm for arm in get_args(kind) if dataclasses.is_dataclass(arm)]
    return []


def _describe(item: Mapping[str, Any], path: tuple[str, ...]) -> str:
    where = ".".join(str(part) for part in (*path, *item["loc"])) or "the file"
    value, error = repr(item.get("input")), item.get("ctx", {}).get("error")
    if isinstance(error, MistakesError):
        return str(error)
    message = str(item["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{where} is {value[:60]}: {message}"
