"""Which code and which libraries a process has: for the keys of what is kept, and to hold the machines of a cluster together."""

import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

import paretolens

__all__ = ["BUILDING", "EXPLAINING", "MISSING", "library_versions", "source_digest"]

EXPLAINING = ("evaluators/eps", "evaluators/explain", "models/decision.py")
"""What shapes a score of explanations."""

BUILDING = ("models", "spaces")
"""What shapes an untrained student."""

MISSING = "missing"
"""Version of a library that is not installed."""


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Distribution → version, by what is installed; nothing is imported for it."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = MISSING
    return found


def source_digest(places: Iterable[str], *others: Path) -> str:
    """SHA-256 of sources of this package.

    Args:
        places: folders (all Python files below them) and files, relative to the package.
        others: files elsewhere.
    """
    root = Path(paretolens.__file__).parent
    files = [path for place in places for path in (sorted((root / place).rglob("*.py")) or [root / place])]
    digest = hashlib.sha256()
    for path in (*files, *others):
        name = path.relative_to(root) if path.is_relative_to(root) else path.name
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
