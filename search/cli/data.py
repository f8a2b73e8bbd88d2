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

    from paretolens.data.sources import DataKind, source_label
    from paretolens.search.config import load_config
    from paretolens.search.progress import ConsoleSteps
    from paretolens.search.samples import prepared

    config = load_config(preset=options.preset or "default", file=options.config, assignments=options.assignments, flags={})
    workspace, console = workspace_of(options), make_console()
    workspace.ensure_writable()
    source, settings = config.make_source(), config.make_data_settings()
    with ConsoleSteps(console).step(f"data ({source_label(source.name)})") as update:
        sets = prepared(config, workspace, update)
        update(1, 1, str(source.place(settings, workspace.cache)))
    counts = {split: Counter(str(kind) for kind in samples.kinds) for split, samples in sets.items()}
    kinds = list(dict.fromkeys(kind for found in counts.values() for kind in sorted(found, key=lambda name: name != "real")))
    kind = source.signature_kind(settings)
    table = Table(title=f"{source.name}: {source.summary}", title_justify="left", pad_edge=False)
    for name in ("split", str(kind), f"source {kind}", *kinds):
        table.add_column(name, justify="left" if name == "split" else "right")
    for split, samples in sets.items():
        sources = len(set(samples.groups.tolist()))
        table.add_row(split, str(len(samples)), str(sources), *(str(counts[split][kind]) for kind in kinds))
    console.print(table)
    if options.sheet:
        if kind is DataKind.PICTURES:
            from paretolens.data.generated.picture_sheet import draw_picture_sheet

            draw_picture_sheet(sets, options.sheet)
        else:
            from paretolens.data.generated.sheet import draw_sheet

            draw_sheet(sets, settings, options.sheet)
        console.print(f"  contact sheet          {options.sheet}", highlight=False, soft_wrap=True)
    return 0
