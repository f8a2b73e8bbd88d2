"""The record of epochs: whole lines whatever happens."""

import math
from pathlib import Path

import pytest

from paretolens.errors import StoreError
from paretolens.search.epochs import EPOCHS, EpochLog, milestones, read_epochs
from paretolens.search.halving import Milestone
from paretolens.search.observer import Epoch, TrialStart


def write(folder: Path, *numbers: int) -> None:
    log = EpochLog(folder)
    for number in numbers:
        log.trial_started(TrialStart(number=number, key=f"{number:016x}", genome={}))
        metrics = {"progress_epoch": 1.0, "progress_error": 0.5, "other": math.inf}
        log.trial_reported(Epoch(number=number, step=1, seconds=2.5, metrics=metrics))


def test_epochs_are_read_back_without_what_is_no_number(tmp_path: Path) -> None:
    assert read_epochs(tmp_path) == []
    write(tmp_path, 3)
    write(tmp_path, 4)
    first, second = read_epochs(tmp_path)
    assert (first.number, first.key, first.step, first.seconds) == (3, f"{3:016x}", 1, 2.5)
    assert first.metrics == {"progress_epoch": 1.0, "progress_error": 0.5}
    assert second.number == 4
    assert milestones(tmp_path)[1] == Milestone(key=f"{4:016x}", epoch=1, values={"progress_error": 0.5})


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_tail_that_a_crash_cut_off_costs_that_line_only(tmp_path: Path, cut: int) -> None:
    write(tmp_path, 0, 1)
    path = tmp_path / EPOCHS
    path.write_bytes(path.read_bytes()[:-cut])
    assert [line.number for line in read_epochs(tmp_path)] == ([0, 1] if cut == 1 else [0])
    write(tmp_path, 2)
    assert [line.number for line in read_epochs(tmp_path)] == [0, 2]


def test_a_damaged_line_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, 0)
    with (tmp_path / EPOCHS).open("ab") as file:
        file.write(b'{"number": 1}\nnonsense\n')
    write(tmp_path, 2)
    assert [line.number for line in read_epochs(tmp_path)] == [0, 2]


def test_a_file_that_cannot_be_used_is_said_so(tmp_path: Path) -> None:
    (tmp_path / EPOCHS).mkdir()
    with pytest.raises(StoreError, match="cannot be used"):
        read_epochs(tmp_path)
