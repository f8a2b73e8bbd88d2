"""Print what may vary in a family's students, with the configuration's overrides applied."""

import argparse

from paretolens.search.cli.common import add_configuration, configuration_of, make_console

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--family", help="family of models (default: the configuration's)")
    add_configuration(parser)


def run(options: argparse.Namespace) -> int:
    """Print a table of knobs."""
    from rich.table import Table

    from paretolens.search.trees import preset_of

    flags = {"family": options.family} if options.family else {}
    config = configuration_of(options, preset=preset_of(options.family) if options.family else "default", flags=flags)
    space, family = config.make_space(), config.make_family()
    size = space.size()
    count = f"{size:,} genomes" if size else "continuous ranges, so no end of genomes"
    table = Table(title=f"{family.name}: {family.summary}\n{count}", title_justify="left", pad_edge=False)
    for name in ("stage", "knob", "values", "default", "what it does"):
        table.add_column(name)
    for row in space.rows():
        table.add_row(*row)
    make_console().print(table)
    return 0
