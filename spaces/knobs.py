"""Knobs and spaces: what may vary in a search, as one flat list without conditional branches.

A genome maps every knob's name to a value. `Space.repair` makes any genome within the ranges buildable; `Space.active` tells
which knobs matter for it, so that genomes which differ only in the others are known to be the same. Plain Python: nothing
heavy is imported, and the search's own library never enters.
"""

import functools
import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from paretolens.errors import ConfigurationError
from paretolens.naming import did_you_mean

__all__ = ["Genome", "Knob", "Space", "Stage", "Value", "nearest_value"]

Value = int | float | str | bool
Genome = Mapping[str, Value]


class Stage(StrEnum):
    """Which stage of a trial a knob belongs to; stages run in this order."""

    STUDENT = "student"
    DISTILL = "distill"
    PRUNE = "prune"
    FACTORISE = "factorise"
    ALIGN = "align"
    QUANTISE = "quantise"
    SETTLE = "settle"
    """After all training; only families with something to settle have such knobs."""


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One thing that may vary: either a tuple of choices, or a range of numbers."""

    name: str
    """Key in the genome."""
    stage: Stage
    """Where it takes effect."""
    doc: str
    """One line: what it does."""
    default: Value
    """The value of `Space.default`."""
    choices: tuple[Value, ...] = ()
    """The values it may take; empty for a range."""
    low: float | None = None
    """Lowest value of a range, inclusive."""
    high: float | None = None
    """Highest value of a range, inclusive."""
    log: bool = False
    """Draw a range's logarithm uniformly."""
    step: float | None = None
    """Distance between neighbouring values of a range, from `low` on; None = continuous."""
    allowed: tuple[Value, ...] = ()
    """Every choice a configuration may ask for; empty = any of the same type within `limits`."""
    limits: tuple[float, float] = (-math.inf, math.inf)
    """Lowest and highest number a configuration may ask for."""
    judge: Callable[[str], None] | None = None
    """For text that is too much to be listed in `allowed`: raises ConfigurationError where a configuration may not ask for it."""

    def __post_init__(self) -> None:
        """Check that the knob describes itself without contradiction.

        Raises:
            ConfigurationError: neither or both of choices and range, an empty range, or a value outside of what is allowed.
        """
        ranged = self.low is not None and self.high is not None
        if ranged == bool(self.choices) or (self.low is None) != (self.high is None):
            raise ConfigurationError(f"knob {self.name}: give either choices or both low and high")
        if len(set(self.choices)) != len(self.choices):
            raise ConfigurationError(f"knob {self.name}: a choice stands twice in {list(self.choices)}; give each once")
        for value in self.choices or (self.low, self.high):
            self._check_allowed(value)
        if self.low is not None and self.high is not None:
            if self.low > self.high:
                raise ConfigurationError(f"knob {self.name}: low must not be above high; got {self.low:g} and {self.high:g}")
            if self.log and (self.low <= 0 or self.step):
                raise ConfigurationError(f"knob {self.name}: a logarithmic range needs low > 0 and no step; got low {self.low:g}")
            if self.step is not None and not self.step > 0:
                raise ConfigurationError(f"knob {self.name}: step must be above 0; got {self.step:g}")
        if not self.holds(self.default):
            raise ConfigurationError(f"knob {self.name}: the default {self.default!r} is not within {self.describe()}")

    @functools.cached_property
    def grid(self) -> tuple[Value, ...]:
        """All values; empty for a continuous range."""
        if self.choices or self.low is None or self.high is None or self.step is None:
            return self.choices
        count = int((self.high - self.low) / self.step + 1e-9) + 1
        return tuple(round(self.low + index * self.step, 12) for index in range(count))

    def holds(self, value: object) -> bool:
        """Whether the knob may take this value; True is no 1, and 1 is 1.0."""
        if self.grid:
            return any(_same(value, choice) for choice in self.grid)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low is not None and self.high is not None and self.low <= value <= self.high

    def sample(self, rng: random.Random) -> Value:
        """Draw a value with `rng`."""
        if self.grid:
            return rng.choice(self.grid)
        low, high = self.low or 0.0, self.high or 0.0
        if self.log:
            return min(high, max(low, math.exp(rng.uniform(math.log(low), math.log(high)))))
        return rng.uniform(low, high)

    def describe(self) -> str:
        """The values in words, for tables and messages."""
        if self.choices:
            return "{" + ", ".join(_show(value) for value in self.choices) + "}"
        scale = ", log" if self.log else f", step {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{scale}"

    def override(self, wish: Any) -> "Knob":
        """The same knob with other values: a list of choices, a mapping with low/high/log/step, or one fixed value.

        Raises:
            ConfigurationError: a wish of another form, type or beyond what is allowed.
        """
        if isinstance(wish, Mapping):
            unknown = set(wish) - {"low", "high", "log", "step"}
            if unknown or not self._numeric() or self._whole():
                raise ConfigurationError(
                    f"knob {self.name}: {sorted(wish)} cannot be set; a range takes low, high, log and step, "
                    f"a choice takes a list such as {list(self.grid[:3])}"
                )
            changes = {**{"low": self.low, "high": self.high, "log": self.log, "step": self.step}, **dict(wish)}
            return self._changed(choices=(), **changes)
        values = tuple(wish) if isinstance(wish, Sequence) and not isinstance(wish, str) else (wish,)
        if not values:
            raise ConfigurationError(f"knob {self.name}: the list of choices is empty; give at least one")
        return self._changed(choices=values, low=None, high=None, log=False, step=None)

    def _changed(self, **changes: Any) -> "Knob":
        for key in ("low", "high", "step"):
            value = changes.get(key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ConfigurationError(f"knob {self.name}: {key} must be a number; got {value!r}")
        for value in changes["choices"]:
            self._check_allowed(value)
        first = changes["choices"][0] if changes["choices"] else changes["low"]
        knob = replace(self, default=first, **changes)
        if knob.holds(self.default):
            return replace(knob, default=self.default)
        if not self._numeric():
            return knob
        return replace(knob, default=nearest_value(self.default, knob.grid or (knob.low or 0.0, knob.high or 0.0)))

    def _numeric(self) -> bool:
        return isinstance(self.default, int | float) and not isinstance(self.default, bool)

    def _whole(self) -> bool:
        return bool(self.choices) and all(isinstance(value, int) for value in self.choices)

    def _check_allowed(self, value: Any) -> None:
        if self.judge is not None:
            if not isinstance(value, str):
                raise ConfigurationError(f"knob {self.name}: expected text; got {value!r}")
            try:
                self.judge(value)
            except ConfigurationError as error:
                raise ConfigurationError(f"knob {self.name}: {error}") from error
            return
        if self.allowed:
            if not any(_same(value, choice) for choice in self.allowed):
                raise ConfigurationError(f"knob {self.name}: {value!r} is not allowed{did_you_mean(value, self.allowed)}")
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or (self._whole() and not isinstance(value, int)):
            kind = "whole number" if self._whole() else "number"
            raise ConfigurationError(f"knob {self.name}: expected a {kind}; got {value!r}")
        low, high = self.limits
        if not low <= value <= high:
            raise ConfigurationError(f"knob {self.name}: {value!r} lies outside of {low:g} to {high:g}")


def _keep(space: "Space", genome: Genome) -> Genome:
    return genome


def _none(genome: Genome) -> frozenset[str]:
    return frozenset()


@dataclass(frozen=True, kw_only=True)
class Space:
    """The knobs of a search and the rules between them."""

    knobs: tuple[Knob, ...]
    """Every knob, in the order of the stages."""
    rule: Callable[["Space", Genome], Genome] = _keep
    """Turns values that do not fit together into the nearest that do, within the knobs' values.

    It raises ConfigurationError where no value fits.
    """
    idle: Callable[[Genome], frozenset[str]] = _none
    """The knobs without any effect for this genome."""

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The knobs' names, in order."""
        return tuple(knob.name for knob in self.knobs)

    def knob(self, name: str) -> Knob:
        """The knob of this name.

        Raises:
            ConfigurationError: there is none; the nearest is named.
        """
        for knob in self.knobs:
            if knob.name == name:
                return knob
        raise ConfigurationError(f"knob {name!r} is not known{did_you_mean(name, self.names)}")

    def validate(self, genome: Genome) -> None:
        """Check a genome, naming every mistake.

        Raises:
            ConfigurationError: an unknown or missing knob, a value out of range, or values that do not fit together.
        """
        problems = [f"unknown knob {name!r}{did_you_mean(name, self.names)}" for name in genome if name not in self.names]
        for knob in self.knobs:
            if knob.name not in genome:
                problems.append(f"knob {knob.name} is missing")
            elif not knob.holds(genome[knob.name]):
                problems.append(f"{knob.name} is {genome[knob.name]!r}, allowed: {knob.describe()}")
        if not problems:
            repaired = self.rule(self, genome)
            problems = [
                f"{name} {genome[name]!r} does not fit the others, {repaired[name]!r} would"
                for name in _differing(genome, repaired)
            ]
        if problems:
            raise ConfigurationError("genome: " + "; ".join(problems))

    def repair(self, genome: Genome) -> dict[str, Value]:
        """A genome within the ranges with the rules between knobs applied; repairing twice changes nothing more."""
        repaired = self.rule(self, genome)
        return {name: repaired[name] for name in self.names}

    def sample(self, rng: random.Random) -> dict[str, Value]:
        """A random genome, repaired."""
        return self.repair({knob.name: knob.sample(rng) for knob in self.knobs})

    def default(self) -> dict[str, Value]:
        """Every knob's default, repaired."""
        return self.repair({knob.name: knob.default for knob in self.knobs})

    def nearest(self, name: str, genome: Genome, fits: Callable[[Value], bool], problem: str) -> Value:
        """The value of a knob that fits and is closest to the genome's number; for rules.

        Args:
            name: The knob, one with choices or a step.
            genome: Has the wished number.
            fits: Whether a value fits the others.
            problem: What to say, and what to do, where none does.

        Raises:
            ConfigurationError: no value fits.
        """
        fitting = [value for value in self.knob(name).grid if fits(value)]
        if not fitting:
            raise ConfigurationError(f"knob {name}: {problem}")
        return nearest_value(genome[name], fitting)

    def require_at_most(self, name: str, most: float, remedy: str) -> None:
        """See that a knob with choices asks for no more than the input has.

        Raises:
            ConfigurationError: a choice does; the remedy ends the message.
        """
        above = [value for value in self.knob(name).grid if float(value) > most]
        if above:
            raise ConfigurationError(
                f"knob {name}: {above[0]} is more than the input's {most}; leave it out of the choices or {remedy}"
            )

    def active(self, genome: Genome) -> dict[str, Value]:
        """The part of the genome that has an effect: equal parts are equal trials."""
        idle = self.idle(genome)
        return {name: genome[name] for name in self.names if name not in idle}

    def size(self) -> int | None:
        """Number of genomes before repair; None where a range is continuous."""
        sizes = [len(knob.grid) for knob in self.knobs]
        return math.prod(sizes) if all(sizes) else None

    def override(self, wishes: Mapping[str, Any]) -> "Space":
        """The same space with other choices or ranges, by knob; all mistakes are named at once.

        Raises:
            ConfigurationError: an unknown knob, or a wish a knob refuses.
        """
        changed, problems = {}, []
        for name, wish in wishes.items():
            try:
                changed[name] = self.knob(name).override(wish)
            except ConfigurationError as error:
                problems.append(str(error))
        if problems:
            raise ConfigurationError("space: " + "; ".join(problems))
        space = replace(self, knobs=tuple(changed.get(knob.name, knob) for knob in self.knobs))
        space._check_repairable()
        return space

    def _check_repairable(self) -> None:
        """Repair every pair of choices once, so that values which never fit are found before a search begins."""
        base = {knob.name: knob.default for knob in self.knobs}
        for one, other in itertools.combinations([knob for knob in self.knobs if knob.choices], 2):
            for first, second in itertools.product(one.choices, other.choices):
                self.repair({**base, one.name: first, other.name: second})

    def rows(self) -> tuple[tuple[str, str, str, str, str], ...]:
        """A table: stage, knob, values, default, what it does."""
        return tuple((knob.stage.value, knob.name, knob.describe(), _show(knob.default), knob.doc) for knob in self.knobs)


def _same(value: object, other: object) -> bool:
    if isinstance(value, bool) or isinstance(other, bool) or isinstance(value, str) or isinstance(other, str):
        return type(value) is type(other) and value == other
    return value == other


def _differing(genome: Genome, other: Genome) -> list[str]:
    return [name for name in genome if genome[name] != other[name]]


def nearest_value(value: Value, values: Sequence[Value]) -> Value:
    """The number among `values` that is closest to a number; of two as close, the first."""
    return min(values, key=lambda item: abs(float(item) - float(value)))


def _show(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
