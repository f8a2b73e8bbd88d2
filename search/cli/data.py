"""Make the built-in generated clips (kept for the next time), count them by split and kind, and draw a contact sheet:
frames with the manipulated region, the mouth against the sound, the coefficients that a model hears.
"""

import argparse
from collections import Counter
from pathlib import Path

from paretolens.search.cli.common import add_configuration, add_workspace, make_console, workspace_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw the contact sheet into this PNG")
    add_configuration(parser)
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Make, count and draw."""
    from rich.table import Table

    from paretolens.data.generated.sheet import draw_sheet
    from paretolens.data.prepare import clips_folder, prepare
    from paretolens.search.config import load_config
    from paretolens.search.progress import ConsoleSteps

    config = load_config(preset=options.preset or "default", file=options.config, assignments=options.assignments, flags={})
    workspace, console = workspace_of(options), make_console()
    workspace.ensure_writable()
    with ConsoleSteps(console).step("data (generated)") as update:
        sets = prepare(config.data, workspace.cache, lambda done, total: update(done, total, "clips"))
        update(1, 1, str(clips_folder(config.data, workspace.cache)))
    counts = {split: Counter(str(kind) for kind in samples.kinds) for split, samples in sets.items()}
    kinds = list(dict.fromkeys(kind for found in counts.values() for kind in sorted(found, key=lambda name: name != "real")))
    table = Table(title="generated clips: drawn faces, synthesised voices", title_justify="left", pad_edge=False)
    for name in ("split", "clips", "source clips", *kinds):
        table.add_column(name, justify="left" if name == "split" else "right")
    for split, samples in sets.items():
        sources = len(set(samples.groups.tolist()))
        table.add_row(split, str(len(samples)), str(sources), *(str(counts[split][kind]) for kind in kinds))
    console.print(table)
    if options.sheet:
        draw_sheet(sets, config.data, options.sheet)
        console.print(f"  contact sheet          {options.sheet}", highlight=False, soft_wrap=True)
    return 0
