import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from paretolens.errors import ConfigurationError, StoreError
from paretolens.mlflow.explorer import write_explorer
from paretolens.mlflow.front import Front, front, front_of, rank_trials, tag_front
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.records import merge_studies, read_study
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
        own = f"{condition} and tags.paretolens.study = '{study}'"
        return {run.data.tags["paretolens.trial"] for run in client.search_runs([record.experiment_id], own)}

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
    with pytest.raises(StoreError, match=r"'frontd': not in .*did you mean fronted\? There are: .*fronted"):
        front("frontd", tracking_uri=store)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": {"acuracy": "max"}}, "did you mean accuracy"),
        ({"objectives": {"accuracy": "best"}}, "max or min"),
        ({"objectives": {"accuracy": "min"}}, "larger is better"),
        ({"objectives": {}}, "at least one"),
        ({"where": "acuracy > 1"}, "did you mean accuracy"),
    ],
)
def test_wrong_questions(store: str, study: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        front(study, tracking_uri=store, **options)  # type: ignore[arg-type]


def test_a_study_without_a_complete_trial(store: str) -> None:
    with MlflowTracker(tracking_uri=store, spool=None) as tracker:
        tracker.start_study(StudyInfo(name="fresh"))
        assert tracker.flush(120)
        found = front("fresh", tracking_uri=store)
        assert (len(found.trials), len(found.excluded), found.knee, found.hypervolume()) == (0, 0, None, 0.0)
        tracker.start_trial("0", params={}, genome="g")
        assert tracker.flush(120)
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


def test_a_table_may_stand_in_for_a_study_and_comes_out_again(trials: Callable[..., pd.DataFrame]) -> None:
    table = trials(60)
    table.loc[3, "eps"] = np.nan
    found = front(table, where="latency_ms < 4")
    frame = found.to_frame()
    assert frame["pareto"].all()
    assert frame["trial"].tolist() == found.members["trial"].tolist()
    every = found.to_frame(every=True)
    assert sorted(every["trial"]) == sorted(table["trial"])
    assert set(every["why"]) >= {"", "no finite eps", "left out by the filter"}
    assert len(front(table.iloc[:0]).to_frame(every=True)) == 0


def test_several_studies_have_a_common_front(store: str, study: str) -> None:
    with MlflowTracker(tracking_uri=store, spool=None) as tracker:
        tracker.start_study(StudyInfo(name="other"))
        tracker.start_trial("0", params={"width": 5}, genome="g")
        tracker.finish_trial("0", TrialState.COMPLETE, metrics={"accuracy": 0.93, "latency_ms": 2.0, "eps": 0.55})
    found = front([study, "other"], tracking_uri=store)
    assert found.members["trial"].tolist() == ["fronted/1", "other/0"]
    assert front([study, "other"], where="study == 'fronted'", tracking_uri=store).members["study"].unique() == ["fronted"]
    assert found.study is not None
    assert found.study.name == "fronted + other"
    with pytest.raises(ValueError, match="one study"):
        tag_front(found)
    with pytest.raises(ConfigurationError, match="named twice"):
        front([study, study], tracking_uri=store)


def test_history_ends_at_the_hypervolume(trials: Callable[..., pd.DataFrame]) -> None:
    table = trials(80).assign(run_seconds=1.0)
    table["started_ms"] = np.arange(80)[::-1]
    found = rank_trials(table)
    history = found.history()
    assert history["trial"].tolist() == [str(number) for number in range(79, -1, -1)]
    assert history["hypervolume"].is_monotonic_increasing
    assert history["hypervolume"].iloc[-1] == pytest.approx(found.hypervolume())
    assert len(rank_trials(table.iloc[:0]).history()) == 0


def test_ties_are_judged_on_the_clips_that_members_share(store: str, tmp_path: Path) -> None:
    """Two members whose own intervals overlap, but of which one is better on every clip."""
    random = np.random.default_rng(0)
    base, groups = random.random(40), np.arange(40) // 2
    scores = {"0": base, "1": base - 0.03, "2": base - 0.03 + random.normal(0, 0.3, 40)}
    with MlflowTracker(tracking_uri=store, spool=None) as tracker:
        tracker.start_study(StudyInfo(name="paired"))
        for trial, values in scores.items():
            tracker.start_trial(trial, params={}, genome=trial)
            file = tmp_path / trial / "eps_samples.json"
            file.parent.mkdir()
            file.write_text(json.dumps({"eps": values.tolist(), "groups": groups.tolist(), "rows": list(range(40))}))
            tracker.log_artifacts(trial, {"": [file]})
            mean = 0.5 - 0.01 * int(trial)
            metrics = {"eps": mean, "eps_low": mean - 0.1, "eps_high": mean + 0.1, "latency_ms": 3.0 - int(trial)}
            tracker.finish_trial(trial, TrialState.COMPLETE, metrics=metrics)
    objectives = {"eps": "max", "latency_ms": "min"}

    def tied(*, paired: bool) -> dict[str, str]:
        members = front("paired", objectives, tracking_uri=store, paired=paired).members
        return dict(zip(members["trial"], members["tied_with"], strict=True))

    assert tied(paired=False) == {"0": "1, 2", "1": "2", "2": ""}
    assert tied(paired=True) == {"0": "2", "1": "2", "2": ""}
    record = read_study("paired", tracking_uri=store)
    run = open_client(store).get_run(record.trials.set_index("trial").loc["1", "run_id"])
    (Path(run.info.artifact_uri.removeprefix("file://")) / "eps_samples.json").unlink()
    found = front("paired", objectives, tracking_uri=store)
    assert len(found.notes) == 1
    assert found.notes[0].startswith(f"eps_samples.json can't be read in {run.info.run_id} (")
    assert found.notes[0].endswith("): judged by the intervals of each model alone")
    assert dict(zip(found.members["trial"], found.members["tied_with"], strict=True))["0"] == "1, 2"
    for run_id in record.trials["run_id"]:
        place = Path(open_client(store).get_run(run_id).info.artifact_uri.removeprefix("file://"))
        (place / "eps_samples.json").unlink(missing_ok=True)
    found = front("paired", objectives, tracking_uri=store)
    assert found.notes[0].startswith("eps_samples.json can't be read in any member's run (")
    assert tied(paired=True) == tied(paired=False)


def test_studies_of_two_stores_have_a_front_that_says_what_is_left_out(
    trials: Callable[..., pd.DataFrame], drawn: Front, tmp_path: Path
) -> None:
    assert drawn.study is not None
    records = [
        replace(drawn.study, name=name, run_id=name, tracking_uri=f"sqlite:///{name}.db", trials=trials(20, seed))
        for seed, name in enumerate(("a", "b"))
    ]
    found = front_of(merge_studies(records))
    assert "different stores" in found.notes[0]
    page = write_explorer(found, tmp_path / "page.html").read_text()
    assert "overlays are left out" in page


def test_history_tells_which_share_of_the_front_was_found() -> None:
    table = pd.DataFrame({"trial": list("abcd"), "accuracy": [0.5, 0.9, 0.6, 0.7], "latency_ms": [9.0, 3.0, 1.0, 2.0]})
    found = rank_trials(table, {"accuracy": "max", "latency_ms": "min"})
    assert set(found.members["trial"]) == {"b", "c", "d"}
    assert found.history()["attained"].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_neither_ray_nor_torch_is_imported(store: str, study: str) -> None:
    program = (
        "import sys\nfrom paretolens.mlflow.front import front\n"
        f"assert len(front({study!r}, tracking_uri={store!r}).members) == 2\n"
        "heavy = {'ray', 'torch', 'optuna'} & {name.partition('.')[0] for name in sys.modules}\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_table_without_names_is_named_by_its_index() -> None:
    found = front(pd.DataFrame({"accuracy": [0.9, 0.8, 0.7], "watts": [2, 1, 3]}), {"accuracy": "max", "watts": "min"})
    assert list(found.members["trial"]) == ["0", "1"]
