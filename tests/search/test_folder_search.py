"""A search on a data set that lies on disk, from its own layout to a bundle, by the preset for a cluster made small."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SHORT = ("teacher={epochs: 1, masked_epochs: 0, gentle_epochs: 0}", "student.distill.epochs=1")
"""Nothing here asks how good the models are."""


def test_lavdf_is_searched_to_a_bundle_that_judges_its_clips(
    searched: Callable[..., Path], paretolens: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    from bench_layouts import CASES, LAYOUTS, Material

    root, case = tmp_path / "LAV-DF", CASES["pinpoint-cluster"]
    root.mkdir()
    LAYOUTS["LAV-DF"].write(root, Material(side=48), 4)
    settings = (f"data.path={root}", "data={select: motion, oversample: 2}", *case.small, *case.fast, *SHORT)
    flags = [word for setting in settings for word in ("--set", setting)]
    study = searched(tmp_path, "{}", "--preset", "pinpoint-cluster", *flags, trials=1)
    assert (study / "bundle").is_dir()
    assert json.loads((study / "bundle" / "manifest.json").read_text())["preprocessing"]["reading"]["select"] == "motion"
    judged = paretolens("predict", str(study / "bundle"), str(root / "test" / "000003.mp4"), "--json")
    assert judged.returncode == 0, judged.stderr
    assert json.loads(judged.stdout)["verdict"] in ("fake", "real")
