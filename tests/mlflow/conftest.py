"""One sqlite store for the whole room (making one costs seconds), and a table of plausible trials."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from paretolens.mlflow.front import Front, rank_trials
from paretolens.mlflow.records import StudyRecord
from paretolens.mlflow.tracking import MlflowTracker


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> str:
    return new_store(tmp_path_factory.mktemp("store") / "mlflow.db")


@pytest.fixture
def tracker(store: str, tmp_path: Path) -> Iterator[MlflowTracker]:
    with MlflowTracker(tracking_uri=store, spool=tmp_path / "tracking.jsonl") as opened:
        yield opened


@pytest.fixture
def trials() -> Callable[..., pd.DataFrame]:
    def make(count: int = 40, seed: int = 0) -> pd.DataFrame:
        random = np.random.default_rng(seed)
        width = np.exp(random.uniform(np.log(8), np.log(160), count))
        accuracy = 0.955 - 0.33 * np.exp(-width / 22) - np.abs(random.normal(0, 0.02, count))
        eps = 0.78 - 0.5 * np.exp(-width / 55) + random.normal(0, 0.05, count)
        return pd.DataFrame(
            {
                "run_id": [f"run{i}" for i in range(count)],
                "trial": [str(i) for i in range(count)],
                "state": "complete",
                "accuracy": accuracy,
                "accuracy_low": accuracy - 0.018,
                "accuracy_high": accuracy + 0.016,
                "latency_ms": 0.25 + 0.0085 * width**1.25 * random.lognormal(0, 0.12, count),
                "eps": eps,
                "eps_low": eps - 0.035,
                "eps_high": eps + 0.03,
                "size_mb": width**2 * 3.6e-4,
                "parameters": np.round(width**2 * 90),
                "params.width": width.astype(int),
                "params.backbone": random.choice(["resnet", "<script>alert(1)</script>"], count),
            }
        )

    return make


@pytest.fixture
def drawn(trials: Callable[..., pd.DataFrame]) -> Front:
    """A front with everything that can be drawn: teacher, floor and reference lines."""
    table = trials()
    record = StudyRecord(
        name="drawn",
        run_id="parent",
        experiment_id="1",
        tracking_uri="sqlite:///nowhere.db",
        trials=table,
        metrics={
            "teacher/accuracy": 0.962,
            "teacher/latency_ms": 14.7,
            "teacher/parameters": 3.1e6,
            "teacher/size_mb": 12.4,
            "eps_floor": 0.11,
            "eps_reference": 0.83,
        },
        params={},
        tags={},
    )
    return replace(rank_trials(table), study=record)
