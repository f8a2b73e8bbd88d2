"""What a message says about a name that is not known: the nearest that is, and all of them while they are few."""

import difflib
from collections.abc import Collection, Sequence

__all__ = ["did_you_mean", "nearest"]

_FEW = 12
_NEAR = 5


def nearest(word: str, valid: Collection[str], *, prefix: Sequence[str] = ()) -> str:
    """In brackets, to stand within a sentence: the nearest valid name, behind `prefix` and a dot; all if none is near."""
    close = difflib.get_close_matches(word, list(valid), n=1)
    if close:
        return f" (did you mean {'.'.join((*prefix, close[0]))}?)"
    return f" (allowed: {', '.join(sorted(valid))})"


def did_you_mean(word: object, valid: Collection[object], *, listing: str = "") -> str:
    """The end of a message: the nearest valid name, if one is near, and all of them.

    Args:
        word: what was given.
        valid: what is allowed; text is sorted, numbers keep their order.
        listing: how to see all of them; with it, only the nearest five are named where there are more than twelve.
    """
    names = [str(item) for item in valid]
    if all(isinstance(item, str) for item in valid):
        names.sort()
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ";"
    if not listing or len(names) <= _FEW:
        return f"{hint} Valid: {', '.join(names) or 'none yet'}"
    near = difflib.get_close_matches(str(word), names, n=_NEAR, cutoff=0.0)
    return f"{hint} The nearest of {len(names)}: {', '.join(near)}; {listing}"
