"""What a check says."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

__all__ = ["Check", "Tick"]

Tick = Callable[[int, int], None]
"""(done, total): how far a check has come."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the table."""

    name: str
    """What was checked."""
    measured: str
    """What came out."""
    expected: str
    """What had to."""
    passed: bool
    """Whether it did."""
    undefined: str = ""
    """Why it could not be judged; empty where it was. What could not be judged has neither passed nor failed."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """The same as numbers."""

    @property
    def failed(self) -> bool:
        """Whether something else came out than had to."""
        return not self.passed and not self.undefined

    @property
    def verdict(self) -> str:
        """In words."""
        return "not judged" if self.undefined else "passed" if self.passed else "FAILED"

    def unless_undefined(self, why: str, *deciding: str) -> "Check":
        """The check, marked as not judged where a figure that decides it (all of them by default) is not a number."""
        names = [name for name in deciding or self.figures if math.isnan(self.figures[name])]
        return replace(self, passed=False, undefined=f"{', '.join(names)} undefined: {why}") if names else self

    def record(self) -> dict[str, Any]:
        """Plain values; `Check(**record)` is the reverse."""
        return asdict(self)
