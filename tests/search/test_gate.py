"""Measurements alone on their device, trainings beside one another; by locks that die with their process."""

import fcntl
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from paretolens.errors import BackendError, StoreError
from paretolens.evaluators.latency import Backend
from paretolens.evaluators.latency.probe import BackendProbe, Probe
from paretolens.search.config import Config, LatencyConfig
from paretolens.search.gate import OPEN, Gate, gate_of
from paretolens.search.settings import EngineSettings
from paretolens.search.study import Study
from paretolens.search.workspace import Workspace

CPU = torch.device("cpu")


def taken(path: Path) -> bool:
    """Whether somebody holds a lock."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_measurement_waits_for_the_next_epoch_and_nobody_works_before_it_is_over(tmp_path: Path) -> None:
    gate, told = Gate(folder=tmp_path), list[str]()

    def measure() -> None:
        with gate.alone():
            told.append("measurement begins")
            time.sleep(0.05)
            told.append("measurement ends")

    def late() -> None:
        with gate.working(CPU):
            told.append("another trains")

    others = [threading.Thread(target=measure), threading.Thread(target=late)]
    with gate.working(CPU) as give_way:
        with gate.working(CPU):  # two at once
            told.append("first epoch")
        others[0].start()
        until(lambda: taken(tmp_path / "turn"))  # it waits
        others[1].start()
        told.append("end of the epoch")
        give_way()
        others[1].join(60)
        told.append("second epoch")
    others[0].join(60)
    assert told == [
        "first epoch", "end of the epoch", "measurement begins", "measurement ends", "another trains", "second epoch",
    ]  # fmt: skip


def _work_for_ever(folder: Path, begun: Path) -> None:
    with Gate(folder=folder).working(CPU):
        begun.touch()
        time.sleep(600)


def test_one_that_dies_holds_nobody_up(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_work_for_ever, args=(tmp_path / "gate", tmp_path / "begun"))
    process.start()
    until((tmp_path / "begun").exists)
    assert taken(tmp_path / "gate" / "use")
    os.kill(process.pid or 0, signal.SIGKILL)
    with Gate(folder=tmp_path / "gate").alone():
        assert taken(tmp_path / "gate" / "use")
    process.join(60)


def test_only_what_runs_on_the_timed_gpu_waits(tmp_path: Path) -> None:
    gate = Gate(folder=tmp_path, kind="cuda")
    with gate.alone(), gate.working(CPU) as give_way:  # else it would wait for ever
        give_way()
    with gate.working(torch.device("cuda")):
        assert taken(tmp_path / "use")


def a_machine(*, tensorrt: bool) -> Probe:
    entry = BackendProbe(backend=Backend.TENSORRT, usable=tensorrt, versions=(), reason="no NVIDIA GPU")
    return Probe(cpu="cpu", gpus=("gpu",) if tensorrt else (), providers=(), backends=(entry,))


def test_a_study_whose_back_end_is_missing_here_is_refused_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver(_: object) -> None:
        raise RuntimeError("Found no NVIDIA driver on your system")

    monkeypatch.setattr(torch.cuda, "get_device_properties", no_driver)
    for module in ("gate", "measuring"):
        monkeypatch.setattr(f"paretolens.search.{module}.probe", lambda: a_machine(tensorrt=False))
    timed = Config(latency=LatencyConfig(backend=Backend.TENSORRT))
    study = Study(name="new", config=timed, workspace=Workspace(tmp_path))
    with pytest.raises(BackendError, match=r"latency.backend tensorrt: no NVIDIA GPU; choose another, or auto"):
        study.check()
    assert gate_of(timed, study.workspace) == OPEN  # a teacher may be trained there


def test_a_gate_is_where_neighbours_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, config = Workspace(tmp_path), Config(latency=LatencyConfig(backend=Backend.ONNXRUNTIME))
    assert gate_of(config, workspace) == OPEN
    several = replace(config, latency=LatencyConfig(backend=Backend.ONNXRUNTIME, threads=2))
    on_cpu = gate_of(several, workspace)
    assert (on_cpu.kind, on_cpu.folder and on_cpu.folder.parent) == ("cpu", tmp_path / "locks")
    gpus = iter(["GPU-1", "GPU-2"])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid=next(gpus)))
    monkeypatch.setattr("paretolens.search.gate.probe", lambda: a_machine(tensorrt=True))
    timed = replace(config, latency=LatencyConfig(backend=Backend.TENSORRT))
    first, second = (gate_of(timed, workspace) for _ in range(2))
    assert first.kind == second.kind == "cuda"
    assert first.folder != second.folder
    slot = EngineSettings(address="auto", latency_resource="latency:h200")
    assert gate_of(replace(timed, search=slot), workspace) == OPEN


def test_a_place_without_room_for_locks_is_named(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file")
    with pytest.raises(StoreError, match=r"locks.turn: cannot be opened"), Gate(folder=tmp_path / "locks").alone():
        pass
