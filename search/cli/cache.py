"""Show what is kept between studies, and remove it: generated clips, teachers and their outputs, and the students after each
stage of training, which later trials start from. Nothing here is a result: whatever is removed is made again when needed.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from paretolens.errors import ConfigurationError
from paretolens.search.caches import KINDS, CacheKind, clear, stage_cache, survey
from paretolens.search.cli.common import add_workspace, make_console, workspace_of
from paretolens.search.cli.values import number

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--prune", action="store_true", help="remove the stages used longest ago until they fit --max-gb")
    parser.add_argument(
        "--max-gb", type=number(least=0), metavar="N", help="with --prune: 10⁹ bytes of stages to keep (default: 5)"
    )
    parser.add_argument("--clear", choices=sorted(KINDS), metavar="KIND", help=f"remove all of a kind: {', '.join(KINDS)}")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Remove what is asked for, then print the table."""
    if options.max_gb is not None and not options.prune:
        raise ConfigurationError(f"--max-gb {options.max_gb:g}: bounds what --prune leaves; give --prune too")
    from paretolens.search.stage_cache import CacheSettings

    workspace, console = workspace_of(options), make_console()
    removed = []
    if options.prune:
        bound = CacheSettings().max_gb if options.max_gb is None else options.max_gb
        removed.append(stage_cache(workspace).evict(bound * 1e9))
    if options.clear:
        removed.append(clear(workspace, options.clear))
    kinds = survey(workspace)
    if options.json:
        print(json.dumps([asdict(kind) for kind in kinds], indent=1))
        return 0
    if removed:
        entries, size = (sum(column) for column in zip(*removed, strict=True))
        console.print(f"removed {entries} entries, {size / 1e6:.1f} MB", highlight=False)
    console.print(_table(kinds))
    where = f"in {workspace.cache}" + ("" if workspace.cache.is_dir() else ", which is not there")
    console.print(where, highlight=False, soft_wrap=True)
    return 0


def _table(kinds: Sequence[CacheKind]) -> "Table":
    from rich.table import Table

    table = Table(pad_edge=False)
    for name in ("kind", "what", "entries", "size", "reused", "oldest use", "last use"):
        table.add_column(name, justify="left" if name in ("kind", "what") else "right")
    for kind in kinds:
        table.add_row(
            kind.name, kind.what, str(kind.count), f"{kind.size_bytes / 1e6:.1f} MB",
            "" if kind.uses is None else f"{kind.uses} times", _age(kind.oldest), _age(kind.newest),
        )  # fmt: skip
    return table


def _age(moment: float | None) -> str:
    """How long ago, in the largest whole unit."""
    if moment is None:
        return ""
    seconds = max(0.0, time.time() - moment)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
