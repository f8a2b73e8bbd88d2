"""What a person sees while trials run."""

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from paretolens.search.live import LiveTable, clock, short_genome
from paretolens.search.observer import Epoch, TrialStart
from paretolens.search.outcome import Fate, Objective, TrialRecord

OBJECTIVES = (
    Objective(name="accuracy", maximise=True),
    Objective(name="latency_ms", maximise=False),
    Objective(name="eps", maximise=True),
)
GENOME = {"backbone": "resnet18", "backbone_width": 0.25, "width": 64, "prune_ratio": 0.3, "qat": True}


def record(number: int, accuracy: float, latency: float, *, fate: Fate = Fate.EVALUATED, reason: str = "") -> TrialRecord:
    now = datetime.now(tz=UTC)
    values = {"accuracy": accuracy, "latency_ms": latency, "eps": 0.5} if fate is Fate.EVALUATED else {}
    return TrialRecord(
        number=number, key=str(number), genome=GENOME, fate=fate, values=values, metrics={"size_mb": 1.5}, details={},
        violations={}, reason=reason, again=False, seconds=12.0, started=now, finished=now,
    )  # fmt: skip


def table(*, terminal: bool, history: tuple[TrialRecord, ...] = (), width: int = 180) -> tuple[LiveTable, io.StringIO]:
    said = io.StringIO()
    console = Console(file=said, width=width, force_terminal=terminal)
    return LiveTable(console=console, objectives=OBJECTIVES, trials=4, teacher={"latency_ms": 8.0}, history=history), said


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61, "1:01"), (3599.6, "1:00:00"), (3661, "1:01:01")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_genome_in_a_few_words() -> None:
    assert short_genome(GENOME) == "resnet18 x0.25 d64 prune 0.3 int8"


def test_without_a_terminal_every_trial_is_a_line_with_count_front_and_time_left() -> None:
    live, said = table(terminal=False, history=(record(0, 0.8, 2.0),))
    with live:
        live.trial_ended(record(1, 0.9, 1.0))
        live.trial_ended(record(2, 0.0, 0.0, fate=Fate.FAILED, reason="the loss is not finite"))
    lines = said.getvalue().splitlines()
    assert lines[0].startswith("[2/4] #1: accuracy 0.900, 1.00 ms (8.0x), EPS 0.500, 1.50 MB")
    assert "front 1, about 0:00 left" in lines[0]
    assert lines[1] == "trial #2 failed: the loss is not finite"


def test_trials_that_are_stopped_early_count_towards_the_budget_and_enter_no_front() -> None:
    early, why = Fate.EARLY_STOPPED, "stopped early by the scheduler"
    for terminal in (False, True):
        live, said = table(terminal=terminal, history=(record(0, 0.0, 0.0, fate=early, reason=why),))
        with live:
            live.trial_ended(record(1, 0.0, 0.0, fate=early, reason=why))
            live.trial_ended(record(2, 0.9, 1.0))
            live.trial_ended(record(3, 0.0, 0.0, fate=early, reason=why))
        if terminal:
            assert "trials 4/4" in said.getvalue()
            assert "front 1   stopped early 3" in said.getvalue()
            continue
        first, second, last = said.getvalue().splitlines()
        assert first.startswith(
            "[2/4] #1: stopped early by the scheduler, resnet18 x0.25 d64 prune 0.3 int8, 12 s; front 0, about 0:"
        )
        assert second.startswith("[3/4] #2: accuracy 0.900")
        assert last.startswith("[4/4] #3: stopped early")
        assert last.endswith("front 1, about 0:00 left")


def test_a_warning_of_many_trials_is_said_once_in_a_study() -> None:
    def warned(number: int, *warnings: str) -> TrialRecord:
        return replace(record(number, 0.9, 1.0), details={"warnings": list(warnings)})

    live, said = table(terminal=False, history=(warned(0, "no layer fits a"),))
    with live:
        live.trial_ended(warned(1, "no layer fits a", "no layer fits b"))
        live.trial_ended(warned(2, "no layer fits b"))
    assert [line for line in said.getvalue().splitlines() if "fits" in line] == ["trial #1: no layer fits b"]


def test_on_a_terminal_the_running_stage_and_the_front_are_drawn() -> None:
    live, said = table(terminal=True)
    with live:
        live.trial_started(TrialStart(number=3, key="k", genome=GENOME))
        assert "waiting for a worker" in said.getvalue()
        live.trial_begun(3)
        assert "starting" in said.getvalue()
        metrics = {"epoch": 2.0, "epochs": 4.0, "distill_loss": 0.3, "distill_val_loss": 0.4, "distill_val_accuracy": 0.75}
        live.trial_reported(Epoch(number=3, step=2, metrics=metrics))
        live.trial_ended(record(1, 0.9, 1.0))
        live.trial_ended(record(2, 0.7, 3.0))
    text = said.getvalue()
    assert "distill 2/4, accuracy 0.750" in text
    assert "trials 2/4" in text
    assert "front 1" in text


def test_a_narrow_terminal_cuts_the_student_and_keeps_every_figure() -> None:
    live, said = table(terminal=True, width=60)
    with live:
        live.trial_started(TrialStart(number=3, key="k", genome=GENOME))
        live.trial_ended(record(1, 0.9, 1.0))
    last = said.getvalue().rsplit("trials 1/4", 1)[1]
    assert all(
        text in last for text in ("accuracy", "vs teacher", "0.900", "1.00 ms", "8.0x", "0.500", "1.50 MB", "resnet18", "…")
    )
    assert last.count("running #3") == 1
    assert "int8" not in last
