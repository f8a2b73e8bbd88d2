"""`paretolens ui` leads to the study, not only to the server."""

import urllib.parse
import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest

from paretolens.mlflow.tracking import MlflowTracker, StudyInfo
from paretolens.search.cli.main import main


def _serve(uri: str, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    ready("http://127.0.0.1:7")


def test_it_prints_and_opens_the_run_of_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], new_store: Callable[[Path], str]
) -> None:
    store, opened = new_store(tmp_path / "store.db"), []
    with MlflowTracker(tracking_uri=store, spool=None) as tracker:
        tracker.start_study(StudyInfo(name="mine"))
        run = tracker.run_id
    monkeypatch.setattr("paretolens.mlflow.ui.serve", _serve)
    monkeypatch.setattr(webbrowser, "open", lambda link: opened.append(link) or True)
    assert main(["ui", "mine", "--tracking-uri", store, "--open"]) == 0
    out = capsys.readouterr().out
    assert f"study mine: http://127.0.0.1:7/#/experiments/1/runs/{run}\n" in out
    assert 'tags.paretolens.study = "mine"' in urllib.parse.unquote(out)
    assert opened == [f"http://127.0.0.1:7/#/experiments/1/runs/{run}"]
    assert main(["ui", "mien", "--tracking-uri", store]) == 2
    assert "did you mean mine?" in capsys.readouterr().err


def test_a_workspace_without_a_study_has_an_address_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("paretolens.mlflow.ui.serve", _serve)
    assert main(["ui", "--workspace", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "MLflow UI on http://127.0.0.1:7 (Ctrl-C ends it)\n"
