"""The command line as a person meets it: help, wrong words, exit codes, without starting anything expensive."""

import subprocess
import sys
from pathlib import Path

import pytest

from paretolens.search.cli import main
from paretolens.search.cli.main import COMMANDS


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"paretolens {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["serach"], "did you mean search?"),
        (["nonsense"], "allowed: baseline, "),
        (["search", "--trails", "3"], "--trials"),
        (["search", "--trials", "many"], "invalid int value"),
        (["export", "--selct=knee"], "--select"),
    ],
)
def test_wrong_words_end_with_code_2_and_one_line(arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert hint in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["search", "--trials", "0"], "search.trials is 0"),
        (["search", "--config", "missing.yaml"], "missing.yaml"),
        (["search", "--set", "space.backbone=[resnet19]"], "resnet18"),
        (["search", "--resume"], "nothing to resume"),
        (["search", "--name", "a/b"], "study name"),
        (["search", "--name", ""], "study name ''"),
        (["report"], "holds no study"),
        (["data", "--set", "data.size=33"], "even"),
        (["front"], "holds no study"),
        (["explore"], "holds no study"),
        (["export", "nobody"], "holds no study"),
        (["predict", "nowhere", "clip.mp4"], "nowhere"),
        (["ui", "--tracking-uri", "ftp://x"], "ftp"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    arguments: list[str], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    workspace = [] if arguments[0] == "predict" else ["--workspace", str(tmp_path / "runs")]
    assert main([*arguments, *workspace]) == 2
    error = capsys.readouterr().err
    assert hint in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "runs" / "studies").exists()


def test_unwritable_workspace_is_refused_before_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["search", "--workspace", str(tmp_path / "file" / "runs")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from paretolens.search.cli import main; main(['--help']); "
        "print(sorted({'torch', 'ray', 'mlflow', 'optuna'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_space_prints_overridden_knobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["space", "--set", "space.depth=[1, 3]"]) == 0
    text = capsys.readouterr().out
    assert "{1, 3}" in text
    assert "prune_ratio" in text


def test_a_study_in_a_bundles_place_names_its_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study" / "bundle").mkdir(parents=True)
    assert main(["predict", str(tmp_path / "study"), "clip.mp4"]) == 2
    assert f"its bundle is {tmp_path / 'study' / 'bundle'}" in capsys.readouterr().err
