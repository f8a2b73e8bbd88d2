"""Whatever a trial does ends in a verdict."""

import errno
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretolens.errors import ConfigurationError, DataError, IntegrityError, StoreError, TrialError
from paretolens.search.outcome import Report, TrialFunction, TrialOutcome
from paretolens.search.worker import Blame, Guards, Verdict, Work, attempt, load
from paretolens.spaces.knobs import Genome

GENOME = {"x": 0.5}


def ended(function: TrialFunction, emit: Any = None, **guards: Any) -> Verdict:
    reports: list[Mapping[str, Any]] = []
    work = Work(target=function, objectives=("cost",))
    return attempt(GENOME, seed=0, work=work, guards=Guards(**guards), emit=emit or reports.append)


def failing(error: BaseException) -> TrialFunction:
    def trial(genome: Genome, report: Report) -> TrialOutcome:
        raise error

    return trial


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrialError("the loss is not finite"), "the loss is not finite"),
        (ConfigurationError("width 7 is not divisible"), "width 7 is not divisible"),
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (StopIteration(), "StopIteration: "),
        (SystemExit(3), "SystemExit: 3"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory: DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_what_a_trial_raises_becomes_its_reason(error: BaseException, reason: str) -> None:
    verdict = ended(failing(error))
    assert verdict.outcome is None
    assert verdict.reason == reason


@pytest.mark.parametrize(
    ("error", "blame"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), Blame.PLACE),
        (OSError(errno.EROFS, "Read-only file system"), Blame.PLACE),
        (RuntimeError("I/O error: No space left on device (os error 28)"), Blame.PLACE),
        (StoreError("file a: cannot be written"), Blame.PLACE),
        (IntegrityError("model.safetensors: its checksum differs"), Blame.PLACE),
        (DataError("clip 3 is gone"), Blame.PLACE),
        (OSError(errno.ENOENT, "No such file"), Blame.TRIAL),
        (TrialError("the loss is not finite"), Blame.TRIAL),
        (ConfigurationError("width 7"), Blame.TRIAL),
        (MemoryError(), Blame.TRIAL),
    ],
)
def test_a_full_disk_is_not_blamed_on_the_genome(error: BaseException, blame: Blame) -> None:
    verdict = ended(failing(error))
    assert verdict.blame is blame
    assert Verdict.decode(verdict.encode()) == verdict


@pytest.mark.parametrize(("error", "blame"), [("ConfigurationError", Blame.PLACE), ("TrialError", Blame.TRIAL)])
def test_what_cannot_be_set_up_is_not_blamed_on_the_genome(
    error: str, blame: Blame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        "from paretolens import errors",
        "def make(payload):",
        f"    raise errors.{error}('another machine')",
    ]
    (tmp_path / f"set_up_{error}.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    work = Work(target=f"set_up_{error}:make", objectives=("cost",))
    verdict = attempt(GENOME, seed=0, work=work, guards=Guards(), emit=lambda _: None)
    assert (verdict.blame, verdict.reason) == (blame, "another machine")


def test_memory_beyond_the_cap_is_told_with_the_cap() -> None:
    def trial(genome: Genome, report: Report) -> TrialOutcome:
        return TrialOutcome(values={"cost": float(np.ones(2**28, dtype=np.uint8)[0])})

    assert ended(trial).outcome == TrialOutcome(values={"cost": 1.0})
    assert "more than the 100 MiB" in ended(trial, memory_bytes=100 * 2**20).reason


def test_details_that_json_cannot_hold_are_refused() -> None:
    def trial(genome: Genome, report: Report) -> TrialOutcome:
        return TrialOutcome(values={"cost": 1.0}, details={"model": object()})

    assert "cannot be written as JSON" in ended(trial).reason


def test_reports_are_numbered_and_passed_on() -> None:
    reports: list[Mapping[str, Any]] = []

    def trial(genome: Genome, report: Report) -> TrialOutcome:
        report({"loss": np.float32(0.5)})  # type: ignore[dict-item]
        report({"loss": math.nan})
        return TrialOutcome(values={"cost": 1.0})

    ended(trial, emit=reports.append)
    assert [entry["step"] for entry in reports] == [1, 2]
    assert reports[0]["report"] == {"loss": 0.5}
    assert math.isnan(reports[1]["report"]["loss"])


def test_a_stop_by_the_driver_is_no_fault_and_cannot_be_swallowed() -> None:
    def stop(_: object) -> None:
        raise SystemExit(0)

    def stubborn(genome: Genome, report: Report) -> TrialOutcome:
        with suppress(Exception):
            report({"loss": 1.0})
        return TrialOutcome(values={"cost": 1.0})

    with pytest.raises(BaseException) as caught:
        ended(stubborn, emit=stop)
    assert not isinstance(caught.value, Exception | SystemExit)


def test_the_same_seed_gives_the_same_global_random_numbers() -> None:
    def trial(genome: Genome, report: Report) -> TrialOutcome:
        return TrialOutcome(values={"cost": float(np.random.rand())})

    assert ended(trial) == ended(trial)


def test_a_verdict_survives_the_wire() -> None:
    outcome = TrialOutcome(values={"cost": 1.0}, metrics={"auc": 0.5}, details={"onnx": "a"}, violations={"size": 1.0})
    assert Verdict.decode(Verdict(outcome=outcome).encode()) == Verdict(outcome=outcome)
    assert Verdict.decode(Verdict(outcome=None, reason="why").encode()) == Verdict(outcome=None, reason="why")


@pytest.mark.parametrize("target", ["no_such_module:make", "json:no_such_function", "json"])
def test_a_target_that_does_not_exist_is_named(target: str) -> None:
    with pytest.raises(ConfigurationError, match=f"trial function {target}: cannot be imported"):
        load(Work(target=target, objectives=("cost",)))


def test_a_named_target_is_set_up_once(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["calls = []", "def make(payload):", "    calls.append(payload)", "    return lambda *_: payload"]
    (tmp_path / "counted_setups.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    work = Work(target="counted_setups:make", payload={"a": 1}, objectives=("cost",))
    assert load(work) is load(work)
    load(Work(target="counted_setups:make", payload={"a": 2}, objectives=("cost",)))
    import counted_setups  # type: ignore[import-not-found]

    assert counted_setups.calls == [{"a": 1}, {"a": 2}]
