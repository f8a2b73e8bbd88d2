import numpy as np
import torch

from paretolens.models.positions import Positions, PositionsKind, sinusoids


def test_sinusoids_follow_the_paper():
    length, width = 50, 12
    expected = np.zeros((length, width))
    for position in range(length):
        for i in range(width // 2):
            angle = position / 10000 ** (2 * i / width)
            expected[position, 2 * i], expected[position, 2 * i + 1] = np.sin(angle), np.cos(angle)
    np.testing.assert_allclose(sinusoids(length, width).numpy(), expected, atol=1e-5)


def test_only_learned_positions_have_parameters():
    sizes = {kind: sum(p.numel() for p in Positions(kind=kind, length=30, width=8).parameters()) for kind in PositionsKind}
    assert sizes == {PositionsKind.LEARNED: 240, PositionsKind.SINUSOIDAL: 0, PositionsKind.NONE: 0}


def test_shorter_sequences_get_the_first_positions():
    positions = Positions(kind=PositionsKind.SINUSOIDAL, length=30, width=8)
    assert torch.equal(positions(torch.zeros(2, 7, 8))[1], sinusoids(30, 8)[:7])
