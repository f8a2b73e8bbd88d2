"""List the families of models that can be searched: what they take, where such data comes from, the built-in configurations, and
what is known of them here.

`counts asserted` are published parameter counts that the tests hold our networks to. `runs here` names the built-in
configurations that search the family on data made on the spot; the others need data of your own.
"""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from paretolens.search.cli.common import make_console

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print a block per family."""
    from paretolens.search.config import presets

    known = presets()
    rows = [_row(name, known) for name in _names()]
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    console = make_console()
    for row in rows:
        console.print(f"[bold]{row['family']}[/bold]  {row['summary']}", highlight=False)
        for title, value in (
            ("takes", f"{row['takes']}, from {', '.join(row['sources'])}"),
            ("spaces", ", ".join(f"{name} ({count} knobs)" for name, count in row["spaces"].items())),
            ("runs here", ", ".join(f"--preset {name}" for name in row["runs_here"]) or "nothing yet"),
            ("needs your data", ", ".join(f"--preset {name}" for name in row["needs_data"])),
            ("counts asserted", ", ".join(f"{name} {count:,}" for name, count in row["published"].items()) or "none"),
        ):
            if value:
                console.print(f"  {title:<16} {value}", highlight=False)
        console.print()
    return 0


def _names() -> tuple[str, ...]:
    from paretolens.spaces.registry import families

    return families()


def _source(tree: Mapping[str, Any]) -> str:
    from paretolens.data.sources import DEFAULT_SOURCE

    return str(tree.get("data", {}).get("source", DEFAULT_SOURCE))


def _row(name: str, known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    from paretolens.data.sources import get_source, sources
    from paretolens.spaces.registry import get_family

    family = get_family(name)
    mine = {preset: tree for preset, tree in known.items() if tree.get("family") == name}
    here = [preset for preset, tree in mine.items() if get_source(_source(tree)).generated]
    return {
        "family": name,
        "summary": family.summary,
        "takes": str(family.data_kind),
        "sources": [source for source in sources() if family.data_kind in get_source(source).kinds],
        "spaces": {preset: len(family.space(preset).knobs) for preset in family.presets},
        "runs_here": here,
        "needs_data": [preset for preset in mine if preset not in here],
        "published": {network: published.parameters for network, published in family.published.items()},
    }
