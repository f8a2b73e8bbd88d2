"""Items that belong together: connected by a shared recording, and where wanted by a shared person."""

import hashlib
from collections.abc import Iterable, Sequence

from paretolens.data.readers.listing import Item

__all__ = ["families_of", "order_of"]


def families_of(items: Sequence[Item], *, persons: bool = False) -> list[int]:
    """Number of each item's family, counted in the order of first appearance.

    Args:
        items: Any items.
        persons: Whether a shared person, changed or donor, connects items as a shared recording does.
    """
    parent: dict[str, str] = {}
    for item in items:
        names = [f"recording {name}" for name in item.family]
        names += [f"person {person}" for person in item.persons] if persons else []
        _join(parent, names)
    numbers: dict[str, int] = {}
    return [numbers.setdefault(_root(parent, f"recording {item.family[0]}"), len(numbers)) for item in items]


def order_of(name: str, seed: int) -> str:
    """A key that puts names in an order that looks random and is always the same."""
    return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).hexdigest()


def _join(parent: dict[str, str], names: Iterable[str]) -> None:
    roots = [_root(parent, name) for name in names]
    for root in roots[1:]:
        parent[root] = roots[0]
        roots[0] = _root(parent, roots[0])


def _root(parent: dict[str, str], name: str) -> str:
    """Root of a name's tree; paths are halved on the way, so that trees stay flat."""
    parent.setdefault(name, name)
    while parent[name] != name:
        parent[name] = parent[parent[name]]
        name = parent[name]
    return name
