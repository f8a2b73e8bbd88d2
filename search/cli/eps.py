"""Score how well a student explains itself as its teacher does: EPS of two saved models on a folder of clips, without a search.

A model is a folder with model.json and model.safetensors (paretolens.models.record.save_model), or a folder that holds one in
model/: a trial's folder under runs/studies/STUDY/trials. Or it is kept in MLflow: models:/NAME@ALIAS and models:/NAME/VERSION for
a registered member of a front, runs:/RUN_ID for a trial, or for a study, which means its teacher. Exported ONNX files and engines
have no gradients; give their torch twin.
"""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from paretolens.search.cli.common import add_workspace, calm_threads, make_console, workspace_of

if TYPE_CHECKING:
    import torch

    from paretolens.search.pair import PairScore

__all__ = ["add_arguments", "run"]

_REPORT = {"nodes": 32}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--teacher", required=True, metavar="A", help="the model whose explanations are kept or lost")
    parser.add_argument("--student", required=True, metavar="B", help="the model that is scored; same inputs")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR",
        help="prepared set (set.json), folder of its splits, the clips folder beside these, or video files (with --like)",
    )  # fmt: skip
    parser.add_argument("--split", default="test", help="split to explain where DIR holds several (default: %(default)s)")
    parser.add_argument("--like", type=Path, metavar="SET", help="prepared set that tells how video files become inputs")
    parser.add_argument(
        "--explainer", metavar="NAME",
        help="integrated_gradients (default), integrated_gradients_uniform, gradient_shap, grad_cam[:LAYER], attention, "
        "attention_rollout, patch_logits",
    )  # fmt: skip
    parser.add_argument(
        "--student-explainer", metavar="NAME", help="the student's, where it differs: grad_cam with its own layer"
    )
    parser.add_argument("--second", metavar="NAME", help="explainer that is scored beside it, or none (default: grad_cam)")
    parser.add_argument("--samples", type=int, metavar="N", help="clips to explain at most (default: 128)")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda where there is a GPU (default: %(default)s)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments",
        help="set a key of the definition, for example --set nodes=64 --set top_share=.1; see docs/eps.md",
    )  # fmt: skip
    parser.add_argument(
        "--tracking-uri", metavar="URI",
        help="store of models:/ and runs:/ (default: MLFLOW_TRACKING_URI, else sqlite in the workspace)",
    )  # fmt: skip
    add_workspace(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")


def run(options: argparse.Namespace) -> int:
    """Load, score, print."""
    calm_threads()
    import json

    from paretolens.evaluators.eps import EpsSettings
    from paretolens.exporters.files import write_atomic
    from paretolens.search import environment, schema
    from paretolens.search.pair import explained_clips, open_twin, score_pair

    flags = {name: getattr(options, name) for name in ("explainer", "second", "samples")}
    trees = [_REPORT, *(schema.parse_assignment(text) for text in options.assignments)]
    settings = schema.build(
        EpsSettings, schema.merge(*trees, {name: value for name, value in flags.items() if value is not None})
    )
    device = _device(options.device)
    uri = options.tracking_uri or environment.default_tracking_uri() or workspace_of(options).tracking_uri
    teacher, student = (open_twin(getattr(options, role), role, tracking_uri=uri).to(device) for role in ("teacher", "student"))
    explained = explained_clips(options.data, settings, split=options.split, like=options.like)
    found = score_pair(teacher, student, explained, settings, student_explainer=options.student_explainer)
    _print(found)
    if options.json:
        places = {name: str(getattr(options, name)) for name in ("teacher", "student", "data")}
        write_atomic(options.json, json.dumps(places | found.record(), indent=1).encode())
    return 0


def _device(name: str) -> "torch.device":
    import torch

    from paretolens.errors import ConfigurationError

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(f"--device {name}: not a device; give cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(f"--device {name}: this machine has no GPU that torch can use; give cpu")
    return device


def _print(found: "PairScore") -> None:
    from rich.table import Table

    from paretolens.mlflow.chart import half_up
    from paretolens.search.pair import rows_of

    console, score, used = make_console(), found.score, found.score.settings
    table = Table(title=f"EPS by {score.explainer.split()[0]}", title_justify="left", pad_edge=False)
    for name in ("", "EPS", "interval", "ρ", "J", "samples"):
        table.add_column(name, justify="right" if name else "left")
    for name, row in rows_of(score):
        interval = _interval(row["low"], row["high"], " – ") if "low" in row else ""
        figures = (f"{row[part]:.3f}" for part in ("rho", "iou"))
        table.add_row(name, f"{row['eps']:.3f}", interval, *figures, f"{row['samples']:.0f}")
    console.print(table)
    lines = {
        "agreement": f"{half_up(score.agreement_explained, 3)} of the explained clips' verdicts, "
        f"logits correlate {score.logit_correlation:.3f}",
        "counts": f"{score.eligible} eligible, {score.excluded} excluded, {score.degenerate} degenerate maps, "
        f"{score.unconverged} unconverged (teacher {score.teacher_unconverged})",
        "definition": f"w1 {used.rank_weight:g}, top {100 * used.top_share:g} %, {used.nodes} nodes, baseline {used.baseline}, "
        f"population {used.population}",
    }
    if found.second is not None:
        second = found.second
        kind = second.explainer.split()[0]
        lines["second"] = f"{second.eps:.3f} [{_interval(second.ci_low, second.ci_high, ', ')}] by {kind}"
    for name, text in lines.items():
        console.print(f"  {name:<12} {text}", highlight=False, soft_wrap=True)


def _interval(low: float, high: float, between: str) -> str:
    """Both ends; in words where one source clip leaves nothing to draw from."""
    return f"{low:.3f}{between}{high:.3f}" if math.isfinite(low + high) else "n = 1: no interval"
