from types import SimpleNamespace

import numpy as np
import pytest
import torch

from paretolens.errors import ConfigurationError, DataError
from paretolens.evaluators.eps import BaselineKind, EpsSettings, ExplainedSet
from paretolens.evaluators.eps.explained import stratified_choice
from paretolens.models.signature import Signature


def split(signature: Signature, kinds: list[str]) -> SimpleNamespace:
    count = len(kinds)
    rng = np.random.default_rng(0)
    video = torch.from_numpy(rng.normal(size=(count, *signature.inputs[0].shape))).float()
    audio = torch.from_numpy(rng.normal(size=(count, *signature.inputs[1].shape))).float()
    masks = [torch.zeros(count, *spec.shape, dtype=torch.bool) for spec in signature.inputs[2:]]
    return SimpleNamespace(
        signature=signature,
        labels=np.array([kind != "real" for kind in kinds], dtype=np.float32),
        groups=np.arange(count) // 2,
        kinds=tuple(kinds),
        regions=np.zeros((count, 4, 16, 16), dtype=bool),
        batch=lambda index: tuple(x[torch.as_tensor(index)] for x in (video, audio, *masks)),
        baseline=lambda: (video.mean(0, keepdim=True), audio.mean(0, keepdim=True), *(mask[:1] for mask in masks)),
    )


def test_only_fakes_and_even_over_the_kinds(tiny_signature: Signature) -> None:
    samples = split(tiny_signature, ["real", "mouth", "voice", "mouth", "real", "mouth", "blend", "mouth", "voice", "mouth"])
    chosen = ExplainedSet.choose(samples, EpsSettings(samples=5))
    assert len(chosen) == 5
    assert sorted(chosen.kinds) == ["blend", "mouth", "mouth", "voice", "voice"]
    assert (chosen.labels == 1).all()
    for row, kind, group in zip(chosen.indices, chosen.kinds, chosen.groups, strict=True):
        assert samples.kinds[row] == kind
        assert samples.groups[row] == group
    torch.testing.assert_close(chosen.inputs[0], samples.batch(chosen.indices)[0])
    assert chosen.baseline[2:] == (None, None)


def test_choice_depends_on_the_seed_alone(tiny_signature: Signature) -> None:
    samples = split(tiny_signature, ["mouth", "voice"] * 20 + ["real"])
    first, again, other = (ExplainedSet.choose(samples, EpsSettings(samples=10, seed=seed)).indices for seed in (0, 0, 1))
    assert first.tolist() == again.tolist() == sorted(first.tolist())
    assert first.tolist() != other.tolist()


def test_fewer_fakes_than_asked_for_and_none(tiny_signature: Signature) -> None:
    assert len(ExplainedSet.choose(split(tiny_signature, ["real", "mouth"]), EpsSettings())) == 1
    with pytest.raises(DataError, match="explains fakes, and this split has none"):
        ExplainedSet.choose(split(tiny_signature, ["real", "real"]), EpsSettings())


def test_a_set_without_samples_is_refused(tiny_signature: Signature) -> None:
    empty = [torch.zeros(0, *spec.shape) for spec in tiny_signature.inputs]
    with pytest.raises(DataError, match="0 samples has nothing to explain; give at least 1"):
        ExplainedSet.of_tensors(tiny_signature, empty, [None] * len(empty))
    with pytest.raises(DataError, match="0 samples"):
        ExplainedSet.of_images(torch.zeros(0, 3, 8, 8))


def test_pictures_need_no_signature() -> None:
    pictures = torch.rand(5, 3, 8, 8)
    found = ExplainedSet.of_images(pictures)
    assert [(spec.name, spec.shape) for spec in found.signature.inputs] == [("image", (3, 8, 8))]
    assert len(found) == 5
    torch.testing.assert_close(found.baseline[0], pictures.mean(0)[None])
    black = torch.zeros(1, 3, 8, 8)
    assert ExplainedSet.of_images(pictures, black).baseline[0] is black
    with pytest.raises(ConfigurationError, match=r"must be \(n, C, H, W\)"):
        ExplainedSet.of_images(pictures, black[0])


def test_baseline_is_the_mean_of_the_real_clips_without_their_padding(tiny_signature: Signature) -> None:
    samples = split(tiny_signature, ["real", "mouth", "real", "real", "voice"])
    padding = samples.batch([0, 1, 2, 3, 4])
    padding[2][2, -1] = True  # the last frame of the third clip
    padding[3][0, 10:] = True  # the sound of the first from its eleventh frame on
    samples.batch = lambda index: tuple(x[torch.as_tensor(index)] for x in padding)
    video, audio, *masks = ExplainedSet.choose(samples, EpsSettings()).baseline
    assert video is not None and audio is not None and masks == [None, None]
    torch.testing.assert_close(video[0, :-1], padding[0][[0, 2, 3], :-1].mean(0))
    torch.testing.assert_close(video[0, -1], padding[0][[0, 3], -1].mean(0))
    torch.testing.assert_close(audio[0, :10], padding[1][[0, 2, 3], :10].mean(0))
    torch.testing.assert_close(audio[0, 10:], padding[1][[2, 3], 10:].mean(0))


def test_other_baselines(tiny_signature: Signature) -> None:
    samples = split(tiny_signature, ["mouth"] * 3)
    with pytest.raises(DataError, match="mean real clip, and this split has none"):
        ExplainedSet.choose(samples, EpsSettings())
    mean = ExplainedSet.choose(samples, EpsSettings(baseline=BaselineKind.MEAN)).baseline[0]
    zero = ExplainedSet.choose(samples, EpsSettings(baseline=BaselineKind.ZERO)).baseline[0]
    assert mean is not None and bool(mean.any())
    assert zero is not None and not bool(zero.any())


def test_stratified_choice_is_exact() -> None:
    assert stratified_choice(["a"] * 50 + ["b"] * 3, 10, 0).tolist()[-3:] == [50, 51, 52]
    assert len(stratified_choice(["a", "b"], 99, 0)) == 2


def test_tensors_that_do_not_fit_the_signature(tiny_signature: Signature) -> None:
    with pytest.raises(ConfigurationError, match="must follow the 4 inputs"):
        ExplainedSet.of_tensors(tiny_signature, (torch.zeros(2, 3),), (torch.zeros(1, 3),))
