"""Write members of the front as bundles: folders with the ONNX file, manifest, checksums, model card and a predict script."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from paretolens.search.cli.common import add_study, add_workspace, make_console, workspace_of

if TYPE_CHECKING:
    from paretolens.search.progress import Update

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_study(parser)
    parser.add_argument(
        "--select", default="knee", metavar="WHICH",
        help="knee, fastest, most-faithful, most-accurate, all, or a trial such as 12 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--where", metavar="EXPR", help="choose among trials that fulfil this, such as 'latency_ms < 5'")
    parser.add_argument(
        "--targets", metavar="A,B",
        help="files for other runtimes, each checked against torch on the validation clips: onnx, litert, tensorrt (needs a GPU)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the bundles (default: bundles/ in the study)")
    parser.add_argument("--replace", action="store_true", help="replace a bundle that is there already")
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Write the bundles."""
    from paretolens.search.finish import choose, export_member, pull_front
    from paretolens.search.progress import ConsoleSteps
    from paretolens.search.study import load_study
    from paretolens.search.targets import parse_targets

    targets = parse_targets(options.targets) if options.targets else ()
    study = load_study(workspace_of(options), options.study)
    rows = choose(pull_front(study, where=options.where), options.select)
    out = options.out or study.folder / "bundles"
    console = make_console()
    for row in rows:
        with ConsoleSteps(console).step(f"exporting {row['trial']}") as update:
            bundle = export_member(
                study, row, out / f"{study.name}-{row['trial']}",
                replace=options.replace, targets=targets, tell=partial(_tell, update),
            )  # fmt: skip
        console.print(f"{row['trial']}: {bundle}", highlight=False, soft_wrap=True)
    return 0


def _tell(update: "Update", line: str) -> None:
    update(0, 1, line[:70])
