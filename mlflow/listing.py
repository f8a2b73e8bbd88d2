"""Every metric and knob of a study by name: what objectives and filters may say."""

from typing import Any

import pandas as pd

from paretolens.mlflow.explorer.columns import KNOB_PREFIX, metric_names
from paretolens.mlflow.objectives import usual_direction

__all__ = ["listing_table"]

_BETTER = {"max": "more", "min": "less", None: "–"}
_SHOWN = 6


def listing_table(trials: pd.DataFrame) -> Any:
    """A `rich.table.Table` with a row per metric, then per knob: name, which way is better, in how many trials, its values.

    Args:
        trials: A row per trial, as `StudyRecord.trials`.
    """
    from rich.table import Table

    table = Table(title="metrics and knobs, as --objectives and --where name them", title_justify="left", pad_edge=False)
    for name in ("name", "kind", "better", "trials", "values"):
        table.add_column(name, justify="right" if name == "trials" else "left", overflow="fold")
    for name in sorted(metric_names(trials)):
        known = trials[name].dropna()
        values = f"{known.min():.4g} to {known.max():.4g}" if len(known) else ""
        table.add_row(name, "metric", _BETTER[usual_direction(name)], str(len(known)), values)
    for name in sorted(str(column) for column in trials.columns if str(column).startswith(KNOB_PREFIX)):
        known = trials[name].dropna()
        table.add_row(name.removeprefix(KNOB_PREFIX), "knob", "", str(len(known)), _values(known))
    return table


def _values(known: "pd.Series[Any]") -> str:
    """The different values, in order; the first few where there are many."""
    different = sorted(known.unique().tolist(), key=lambda value: (isinstance(value, str), value))
    more = f", … ({len(different)} in all)" if len(different) > _SHOWN else ""
    return ", ".join(str(value) for value in different[:_SHOWN]) + more
