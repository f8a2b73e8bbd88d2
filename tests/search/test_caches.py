"""The cache as a person sees it: what there is, and removing it while others work."""

import errno
import json
import os
import re
from pathlib import Path

import pytest
from filelock import FileLock

from paretolens.errors import StoreError
from paretolens.search import caches
from paretolens.search.caches import KINDS, clear, survey
from paretolens.search.cli.main import main
from paretolens.search.lock import DriverLock
from paretolens.search.workspace import Workspace


def _stage(workspace: Workspace, letter: str, size: int, uses: int) -> Path:
    folder = workspace.cache / "stages" / (letter * 32)
    folder.mkdir(parents=True)
    (folder / "stage.json").write_bytes(b"{" + b" " * (size - 2 - uses) + b"}")
    (folder / "used").write_bytes(b"+" * uses)
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = Workspace.at(tmp_path)
    _stage(found, "a", 1000, 3)
    _stage(found, "b", 500, 0)
    (found.cache / "teachers" / "t1").mkdir(parents=True)
    (found.cache / "teachers" / "t1" / "model.safetensors").write_bytes(b"\0" * 70)
    (found.cache / "teachers" / "t1.lock").touch()
    return found


def test_kinds_are_counted_with_their_uses(workspace: Workspace) -> None:
    found = {kind.name: (kind.count, kind.size_bytes, kind.uses) for kind in survey(workspace)}
    assert found["stages"] == (2, 1500, 3)
    assert found["teachers"] == (1, 70, None)
    assert found["maps"] == (0, 0, None)


def test_stages_in_use_stay_and_the_rest_goes(workspace: Workspace) -> None:
    with FileLock(workspace.cache / "stages" / f"{'a' * 32}.lock"):
        assert clear(workspace, "stages") == (1, 500)
    assert clear(workspace, "stages") == (1, 1000)


def test_what_a_running_study_reads_is_not_removed(workspace: Workspace) -> None:
    folder = workspace.study("mine")
    folder.mkdir(parents=True)
    (folder / "study.yaml").touch()
    lock = DriverLock(folder / "driver.lock")
    lock.acquire()
    with pytest.raises(StoreError, match="mine"):
        clear(workspace, "teachers")
    lock.release()
    assert clear(workspace, "teachers") == (1, 70)


def test_command_prunes_and_prints(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "--workspace", str(workspace.root), "--prune", "--max-gb", "0.000001"]) == 0
    assert "removed 1 entries" in capsys.readouterr().out
    assert main(["cache", "--workspace", str(workspace.root), "--json"]) == 0
    stages = next(kind for kind in json.loads(capsys.readouterr().out) if kind["name"] == "stages")
    assert stages["count"] == 1
    assert main(["cache", "--workspace", str(workspace.root), "--max-gb", "1"]) == 2
    assert "--prune" in capsys.readouterr().err
    assert main(["cache", "--workspace", str(workspace.root), "--prune", "--max-gb", "0", "--clear", "teachers"]) == 0
    assert "removed 2 entries" in capsys.readouterr().out


def test_a_workspace_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "--workspace", str(tmp_path / "gone")]) == 0
    assert capsys.readouterr().out.endswith(f"in {tmp_path / 'gone' / 'cache'}, which is not there\n")
    assert not (tmp_path / "gone").exists()


def test_what_cannot_be_removed_is_said(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace.cache / "teachers" / "t2").mkdir()
    (workspace.cache / "teachers" / "t2" / "model.safetensors").write_bytes(b"\0" * 30)
    unlink = os.unlink

    def refuse(path: str, *, dir_fd: int | None = None) -> None:
        if str(path).endswith("model.safetensors") and os.fstat(dir_fd or 0).st_ino == held:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
        unlink(path, dir_fd=dir_fd)

    held = (workspace.cache / "teachers" / "t1").stat().st_ino
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(StoreError, match=r"removed 1 of 2 entries, but not .*t1.*Operation not permitted"):
        clear(workspace, "teachers")


@pytest.mark.parametrize("kind", ["references", "faithfulness", "tracking", "validation", "folder", "litert", "tensorrt"])
def test_every_kind_that_is_kept_can_be_removed(workspace: Workspace, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    place = workspace.cache / kind
    place.mkdir()
    (place / "children-1.jsonl").write_bytes(b"\0" * 40)
    (place / "digest").mkdir()
    (place / "digest" / "found.json").write_bytes(b"\0" * 60)
    assert main(["cache", "--workspace", str(workspace.root), "--clear", kind]) == 0
    assert "removed 2 entries, 0.0 MB" in capsys.readouterr().out
    assert not place.exists()


def test_every_place_that_the_program_names_is_a_kind() -> None:
    """Names beside `cache /` in the sources; decoded data lies under the kinds of its sources."""
    root = Path(caches.__file__).parents[1]
    sources = [path for room in ("data", "search", "exporters") for path in (root / room).rglob("*.py")]
    found = {name for path in sources for name in re.findall(r"\bcache / \"([a-z-]+)\"", path.read_text(encoding="utf-8"))}
    assert {"litert-files", "teachers", "folder"} <= found <= KINDS.keys()


def test_a_study_that_has_only_just_begun_counts_as_running(workspace: Workspace) -> None:
    folder = workspace.study("young")
    folder.mkdir(parents=True)
    lock = DriverLock(folder / "driver.lock")
    lock.acquire()
    with pytest.raises(StoreError, match="young"):
        clear(workspace, "teachers")
    lock.release()
