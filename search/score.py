"""Accuracy of an exported file on every split: what trials and the teacher's baseline share."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paretolens.data.samples import SampleSet
from paretolens.evaluators.accuracy import accuracy_interval
from paretolens.evaluators.classes import split_aucs, split_metrics
from paretolens.evaluators.videos import split_videos
from paretolens.exporters.runner import OnnxRunner
from paretolens.models.decision import flat

__all__ = ["BATCH", "ArtefactScore", "score_artefact"]

BATCH = 32
"""Clips that go through a model at once."""


_PREFIXES = {"val": "", "test": "test_", "unseen": "unseen_"}


@dataclass(frozen=True, kw_only=True)
class ArtefactScore:
    """Accuracy of a file on every split."""

    val: np.ndarray
    """(N,) logits, or (N, K) scores of classes, on the validation split."""
    stage: np.ndarray | None
    """(N,) the stage of a cascade that gave each logit of the validation split, 1 or 2; None of any other file."""
    metrics: dict[str, float]
    """`accuracy` (with interval), `auc`, … of val; the same with the prefixes `test_` and `unseen_`."""


def score_artefact(path: Path, samples: Mapping[str, SampleSet]) -> ArtefactScore:
    """Run a file over val, test and, where there is one, unseen. Choices are made on val; test and unseen are only reported."""
    runner = OnnxRunner(path)
    found: dict[str, float] = {}
    outputs = {split: _outputs(runner, samples[split]) for split in _PREFIXES if split in samples}
    logits = {split: flat(one["logit"]) for split, one in outputs.items()}
    for split, scores in logits.items():
        prefix, chosen = _PREFIXES[split], samples[split]
        figures = split_metrics(chosen, scores) | split_videos(chosen, scores)
        found |= {f"{prefix}{name}": value for name, value in figures.items()}
        interval = accuracy_interval(chosen.labels, scores, chosen.groups)
        found |= {f"{prefix}accuracy_low": interval.low, f"{prefix}accuracy_high": interval.high}
    kinds = split_aucs(samples["test"], logits["test"])
    found |= {f"test_auc_{kind}": value for kind, value in kinds.items()}
    stage = outputs["val"].get("stage")
    return ArtefactScore(val=logits["val"], stage=None if stage is None else flat(stage), metrics=found)


def _outputs(runner: OnnxRunner, samples: SampleSet) -> dict[str, np.ndarray]:
    """What of a file's outputs is looked at, for all samples."""
    names = [spec.name for spec in samples.signature.inputs]
    parts = []
    for start in range(0, len(samples), BATCH):
        inputs = {name: x.numpy() for name, x in zip(names, samples.batch(slice(start, start + BATCH)), strict=True)}
        found = runner.run(inputs)
        parts.append({name: found[name] for name in ("logit", "stage") if name in found})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
