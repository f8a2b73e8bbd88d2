"""Limits on what is known before training: how they are written, and what exceeds them.

A limit is a number in the metric's own unit, or a share of the teacher's figure such as `25%`. A genome over a limit is ended
before it is trained and told to the sampler as a violated constraint.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator

__all__ = ["Limit", "LimitSettings", "resolve", "violations"]

_SHARE = re.compile(r"([0-9]*\.?[0-9]+) *%")


def _readable(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(_RULE)
    text = _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    number = float(text[1]) if text else value
    if isinstance(number, str) or not 0 < number < float("inf"):
        raise ValueError(_RULE)
    return f"{number:g}%" if text else float(number)


_RULE = "a limit is a number above 0, or a share of the teacher's figure such as 25%"

Limit: TypeAlias = Annotated[float | str, BeforeValidator(_readable)]
"""A number above 0, or text such as `25%`."""


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """The most that a student may cost; None is no limit. What exceeds one is ended before it is trained."""

    latency_ms: Limit | None = None
    """Milliseconds on the runtime that is timed."""
    parameters: Limit | None = None
    """Number of parameters."""
    macs: Limit | None = None
    """Multiply-accumulates of one sample."""
    size_mb: Limit | None = None
    """Megabytes (10⁶ bytes) of the exported file."""

    @property
    def given(self) -> dict[str, float | str]:
        """The limits that are set, by metric."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: limit for name, limit in found.items() if limit is not None}


def resolve(limits: LimitSettings, teacher: Mapping[str, float]) -> dict[str, float]:
    """Metric → limit in the metric's own unit.

    Args:
        limits: as configured.
        teacher: the teacher's figures; only read for shares.
    """
    return {
        name: float(limit.rstrip("%")) / 100 * teacher[name] if isinstance(limit, str) else limit
        for name, limit in limits.given.items()
    }


def violations(limits: Mapping[str, float], figures: Mapping[str, float]) -> dict[str, float]:
    """Metric → how far it exceeds its limit, as a share of the limit, > 0. Shares make limits in different units comparable."""
    return {name: figures[name] / limit - 1.0 for name, limit in limits.items() if figures[name] > limit}
