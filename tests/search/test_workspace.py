"""The workspace: names, and folders that cannot be written."""

from pathlib import Path

import pytest

from paretolens.errors import ConfigurationError, StoreError
from paretolens.search.workspace import Workspace


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace.at(Path("runs"))
    assert workspace.root == tmp_path / "runs"
    assert workspace.tracking_uri == f"sqlite:///{tmp_path}/runs/mlflow.db"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 81])
def test_bad_study_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="study name"):
        Workspace.at(tmp_path).study(name)


def test_free_name_skips_existing_studies(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    assert workspace.free_name("av") == "av-1"
    workspace.study("av-1").mkdir(parents=True)
    assert workspace.free_name("av") == "av-2"


def test_unwritable_workspace_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Workspace.at(tmp_path / "file" / "runs").ensure_writable()


def test_writable_workspace_leaves_nothing_behind(tmp_path: Path) -> None:
    Workspace.at(tmp_path / "runs").ensure_writable()
    assert list((tmp_path / "runs").iterdir()) == []
