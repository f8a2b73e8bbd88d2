"""Members of a front into MLflow's model registry."""

import math
from typing import Any

import numpy as np
import pandas as pd

from paretolens.data.samples import SampleSet
from paretolens.exporters.card import model_card
from paretolens.mlflow.front import Front
from paretolens.mlflow.registry import ALIASES, Candidate, Registered, register
from paretolens.search.finish import bundle_content, choose, trial_folder
from paretolens.search.samples import prepared
from paretolens.search.study import Study

__all__ = ["register_members"]

_METRICS = ("accuracy", "latency_ms", "eps", "neps", "size_mb", "parameters", "macs", "test_accuracy", "test_auc", "agreement")


def register_members(
    study: Study, found: Front, *, selection: str = "front", name: str | None = None, val: SampleSet | None = None
) -> list[Registered]:
    """Register members of a study's front, with the aliases that each has earned.

    Args:
        study: The study.
        found: Its front, read from its store.
        selection: As `choose` takes it; `front` for all members.
        name: Registered model; the study's name by default.
        val: The study's validation split where it is open already; None opens it.

    Raises:
        ConfigurationError: no such member, or the name is taken.
        IntegrityError: a trial's files are gone or were changed.
        StoreError: the store can't be written.
    """
    assert found.study is not None, "the front is read from a store"
    rows = choose(found, selection)
    val = prepared(study.config, study.workspace)["val"] if val is None else val
    names = [spec.name for spec in val.signature.inputs]
    example = {name: x.numpy() for name, x in zip(names, val.batch(slice(0, 1)), strict=True)}
    aliases = {alias: str(choose(found, alias)[0]["run_id"]) for alias in ALIASES if _has(found, alias)}
    candidates = [_candidate(study, row, val, example, aliases) for row in rows]
    members = found.members["run_id"].astype(str).tolist()
    return register(found.study, candidates, name=name or study.name, description=_description(study, found), members=members)


def _has(found: Front, alias: str) -> bool:
    needed = {"fastest": "latency_ms", "most-faithful": "eps", "most-accurate": "accuracy"}
    return alias not in needed or needed[alias] in found.members


def _candidate(
    study: Study, row: "pd.Series[Any]", val: SampleSet, example: dict[str, np.ndarray], aliases: dict[str, str]
) -> Candidate:
    content = bundle_content(study, row, val)
    run_id = str(row["run_id"])
    metrics = {name: float(row[name]) for name in _METRICS if name in row.index and math.isfinite(float(row[name]))}
    return Candidate(
        run_id=run_id,
        trial=str(row["trial"]),
        onnx=content.artefact.path,
        sha256=content.artefact.sha256,
        twin=trial_folder(study, row) / "model",
        example=example,
        card=model_card(content),
        metrics=metrics,
        params={name: str(value) for name, value in content.details["genome"].items() if not pd.isna(value)},
        aliases=tuple(alias for alias, owner in aliases.items() if owner == run_id),
    )


def _description(study: Study, found: Front) -> str:
    return (
        f"The Pareto front of study **{study.name}** ({study.config.family} family): {len(found.members)} of "
        f"{len(found.trials)} trials, traded off between {', '.join(found.objectives)}. "
        f"Aliases: {', '.join(ALIASES)}. Each version's description is its model card."
    )
