import logging
from pathlib import Path

import pytest

from paretolens.mlflow.events import Event, EventKind
from paretolens.mlflow.spool import Spool


def _event(trial: str) -> Event:
    return Event(kind=EventKind.REPORT, time_ms=1, trial=trial)


def _drain(spool: Spool) -> list[str]:
    names = []
    while (event := spool.head(0)) is not None:
        names.append(event.trial)
        spool.take()
    return names


def test_order_is_kept_and_the_file_goes_when_all_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "study" / "spool.jsonl"
    spool = Spool(path)
    for name in "abc":
        spool.put(_event(name))
    assert len(path.read_text().splitlines()) == 3
    assert _drain(spool) == ["a", "b", "c"]
    assert spool.wait_empty(0)
    spool.compact()
    assert list(path.parent.iterdir()) == []


def test_a_killed_driver_loses_nothing_and_repeats_nothing_taken(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    first = Spool(path)
    for name in "abcd":
        first.put(_event(name))
    first.head(0)
    first.take()
    with path.open("a") as file:
        file.write('{"kind": "report", "ti')  # killed in the middle of a line
    second = Spool(path)
    second.put(_event("e"))
    assert _drain(Spool(path)) == ["b", "c", "d", "e"]
    assert _drain(second) == ["b", "c", "d", "e"]
    assert len(Spool(path)) == 0


def test_what_the_store_refused_is_kept_aside(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.jsonl")
    spool.put(_event("a"))
    spool.take(rejected="because")
    line = (tmp_path / "spool.jsonl.rejected").read_text()
    assert Event.from_json(line).tags == {"rejected": "because"}


def test_a_disk_that_fills_up_is_one_warning_and_memory_takes_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "study"
    path = folder / "spool.jsonl"
    folder.write_text("a file where the folder should be, so that nothing can be written")
    spool = Spool(path)
    with caplog.at_level(logging.WARNING):
        for name in "abc":
            spool.put(_event(name))
    assert len(caplog.records) == 1
    assert "only kept in memory" in caplog.text
    folder.unlink()  # room again
    folder.mkdir()
    spool.put(_event("d"))
    assert _drain(Spool(path)) == ["a", "b", "c", "d"]
    assert _drain(spool) == ["a", "b", "c", "d"]


def test_without_a_file_everything_stays_in_memory() -> None:
    spool = Spool(None)
    spool.put(_event("a"))
    spool.compact()
    assert _drain(spool) == ["a"]
