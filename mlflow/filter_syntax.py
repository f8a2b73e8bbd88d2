"""Whether a text is a filter at all: known before anything is read, and without what reads it."""

import ast

from paretolens.errors import ConfigurationError

__all__ = ["parse_filter"]

_LONGEST = 500


def parse_filter(where: str) -> ast.expr:
    """The expression that a filter is, not evaluated; `where.matches` says which names and operations it may use.

    Raises:
        ConfigurationError: it is too long, or no expression.
    """
    if len(where) > _LONGEST:
        raise ConfigurationError(f"filter: at most {_LONGEST} characters, got {len(where)}")
    try:
        tree = ast.parse(where.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError) as error:
        hint = "; write == to compare" if "=" in where and "==" not in where else ""
        raise ConfigurationError(
            f"filter {where!r}: not an expression{hint}, write for instance 'latency_ms < 5 and eps > .6'"
        ) from error
    return tree.body
