"""Configuration: merging, unknown keys with the nearest valid one, all mistakes at once."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import annotated_types
import pytest

from paretolens.errors import ConfigurationError
from paretolens.search import schema
from paretolens.search.config import load_config


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Inner:
    trials: Annotated[int, annotated_types.Ge(1)] = 24
    rate: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str = "x"
    colour: Colour = Colour.RED
    sizes: tuple[int, ...] = (1, 2)
    inner: Inner = field(default_factory=Inner)
    optional: Inner | None = None


def test_build_reads_nested_values_and_round_trips() -> None:
    value = schema.build(Outer, {"colour": "blue", "inner": {"trials": 3}, "sizes": [4, 5], "optional": {"rate": 1}})
    assert value == Outer(colour=Colour.BLUE, inner=Inner(trials=3), sizes=(4, 5), optional=Inner(rate=1.0))
    assert schema.build(Outer, schema.to_plain(value)) == value


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown key inner\.trails \(did you mean inner\.trials\?\)"):
        schema.build(Outer, {"inner": {"trails": 3}})


def test_unknown_key_far_from_all_lists_what_is_allowed() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown key zzzzzz \(allowed: colour, inner, name, optional, sizes\)"):
        schema.build(Outer, {"zzzzzz": 3})


def test_every_mistake_is_reported_in_one_line() -> None:
    with pytest.raises(ConfigurationError) as caught:
        schema.build(Outer, {"inner": {"trials": 0, "reta": 1}, "colour": "green", "optional": {"x": 1}})
    message = str(caught.value)
    assert "\n" not in message
    for part in ("inner.trials is 0", "greater than or equal to 1", "inner.reta", "colour is 'green'", "optional.x"):
        assert part in message


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a.b=3", {"a": {"b": 3}}),
        ("a=[1, 2]", {"a": [1, 2]}),
        ("a=x=y", {"a": "x=y"}),
        ("a.b.c=", {"a": {"b": {"c": None}}}),
    ],
)
def test_assignment(text: str, tree: dict[str, object]) -> None:
    assert schema.parse_assignment(text) == tree


@pytest.mark.parametrize("text", ["a", "=3", "a..b=3", "a=[1"])
def test_bad_assignment(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--set"):
        schema.parse_assignment(text)


def test_merge_is_deep_and_later_wins() -> None:
    assert schema.merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}}, {"d": {"e": 1}}) == {
        "a": {"b": 9, "c": 2},
        "d": {"e": 1},
    }


def test_yaml_errors_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        schema.read_yaml(tmp_path / "missing.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1\nb: 2\n")
    with pytest.raises(ConfigurationError, match=r"line \d+: not valid YAML"):
        schema.read_yaml(broken)
    broken.write_text("- 1\n- 2\n")
    with pytest.raises(ConfigurationError, match="expected keys with values, found a list"):
        schema.read_yaml(broken)
    broken.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ConfigurationError, match=r"broken\.yaml"):
        schema.read_yaml(broken)
    broken.write_text("")
    assert schema.read_yaml(broken) == {}


@pytest.mark.parametrize(
    "text",
    [
        "seed=true",
        "data.train=false",
        "search.workers=true",
        "teacher.epochs=true",
        "eps.tolerance=true",
        "student.prune.limits={a: true}",
    ],
)
def test_true_and_false_are_no_numbers(text):
    with pytest.raises(ConfigurationError, match=rf"{text.partition('=')[0]} is (true|false): a number is needed"):
        load_config(assignments=[text], flags={})


def test_true_and_false_stay_where_they_mean_something():
    assert load_config(assignments=["student.mirror=true", "cache.stages=false"], flags={}).student.mirror is True
