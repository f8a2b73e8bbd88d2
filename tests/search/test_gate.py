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
from torch import nn

from paretolens.errors import BackendError, StoreError
from paretolens.evaluators.explain.fold import foldable_pairs
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


class Parts(nn.Module):
    """As PinPoint's networks are trained: by a method that calls the parts."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 2)

    def forward_deep(self, x: torch.Tensor) -> torch.Tensor:
        """The parts only."""
        return self.body(x)  # type: ignore[no-any-return]  # a module's call is typed Any


@pytest.mark.parametrize("model", [nn.Linear(2, 2), Parts()])
def test_a_measurement_does_not_wait_for_the_end_of_an_epoch(tmp_path: Path, model: nn.Module) -> None:
    gate, told = Gate(folder=tmp_path), list[str]()

    def measure() -> None:
        with gate.alone():
            told.append("measured")

    other = threading.Thread(target=measure)
    with gate.running(model, CPU, every_s=0.0):
        other.start()
        until(lambda: taken(tmp_path / "turn"))  # it waits
        for step in range(3):
            getattr(model, "forward_deep", model)(torch.zeros(1, 2))
            told.append(f"step {step}")
    other.join(60)
    assert told == ["measured", "step 0", "step 1", "step 2"]
    assert not any(part._forward_pre_hooks for part in model.modules())


@pytest.mark.parametrize("deep", [False, True])
def test_a_model_that_is_explained_gives_way_and_is_folded_all_the_same(tmp_path: Path, deep: bool) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 1), nn.Flatten(0)).eval()
    if deep:
        model.forward_deep = model.forward  # type: ignore[assignment]  # a family's own, whose parts training calls
    inputs = [torch.zeros(2, 1, 8, 8)]
    found, _ = foldable_pairs(model, inputs)
    assert found == [("0", "1")]
    told: list[str] = []

    def measure() -> None:
        with Gate(folder=tmp_path).alone():
            told.append("measured")

    other = threading.Thread(target=measure)
    with Gate(folder=tmp_path).running(model, CPU, whole=True, every_s=0.0):
        other.start()
        until(lambda: taken(tmp_path / "turn"))
        assert foldable_pairs(model, inputs)[0] == found
        told.append("folded")
    other.join(60)
    assert told == ["measured", "folded"]


def test_a_model_runs_for_a_while_before_it_gives_way_and_is_left_alone_where_nobody_waits(tmp_path: Path) -> None:
    model, told = nn.Linear(2, 2), list[str]()
    with OPEN.running(model, CPU), Gate(folder=tmp_path, kind="cuda").running(model, CPU):
        assert not model._forward_pre_hooks

    def measure() -> None:
        with Gate(folder=tmp_path).alone():
            told.append("measured")

    asked = threading.Thread(target=measure)
    with Gate(folder=tmp_path).running(model, CPU, every_s=1e9):
        asked.start()
        until(lambda: taken(tmp_path / "turn"))
        model(torch.zeros(1, 2))  # if it gave way here, it would go on only behind the measurement
        told.append("run")
    asked.join(60)
    assert told == ["run", "measured"]


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
