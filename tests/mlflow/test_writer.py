"""A store that does what it was asked and loses its answer must not end up with anything twice."""

from collections.abc import Iterator
from typing import Any

import pytest

from paretolens.mlflow.events import Event, EventKind
from paretolens.mlflow.names import Tag
from paretolens.mlflow.records import read_study
from paretolens.mlflow.store import open_client
from paretolens.mlflow.writer import RunWriter, is_permanent


class _LosesAnswers:
    """The real client, whose first call of each method is carried out although it raises."""

    def __init__(self, client: Any) -> None:
        self._client, self.lost = client, set[str]()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name not in ("create_run", "log_batch", "set_terminated", "update_run", "log_artifact") or name in self.lost:
            return method

        def call(*arguments: Any, **options: Any) -> Any:
            self.lost.add(name)
            method(*arguments, **options)
            raise ConnectionError(f"the answer to {name} was lost")

        return call


def _events() -> Iterator[Event]:
    yield Event(kind=EventKind.TRIAL, time_ms=10, trial="0", params={"width": "8"}, tags={Tag.GENOME: "aaa"})
    for step in range(3):
        yield Event(
            kind=EventKind.REPORT, time_ms=20 + step, trial="0", step=step, metrics={"epoch/loss": 1.0, "epoch/index": step}
        )
    yield Event(
        kind=EventKind.FINISH, time_ms=30, trial="0", state="complete", metrics={"accuracy": 0.9}, tags={Tag.STATE: "complete"}
    )


def test_lost_answers(store: str) -> None:
    writer = RunWriter(store)
    writer.apply(
        Event(kind=EventKind.STUDY, time_ms=1, tags={Tag.STUDY: "lossy", Tag.IDENTITY: "x", Tag.KIND: "study"}),
    )
    loser = _LosesAnswers(open_client(store))
    writer._client = loser
    for event in _events():
        for _ in range(4):
            try:
                writer.apply(event)
            except ConnectionError:
                continue
            break
    assert loser.lost == {"create_run", "log_batch", "set_terminated", "update_run"}
    record = read_study("lossy", tracking_uri=store)
    assert record.trials[["trial", "state", "params.width", "accuracy"]].to_numpy().tolist() == [["0", "complete", 8, 0.9]]
    history = open_client(store).get_metric_history(record.trials["run_id"][0], "epoch/loss")
    assert [point.step for point in history] == [0, 1, 2]


def test_a_study_whose_creation_was_lost_is_found_again(store: str) -> None:
    writer = RunWriter(store)
    event = Event(kind=EventKind.STUDY, time_ms=1, tags={Tag.STUDY: "shy", Tag.IDENTITY: "x", Tag.KIND: "study"})
    writer._client = loser = _LosesAnswers(open_client(store))
    for lost in ("create_run", "update_run", "log_batch"):
        with pytest.raises(ConnectionError, match=lost):
            writer.apply(event)
    writer.apply(event)
    assert len(loser.lost) == 3
    assert read_study("shy", tracking_uri=store).run_id == writer.parent


@pytest.mark.parametrize(
    ("error", "permanent"),
    [(ConnectionError(), False), (OSError("disk full"), False), (FileNotFoundError(), True), (RuntimeError(), False)],
)
def test_which_errors_are_final(error: Exception, permanent: bool) -> None:
    assert is_permanent(error) is permanent


def test_refusals_of_the_store_are_final(store: str) -> None:
    client = open_client(store)
    with pytest.raises(Exception, match="not found") as refused:
        client.get_run("0" * 32)
    assert is_permanent(refused.value)
