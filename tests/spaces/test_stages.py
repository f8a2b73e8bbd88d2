"""Which stages a genome goes through."""

import pytest

from paretolens.spaces.stages import stages_of

PLAIN = {"prune_ratio": 0.0, "rank_energy": 1.0, "gamma": 0.0, "qat": False}


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({}, ("distill",)),
        ({"prune_ratio": 0.1}, ("distill", "prune")),
        ({"rank_energy": 0.9}, ("distill", "factorise")),
        ({"qat": True, "gamma": 0.5}, ("distill", "align", "qat")),
        ({"gamma": 2, "rank_energy": 0.5, "qat": True, "prune_ratio": 0.3}, ("distill", "prune", "factorise", "align", "qat")),
    ],
)
def test_a_stage_applies_where_its_knob_asks_for_it(changes, stages):
    assert stages_of({**PLAIN, **changes}) == stages
