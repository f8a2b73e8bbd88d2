"""`paretolens data`: layouts, checks of a folder, and the samples of a configuration."""

import json
from pathlib import Path

import pytest

from paretolens.data.generated.encode import write_clip
from paretolens.search.cli.main import main


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    entries = []
    for split in ("train", "dev", "test"):
        for number in range(2):
            fake = number == 1
            entries.append(
                {"file": f"{split}/{number}.mp4", "n_fakes": int(fake), "fake_periods": [[0, 1]] if fake else [], "split": split}
                | {"original": f"{split}/0.mp4" if fake else None, "modify_video": fake, "modify_audio": False}
            )
    root = tmp_path / "set"
    for entry in entries:
        (root / entry["file"]).parent.mkdir(parents=True, exist_ok=True)
        (root / entry["file"]).touch()
    (root / "metadata.json").write_text(json.dumps(entries))
    return root


def test_layouts_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "layouts"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("LAV-DF", "Celeb-synthesis/id0_id16_0009.mp4", "dfdc_train_part_0", "manifest.csv"))


def test_a_folder_is_counted_by_split_and_kind(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "dev" / "1.mp4").unlink()
    assert main(["data", "check", str(dataset)]) == 0
    shown = capsys.readouterr().out
    assert "layout lavdf, 6 videos" in shown
    rows = [line.replace("│", " ").split() for line in shown.splitlines() if "│" in line]
    assert rows == [
        ["train", "2", "1", "0", "1", "1"],
        ["val", "2", "1", "0", "1", "1"],
        ["test", "2", "1", "0", "1", "1"],
    ]
    assert "1 of 6 files are not there, for instance dev/1.mp4" in shown
    assert "no recording stands in two splits; persons are not known" in shown


def test_lists_without_any_of_their_files_are_an_error(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in dataset.rglob("*.mp4"):
        path.unlink()
    assert main(["data", "check", str(dataset)]) == 2
    assert "none of its 6 files is there, for instance" in capsys.readouterr().err


def test_a_leak_is_one_line_that_names_the_item(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dataset / "metadata.json"
    path.write_text(path.read_text().replace('"original": "train/0.mp4"', '"original": "test/0.mp4"'))
    assert main(["data", "check", str(dataset)]) == 2
    told = capsys.readouterr().err
    assert "train/1.mp4 (train) with test/1.mp4 (test)" in told
    assert len(told.strip().splitlines()) == 1


def test_shared_persons_are_not_called_checked_where_they_are_only_reported(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [entry | {"identity": "Ann"} for entry in json.loads((dataset / "metadata.json").read_text())]
    (dataset / "metadata.json").write_text(json.dumps(entries))
    assert main(["data", "check", str(dataset), "--set", "data.persons=report"]) == 0
    shown = capsys.readouterr().out
    assert "share a person with a later split" in shown
    assert "persons were only counted (data.persons is report)" in shown


def test_a_check_of_nothing_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check"]) == 2
    assert "data check must be told where the data set is" in capsys.readouterr().err


def test_check_decodes_on_demand(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], make_pictures) -> None:
    for path in dataset.rglob("*.mp4"):
        write_clip(path, make_pictures, 8.0, None, 16_000, crf=20, bit_rate=32_000)
    (dataset / "train" / "2.mp4").write_bytes(b"no video")
    entry = json.loads((dataset / "metadata.json").read_text())[0] | {"file": "train/2.mp4"}
    (dataset / "metadata.json").write_text(json.dumps([*json.loads((dataset / "metadata.json").read_text()), entry]))
    arguments = ["data", "check", str(dataset), "--decode", "--set", "data.max_skipped=0.2", "--set", "data.size=32"]
    assert main([*arguments, "--workspace", str(tmp_path / "runs")]) == 0
    shown = capsys.readouterr().out
    assert "1 files were skipped" in shown
    (listed,) = (tmp_path / "runs").rglob("skipped.csv")
    assert "train/2.mp4" in listed.read_text()


def test_a_folder_that_is_no_data_set_is_one_line_for_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").touch()
    arguments = ["--set", "data.source=folder", "--set", f"data.path={tmp_path}", "--workspace", str(tmp_path / "runs")]
    assert main(["data", *arguments]) == 2
    told = capsys.readouterr().err
    assert "fits no known layout, it holds notes.txt, runs/; expected is one of lavdf: metadata.json" in told
    assert len(told.strip().splitlines()) == 1


@pytest.fixture
def make_pictures():
    import numpy as np

    return np.full((4, 32, 32, 3), 90, np.uint8)


def test_a_sheet_is_for_the_built_in_clips(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--set", "data.source=folder", "--set", f"data.path={dataset}", "--sheet", str(tmp_path / "sheet.png")]
    assert main(["data", *arguments, "--workspace", str(tmp_path / "runs")]) == 2
    assert "--sheet draws generated samples, data.source is folder" in capsys.readouterr().err
