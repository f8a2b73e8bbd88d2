import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from paretolens.errors import ConfigurationError, StoreError
from paretolens.mlflow.front import front, rank_trials, tag_front
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.records import list_studies, read_study
from paretolens.mlflow.store import open_client
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo

VALUES = {
    "0": (TrialState.COMPLETE, {"accuracy": 0.90, "latency_ms": 2.0, "eps": 0.5, "size_mb": 1.0}),
    "1": (TrialState.COMPLETE, {"accuracy": 0.95, "latency_ms": 4.0, "eps": 0.6, "size_mb": 3.0}),
    "2": (TrialState.COMPLETE, {"accuracy": 0.89, "latency_ms": 2.5, "eps": 0.4, "size_mb": 0.5}),  # dominated but small
    "3": (TrialState.COMPLETE, {"accuracy": 0.90, "latency_ms": 2.0, "eps": 0.5, "size_mb": 1.0}),  # as trial 0
    "4": (TrialState.PRUNED, {"accuracy": 0.99, "latency_ms": 0.1, "eps": 0.9}),  # partial values, better than all
    "5": (TrialState.COMPLETE, {"accuracy": 0.99, "latency_ms": 0.1}),  # no EPS
    "6": (TrialState.COMPLETE, {"accuracy": 0.99, "latency_ms": 0.1, "eps": math.inf}),  # never written
    "7": (TrialState.FAILED, {}),
    "8": (TrialState.INFEASIBLE, {"latency_ms": 0.01}),
}


@pytest.fixture(scope="module")
def study(store: str) -> str:
    with MlflowTracker(tracking_uri=store, spool=None) as tracker:
        tracker.start_study(StudyInfo(name="fronted"))
        for trial, (state, metrics) in VALUES.items():
            tracker.start_trial(trial, params={"width": 8 * int(trial)}, genome=f"g{trial}")
            tracker.finish_trial(trial, state, metrics=metrics)
    # what an older tool might have left: MLflow reads an infinity back as 1.797e308
    client, record = open_client(store), read_study("fronted", tracking_uri=store)
    client.log_metric(record.trials.set_index("trial").loc["5", "run_id"], "eps", math.inf)
    return "fronted"


def test_only_complete_finite_trials_and_equals_once(store: str, study: str) -> None:
    found = front(study, tracking_uri=store)
    assert found.members["trial"].tolist() == ["1", "0"]
    assert found.trials["trial"].tolist() == ["0", "1", "2", "3"]
    assert found.trials["rank"].tolist() == [0, 0, 1, 0]
    why = dict(zip(found.excluded["trial"], found.excluded["why"], strict=True))
    assert why == {"4": "pruned", "5": "no finite eps", "6": "no finite eps", "7": "failed", "8": "infeasible"}
    assert found.knee is not None
    assert found.study is not None
    assert found.study.name == study


def test_any_metrics_as_objectives_and_filters(store: str, study: str) -> None:
    found = front(study, {"accuracy": "max", "size_mb": "min"}, tracking_uri=store)
    assert set(found.members["trial"]) == {"0", "1", "2"}
    found = front(study, {"latency_ms": "min"}, tracking_uri=store)
    assert found.members["trial"].tolist() == ["5"]
    found = front(study, where="latency_ms < 3 and eps > .3 and width > 0", tracking_uri=store)
    assert found.members["trial"].tolist() == ["3"]
    assert "left out by the filter" in set(found.excluded["why"])
    assert front(study, where="latency_ms < 0", tracking_uri=store).knee is None


def test_tags_follow_the_front(store: str, study: str) -> None:
    client = open_client(store)

    def tagged(condition: str) -> set[str]:
        record = read_study(study, tracking_uri=store)
        return {run.data.tags["paretolens.trial"] for run in client.search_runs([record.experiment_id], condition)}

    found = front(study, tracking_uri=store)
    assert tag_front(found) == 4
    assert tag_front(front(study, tracking_uri=store)) == 0
    assert tagged("tags.paretolens.pareto = 'true' and metrics.eps > 0.55") == {"1"}
    assert tagged("tags.paretolens.knee = 'true'") == {str(found.knee["trial"])}  # type: ignore[index]
    assert tagged("tags.paretolens.rank = '1'") == {"2"}
    tag_front(front(study, where="trial == '2'", tracking_uri=store))
    assert tagged("tags.paretolens.pareto = 'true'") == {"2"}
    assert tagged("tags.paretolens.knee = 'true'") == {"2"}
    assert tagged("tags.paretolens.rank = '0'") == {"2"}


def test_an_unknown_study_lists_those_there_are(store: str, study: str) -> None:
    assert study in list_studies(store)
    with pytest.raises(StoreError, match=r"'frontd': not in .*did you mean 'fronted'\? there are: .*fronted"):
        front("frontd", tracking_uri=store)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": {"acuracy": "max"}}, "did you mean 'accuracy'"),
        ({"objectives": {"accuracy": "best"}}, "max or min"),
        ({"objectives": {"accuracy": "min"}}, "larger is better"),
        ({"objectives": {}}, "at least one"),
        ({"where": "acuracy > 1"}, "did you mean 'accuracy'"),
    ],
)
def test_wrong_questions(store: str, study: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        front(study, tracking_uri=store, **options)  # type: ignore[arg-type]


def test_a_study_without_a_complete_trial(store: str) -> None:
    with MlflowTracker(tracking_uri=store, spool=None) as tracker:
        tracker.start_study(StudyInfo(name="fresh"))
        assert tracker.flush(10)
        found = front("fresh", tracking_uri=store)
        assert (len(found.trials), len(found.excluded), found.knee, found.hypervolume()) == (0, 0, None, 0.0)
        tracker.start_trial("0", params={}, genome="g")
        assert tracker.flush(10)
        found = front("fresh", tracking_uri=store)
        assert (len(found.trials), found.knee) == (0, None)
        assert found.excluded["why"].tolist() == ["running"]


def test_tables_in_and_out(trials: Callable[..., pd.DataFrame]) -> None:
    table = trials(200)
    found = rank_trials(table.drop(columns=["state", "run_id"]))
    values = table[["accuracy", "latency_ms", "eps"]].to_numpy() * [-1, 1, -1]
    assert set(np.flatnonzero(found.trials["pareto"])) == set(NonDominatedSorting().do(values, only_non_dominated_front=True))
    assert found.members["accuracy"].is_monotonic_decreasing
    assert found.trials["knee"].sum() == 1
    assert found.members["knee"].sum() == 1


def test_hypervolume_grows_with_the_front(trials: Callable[..., pd.DataFrame]) -> None:
    reference = {"accuracy": 0.5, "latency_ms": 20.0, "eps": 0.0}
    table = trials(100)
    whole = rank_trials(table)
    assert 0 < whole.hypervolume() < 1
    assert 0 < whole.hypervolume(reference) < 1
    one = rank_trials(pd.DataFrame({"trial": ["0"], "accuracy": [0.9], "latency_ms": [1.0], "eps": [0.5]}))
    assert one.hypervolume(reference) == pytest.approx(1.0)
    assert one.hypervolume() == 0.0


def test_ten_thousand_trials_are_ranked_in_seconds(trials: Callable[..., pd.DataFrame]) -> None:
    assert len(rank_trials(trials(10_000)).trials) == 10_000


def test_only_a_front_from_a_store_can_be_tagged(trials: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="store"):
        tag_front(rank_trials(trials(5)))
    with pytest.raises(StoreError, match="there is none"):
        front("any", tracking_uri=f"sqlite:///{tmp_path}/none.db")
