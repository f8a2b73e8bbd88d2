import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from paretolens.errors import IntegrityError
from paretolens.trainers.cache import cache_teacher, model_checksum
from paretolens.trainers.views import View, mirror

BOTH = (View.PLAIN, View.MIRRORED)


def test_batches_are_the_teachers_outputs(model_of, train, tmp_path) -> None:
    model = model_of()
    outputs = cache_teacher(model, train, tmp_path, views=BOTH, batch_size=7)
    rows, mirrored = torch.tensor([5, 0, 41]), torch.tensor([False, True, True])
    inputs = train.batch(rows)
    with torch.no_grad():
        plain, flipped = model(*inputs), model(*mirror(inputs, train.signature))
    batch = outputs.batch(rows, mirrored)
    assert torch.allclose(batch.logit[0], plain.logit[0], atol=1e-5)
    assert torch.allclose(batch.logit[1:], flipped.logit[1:], atol=1e-5)
    assert torch.allclose(batch.offset[1:], flipped.offset[1:], atol=1e-5)
    assert torch.allclose(batch.attention[0], plain.attention[0], atol=2**-11)
    assert batch.attention.dtype == torch.float32
    assert isinstance(outputs.attention, np.memmap)


def test_an_entry_is_used_again_and_named_by_what_it_depends_on(model_of, samples_of, train, tmp_path) -> None:
    first = cache_teacher(model_of(), train, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert cache_teacher(model_of(), train, tmp_path).fingerprint == first.fingerprint
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    others = [
        cache_teacher(model_of(seed=1), train, tmp_path),
        cache_teacher(model_of(), samples_of(48, seed=9), tmp_path),
        cache_teacher(model_of(), train, tmp_path, views=BOTH),
    ]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_the_checksum_sees_one_weight(model_of) -> None:
    one, two = model_of(), model_of()
    assert model_checksum(one) == model_checksum(two)
    with torch.no_grad():
        two.verdict.bias += 1e-7
    assert model_checksum(one) != model_checksum(two)


class PatchDetection(NamedTuple):
    logit: torch.Tensor
    patches: torch.Tensor


class Patches(nn.Module):
    """Says of each frame's four quarters how bright they are, and of the clip the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, video, audio, video_mask, audio_mask) -> PatchDetection:
        patches = self.gain * nn.functional.adaptive_avg_pool2d(video.mean(2), 2)
        return PatchDetection(patches.mean((1, 2, 3))[:, None], patches)


def test_patches_are_kept_in_their_own_shape(train, tmp_path) -> None:
    model = Patches()
    outputs = cache_teacher(model, train, tmp_path, views=BOTH, batch_size=9)
    assert isinstance(outputs.patches, np.memmap)
    assert outputs.patches.shape == (2, 48, 4, 2, 2)
    rows, mirrored = torch.tensor([3, 40]), torch.tensor([True, False])
    batch = outputs.batch(rows, mirrored)
    inputs = train.batch(rows)
    assert torch.allclose(batch.patches[0], model(*mirror(inputs, train.signature)).patches[0], atol=1e-6)
    assert torch.allclose(batch.patches[1], model(*inputs).patches[1], atol=1e-6)
    assert (batch.offset.shape, batch.attention.shape) == ((2, 0), (2, 0, 0))


def test_a_teacher_without_patches_has_none(model_of, train, tmp_path) -> None:
    assert cache_teacher(model_of(), train, tmp_path).batch(torch.arange(3)).patches.shape == (3, 0)


@pytest.mark.parametrize("name", ["logit.npy", "attention.npy", "patches.npy", "outputs.json"])
def test_a_damaged_entry_is_refused(model_of, train, tmp_path, name: str) -> None:
    cache_teacher(model_of(), train, tmp_path)
    path = next(tmp_path.rglob(name))
    content = bytearray(path.read_bytes())
    content[-3] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(IntegrityError, match="damaged or missing"):
        cache_teacher(model_of(), train, tmp_path)


def _fill(folder: str) -> str:
    import importlib.util

    spec = importlib.util.spec_from_file_location("trainers_conftest", Path(__file__).with_name("conftest.py"))
    assert spec is not None and spec.loader is not None
    helpers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helpers)
    torch.set_num_threads(1)
    return cache_teacher(helpers.make_model(), helpers.make_samples(48), Path(folder)).fingerprint


@pytest.mark.slow
def test_processes_that_come_at_once_share_one_entry(tmp_path) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        names = set(pool.map(_fill, [str(tmp_path)] * 2))
    assert len(names) == 1
    assert len(list(tmp_path.glob("teacher-*/outputs.json"))) == 1
    assert not list(tmp_path.glob(".teacher-*"))
