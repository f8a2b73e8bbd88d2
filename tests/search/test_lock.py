"""One driver per study."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paretolens.errors import StoreError
from paretolens.search.lock import LEASE_S, DriverLock

HOLD = """
import sys, time
from pathlib import Path
from paretolens.search.lock import DriverLock
DriverLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_lock_held_by_another_process_is_refused_and_names_it(tmp_path: Path) -> None:
    path = tmp_path / "driver.lock"
    with holder(path) as process, pytest.raises(StoreError, match=f"process {process.pid} on"):
        DriverLock(path).acquire()


def test_a_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "driver.lock"
    with holder(path) as process:
        process.kill()
        process.wait()
        assert json.loads(path.read_text())["pid"] == process.pid
        lock = DriverLock(path)
        lock.acquire()
        assert json.loads(path.read_text())["pid"] != process.pid
        lock.release()


def test_a_lock_is_free_after_release_and_release_twice_is_harmless(tmp_path: Path) -> None:
    lock = DriverLock(tmp_path / "driver.lock")
    lock.acquire()
    with pytest.raises(StoreError, match="another driver"):
        DriverLock(tmp_path / "driver.lock").acquire()
    lock.release()
    lock.release()
    again = DriverLock(tmp_path / "driver.lock")
    again.acquire()
    again.release()


def test_a_note_left_on_another_machine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "driver.lock"
    path.write_text(json.dumps({"pid": 1, "host": "some-other-machine"}))
    with pytest.raises(StoreError, match=r"some-other-machine did not end cleanly .* try again in \d\d s"):
        DriverLock(path).acquire()


def test_a_note_that_another_machine_no_longer_signs_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "driver.lock"
    path.write_text(json.dumps({"pid": 1, "host": "some-other-machine"}))
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - LEASE_S - 1))
    lock = DriverLock(path)
    lock.acquire()
    assert json.loads(path.read_text())["pid"] == os.getpid()
    lock.release()
    assert [entry.name for entry in tmp_path.iterdir()] == ["driver.lock"]


def test_a_holder_signs_its_note_until_it_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "driver.lock"
    lock, before = DriverLock(path, sign_every_s=0.05), set(threading.enumerate())
    lock.acquire()
    (signer,) = (thread for thread in set(threading.enumerate()) - before if thread.name == "paretolens-lock")
    os.utime(path, (0, 0))
    deadline = time.monotonic() + 120
    while path.stat().st_mtime == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.stat().st_mtime > 0
    lock.release()
    signer.join(120)
    assert not signer.is_alive()


def test_a_driver_that_slept_while_another_machine_took_over_writes_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "driver.lock"
    lock = DriverLock(path)
    with pytest.raises(StoreError, match="another driver has taken it over"):
        lock.ensure_held()
    lock.acquire()
    lock.ensure_held()
    path.write_text(json.dumps({"pid": 1, "host": "some-other-machine"}))
    with pytest.raises(StoreError, match="another driver has taken it over"):
        lock.ensure_held()
    lock.release()
    assert json.loads(path.read_text())["host"] == "some-other-machine"


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        DriverLock(tmp_path / "missing" / "driver.lock").acquire()


def test_a_file_system_without_locks_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match=r"driver\.lock: cannot be locked \(No locks available\); put the workspace on"):
        DriverLock(tmp_path / "driver.lock").acquire()
