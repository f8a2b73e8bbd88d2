"""Write members of the front, or any complete trial, as bundles: folders with model, manifest, checksums, card and a script."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from paretolens.exporters.precisions import ENGINE_PRECISIONS, PRECISIONS, USUAL
from paretolens.search.cli.common import add_selection, add_study, add_workspace, make_console, workspace_of
from paretolens.search.cli.values import choices, number

if TYPE_CHECKING:
    from paretolens.search.progress import Update
    from paretolens.search.targets import Targets

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_study(parser)
    add_selection(parser, default="knee", several="all", filtered=True)
    parser.add_argument(
        "--targets", metavar="A,B",
        help="files for other runtimes, each checked against torch on the validation clips: onnx, litert, tensorrt (engines; "
        "needs a GPU), tensorrt-onnx (the graphs they are built from; needs none)",
    )  # fmt: skip
    parser.add_argument(
        "--litert", type=choices(PRECISIONS), default=USUAL, metavar="P,P",
        help="LiteRT files: of fp32, dynamic, static-int8 and full-int8 (default: the first three)",
    )  # fmt: skip
    group = parser.add_argument_group("TensorRT engines")
    group.add_argument(
        "--tensorrt-precision", type=choices(ENGINE_PRECISIONS), default=("trained",), metavar="P,P",
        help="of trained (the file's own: FP32, or int8 and FP32), tf32 and fp16 (norms, softmax, inputs and outputs stay FP32, "
        "int8 layers int8); default: trained",
    )  # fmt: skip
    group.add_argument(
        "--tensorrt-batch", type=_batches, default=(1, 1, 8), metavar="MIN,OPT,MAX",
        help="batches of the optimisation profile; the engine is tuned for the second (default: 1,1,8)",
    )  # fmt: skip
    group.add_argument(
        "--tensorrt-workspace", type=number(above=0), default=1024.0, metavar="MIB",
        help="memory that tactics may use (default: %(default)g)",
    )  # fmt: skip
    group.add_argument(
        "--tensorrt-timing-cache", type=Path, metavar="FILE",
        help="where measured tactics are kept, for faster builds (default: one for each library and GPU in the cache)",
    )  # fmt: skip
    group.add_argument("--tensorrt-flavour", choices=("tensorrt", "tensorrt_rtx"), help="library (default: the first there is)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the bundles (default: bundles/ in the study)")
    parser.add_argument("--replace", action="store_true", help="replace a bundle that is there already")
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Write the bundles."""
    from paretolens.search.finish import choose, export_member, pull_front
    from paretolens.search.progress import ConsoleSteps
    from paretolens.search.samples import prepared
    from paretolens.search.study import load_study

    targets = _targets(options) if options.targets else None
    study = load_study(workspace_of(options), options.study)
    rows = choose(pull_front(study, where=options.where), options.select, anywhere=True)
    out, val = options.out or study.folder / "bundles", prepared(study.config, study.workspace)["val"]
    console = make_console()
    for row in rows:
        with ConsoleSteps(console).step(f"exporting {row['trial']}") as update:
            bundle = export_member(
                study, row, out / f"{study.name}-{row['trial']}", val=val,
                replace=options.replace, targets=targets, tell=partial(_tell, update),
            )  # fmt: skip
        console.print(f"{row['trial']}: {bundle}", highlight=False, soft_wrap=True)
    return 0


def _targets(options: argparse.Namespace) -> "Targets":
    from paretolens.exporters.tensorrt import EnginePrecision, EngineSettings
    from paretolens.search.targets import Targets, parse_targets

    low, tuned, high = options.tensorrt_batch
    engine = EngineSettings(
        flavour=options.tensorrt_flavour, min_batch=low, opt_batch=tuned, max_batch=high,
        workspace_mb=options.tensorrt_workspace, timing_cache=options.tensorrt_timing_cache,
    )  # fmt: skip
    kinds = tuple(map(EnginePrecision, options.tensorrt_precision))
    return Targets(names=parse_targets(options.targets), litert=options.litert, engine=engine, tensorrt=kinds)


def _batches(text: str) -> tuple[int, int, int]:
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() and int(part) >= 1 for part in parts):
        raise argparse.ArgumentTypeError(f"must be three numbers such as 1,4,16, got {text!r}")
    low, tuned, high = (int(part) for part in parts)
    return low, tuned, high


def _tell(update: "Update", line: str) -> None:
    update(0, 1, line[:70])
