"""Runs the arms one after another, each in a process of its own, and measures what they wrote down."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench_search.report import Measured, measure
from bench_search.task import Plan, arm_config, copy_cache, date_of, made_with
from paretolens.search.live import clock
from paretolens.search.outcome import genome_key
from paretolens.search.task import Task

__all__ = ["ARMS", "live"]

HERE = Path(__file__).parents[1]
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "d": ("engine", {}),
    "a": ("tune", {}),
    "a-equal": ("tune", {}),
    "b": ("optuna", {}),
    "limits": ("engine", {"limits": {"latency_ms": None}}),
    "teacher": ("engine", {"cache": {"teacher": False}}),
    "stages": ("engine", {"cache": {"stages": False}}),
    "halving": ("engine", {"search": {"scheduler": "halving"}}),
}
"""Arm → who runs it, and what it changes; `a-equal` takes as many gradients a map as the engine."""


def kept(place: Path) -> bool:
    """Whether an arm's figures are there and of this code, these libraries and this machine."""
    done = place / "done"
    return done.exists() and done.read_text() == made_with()


def run_arm(name: str, folder: Path, order: Mapping[str, Any], plan: Plan, say: Console) -> None:
    """Run an arm in a process of its own, unless its figures are there; tells how far it is."""
    place, (kind, changes) = folder / name, ARMS[name]
    if kept(place):
        say.print(f"arm {name}: kept from {date_of(place / 'done')}", highlight=False)
        return
    shutil.rmtree(place, ignore_errors=True)
    arm_config(place, plan, {**changes, **({"first": order["genomes"]} if kind == "engine" and order["genomes"] else {})})
    copy_cache(folder / "runs", place / "runs")
    (place / "arm.json").write_text(json.dumps(dict(order)))
    around = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    began = time.monotonic()
    with (place / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "bench_search.arms", kind, str(place)],
            env=around,
            cwd=HERE,
            stdout=said,
            stderr=said,
        )
        try:
            _watch(name, place, order, process, say)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)
    if process.returncode:
        raise SystemExit(f"arm {name} failed: {(place / 'said.txt').read_text()[-1500:]}")
    (place / "done").write_text(made_with())
    say.print(f"arm {name}: {clock(time.monotonic() - began)} in all", highlight=False)


def _watch(name: str, place: Path, order: Mapping[str, Any], process: "subprocess.Popen[bytes]", say: Console) -> None:
    told, first = 0, 0.0
    while process.poll() is None:
        time.sleep(0.5)
        done = len(lines_of(place))
        if done > told:
            told, first = done, first or time.monotonic()
            left = (time.monotonic() - first) / max(1, done - 1) * (order["expected"] - done)
            note = f", about {clock(left)} left" if done > 1 and left > 0 else ""
            say.print(f"arm {name}: {done} of {order['expected']} genomes{note}", highlight=False)


def lines_of(place: Path) -> list[dict[str, Any]]:
    """What an arm wrote down of its trials; a line that is being written is left out."""
    path = place / "trials.jsonl"
    text = path.read_text() if path.exists() else ""
    return [line for line in map(json.loads, text.splitlines(keepends=False)[: text.count("\n")]) if "genome" in line]


def figures_of(place: Path, task: Task, genomes: Sequence[Any], workers: int, limit_ms: float) -> Measured:
    """Measured figures of the common genomes."""
    wanted = {genome_key(task.space.active(genome)) for genome in genomes}
    everything = [json.loads(line) for line in (place / "trials.jsonl").read_text().splitlines()]
    kept = [line for line in everything if "genome" not in line or genome_key(task.space.active(line["genome"])) in wanted]
    return measure(kept, workers=workers, limit_ms=limit_ms)


def limit_of(folder: Path, plan: Plan) -> float:
    """Milliseconds that a student may take, from arm (d)'s measurement of the teacher."""
    stored = json.loads((folder / "d" / "runs" / "studies" / "arm" / "baseline" / "baseline.json").read_text())
    return float(plan.limit.rstrip("%")) / 100 * float(stored["metrics"]["latency_ms"])


def live(folder: Path, plan: Plan, chosen: Sequence[str], task: Task, say: Console) -> dict[str, Measured]:
    """Run the arms that are missing and measure all."""
    order = {"genomes": [], "trials": plan.genomes, "expected": plan.genomes, "workers": plan.workers}
    run_arm("d", folder, order, plan, say)
    limit_ms = limit_of(folder, plan)
    found = lines_of(folder / "d")
    genomes = [line["genome"] for line in found if line["fate"] in ("evaluated", "infeasible")]
    within = sum(line["fate"] == "evaluated" for line in found)
    say.print(f"{len(genomes)} genomes, {within} of them within {limit_ms:.2f} ms", highlight=False)
    order |= {"genomes": genomes, "expected": len(genomes), "limit_ms": limit_ms}
    for name in (name for name in ARMS if name in chosen and name != "d"):
        trained = within if ARMS[name][0] == "engine" and name != "limits" else len(genomes)
        steps = task.config.eps.nodes if name == "a-equal" else plan.captum_steps
        run_arm(name, folder, {**order, "trials": trained, "captum_steps": steps}, plan, say)
    done = [name for name in ARMS if kept(folder / name)]
    return {name: figures_of(folder / name, task, genomes, 1 if name == "b" else plan.workers, limit_ms) for name in done}
