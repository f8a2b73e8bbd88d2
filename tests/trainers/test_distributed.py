import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.trainers.distributed import ALONE, World, build_together, joined, loss_of, shared_batch_norms
from paretolens.trainers.teacher import TeacherSettings, train_teacher

PLAIN = {"offset_weight": 0.0, "sync_weight": 0.0, "deep": 0.0, "modality_dropout": 0.0, "mirror": False}
SETTINGS = {"epochs": 3, "batch_size": 16, "learning_rate": 1e-3, **PLAIN}


def launch(folder: Path, *, fails: bool = False) -> None:
    worker = Path(__file__).with_name("ddp_worker.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(worker)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, str(folder), json.dumps(SETTINGS)], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            _, said = process.communicate(timeout=120)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode != 0) is fails, said[-3000:]


@pytest.mark.slow
def test_two_processes_do_what_one_does_also_after_a_kill(model_of, train, val, tmp_path: Path) -> None:
    """Shuffled batches of 16 on one process; halves of the same batches on two, one of which is killed and comes back."""
    alone = model_of()
    wanted = train_teacher(alone, train, val, TeacherSettings(**SETTINGS), seed=3, report=lambda figures: None)
    launch(tmp_path, fails=True)
    assert (tmp_path / "fallen").exists()
    launch(tmp_path)
    first, second = (json.loads((tmp_path / f"history-{rank}.json").read_text()) for rank in (0, 1))
    losses = [[(found["teacher_loss"], found["teacher_val_loss"]) for found in history] for history in (first, second)]
    assert losses[0] == losses[1]
    for found, figures, noise in zip(first, wanted.epochs, (1e-4, 2e-3, 2e-3), strict=True):  # AdamW magnifies rounding
        assert found["teacher_loss"] == pytest.approx(figures["teacher_loss"], rel=noise)
        assert found["teacher_val_loss"] == pytest.approx(figures["teacher_val_loss"], rel=10 * noise)
    weights, other = (load_file(tmp_path / f"weights-{rank}.safetensors") for rank in (0, 1))
    for name, value in alone.state_dict().items():
        assert torch.equal(weights[name], other[name]), name
        torch.testing.assert_close(weights[name], value, rtol=1e-2, atol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


def test_a_world_of_one_changes_nothing(model_of) -> None:
    model, rows = model_of(), torch.arange(6)
    with joined() as world:
        assert (world.rank, world.size, world.leads) == (0, 1, True)
    with shared_batch_norms(model, ALONE):
        assert not any("forward" in vars(module) for module in model.modules())
    assert torch.equal(ALONE.part(rows), rows)
    assert ALONE.agree((2.0, 3.0)) == (2.0, 3.0)
    assert ALONE.mean(4.0) == 4.0
    assert not isinstance(loss_of(model, lambda model, batch: batch, ALONE), nn.parallel.DistributedDataParallel)


def test_parts_make_up_the_batch() -> None:
    rows = torch.randperm(12)
    parts = [World(rank=rank, size=3).part(rows) for rank in range(3)]
    assert {len(part) for part in parts} == {4}
    assert sorted(torch.cat(parts).tolist()) == list(range(12))


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="batch_size 16: must be a multiple of the 3 processes"):
        World(size=3).require_divisible(16)


def test_what_is_built_is_built_once(tmp_path: Path) -> None:
    seen: list[str] = []

    def build(place: Path) -> None:
        seen.append("built")
        (place / "file").write_text("made")

    for _ in range(2):
        build_together(tmp_path / "entry", build, beside=lambda: seen.append("beside"), world=ALONE)
    assert seen == ["built"]
    assert (tmp_path / "entry" / "file").read_text() == "made"
