"""Faithfulness against cases worked out by hand and by plain loops."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paretolens.evaluators.eps import EpsSettings, ExplainedSet, Population, TeacherReference
from paretolens.evaluators.faithfulness import (
    Truth,
    deletion_and_insertion,
    measure_faithfulness,
    play_pointing,
    teacher_grids,
    true_cells,
)
from paretolens.evaluators.faithfulness.curves import SHARES, random_grids
from paretolens.models.signature import InputKind, InputSpec, Signature

Make = Callable[[int], nn.Module]
SIDE, GRID = 16, 4


class Linear(nn.Module):
    """f(x) = Σ w·x: evidence and the effect of taking a cell away are the same thing."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum((1, 2, 3)).unsqueeze(1)


@pytest.fixture
def linear() -> Linear:
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(1, 1, GRID, GRID, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)
    return Linear(cells.expand(1, 3, SIDE, SIDE).clone())


@pytest.fixture
def linear_reference(linear: Linear) -> TeacherReference:
    signature = Signature(inputs=(InputSpec(name="image", shape=(3, SIDE, SIDE), kind=InputKind.IMAGE),), outputs=("logit",))
    inputs = (0.5 + torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)),)
    explained = ExplainedSet.of_tensors(signature, inputs, (torch.full((1, 3, SIDE, SIDE), 0.25),))
    settings = EpsSettings(nodes=2, probes=0, image_grid=GRID, population=Population.ALL, change_share=0.0)
    return TeacherReference.compute(linear, explained, settings)


def test_curves_of_a_linear_model_are_sums_of_its_evidence(linear: Linear, linear_reference: TeacherReference) -> None:
    rows = torch.arange(5)
    grids = teacher_grids(linear_reference)
    curves = deletion_and_insertion(linear, linear_reference, grids, rows)
    for row in range(5):
        effect = np.sort(grids["image"][row].numpy().astype(np.float64) * (SIDE // GRID) ** 2)[::-1]  # cells hold means
        gone = [int(np.ceil(share * GRID * GRID)) for share in SHARES]
        taken = np.array([effect[:count].sum() for count in gone])
        np.testing.assert_allclose(curves.insertion[row], taken, rtol=1e-4)
        np.testing.assert_allclose(curves.deletion[row], effect.sum() - taken, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(curves.deletion_areas().mean() + curves.insertion_areas().mean(), 1.0, rtol=1e-5)


def test_the_models_own_order_beats_every_other(linear: Linear, linear_reference: TeacherReference) -> None:
    rows = torch.arange(5)
    own = deletion_and_insertion(linear, linear_reference, teacher_grids(linear_reference), rows)
    for seed in range(5):
        noise = deletion_and_insertion(linear, linear_reference, random_grids(linear_reference, seed), rows)
        assert own.deletion_areas().mean() < noise.deletion_areas().mean()
        assert own.insertion_areas().mean() > noise.insertion_areas().mean()


def test_padding_is_never_touched_and_the_model_is_put_back(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    model = tiny_detector(0).train()
    rows = tiny_reference.eligible.nonzero()[:, 0]
    curves = deletion_and_insertion(model, tiny_reference, teacher_grids(tiny_reference), rows, chunk=7)
    assert all(module.training for module in model.modules())
    side = torch.where(tiny_reference.logit > 0, 1.0, -1.0)
    change = (side * tiny_reference.change)[rows].numpy()
    np.testing.assert_allclose(curves.change, change, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(curves.deletion[:, -1], 0.0, atol=1e-6)
    np.testing.assert_allclose(curves.insertion[:, -1], change, rtol=1e-4, atol=1e-5)


def test_a_model_that_tells_nothing_from_the_baseline_has_no_areas(linear_reference: TeacherReference) -> None:
    blind = Linear(torch.zeros(1, 3, SIDE, SIDE))
    truth = Truth(cells={"image": torch.zeros(5, 16, dtype=torch.bool)}, known={"image": torch.zeros(5, dtype=torch.bool)})
    assert measure_faithfulness(blind, linear_reference, teacher_grids(linear_reference), truth).metrics() == {
        "pointing_samples_image": 0.0
    }


def test_pointing_counts_the_highest_valid_cell(linear_reference: TeacherReference) -> None:
    cells = torch.zeros(5, 16, dtype=torch.bool)
    cells[:, :4] = True
    grids = torch.zeros(5, 16)
    grids[0, 2], grids[1, 9], grids[2, 3] = 1.0, 1.0, 0.1  # a hit, a miss, a hit; the other two maps say nothing: misses
    known = torch.tensor([True, True, True, True, False])
    game = play_pointing(linear_reference, {"image": grids}, Truth(cells={"image": cells}, known={"image": known}))["image"]
    np.testing.assert_array_equal(game.hits, [1.0, 0.0, 1.0, 0.0, np.nan])
    np.testing.assert_array_equal(game.chance[:4], 0.25)
    np.testing.assert_allclose(game.iou[:4], [1 / 4, 0.0, 1 / 4, 0.0])
    assert game.samples == 4


def test_truth_is_where_half_a_cell_is_manipulated(tiny_reference: TeacherReference) -> None:
    regions = np.zeros((24, 4, 16, 16), dtype=bool)  # maps have 4 cells a side: 4 × 4 parts each
    regions[0, 1, 0:2, 0:4] = True  # half of a cell
    regions[1, 1, 0:1, 0:4] = True  # a quarter of one
    regions[2] = True
    explained = replace(tiny_reference.explained, regions=regions)
    truth = true_cells(replace(tiny_reference, explained=explained))
    video = truth.cells["video"].view(24, 4, 4, 4)
    assert video[0].nonzero().tolist() == [[1, 0, 0]]
    assert not bool(video[1].any())
    assert truth.known["video"].tolist() == [True] + [False] * 23  # nothing and everything say nothing
    assert not bool(truth.known["audio"].any())


def test_sound_is_fake_where_the_picture_is_not(tiny_reference: TeacherReference) -> None:
    regions = np.zeros((24, 4, 16, 16), dtype=bool)
    regions[0, 0, 0, 0] = True
    periods = np.zeros((24, 2))
    periods[:2] = (0.1, 0.3)
    explained = replace(tiny_reference.explained, regions=regions)
    truth = true_cells(replace(tiny_reference, explained=explained), periods, audio_rate=20.0)
    audio = truth.cells["audio"].view(24, 5, 5)  # cells of 4 frames: middles at .1, .3, .5, … seconds
    assert not bool(audio[0].any())
    assert audio[1].any(dim=1).tolist() == [True, False, False, False, False]
    assert truth.known["audio"].tolist() == [False, True] + [False] * 22
