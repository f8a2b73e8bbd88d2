"""Something that a benchmark has to reach."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure and its bound."""

    text: str
    reached: float
    wanted: float
    at_least: bool

    @property
    def holds(self) -> bool:
        """Whether the bound is kept; not by NaN."""
        return self.reached >= self.wanted if self.at_least else self.reached <= self.wanted

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        form = "{:.1f}" if self.at_least else "{:.1e}" if self.wanted < 0.001 else "{:.4f}" if self.wanted < 1 else "{:.2f}"
        said = "holds      " if self.holds else "falls short"
        return f"{said}  {self.text}: {form.format(self.reached)} (goal {sign} {self.wanted:g})"
