"""How well the estimate of EPS after each epoch ranks students by their final EPS, read back from a study's MLflow store.

    paretolens search --trials 24
    python benchmarks/eps_proxy.py [STUDY] [--workspace runs]

Prints Spearman's and Kendall's rank correlation over the complete trials with 95 % bootstrap intervals (trials drawn), after each
epoch of distillation and at the end of training; beside it the same of the accuracy on val, which knows nothing of maps, and what
the estimate costs as a share of an epoch. Exit code 1 if the estimate at the end does not rank better than chance.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr

from paretolens.evaluators.eps import proxy_eps, proxy_rows
from paretolens.mlflow.records import read_study
from paretolens.mlflow.store import open_client
from paretolens.models.record import load_model
from paretolens.search.progress import Silent
from paretolens.search.study import Study, load_study
from paretolens.search.task import Task
from paretolens.search.workspace import Workspace
from paretolens.trainers.quantise import quantisers_off

ESTIMATE, ACCURACY = "epoch/progress_eps", "epoch/distill_val_accuracy"
RESAMPLES = 2000


def curves(study: Study) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Final EPS (n,), and each trial's curves of the estimate and of the accuracy."""
    record = read_study(study.run_id(), tracking_uri=study.uri, experiment=study.config.tracking.experiment)
    client = open_client(study.uri)
    trials = record.trials[(record.trials["state"] == "complete") & record.trials["eps"].notna()]

    def curve(run: str, name: str) -> np.ndarray:
        points = sorted(client.get_metric_history(run, name), key=lambda point: point.step)
        return np.array([point.value for point in points])

    runs = [str(run) for run in trials["run_id"]]
    return trials["eps"].to_numpy(float), [curve(r, ESTIMATE) for r in runs], [curve(r, ACCURACY) for r in runs]


def ranked(estimate: np.ndarray, final: np.ndarray, measure: Callable[..., Any]) -> str:
    """A rank correlation and its bootstrap interval; draws in which one side is constant are left out."""
    rng, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        rows = rng.integers(len(final), size=len(final))
        if np.ptp(estimate[rows]) > 0 and np.ptp(final[rows]) > 0:
            found.append(measure(estimate[rows], final[rows]).statistic)
    low, high = np.percentile(found, [2.5, 97.5])
    return f"{measure(estimate, final).statistic:+.2f} [{low:+.2f}, {high:+.2f}]"


def interval_low(estimate: np.ndarray, final: np.ndarray) -> float:
    """Lower end of Spearman's interval."""
    return float(ranked(estimate, final, spearmanr).partition("[")[2].partition(",")[0])


def cost(study: Study, runs: int = 6) -> float:
    """Mean CPU time of an estimate as a share of an epoch of distillation, over some of the study's students, one thread."""
    torch.set_num_threads(1)
    task = Task.prepare(study.config, study.workspace, Silent())
    proxy, shares = study.config.proxy, []
    rows = proxy_rows(task.reference, proxy.clips)
    record = read_study(study.run_id(), tracking_uri=study.uri, experiment=study.config.tracking.experiment)
    for row in record.trials[record.trials["state"] == "complete"].head(runs).to_dict("records"):
        model = load_model(study.folder / "trials" / str(row["genome"]) / "model").eval()
        began = time.process_time()
        with quantisers_off(model):
            proxy_eps(model, task.reference, rows, nodes=proxy.nodes)
        shares.append((time.process_time() - began) / (row["seconds_distill"] / study.config.student.distill.epochs))
    return float(np.mean(shares))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?")
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    options = parser.parse_args()
    study = load_study(Workspace.at(options.workspace), options.study)
    final, estimates, accuracies = curves(study)
    proxy, epochs = study.config.proxy, study.config.student.distill.epochs
    told = [row for row in range(len(final)) if min(len(estimates[row]), len(accuracies[row])) >= epochs]
    if len(told) < 4:
        raise SystemExit(f"{study.name}: {len(told)} of {len(final)} trials have the curve {ESTIMATE}; 4 or more are needed")
    final, estimates, accuracies = final[told], [estimates[row] for row in told], [accuracies[row] for row in told]
    print(f"{study.name}: {len(final)} trials, {proxy.clips} clips x {proxy.nodes} nodes, {cost(study):.1%} of an epoch's time\n")
    print("| progress_eps after | Spearman | Kendall | accuracy on val then: Spearman |")
    print("|---|---|---|---|")
    for epoch in range(epochs):
        estimate, accuracy = (np.array([curve[epoch] for curve in group]) for group in (estimates, accuracies))
        scores = [ranked(estimate, final, spearmanr), ranked(estimate, final, kendalltau), ranked(accuracy, final, spearmanr)]
        print(f"| epoch {epoch + 1} of {epochs} | {' | '.join(scores)} |")
    last = np.array([curve[-1] for curve in estimates])
    print(f"| the last epoch of training | {ranked(last, final, spearmanr)} | {ranked(last, final, kendalltau)} | |")
    return 0 if interval_low(last, final) > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
