"""What a check says."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
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
    figures: Mapping[str, float] = field(default_factory=dict)
    """The same as numbers."""

    def record(self) -> dict[str, Any]:
        """Plain values; `Check(**record)` is the reverse."""
        return asdict(self)
