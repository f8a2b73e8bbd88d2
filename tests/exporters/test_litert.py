"""LiteRT: files of a real student against torch, where LiteRT's environment is; making it and comparing, everywhere.

`PARETOLENS_LITERT_CACHE=DIR` names a cache with the environment; by default the cache of the workspace `runs` is looked at.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paretolens.errors import BackendError
from paretolens.exporters import litert_env
from paretolens.exporters.litert import compare_target, export_litert, run_litert
from paretolens.exporters.litert_env import find_environment, make_environment
from paretolens.models.record import save_model
from paretolens.models.signature import Signature
from paretolens.search.bench import measure_file

PYTHON = find_environment(Path(os.environ.get("PARETOLENS_LITERT_CACHE", "runs/cache")))
NO_ENVIRONMENT = "LiteRT's environment is not there: 'paretolens bench FILE.tflite' or 'retarget --device litert' makes it"


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason=NO_ENVIRONMENT)
def test_student_runs_in_litert_as_in_torch(
    student: nn.Module, signature: Signature, batch_of: Callable[..., tuple[Tensor, ...]], tmp_path: Path
) -> None:
    assert PYTHON is not None
    save_model(student, tmp_path / "model")
    batch = batch_of(6, 3)
    inputs = {spec.name: tensor.numpy() for spec, tensor in zip(signature.inputs, batch, strict=True)}
    files = export_litert(PYTHON, tmp_path / "model", signature, inputs, tmp_path)
    with torch.no_grad():
        wanted = student(*batch)
    for precision, allowed in {"fp32": 1e-4, "dynamic": 0.5, "static-int8": 5.0}.items():
        found, runtime = run_litert(PYTHON, files[precision], signature, inputs)
        assert runtime.startswith("litert ")
        for name in signature.outputs:
            assert found[name].shape == getattr(wanted, name).shape
        np.testing.assert_allclose(found["logit"], wanted.logit.numpy(), atol=allowed)
    sizes = {precision: path.stat().st_size for precision, path in files.items()}
    assert sizes["dynamic"] < 0.5 * sizes["fp32"]
    assert sizes["static-int8"] < 0.5 * sizes["fp32"]
    row = measure_file(files["fp32"], batch=1, runs=30, threads=1, litert=PYTHON)
    assert 0 < row.p50_ms <= row.p90_ms <= row.p99_ms
    assert row.model_mb is not None and row.process_mb is not None and row.model_mb < row.process_mb
    (tmp_path / "cut.tflite").write_bytes(files["fp32"].read_bytes()[:1000])
    with pytest.raises(BackendError, match=r"LiteRT could not run cut\.tflite"):
        run_litert(PYTHON, tmp_path / "cut.tflite", signature, inputs)


def uv(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a `uv` before the real one."""
    folder.mkdir()
    (folder / "uv").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(litert_env, "NEEDED_GB", 0.0)


def test_an_environment_is_made_once_and_its_progress_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = 'for last; do :; done; test "$1" = venv && mkdir -p "$last/bin" && touch "$last/bin/python"'
    uv(tmp_path / "bin", monkeypatch, f'cd {tmp_path}; echo "$@" >> calls; {make}; echo Downloading torch')
    told: list[str] = []
    python = make_environment(tmp_path / "cache", told.append)
    assert python.is_file()
    assert find_environment(tmp_path / "cache") == python
    assert "Downloading torch" in told
    assert make_environment(tmp_path / "cache", told.append) == python
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["venv", "pip"]
    assert f"torch=={torch.__version__.partition('+')[0]}" in calls[1]


def test_a_failure_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv(tmp_path / "bin", monkeypatch, "echo resolving; echo 'no such version' >&2; exit 1")
    with pytest.raises(BackendError, match="could not be made: no such version"):
        make_environment(tmp_path / "cache", lambda line: None)
    assert find_environment(tmp_path / "cache") is None
    assert not [path for path in (tmp_path / "cache" / "litert").iterdir() if path.is_dir()]


def test_too_little_room_is_said_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert_env, "NEEDED_GB", 1e9)
    with pytest.raises(BackendError, match=r"needs 1e\+09 GB"):
        make_environment(tmp_path / "cache", lambda line: None)


def compare(path: Path, precision: str, found: list[float], wanted: list[float]) -> object:
    labels, ids = np.array([1.0, 0.0, 1.0, 0.0]), ("a", "b", "c", "d")
    return compare_target(
        path, "litert 0", precision, found=np.array(found), wanted=np.array(wanted), labels=labels, ids=ids
    )  # fmt: skip


def test_parity_names_the_worst_clip(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"x" * 10)
    wanted = [1.0, -1.0, 2.0, 0.5]
    done = compare(path, "fp32", [1.0, -1.00005, 2.0, 0.5], wanted)
    assert (done.worst_sample, done.accuracy, done.decision_agreement) == ("b", 0.75, 1.0)  # type: ignore[attr-defined]
    with pytest.raises(BackendError, match=r"within 0\.0001 .* clip c differs by 0\.01"):
        compare(path, "fp32", [1.0, -1.0, 2.01, 0.5], wanted)
    with pytest.raises(BackendError, match=r"clip d differs by 1, 75\.0% of the verdicts agree"):
        compare(path, "static-int8", [1.0, -1.0, 2.0, -0.5], wanted)
    with pytest.raises(BackendError, match="clip a differs by nan"):
        compare(path, "static-int8", [float("nan"), -1.0, 2.0, 0.5], wanted)


def test_scores_of_classes_are_compared_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"x" * 10)
    wanted = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 4.0], [0.0, 1.0, 2.0]])
    found = wanted + np.array([[0, 0, 0], [0, 0, 5e-5], [0, 0, 0], [0, 0, 0]])
    ids, labels = ("a", "b", "c", "d"), np.array([0.0, 1.0, 2.0, 0.0])
    done = compare_target(path, "litert 0", "fp32", found=found, wanted=wanted, labels=labels, ids=ids)
    assert (done.worst_sample, done.accuracy, done.reference_accuracy, done.decision_agreement) == ("b", 0.75, 0.75, 1.0)
    assert (done.samples, done.max_difference) == (4, pytest.approx(5e-5))
    found[3] = [0.0, 1.0, 0.0]
    with pytest.raises(BackendError, match=r"clip d differs by 2, 75\.0% of the verdicts agree"):
        compare_target(path, "litert 0", "static-int8", found=found, wanted=wanted, labels=labels, ids=ids)
