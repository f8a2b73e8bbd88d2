"""Train or load the teacher and report what it scores and costs: accuracy, precision, recall, F1, AUC, EER; MACs, parameters,
size on disk, peak memory, latency. The saliency maps of explained clips are drawn beside the figures.
"""

import argparse
from typing import TYPE_CHECKING

from paretolens.search.cli.common import (
    add_configuration,
    add_workspace,
    calm_threads,
    configuration_of,
    make_console,
    workspace_of,
)  # fmt: skip
from paretolens.search.cli.scores import scores_table

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
    from paretolens.search.measuring import measuring_device
    from paretolens.search.progress import ConsoleSteps
    from paretolens.search.task import Task

    config = configuration_of(options)
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
    splits = {"val": "", "test": "test_", "unseen manipulation": "unseen_"}
    columns = {
        split: {name: baseline.metrics[prefix + name] for name in _SCORES if prefix + name in baseline.metrics}
        for split, prefix in splits.items()
    }
    return scores_table(columns, _SCORES)


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
