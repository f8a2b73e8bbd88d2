import numpy as np
import pytest
import torch

from paretolens.evaluators.eps.maps import evidence_map, grid_shape, grid_valid, pixel_valid, signed_map, to_common_grid
from paretolens.evaluators.eps.settings import EpsSettings
from paretolens.models.signature import InputKind

SETTINGS = EpsSettings()


def test_signed_map_sums_channels_and_takes_the_teachers_side() -> None:
    a = torch.randn(2, 3, 3, 8, 8)
    signed = signed_map(a, InputKind.VIDEO, torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(signed[0], a[0].sum(1))
    torch.testing.assert_close(signed[1], -a[1].sum(1))
    assert signed_map(torch.randn(2, 3, 8, 8), InputKind.IMAGE, torch.ones(2)).shape == (2, 8, 8)
    assert signed_map(torch.randn(2, 9, 5), InputKind.AUDIO, torch.ones(2)).shape == (2, 9, 5)


@pytest.mark.parametrize(
    ("kind", "shape"), [(InputKind.VIDEO, (3, 64, 64)), (InputKind.IMAGE, (64, 64)), (InputKind.AUDIO, (80, 13))]
)
def test_grid_shape_is_that_of_the_evidence_map(kind: InputKind, shape: tuple[int, ...]) -> None:
    full = shape if kind is InputKind.AUDIO else (*shape[:-2], 3, *shape[-2:])
    evidence = evidence_map(torch.rand(2, *shape), kind, SETTINGS)
    assert tuple(evidence.shape[1:]) == grid_shape(full, kind, SETTINGS)


def test_video_evidence_is_the_mean_of_what_is_positive() -> None:
    signed = torch.randn(2, 3, 64, 64)
    found = evidence_map(signed, InputKind.VIDEO, SETTINGS).numpy()
    blocks = np.maximum(signed.numpy(), 0).reshape(2, 3, 8, 8, 8, 8).mean(axis=(3, 5))
    np.testing.assert_allclose(found, blocks, rtol=1e-5)


def test_padded_audio_frames_enter_no_cell() -> None:
    signed, ignored = torch.rand(1, 10, 2), torch.zeros(1, 10, dtype=torch.bool)
    ignored[0, 6:] = True
    found = evidence_map(signed, InputKind.AUDIO, SETTINGS, ignored)
    torch.testing.assert_close(found[0, 0], signed[0, :4].mean(0))
    torch.testing.assert_close(found[0, 1], signed[0, 4:6].mean(0))
    assert float(found[0, 2].abs().sum()) == 0.0
    valid = grid_valid(ignored, 1, (3, 2), InputKind.AUDIO, SETTINGS.audio_pool)
    assert valid[0, :, 0].tolist() == [True, True, False]


def test_length_that_is_no_multiple_of_the_pool() -> None:
    signed = torch.rand(1, 10, 2)
    torch.testing.assert_close(evidence_map(signed, InputKind.AUDIO, SETTINGS)[0, 2], signed[0, 8:].mean(0))


def test_padded_frames_are_not_valid() -> None:
    ignored = torch.tensor([[False, True]])
    assert pixel_valid(ignored, 1, (2, 3, 3)).sum() == 9
    assert pixel_valid(None, 1, (2, 3, 3)).all()


def test_patch_logits_meet_on_the_coarser_grid() -> None:
    fine, coarse = torch.rand(2, 12, 12), torch.rand(2, 4, 6)
    a, b = to_common_grid(fine, coarse)
    assert a.shape == b.shape == (2, 4, 6)
    torch.testing.assert_close(b, coarse)
    torch.testing.assert_close(a[0, 0, 0], fine[0, :3, :2].mean())
