"""Train or load the teacher and report what it scores and costs: accuracy, precision, recall, F1, AUC, EER; MACs, parameters,
size on disk, peak memory, latency. The saliency maps of explained clips are drawn beside the figures.
"""

import argparse
from typing import TYPE_CHECKING

from paretolens.search.cli.common import add_configuration, add_workspace, calm_threads, make_console, workspace_of

if TYPE_CHECKING:
    from rich.table import Table

    from paretolens.search.baseline import Baseline

__all__ = ["add_arguments", "run"]

_SCORES = ("accuracy", "precision", "recall", "f1", "auc", "average_precision", "eer", "ece", "brier")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_configuration(parser)
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    calm_threads()
    from paretolens.data.store import digest_of_json
    from paretolens.evaluators.latency import calibrate
    from paretolens.search import schema
    from paretolens.search.baseline import measure_baseline
    from paretolens.search.config import load_config
    from paretolens.search.measuring import measuring_device
    from paretolens.search.progress import ConsoleSteps
    from paretolens.search.task import Task

    config = load_config(preset=options.preset or "default", file=options.config, assignments=options.assignments, flags={})
    workspace, console = workspace_of(options), make_console()
    workspace.ensure_writable()
    task = Task.prepare(config, workspace, ConsoleSteps(console))
    unit = calibrate()
    machine = {**measuring_device(config.latency.backend), "runtime": unit.runtime}
    settings = {"latency": schema.to_plain(config.latency), "eps": config.eps.record()}
    key = digest_of_json({"teacher": task.teacher_folder.name, "machine": machine, **settings})
    baseline = measure_baseline(task, workspace.root / "baselines" / key[:16], unit)
    console.print(_scores(baseline))
    for name, text in _costs(baseline).items():
        console.print(f"  {name:<14} {text}", highlight=False, soft_wrap=True)
    return 0


def _scores(baseline: "Baseline") -> "Table":
    from rich.table import Table

    scores = Table(title="teacher", title_justify="left", pad_edge=False)
    for name in ("", "val", "test", "unseen manipulation"):
        scores.add_column(name, justify="right" if name else "left")
    for name in _SCORES:
        scores.add_row(name, *(_number(baseline.metrics.get(f"{prefix}{name}")) for prefix in ("", "test_", "unseen_")))
    return scores


def _costs(baseline: "Baseline") -> dict[str, str]:
    figures, latency = baseline.metrics, baseline.details["latency"]
    return {
        "parameters": f"{figures['parameters']:,.0f}",
        "MACs": f"{figures['macs'] / 1e6:,.1f} M",
        "size on disk": f"{figures['size_mb']:.2f} MB",
        "peak memory": f"{figures['peak_memory_mb']:.1f} MB the model's share, {figures['process_memory_mb']:.1f} MB the process",
        "latency": f"{figures['latency_ms']:.2f} ms ({latency['clock']}); wall p50 {figures['latency_p50_ms']:.2f}, "
        f"p90 {figures['latency_p90_ms']:.2f}, p99 {figures['latency_p99_ms']:.2f} ms over {latency['runs']} runs",
        "measured with": f"{latency['runtime']} on {latency['device']}, {latency['threads']} thread, {latency['precision']}; "
        f"{latency['reason']}",
        "files": str(baseline.folder),
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
