"""Folders of clips: what belongs together, tables, going on after a stop."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from paretolens.errors import ConfigurationError, DataError
from paretolens.exporters.batch import COLUMNS, find_sources, judge_folder
from paretolens.exporters.predict_template import Predictor
from paretolens.search.cli import main


def quiet(done: int, total: int, name: str) -> None:
    """No progress."""


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 40, 3), shade, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path, clips: dict[str, Path]) -> Path:
    """Two videos, three clips of frames (one of them of numbered names beside each other), two that cannot be read."""
    root = tmp_path / "clips"
    (root / "films").mkdir(parents=True)
    shutil.copy(clips["usual"], root / "films" / "usual.mp4")
    shutil.copy(clips["short"], root / "films" / "short.mp4")
    for index in (1, 2, 10):
        picture(root / "ana" / f"frame{index}.png", 10 * index)
        picture(root / f"ben_{index}.png", 100 + index)
        picture(root / f"cleo_{index}.png", 200 + index)
    (root / "broken.mp4").write_bytes(bytes(range(256)))
    picture(root / "dora" / "frame1.png", 50)
    (root / "dora" / "voice.wav").write_bytes(bytes(range(256)))
    return root


def test_frames_are_grouped_by_video(folder: Path) -> None:
    sources = {source.name: source for source in find_sources(folder)}
    assert sorted(sources) == ["ana", "ben", "broken.mp4", "cleo", "dora", "films/short.mp4", "films/usual.mp4"]
    assert [path.name for path in sources["ana"].files] == ["frame1.png", "frame2.png", "frame10.png"]
    shutil.copy(folder / "films" / "usual.mp4", folder / "ben.wav")
    ben = {source.name: source for source in find_sources(folder)}["ben"]
    assert ben.sound == folder / "ben.wav"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_table_holds_the_verdicts_of_single_runs(bundle: Path, folder: Path, tmp_path: Path, kind: str) -> None:
    output = tmp_path / f"scores.{kind}"
    assert main(["predict", str(bundle), str(folder), "--output", str(output)]) == 2, "two clips cannot be read"
    table = (pd.read_csv if kind == "csv" else pd.read_parquet)(output).set_index("clip")
    assert [*table.columns] == [*COLUMNS[1:]]
    one = Predictor(bundle).predict(folder / "films" / "usual.mp4")
    assert table.loc["films/usual.mp4", "logit"] == pytest.approx(one["logit"], abs=1e-6)
    assert table.loc["ana", "logit"] == pytest.approx(Predictor(bundle).predict(folder / "ana")["logit"], abs=1e-6)
    assert table.loc["ana", "frames"] == 3
    assert "is not" in str(table.loc["broken.mp4", "error"])
    assert "voice.wav is not: mend it" in str(table.loc["dora", "error"])
    assert sorted(table.index[table["error"].fillna("") != ""]) == ["broken.mp4", "dora"]
    assert sorted(path.name for path in tmp_path.glob("scores*")) == [output.name]


def test_a_stopped_run_goes_on_where_it_was(bundle: Path, folder: Path, tmp_path: Path) -> None:
    output, seen = tmp_path / "scores.csv", 3
    predictor = Predictor(bundle)

    def stop(done: int, total: int, name: str) -> None:
        if done == seen:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge_folder(predictor, folder, output, update=stop)
    assert not output.exists()
    with pytest.raises(ConfigurationError, match="--resume"):
        judge_folder(predictor, folder, output, update=quiet)
    with (tmp_path / "scores.csv.partial").open("a") as stream:
        stream.write('{"key": "cut')
    judged: list[str] = []
    judge = predictor.judge
    predictor.judge = lambda arrays: judged.append("x") or judge(arrays)  # type: ignore[method-assign,func-returns-value]
    picture(folder / "ana" / "frame2.png", 77)  # changed since: judged again
    table = judge_folder(predictor, folder, output, resume=True, update=quiet)
    fresh = judge_folder(Predictor(bundle), folder, tmp_path / "fresh.csv", update=quiet)
    names = ["clip", "verdict", "logit", "error"]
    pd.testing.assert_frame_equal(table[names], fresh[names])
    assert len(judged) == 1 + (6 - seen), "the changed one and those after the stop"


def test_bad_folders_and_tables(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no video, sound or picture"):
        find_sources(tmp_path / "empty")
    assert main(["predict", str(bundle), str(tmp_path / "none"), "--output", str(tmp_path / "a.csv")]) == 2
    assert main(["predict", str(bundle), str(tmp_path), "--output", str(tmp_path / "a.txt")]) == 2
    assert main(["predict", str(bundle), str(tmp_path), "--resume"]) == 2
    assert main(["predict", str(bundle), str(tmp_path / "a.mp4"), "--frames", "3"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "must end in .csv or .parquet" in lines[1]
    assert "--frames is for videos" in lines[3]
