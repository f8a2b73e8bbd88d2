"""Measure every artefact of a study on another device or runtime, without training, and show the front that holds there.

The figures are logged to the trials' runs under names of their own (on_DEVICE_THREADSt_p50_ms ...): the study's objectives stay.
Trials that the runtime does not take are named at the end, and the exit code is 1.
"""

import argparse
from dataclasses import replace

from paretolens.search.cli.common import add_study, add_workspace, make_console, workspace_of
from paretolens.search.cli.values import whole
from paretolens.search.devices import DEVICES

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_study(parser)
    parser.add_argument(
        "--device", required=True, choices=DEVICES, metavar="NAME",
        help="onnxruntime-cpu, tensorrt or tensorrt-fp16 (need a GPU), litert, litert-dynamic or litert-int8",
    )  # fmt: skip
    parser.add_argument(
        "--name", default="", metavar="WORD",
        help="tells this machine from another one with such a device; becomes part of the figures' names",
    )  # fmt: skip
    parser.add_argument("--threads", type=whole(1), default=1, help="threads of the runtime (default: %(default)s)")
    parser.add_argument("--runs", type=whole(1), default=300, help="runs that count (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="also measure trials that have figures of this device")
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Measure and print the front."""
    from paretolens.evaluators.latency import LatencySettings
    from paretolens.exporters.litert_env import make_environment
    from paretolens.mlflow.table import rich_table
    from paretolens.search.finish import pull_front
    from paretolens.search.progress import ConsoleSteps
    from paretolens.search.retarget import Target, retarget
    from paretolens.search.study import load_study

    workspace, console = workspace_of(options), make_console()
    target = Target(device=options.device, threads=options.threads, name=options.name)
    study, steps = load_study(workspace, options.study), ConsoleSteps(console)
    if options.device.startswith("litert"):
        with steps.step("LiteRT's environment") as update:
            target = replace(target, litert=make_environment(workspace.cache, lambda line: update(0, 1, line[:60])))
    settings = LatencySettings(threads=options.threads, runs=options.runs, seconds=60.0)
    before = {str(name) for name in pull_front(study).members["trial"]}
    done = retarget(study, target, settings, steps, again=options.again)
    found = done.front
    now = {str(name) for name in found.members["trial"]}
    console.print(rich_table(found, width=console.width))
    console.print(
        f"{len(now & before)} of the study's {len(before)} front members stay, {len(now - before)} are new, "
        f"{len(before - now)} fall out", highlight=False,
    )  # fmt: skip
    for trial, reason in done.failed.items():
        console.print(f"{trial} does not run there: {reason}", highlight=False, soft_wrap=True)
    return 1 if done.failed else 0
