"""The report: what it says is what the store holds, for a finished study and for one that was cut short."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from paretolens.errors import ConfigurationError, StoreError
from paretolens.mlflow.front import Front, front, rank_trials
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.report import build_report, log_report, render_page, write_report
from paretolens.mlflow.store import open_client
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo, teacher_metrics

EVIL = "a|b</td><script>alert(1)</script> [x](javascript:alert(1)) `c` *d*"


@pytest.fixture
def finished(drawn: Front) -> Front:
    """Without a store to take pictures from."""
    assert drawn.study is not None
    params = {"search.trials": "40", "seed": "3", "search.workers": "2", "data.val": "240", "search.time_limit_s": "null"}
    tags = {
        "paretolens.state": "complete", "paretolens.code": "0.1.0 0123456789ab+changes", "paretolens.data.version": "d4ta",
        "paretolens.latency_runtime": "onnxruntime 1.2", "paretolens.latency_device": "a processor",
        "paretolens.env.torch": "9.9",
    }  # fmt: skip
    times = drawn.study.trials.assign(started_ms=1_700_000_000_000, run_seconds=90.0)
    return replace(drawn, study=replace(drawn.study, tracking_uri="", params=params, tags=tags, trials=times))


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    from paretolens.mlflow.explorer.pictures import Pictures

    if "stored" not in request.fixturenames:
        monkeypatch.setattr("paretolens.mlflow.report.page.load_pictures", lambda front, trials: Pictures())


@pytest.fixture
def stored(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A study in a store: one complete trial with an overlay, one that runs."""
    Image.fromarray(np.zeros((60, 900, 3), np.uint8)).save(tmp_path / "overlay_best.png")
    name = f"reported-{request.node.name}"
    with MlflowTracker(tracking_uri=store, spool=tmp_path / "spool.jsonl") as tracker:
        tracker.start_study(StudyInfo(name=name, configuration={"search.trials": 8}))
        tracker.log_study(teacher_metrics({"accuracy": 0.95, "latency_ms": 9.0}))
        tracker.start_trial("trial-0000", params={"width": 32}, genome="g0")
        tracker.log_artifacts("trial-0000", {"overlays": [tmp_path / "overlay_best.png"]})
        tracker.finish_trial("trial-0000", TrialState.COMPLETE, metrics={"accuracy": 0.9, "latency_ms": 1.5, "eps": 0.5})
        tracker.start_trial("trial-0001", params={"width": 64}, genome="g1")
        assert tracker.flush(120)
        tracker.finish_study(TrialState.KILLED, reason="Ctrl-C")
    return name


def test_every_part_is_there_and_says_what_the_study_holds(finished: Front) -> None:
    text = build_report(finished, limits=["Not for use in court."])
    knee = finished.knee
    assert knee is not None
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == [
        "Setting", "The teacher", "The Pareto front", "The chosen model", "Compared", "What teacher and student look at",
        "Limits of use", "How to reproduce it",
    ]  # fmt: skip
    assert "240 validation" in text
    assert "first trial 2023-11-14 22:13 UTC, the last ended 1.5 min later" in text
    assert "onnxruntime 1.2 on a processor" in text
    assert "torch 9.9" in text
    assert "- Not for use in court." in text
    assert "git checkout 0123456789ab\n" in text
    assert "had changes that no commit holds" in text
    assert f"**Trial {knee['trial']}**. It is the knee" in text
    assert f"| trial {knee['trial']} (chosen, knee" in text
    assert "not finished" not in text
    share = f"{100 * knee['accuracy']:.1f} % [{100 * knee['accuracy_low']:.1f}, {100 * knee['accuracy_high']:.1f}]"
    assert text.count(share) >= 2  # in the front and in the comparison
    assert f"{14.7 / knee['latency_ms']:.1f}×" in text
    assert len(re.findall(r"^\| \d+[ ◆≈]*\|", text, re.MULTILINE)) == len(finished.members)


def test_another_member_can_be_what_it_is_about(finished: Front) -> None:
    fastest = str(finished.members.nsmallest(1, "latency_ms")["trial"].iloc[0])
    text = build_report(finished, trial=fastest)
    assert f"**Trial {fastest}**. It was chosen by name." in text
    assert f"paretolens export drawn --select {fastest}" in text
    assert re.search(rf"trial {fastest} \(chosen, [^)]*fastest", text)
    with pytest.raises(ConfigurationError, match="not on the front"):
        build_report(finished, trial="nobody")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("running", "was running when this was written"),
        ("killed", "it was killed"),
        ("failed", "it was failed"),
        ("", "it was stopped"),
    ],
)
def test_a_study_that_is_not_finished_says_so(finished: Front, state: str, words: str) -> None:
    assert finished.study is not None
    cut = replace(finished, study=replace(finished.study, tags={"paretolens.state": state}))
    text = build_report(cut)
    assert "> **This study is not finished" in text
    assert words in text
    assert "40 of 40 planned trials" in text


def test_a_study_without_a_complete_trial_has_a_report(finished: Front) -> None:
    assert finished.study is not None
    trials = finished.study.trials.assign(state="failed")
    empty = replace(
        rank_trials(trials), study=replace(finished.study, trials=trials, metrics={}, tags={"paretolens.state": "failed"})
    )
    text = build_report(empty)
    assert "No trial is complete yet" in text
    assert "The teacher was not measured" in text
    assert "40 failed" in text
    assert "--select" not in text


def test_a_table_without_a_study_is_refused(trials: Callable[..., pd.DataFrame]) -> None:
    with pytest.raises(ConfigurationError, match="about a study"):
        build_report(rank_trials(trials()))


def test_names_never_become_markup(finished: Front) -> None:
    assert finished.study is not None
    calm = render_page(build_report(finished), "calm")
    table = finished.trials.assign(**{"params.backbone": EVIL, "trial": EVIL + finished.trials["trial"]})
    wild = replace(
        finished,
        trials=table,
        study=replace(
            finished.study, name=EVIL, trials=finished.study.trials, params={"family": EVIL}, tags={"paretolens.code": EVIL}
        ),
    )
    page = render_page(build_report(wild), EVIL)
    assert "<script" not in page
    assert 'javascript:alert(1)"' not in page
    assert "<em>" not in page
    columns = {len(re.findall("<td", row)) for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)}
    assert columns == {len(re.findall("<td", row)) for row in re.findall(r"<tr>.*?</tr>", calm, re.DOTALL)}


def test_the_page_asks_the_network_for_nothing(finished: Front) -> None:
    page = render_page(build_report(finished), "x")
    assert "default-src 'none'" in page
    sources = re.findall(r'(?:src|href)="([^"]*)', page)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert "@@" not in page


def test_files_are_written_as_asked(finished: Front, tmp_path: Path) -> None:
    assert write_report(finished, tmp_path / "a.b", formats=["md"]) == [tmp_path / "a.b.md"]
    with pytest.raises(ConfigurationError, match="report format pdf: choose from html, md"):
        write_report(finished, tmp_path / "x", formats=["pdf"])
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(finished, tmp_path / "file" / "x", formats=["md"])


def test_a_study_in_a_store_has_its_overlays_and_gets_the_report(store: str, stored: str, tmp_path: Path) -> None:
    found = front(stored, tracking_uri=store)
    paths = write_report(found, tmp_path / "report")
    page, text = (path.read_text(encoding="utf-8") for path in paths)
    assert "it was killed (Ctrl-C); 1 of 8 planned trials are complete" in text
    assert "data:image/webp;base64," in page
    assert 'alt="best"' in page
    log_report(found, paths)
    assert found.study is not None
    names = {item.path for item in open_client(store).list_artifacts(found.study.run_id, "report")}
    assert names == {"report/report.html", "report/report.md"}


def test_the_command_reports_a_study_of_any_store(
    store: str, stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from paretolens.search.cli.main import main

    monkeypatch.chdir(tmp_path)
    assert main(["report", stored, "--tracking-uri", store, "--format", "md"]) == 0
    (path,) = tmp_path.glob("reported-*-report.md")
    assert path.name in capsys.readouterr().out
    assert "1.50 ms" in path.read_text(encoding="utf-8")
    assert main(["report", stored, "--tracking-uri", store, "--output", "out/r.html", "--no-log"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"r.html", "r.md"}
    assert main(["report", stored, "--tracking-uri", store, "--select", "fastset"]) == 2
    assert "did you mean fastest" in capsys.readouterr().err
    assert main(["report", stored, "--tracking-uri", store, "--where", "accuracy > 1"]) == 2
    assert "--where leaves out all 1 complete trials" in capsys.readouterr().err
