import numpy as np
import pandas as pd
import pytest

from paretolens.mlflow.explorer.importance import FEWEST, knob_importance
from paretolens.mlflow.front import rank_trials

AXES = {"accuracy": "max", "latency_ms": "min"}


def _study(count: int, seed: int = 0) -> pd.DataFrame:
    """Accuracy depends on the backbone alone, latency on width and frames; `alpha` does nothing, `heads` never varies."""
    random = np.random.default_rng(seed)
    backbone = random.choice(["small", "large", "tiny"], count)
    width, frames = random.uniform(8, 64, count), random.choice([4.0, 8.0, np.nan], count)
    return pd.DataFrame(
        {
            "trial": [str(i) for i in range(count)],
            "accuracy": pd.Series(backbone).map({"tiny": 0.7, "small": 0.8, "large": 0.9}) + random.normal(0, 0.005, count),
            "latency_ms": width + 2 * np.nan_to_num(frames) + random.normal(0, 0.3, count),
            "params.backbone": backbone,
            "params.width": width,
            "params.frames": frames,
            "params.alpha": random.uniform(0, 1, count),
            "params.heads": 4,
        }
    )


def test_the_knobs_that_matter_come_first() -> None:
    accuracy, latency = knob_importance(rank_trials(_study(150), AXES))
    assert accuracy.held_out is not None
    assert accuracy.held_out > 0.9
    assert accuracy.knobs[0] == "backbone"
    assert accuracy.drop[0] > 20 * max(abs(drop) for drop in accuracy.drop[1:])
    assert latency.knobs[:2] == ["width", "frames"]
    assert set(latency.knobs) == {"backbone", "width", "frames", "alpha"}
    assert latency.note == ""


def test_the_same_trials_give_the_same_answer() -> None:
    front = rank_trials(_study(40), AXES)
    assert knob_importance(front) == knob_importance(front)


def test_too_few_trials_are_said_to_be_too_few() -> None:
    for entry in knob_importance(rank_trials(_study(FEWEST - 1), AXES)):
        assert entry.knobs == []
        assert f"too few complete trials: {FEWEST - 1}, at least {FEWEST}" in entry.note


def test_nothing_is_made_up_from_noise() -> None:
    table = _study(60)
    table["accuracy"] = np.random.default_rng(1).permutation(table["accuracy"])
    accuracy, latency = knob_importance(rank_trials(table, AXES))
    assert accuracy.knobs == []
    assert "don't predict it" in accuracy.note
    assert latency.knobs


def test_nothing_that_varies() -> None:
    table = _study(30).assign(accuracy=0.8)
    assert knob_importance(rank_trials(table, AXES))[0].note == "it is the same in all trials"
    fixed = table.drop(columns=[name for name in table if str(name).startswith("params.") and name != "params.heads"])
    assert knob_importance(rank_trials(fixed, AXES))[1].note == "no knob varies"


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_study(count: int) -> None:
    assert [entry.trials for entry in knob_importance(rank_trials(_study(3).iloc[:count], AXES))] == [count, count]
