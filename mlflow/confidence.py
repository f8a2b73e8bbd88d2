"""At which level intervals were taken, so that what is drawn and printed says so."""

from collections.abc import Iterable, Mapping

__all__ = ["confidence_of", "levels_told"]

_USUAL = 0.95
"""Level of every interval that no setting changes."""
_SETTING = "eps.confidence"


def confidence_of(params: Mapping[str, str], metric: str) -> float:
    """Level, 0…1, of a metric's interval in a study with these parameters: EPS has a setting of its own."""
    if metric.split("_", maxsplit=1)[0] in ("eps", "neps") and _SETTING in params:
        return float(params[_SETTING])
    return _USUAL


def levels_told(params: Mapping[str, str], metrics: Iterable[str]) -> str:
    """`95 %`, or `95 % (accuracy) and 90 % (eps)` where they differ; the usual level without metrics."""
    found: dict[str, list[str]] = {}
    for metric in metrics:
        found.setdefault(f"{100 * confidence_of(params, metric):g} %", []).append(metric)
    if len(found) < 2:
        return next(iter(found), f"{100 * _USUAL:g} %")
    return " and ".join(f"{level} ({', '.join(names)})" for level, names in found.items())
