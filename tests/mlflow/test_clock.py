"""A wall clock that jumps."""

from itertools import count

from paretolens.mlflow.clock import Clock


def told(seconds: list[float], not_before: int = 0) -> list[int]:
    """What a clock tells that is asked once a second, while the wall clock shows `seconds`."""
    moments, steady = iter(seconds), count()
    clock = Clock(lambda: int(next(moments) * 1e9), lambda: next(steady) * 10**9)
    clock.not_before(not_before)
    return [clock.now() for _ in seconds]


def test_a_clock_that_runs_is_told_as_it_is() -> None:
    assert told([10, 11, 11, 5000]) == [10_000, 11_000, 11_000, 5_000_000]


def test_a_clock_that_is_set_back_goes_on_from_where_it_was() -> None:
    assert told([5000, 1400, 1401, 1403, 900, 901]) == [5_000_000, 5_001_000, 5_002_000, 5_004_000, 5_005_000, 5_006_000]


def test_nothing_is_told_before_the_start_of_what_goes_on() -> None:
    assert told([10, 11, 12], not_before=50_000) == [51_000, 52_000, 53_000]
