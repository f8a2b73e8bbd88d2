"""Measure a bundle, an .onnx, .tflite or .engine file here: latency, throughput, peak memory, and energy where it is told."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from paretolens.search.cli.common import add_workspace, make_console, workspace_of
from paretolens.search.cli.values import whole

if TYPE_CHECKING:
    from paretolens.search.bench import BenchRow

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", type=Path, help="bundle, .onnx, .tflite or .engine (TensorRT)")
    parser.add_argument("--runs", type=whole(1), default=1000, help="runs that count, for each batch (default: %(default)s)")
    parser.add_argument(
        "--batch", type=_batches, default=(1, 4, 16), metavar="N,N", help="batch sizes (default: 1,4,16; LiteRT files take 1)"
    )
    parser.add_argument("--threads", type=whole(1), default=1, help="threads of the runtime (default: %(default)s)")
    parser.add_argument(
        "--backend", choices=("auto", "onnxruntime", "tensorrt"), default="auto", help="runtime of ONNX files (default: auto)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    import json

    from paretolens.evaluators.latency import Backend
    from paretolens.exporters.litert_env import make_environment
    from paretolens.search.bench import find_model, measure_file
    from paretolens.search.progress import ConsoleSteps, Silent, Steps

    path, console = find_model(options.model), make_console()
    lite = path.suffix == ".tflite"
    litert: Path | None = None
    steps: Steps = Silent() if options.json else ConsoleSteps(console)
    batches = (1,) if lite else options.batch
    rows = []
    with steps.step("measuring") as update:
        if lite:
            litert = make_environment(workspace_of(options).cache, lambda line: update(0, 1, line[:60]))
        for number, batch in enumerate(batches):
            rows.append(
                measure_file(
                    path, batch=batch, runs=options.runs, threads=options.threads,
                    backend=Backend(options.backend), litert=litert,
                )
            )  # fmt: skip
            update(number + 1, len(batches), f"batch {batch}")
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        console.print(_table(path, rows, options.threads))
        for name, reason in rows[0].energy_missing.items():
            console.print(f"energy, {name}: {reason}", highlight=False, soft_wrap=True)
    return 0


def _table(path: Path, rows: "list[BenchRow]", threads: int) -> object:
    from rich.table import Table

    first = rows[0]
    table = Table(title=f"{path}: {first.runtime}, {threads} thread(s), {first.device}, {first.runs} runs", pad_edge=False)
    copied = first.end_to_end_ms is not None
    names = ["batch", "p50 ms", "p90 ms", "p99 ms", "samples/s", "model MB", "process MB", "J/sample"]
    names += ["in ms", "out ms", "end to end ms"] if copied else []
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        memory = ["-" if value is None else f"{value:.1f}" for value in (row.model_mb, row.process_mb)]
        energy = ", ".join(f"{value:.3g} ({name})" for name, value in row.joules_per_sample.items()) or "-"
        times = [f"{value:.3f}" for value in (row.p50_ms, row.p90_ms, row.p99_ms)]
        copies = [f"{value or 0.0:.3f}" for value in (row.copy_in_ms, row.copy_out_ms, row.end_to_end_ms) if copied]
        table.add_row(str(row.batch), *times, f"{row.samples_per_s:.0f}", *memory, energy, *copies)
    return table


def _batches(text: str) -> tuple[int, ...]:
    return tuple(whole(1)(part) for part in text.split(","))
