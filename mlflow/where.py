"""A small filter language over the columns of a table of trials: `latency_ms < 5 and eps > .6`.

Read with `ast`, never evaluated by Python: names, numbers, strings, `and or not`, comparisons (chains too), `in (…)` and
arithmetic on numbers. A knob is `params.width`, or `width` where no metric has that name. A trial that lacks a value the filter
asks for is out.
"""

import ast
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from paretolens.errors import ConfigurationError
from paretolens.mlflow.filter_syntax import parse_filter
from paretolens.mlflow.names import LISTING
from paretolens.mlflow.runs import PARAM_PREFIX
from paretolens.naming import did_you_mean

__all__ = ["matches"]

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISON: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def matches(frame: pd.DataFrame, where: str) -> "pd.Series[bool]":
    """Which rows of a table a filter keeps.

    Raises:
        ConfigurationError: the filter can't be read, or names a column that there isn't (the nearest is named).
    """
    tree = parse_filter(where)
    reader = _Reader(frame, where)
    kept = reader.truth(tree)
    return pd.Series(kept & reader.present, index=frame.index, dtype=bool)


class _Reader:
    """Walks the tree; every value is a column as long as the table, or a constant."""

    def __init__(self, frame: pd.DataFrame, where: str) -> None:
        self._frame, self._where = frame, where
        self.present = np.ones(len(frame), dtype=bool)

    def truth(self, node: ast.expr) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        """A condition, as one bool per row."""
        if isinstance(node, ast.BoolOp):
            parts = [self.truth(value) for value in node.values]
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return np.asarray(join.reduce(parts), dtype=bool)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.truth(node.operand)
        if isinstance(node, ast.Compare):
            return self._compare(node)
        value = self.value(node)
        flags = np.broadcast_to(np.asarray(value, dtype=object), len(self._frame))
        if all(isinstance(flag, bool | np.bool_) or pd.isna(flag) for flag in flags):
            return np.array([flag is True or flag is np.True_ for flag in flags], dtype=bool)
        raise self._error(f"{ast.unparse(node)!r} is a value, compare it with something")

    def value(self, node: ast.expr) -> Any:
        """A column or a constant."""
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
            return node.value
        if isinstance(node, ast.Name):
            return self._column(node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return self._column(f"{node.value.id}.{node.attr}")
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            number = self._number(node.operand)
            return -number if isinstance(node.op, ast.USub) else number
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            with np.errstate(all="ignore"):
                return _ARITHMETIC[type(node.op)](self._number(node.left), self._number(node.right))
        raise self._error(f"{ast.unparse(node)[:60]!r} is not allowed; use names, numbers, text, and or not, < <= > >= == != in")

    def _number(self, node: ast.expr) -> Any:
        value = np.asarray(self.value(node))
        if value.dtype.kind not in "biuf":
            raise self._error(f"{ast.unparse(node)!r} is no number")
        return value.astype(np.float64)

    def _compare(self, node: ast.Compare) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        kept = np.ones(len(self._frame), dtype=bool)
        left = node.left
        for sign, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(sign, ast.In | ast.NotIn):
                found = self._is_in(left, right)
                kept &= ~found if isinstance(sign, ast.NotIn) else found
            elif type(sign) in _COMPARISON:
                kept &= self._compare_pair(left, type(sign), right)
            else:
                raise self._error("'is' is not allowed; write ==")
            left = right
        return kept

    def _compare_pair(self, left: ast.expr, sign: type[ast.cmpop], right: ast.expr) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        first, second = self.value(left), self.value(right)
        if sign not in (ast.Eq, ast.NotEq) and _is_text(first) != _is_text(second):
            raise self._error(f"{ast.unparse(left)!r} and {ast.unparse(right)!r} can't be ordered, one is text")
        with np.errstate(invalid="ignore"):
            result = _COMPARISON[sign](np.asarray(first), np.asarray(second))
        return np.broadcast_to(np.asarray(result, dtype=bool), len(self._frame))

    def _is_in(self, left: ast.expr, right: ast.expr) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        if not isinstance(right, ast.Tuple | ast.List | ast.Set):
            raise self._error("'in' needs a list, as in params.backbone in ('a', 'b')")
        choices = [self.value(item) for item in right.elts]
        if any(np.ndim(choice) for choice in choices):
            raise self._error("the list after 'in' may only hold constants")
        value = np.broadcast_to(np.asarray(self.value(left)), len(self._frame))
        return np.array([item in choices for item in value.tolist()], dtype=bool)

    def _column(self, name: str) -> Any:
        full = name if name in self._frame.columns else f"{PARAM_PREFIX}{name}"
        if full not in self._frame.columns:
            known = sorted({str(column).removeprefix(PARAM_PREFIX) for column in self._frame.columns})
            raise self._error(
                f"there is no metric or knob {name!r}{did_you_mean(name, known, listing=LISTING, said='there are')}"
            )
        column = self._frame[full]
        self.present &= column.notna().to_numpy()
        return column.to_numpy()

    def _error(self, text: str) -> ConfigurationError:
        return ConfigurationError(f"filter {self._where!r}: {text}")


def _is_text(value: Any) -> bool:
    items = np.asarray(value, dtype=object).reshape(-1).tolist()
    return any(isinstance(item, str) for item in items)
