import dataclasses

import numpy as np
import pytest
import torch

from paretolens.data.samples import SampleSet
from paretolens.errors import DataError


def test_batch_is_in_the_order_of_the_signature(sets: dict[str, SampleSet]) -> None:
    samples = sets["train"]
    batch = samples.batch([3, 1])
    assert [tuple(tensor.shape) for tensor in batch] == [(2, *spec.shape) for spec in samples.signature.inputs]
    assert [tensor.dtype for tensor in batch] == [torch.float32, torch.float32, torch.bool, torch.bool]


def test_every_kind_of_index_chooses_the_same_rows(sets: dict[str, SampleSet]) -> None:
    samples = sets["val"]
    chosen = samples.batch(slice(2, 5))
    flags = np.zeros(len(samples), bool)
    flags[2:5] = True
    for index in ([2, 3, 4], np.array([2, 3, 4]), torch.tensor([2, 3, 4]), flags, range(2, 5)):
        assert all(torch.equal(a, b) for a, b in zip(samples.batch(index), chosen, strict=True))


def test_sound_of_the_training_split_is_standardised(sets: dict[str, SampleSet]) -> None:
    _, audio, _, mask = sets["train"].batch(slice(None))
    heard = audio[~mask]
    torch.testing.assert_close(heard.mean(0), torch.zeros(13), atol=1e-4, rtol=0)
    torch.testing.assert_close(heard.std(0, correction=0), torch.ones(13), atol=1e-3, rtol=0)


def test_baseline_is_the_mean_of_what_is_not_masked(sets: dict[str, SampleSet]) -> None:
    video, _, mask, _ = sets["train"].batch(slice(None))
    image, sound, video_mask, audio_mask = sets["train"].baseline()
    torch.testing.assert_close(image[0, 0], video[~mask].mean(0), atol=1e-4, rtol=1e-4)
    assert torch.equal(image[0, 0], image[0, -1])
    assert (sound == 0).all()
    assert not video_mask.any()
    assert not audio_mask.any()
    assert [tuple(tensor.shape[1:]) for tensor in (image, sound, video_mask, audio_mask)] == [
        spec.shape for spec in sets["train"].signature.inputs
    ]


def test_baseline_of_every_split_is_that_of_training(sets: dict[str, SampleSet]) -> None:
    assert torch.equal(sets["test"].baseline()[0], sets["train"].baseline()[0])


def test_subset_keeps_rows_together(sets: dict[str, SampleSet]) -> None:
    samples = sets["train"]
    part = samples.subset([7, 2])
    assert len(part) == 2
    assert part.ids == (samples.ids[7], samples.ids[2])
    assert part.kinds == (samples.kinds[7], samples.kinds[2])
    for name in ("labels", "groups", "identities", "strengths", "offsets", "regions", "periods"):
        np.testing.assert_array_equal(getattr(part, name), getattr(samples, name)[[7, 2]])
    assert all(torch.equal(a, b) for a, b in zip(part.batch([0]), samples.batch([7]), strict=True))


def test_a_slice_stays_mapped(sets: dict[str, SampleSet]) -> None:
    part = sets["train"].subset(slice(4, 9))
    assert np.shares_memory(part.arrays["video"], sets["train"].arrays["video"])


def test_fingerprint_tells_subsets_apart(sets: dict[str, SampleSet]) -> None:
    samples = sets["train"]
    prints = {samples.fingerprint, samples.subset([0, 1]).fingerprint, samples.subset([1, 0]).fingerprint}
    assert len(prints) == 3
    assert samples.subset(slice(0, 2)).fingerprint == samples.subset([0, 1]).fingerprint


def test_columns_of_different_lengths_are_refused(sets: dict[str, SampleSet]) -> None:
    with pytest.raises(DataError, match="one row per sample"):
        dataclasses.replace(sets["train"], ids=sets["train"].ids[1:])


def test_a_missing_input_is_refused(sets: dict[str, SampleSet]) -> None:
    arrays = {name: array for name, array in sets["train"].arrays.items() if name != "audio"}
    with pytest.raises(DataError, match="'audio'"):
        dataclasses.replace(sets["train"], arrays=arrays)


def test_targets_are_a_column(sets: dict[str, SampleSet]) -> None:
    targets = sets["train"].targets([0, 1, 2])
    assert targets.shape == (3, 1)
    assert targets[:, 0].tolist() == sets["train"].labels[:3].tolist()
