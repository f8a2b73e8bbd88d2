"""Small spaces, objectives and journals for the tests of the search engine, and the command line."""

import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from paretolens.search.cli.main import main
from paretolens.search.config import Config, load_config
from paretolens.search.journal import Journal
from paretolens.search.outcome import Objective
from paretolens.search.progress import Silent
from paretolens.search.runtime import ray_runtime
from paretolens.search.task import Task
from paretolens.search.workspace import Workspace
from paretolens.spaces.knobs import Knob, Space, Stage

TWO = (Objective(name="cost", maximise=False), Objective(name="gain", maximise=True))

TINY = """
data: {train: 24, val: 16, test: 8, unseen: 8, clips_per_identity: 4, frames: 4, min_frames: 4, size: 32}
model: {frames: 4, frame_size: 32, audio_frames: 40, teacher: {backbone_width: 0.25, width: 32, depth: 1, heads: 4}}
teacher: {epochs: 1}
student: {distill: {epochs: 2}, repair: {epochs: 1}, align: {epochs: 1}, qat: {epochs: 1}, low_rank: {iterations: 4}}
space:
  {width: [32], depth: [1], frames: [4], frame_size: [32], backbone: [resnet18, mobilenet_v3_small], gamma: [0.0, 2.0],
  rank_energy: [0.6, 1.0]}
eps: {samples: 6, nodes: 4, resamples: 100, population: all}
latency: {runs: 12, min_runs: 5, seconds: 1}
first: []
"""
"""A real task of a few seconds: generated clips, trained teacher, everything small."""


def _line(name: str) -> Knob:
    return Knob(name=name, stage=Stage.STUDENT, doc="a number", default=0.5, low=0.0, high=1.0)


def _grid(name: str, size: int) -> Knob:
    return Knob(name=name, stage=Stage.STUDENT, doc="a whole number", default=0, choices=tuple(range(size)))


@pytest.fixture
def objectives() -> tuple[Objective, ...]:
    return TWO


@pytest.fixture
def cube() -> Space:
    """Five continuous knobs."""
    return Space(knobs=tuple(_line(f"x{index}") for index in range(5)))


@pytest.fixture
def grid() -> Callable[..., Space]:
    """A space of discrete knobs of the given sizes."""
    return lambda *sizes: Space(knobs=tuple(_grid(f"n{index}", size) for index, size in enumerate(sizes)))


@pytest.fixture
def open_journal(tmp_path: Path) -> Callable[..., Journal]:
    """Open the journal of a study in the test's folder."""

    def open_it(name: str = "study", fingerprint: str = "abc") -> Journal:
        return Journal(tmp_path / name, objectives=TWO, fingerprint=fingerprint)

    return open_it


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration file of the tiny task."""
    file = tmp_path_factory.mktemp("tiny") / "tiny.yaml"
    file.write_text(TINY)
    return file


@pytest.fixture(scope="session")
def tiny_task(tiny_file: Path, shared_folder: Path) -> Task:
    """The tiny task, prepared once for all processes of the tests: what is cached is built under locks."""
    config: Config = load_config(file=tiny_file, flags={})
    return Task.prepare(config, Workspace.at(shared_folder / "tiny-runs"), Silent())


Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def paretolens() -> Callable[..., Ended]:
    """The command line in this process, which has imported its libraries; to be seen as a program of its own."""

    def called(*arguments: str) -> Ended:
        out, error = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(error):
            try:
                code = main(arguments)
            except SystemExit as ended:
                code = int(ended.code or 0)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), error.getvalue())

    return called


@pytest.fixture(scope="session")
def searched(paretolens: Callable[..., Ended], new_store: Callable[[Path], str]) -> Iterator[Callable[..., Path]]:
    """Run a study named `small` of a configuration in a folder; returns the study's folder. All of a process's share one Ray."""

    def run(folder: Path, text: str, *flags: str, trials: int) -> Path:
        (folder / "small.yaml").write_text(text)
        new_store(folder / "runs" / "mlflow.db")
        place = ("--config", str(folder / "small.yaml"), "--workspace", str(folder / "runs"))
        done = paretolens("search", "--name", "small", "--trials", str(trials), *place, *flags)
        assert done.returncode == 0, done.stdout + done.stderr
        return folder / "runs" / "studies" / "small"

    before = dict(os.environ)
    with ray_runtime(address=None, cpus=2, gpus=0, threads=1):
        os.environ.clear()  # every search sets what it needs for as long as it lasts; no other test is to see it
        os.environ.update(before)
        yield run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A file system of its own of a given size, such as "8m"; calling it again changes the size. Skips where it may not mount."""
    folder = tmp_path / "disk"
    mounted = False

    def disk(size: str) -> Path:
        nonlocal mounted
        folder.mkdir(exist_ok=True)
        options = f"remount,size={size}" if mounted else f"size={size}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"a small disk needs the right to mount: {done.stderr.strip()}")
        mounted = True
        return folder

    if shutil.which("mount") is None:
        pytest.skip("a small disk needs the mount command")
    yield disk
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
