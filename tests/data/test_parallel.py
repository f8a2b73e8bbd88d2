import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from paretolens.data.parallel import each_batch

MODULE = """
import os

def double(numbers):
    return [2 * number for number in numbers]

def die_at_seven(numbers):
    if 7 in numbers:
        os._exit(3)
    return [2 * number for number in numbers]
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "some_work.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    import some_work

    yield some_work
    del sys.modules["some_work"]


def test_one_worker_keeps_the_order(work) -> None:
    made = [entry for batch in each_batch(work.double, range(40), 1) for entry in batch]
    assert made == [2 * number for number in range(40)]


def test_batches_for_several_processes_shrink_to_single_items(work) -> None:
    sizes = [len(batch) for batch in each_batch(work.double, range(300), 2)]
    assert sum(sizes) == 300
    assert max(sizes) == 16
    assert sizes.count(1) >= 8


def test_an_item_that_kills_its_process_is_found_and_the_rest_is_done(work) -> None:
    batches = each_batch(work.die_at_seven, range(24), 2, crashed=lambda number: [-number])
    assert sorted(entry for batch in batches for entry in batch) == sorted([-7, *(2 * n for n in range(24) if n != 7)])


def test_without_an_answer_a_death_is_an_error(work) -> None:
    with pytest.raises(BrokenProcessPool):
        list(each_batch(work.die_at_seven, range(24), 2))
