"""The command line as a person meets it: help, wrong words, exit codes, without starting anything expensive."""

import subprocess
import sys
from pathlib import Path

import pytest

from paretolens.search.cli import main
from paretolens.search.cli.main import COMMANDS

WRONG_WORDS = [
    (["serach"], "did you mean search?"),
    (["nonsense"], "allowed: baseline, "),
    (["search", "--trails", "3"], "--trials"),
    (["export", "--selct=knee"], "--select"),
    (["search", "--trials", "many"], "argument --trials: 'many': give a whole number, 1 or more"),
    (["search", "--trials", "0"], "argument --trials: '0': give a whole number, 1 or more"),
    (["search", "--name", "a/b"], "study name 'a/b': use 1-80 letters"),
    (["search", "--name", ""], "study name ''"),
    (["search", "--config", "missing.yaml"], "missing.yaml: cannot be read (there is no such file)"),
    (["search", "--config", "."], "cannot be read (it is a folder)"),
    (["search", "--preset", "defalt"], "preset defalt: not known (did you mean default?)"),
    (["search", "--set", "search.trials"], "expected key=value"),
    (["search", "--address", "nowhere"], "expected auto, local, or HOST:PORT"),
    (["search", "--tracking-uri", "ftp://x"], "'ftp' is not supported"),
    (["ui", "--port", "99999"], "'99999': give a whole number, 0 to 65535"),
    (["front", "--objectives", "accuracy:up"], "must be max or min, got 'up'"),
    (["front", "--where", "eps = 5"], "write == to compare"),
    (["front", "--csv", "."], "is a folder; name a file in it"),
    (["front", "--json", f"{sys.executable}/none.json"], "nothing can be written in /"),
    (["compare", "a", "b", "--where", "eps <"], "not an expression"),
    (["report", "--select", "all"], "'all': one model is needed"),
    (["report", "--format", "html,pdf"], "'pdf': not known (allowed: html, md)"),
    (["validate-eps", "--clips", "3"], "4 or more"),
    (["validate-eps", "--references", "1"], "give 0 or at least 2"),
    (["preview", "--draws", "0"], "1 or more"),
    (["retarget", "--device", "abacus"], "choose from 'onnxruntime-cpu'"),
    (["cache", "--max-gb", "-1"], "'-1': give a number, 0 or more"),
    (["predict", "bundle", "clip.mp4", "--fps", "-3"], "'-3': give a number, above 0"),
    (["predict", "bundle", "clip.mp4", "--fps", "inf"], "'inf': give a number, above 0"),
    (["predict", "bundle", "clip.mp4", "--threads", "0"], "1 or more"),
    (["bench", "bundle", "--batch", "1,0"], "'0': give a whole number, 1 or more"),
    (["replay", "table.json", "--samplers", "nsga2,nsga4"], "'nsga4': not known (did you mean nsga3?)"),
    (["replay", "table.json", "--reduction", "1"], "2 or more"),
    (["replay", "table.json", "--seeds", "0"], "1 or more"),
]
WRONG = [arguments for arguments, _ in WRONG_WORDS]


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


@pytest.mark.parametrize(("arguments", "hint"), WRONG_WORDS)
def test_wrong_words_end_with_code_2_and_one_line(
    arguments: list[str], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert hint in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["search", "--set", "search.trials=0"], "search.trials is 0"),
        (["search", "--set", "space.backbone=[resnet19]"], "resnet18"),
        (["search", "--resume"], "nothing to resume"),
        (["report"], "holds no study"),
        (["data", "--set", "data.size=33"], "even"),
        (["front"], "holds no study"),
        (["explore"], "holds no study"),
        (["export", "nobody"], "holds no study"),
        (["predict", "nowhere", "clip.mp4"], "nowhere"),
        (["cache", "--max-gb", "3"], "give --prune too"),
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


def test_help_and_wrong_flags_are_quick_because_nothing_heavy_is_imported() -> None:
    code = f"""
import contextlib, io, sys
from paretolens.search.cli.main import COMMANDS, main
wrong = {WRONG!r}
for line in [["--help"], *([name, "--help"] for name in COMMANDS), *([name, "--nosuch"] for name in COMMANDS), *wrong]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        main(line)
    heavy = {{"torch", "ray", "mlflow", "optuna", "pandas", "numpy", "pydantic", "rich", "scipy"}} & set(sys.modules)
    assert not heavy, (line, heavy)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_space_prints_overridden_knobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["space", "--set", "space.depth=[1, 3]"]) == 0
    text = capsys.readouterr().out
    assert "{1, 3}" in text
    assert "prune_ratio" in text


def test_a_study_in_a_bundles_place_names_its_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study" / "bundle").mkdir(parents=True)
    assert main(["predict", str(tmp_path / "study"), "clip.mp4"]) == 2
    assert f"its bundle is {tmp_path / 'study' / 'bundle'}" in capsys.readouterr().err
