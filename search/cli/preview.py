"""Tell before a search what its students cost on this machine, whether the limits can be met, and how long the search
will take: the students with the fewest and the most multiply-accumulates (not the fastest and the slowest: what a layer takes
depends on its kind too), and the middle of a few random ones. Nothing is trained, and neither clips nor a teacher are needed.

Exit code 1 if a limit can be met by none of the students looked at.
"""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from paretolens.search.cli.common import add_configuration, calm_threads, configuration_of, make_console
from paretolens.search.cli.values import whole

if TYPE_CHECKING:
    from rich.table import Table

    from paretolens.search.config import Config
    from paretolens.search.preview import Preview

__all__ = ["add_arguments", "run", "show"]

_UNITS = {
    "latency_ms": ("{:.2f} ms", 1.0),
    "parameters": ("{:,.0f}", 1.0),
    "macs": ("{:.1f} M", 1e6),
    "size_mb": ("{:.2f} MB", 1.0),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--trials", type=whole(1), metavar="N", help="evaluated trials of the search (default: the configuration's)"
    )
    parser.add_argument("--workers", type=whole(1), metavar="N", help="trials that run at the same time")
    parser.add_argument("--draws", type=whole(1), default=5, metavar="N", help="random genomes to measure (default: %(default)s)")
    parser.add_argument(
        "--targets", metavar="A,B",
        help="of tensorrt: also parse the networks of the space with it, which needs no GPU with TensorRT-RTX; an operator that "
        "it does not know is named (default: where TensorRT is timed)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    add_configuration(parser)


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    calm_threads()
    import torch

    from paretolens.evaluators.latency import Backend, calibrate
    from paretolens.search.operators import check_networks
    from paretolens.search.placement import placed, timed_backend
    from paretolens.search.preview import preview
    from paretolens.search.targets import parse_targets

    search = {name: getattr(options, name) for name in ("trials", "workers") if getattr(options, name) is not None}
    config = configuration_of(options, flags={"search": search})
    placed(config.student.quantise, config.latency.backend)
    torch.set_num_threads(config.search.threads)
    if "tensorrt" in parse_targets(options.targets or "") or timed_backend(config.latency.backend) is Backend.TENSORRT:
        taken = check_networks(config)
        if not options.json:
            make_console().print(f"{taken.runtime} knows every operator of {taken.networks} networks", highlight=False)
    found = preview(config, calibrate(), draws=options.draws)
    if options.json:
        print(json.dumps({**asdict(found), "reachable": found.reachable, "within": found.within}, indent=1))
    else:
        show(found, config)
    return 0 if all(found.reachable.values()) else 1


def show(found: "Preview", config: "Config") -> None:
    """Print the table and what follows from it."""
    console = make_console()
    console.print(_table(found))
    for name, limit in found.limits.items():
        best = min(getattr(row.cost, name) for row in (*found.rows, *found.drawn))
        verdict = "[green]can be met[/]" if found.reachable[name] else "[red]cannot be met by any of these[/]"
        given = config.limits.given[name]
        share = f" ({given} of the teacher's)" if isinstance(given, str) else ""
        console.print(
            f"  limit {name} {_number(name, limit)}{share}: {verdict}, the least is {_number(name, best)}", highlight=False
        )
    if found.limits:
        note = "what is over a limit ends after a moment and does not count as a trial"
        console.print(f"  {found.within} of {len(found.drawn)} random genomes keep to all limits; {note}", highlight=False)
    search = config.search
    trials = f"{search.trials} trials of about {found.trial_seconds:.0f} s on {search.workers} workers"
    total = f"about {found.search_seconds / 60:.0f} min ({found.search_seconds:.0f} s), less what is cached"
    start = f"{found.fixed_seconds:.0f} s for the teacher and to start"
    if found.unlisted:
        text = f"the times are those of a search without training, for its samples can't be counted: {found.unlisted}"
        console.print(f"  {text}", highlight=False, soft_wrap=True)
    elif not config.make_source().generated:
        counts = ", ".join(f"{count} {split}" for split, count in found.samples.items())
        console.print(f"  samples as listed: {counts}; how long decoding them takes is not in the times", highlight=False)
    console.print(f"  {trials}, and {start}: {total}", highlight=False, soft_wrap=True)


def _table(found: "Preview") -> "Table":
    from rich.table import Table

    from paretolens.search.live import short_genome

    table = Table(pad_edge=False)
    for name in ("", "latency", "parameters", "MACs", "size", "a trial", "over a limit", "student"):
        table.add_column(name, justify="left" if name in ("", "over a limit", "student") else "right")
    table.add_row("teacher", *(_number(name, getattr(found.teacher, name)) for name in _UNITS))
    for row in found.rows:
        over = ", ".join(f"{name} by {100 * share:.0f} %" for name, share in row.over.items())
        figures = [_number(name, getattr(row.cost, name)) for name in _UNITS]
        table.add_row(row.label, *figures, f"{row.seconds:.0f} s", over, short_genome(row.genome))
    return table


def _number(name: str, value: float) -> str:
    text, unit = _UNITS[name]
    return text.format(value / unit)
