"""What a message says about a name that is not known: the nearest that is, if one is near, and all of them while they are few."""

import difflib
from collections.abc import Collection, Sequence

__all__ = ["did_you_mean", "nearest", "nearest_hint"]

_FEW = 12
_NEAR = 5
_ALIKE = 0.7
"""Least share of letters in common, as difflib counts them: two letters changed places in a word of five leave 0.8."""
_START = 3
"""Letters from which on the beginning of a name counts for the name."""


def nearest(word: str, valid: Collection[str], *, prefix: Sequence[str] = ()) -> str:
    """In brackets, to stand within a sentence: the nearest valid name, behind `prefix` and a dot; all if none is near."""
    close = _closest(word, list(valid))
    if close:
        return f" (did you mean {'.'.join((*prefix, close))}?)"
    return f" (allowed: {', '.join(sorted(valid))})"


def nearest_hint(word: object, valid: Collection[object]) -> str:
    """The end of a message: the nearest valid name; nothing if none is near."""
    close = _closest(str(word), [str(item) for item in valid])
    return f"; did you mean {close}?" if close else ""


def did_you_mean(word: object, valid: Collection[object], *, listing: str = "", said: str = "allowed") -> str:
    """The end of a message: the nearest valid name, if one is near, and all of them.

    Args:
        word: what was given.
        valid: what is allowed; text is sorted, numbers keep their order.
        listing: how to see all of them; with it, only the nearest five are named where there are more than twelve.
        said: what leads the names: "allowed", or "there are" for things that are made, as studies are.
    """
    names = [str(item) for item in valid]
    if not names:
        return "; there is none yet"
    if all(isinstance(item, str) for item in valid):
        names.sort()
    hint = nearest_hint(word, names)
    start = f"{hint} {said.capitalize()}" if hint else f"; {said}"
    if not listing or len(names) <= _FEW:
        return f"{start}: {', '.join(names)}"
    near = difflib.get_close_matches(str(word), names, n=_NEAR, cutoff=0.0)
    return f"{hint or ';'} The nearest of {len(names)}: {', '.join(near)}; {listing}"


def _closest(word: str, names: Sequence[str]) -> str | None:
    """The name most like a word, whatever its capitals; else the first that begins with it."""
    folded = {name.casefold(): name for name in reversed(names)}
    close = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=_ALIKE)
    if close:
        return folded[close[0]]
    return next((name for name in names if len(word) >= _START and name.casefold().startswith(word.casefold())), None)
