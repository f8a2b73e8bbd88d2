"""Data in, numbers out: accuracy, latency, cost, explanations and EPS.

Everything public of `paretolens.evaluators.eps` and `paretolens.evaluators.explain` can be imported from here; it is loaded when
it is asked for, since latency and cost need none of it.
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    for room in ("eps", "explain") if not name.startswith("_") else ():
        module = importlib.import_module(f"paretolens.evaluators.{room}")
        if name in module.__all__:
            return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
