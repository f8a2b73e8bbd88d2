"""`paretolens replay` as a user types it."""

from pathlib import Path

import pytest

from paretolens.search.cli import main
from paretolens.search.config import load_config
from paretolens.search.epochs import EpochLog
from paretolens.search.observer import Epoch, TrialStart
from paretolens.search.outcome import Fate, TrialOutcome, genome_key
from paretolens.search.sampling import distributions
from paretolens.search.study import Study
from paretolens.search.workspace import Workspace


def finished_study(root: Path, trials: int = 12) -> None:
    """A study whose trials were written down without training."""
    import random

    study = Study(name="mine", config=load_config(flags={}), workspace=Workspace.at(root))
    space, rng = study.config.make_space(), random.Random(0)
    with study.open_journal() as journal:
        study.write_config()
        log = EpochLog(study.folder)
        for _ in range(trials):
            genome = space.sample(rng)
            key = genome_key(space.active(genome))
            number = journal.begin(genome, distributions(space), key=key, system={})
            log.trial_started(TrialStart(number=number, key=key, genome=genome))
            for epoch in (1, 2):
                metrics = {"progress_epoch": float(epoch), "progress_error": 0.5 / epoch + 0.1 * float(genome["prune_ratio"])}
                log.trial_reported(Epoch(number=number, step=epoch, metrics=metrics, seconds=float(epoch)))
            values = {"accuracy": 0.9 - float(genome["prune_ratio"]), "latency_ms": float(genome["width"]), "eps": rng.random()}
            journal.end(number, Fate.EVALUATED, TrialOutcome(values=values), seconds=5.0)


def test_a_study_is_recorded_and_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished_study(tmp_path)
    table = tmp_path / "mine.json"
    assert main(["replay", "--record", "mine", "--output", str(table), "--workspace", str(tmp_path)]) == 0
    assert "12 trials, 12 of them with their epochs" in capsys.readouterr().out
    command = [
        "replay",
        str(table),
        "--samplers",
        "nsga2,random",
        "--schedulers",
        "none,halving",
        "--seeds",
        "2",
        "--trials",
        "10",
    ]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "Variance explained on held-out trials" in out
    for line in ("nsga2 ", "nsga2 + halving", "random ", "random + halving"):
        assert line in out


def test_a_table_without_epochs_is_said_where_halving_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["replay", "nasbench201:cifar10", "--trials", "3", "--seeds", "1", "--samplers", "random", "--schedulers"]
    assert main([*command, "none"]) == 0
    assert "no epochs" not in capsys.readouterr().out
    assert main([*command, "none,halving"]) == 0
    assert "The table holds no epochs: halving stops nothing here." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["replay"], "name a table to replay"),
        (["replay", "nowhere.json"], "table nowhere.json: cannot be read"),
        (["search", "--seed-from", "gone"], "search.seed_from gone: no such study"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--workspace", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_study_begins_with_the_front_of_the_one_it_is_seeded_from(tmp_path: Path) -> None:
    finished_study(tmp_path)
    config = load_config(flags={"search": {"seed_from": "mine"}, "space": {"width": [32]}})
    study = Study(name="next", config=config, workspace=Workspace.at(tmp_path))
    genomes = study.first_genomes(config.make_space())
    given = len(config.first_genomes())
    assert len(genomes) > given
    assert {genome["width"] for genome in genomes[given:]} == {32}
    for genome in genomes:
        config.make_space().validate(genome)
