import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from paretolens.errors import StoreError
from paretolens.mlflow.amend import add_metrics
from paretolens.mlflow.store import check_store, ensure_experiment, open_client, resolve_uri, search_runs
from paretolens.mlflow.ui import free_port, server_command, server_environment


def test_relative_sqlite_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_uri("sqlite:///runs/mlflow.db") == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert resolve_uri("http://host:5000/") == "http://host:5000"
    assert resolve_uri("postgresql+psycopg2://u:p@h/db") == "postgresql+psycopg2://u:p@h/db"


@pytest.mark.parametrize("uri", ["mlruns", "./runs", "file:///tmp/mlruns", "s3://bucket/x", "sqlite://", "sqlite:///:memory:"])
def test_what_is_no_store(uri: str) -> None:
    with pytest.raises(StoreError) as error:
        check_store(uri)
    assert "\n" not in str(error.value)


def test_file_store_is_refused_with_a_way_out() -> None:
    with pytest.raises(StoreError, match=r"file store is not supported; give sqlite:///"):
        resolve_uri("file:///somewhere/mlruns")


def test_reading_never_creates(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is none; run a search first"):
        open_client(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


def test_unwritable_places(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder"):
        check_store(f"sqlite:///{tmp_path}")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be made"):
        check_store(f"sqlite:///{tmp_path}/file/mlflow.db")
    (tmp_path / "text.db").write_text("this is no database, " * 100)
    with pytest.raises(StoreError, match="file is not a database; name another") as error:
        check_store(f"sqlite:///{tmp_path}/text.db")
    assert "\n" not in str(error.value)


def test_a_place_where_nobody_may_write() -> None:
    with pytest.raises(StoreError, match="unable to open database file; change its permissions"):
        check_store("sqlite:////proc/mlflow.db")


def test_a_store_that_another_program_holds(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **options: connect(path, **{**options, "timeout": 0.1}))
    holder = connect(store.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StoreError, match="database is locked; end what holds it"):
            check_store(store)
    finally:
        holder.close()


def test_a_store_of_another_version(store: str, tmp_path: Path) -> None:
    copy = tmp_path / "old.db"
    with sqlite3.connect(store.removeprefix("sqlite:///")) as source, sqlite3.connect(copy) as target:
        source.backup(target)
        target.execute("UPDATE alembic_version SET version_num = 'acf3f17fdcc7'")
        target.commit()
    with pytest.raises(StoreError, match="another MLflow version; run `mlflow db upgrade"):
        open_client(f"sqlite:///{copy}")


def test_a_server_that_is_down_is_told_in_seconds() -> None:
    with pytest.raises(StoreError, match=r"no answer .*; start it") as error:
        check_store(f"http://user:secret@127.0.0.1:{free_port()}")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("uri", ["postgresql://me:secret@127.0.0.1:{}/runs", "mysql+pymysql://me:secret@127.0.0.1:{}/runs"])
def test_a_database_that_is_down_is_told_in_one_line(uri: str, capfd: pytest.CaptureFixture[str]) -> None:
    uri = uri.format(free_port())
    with pytest.raises(StoreError, match=r"no answer from 127.0.0.1, port \d+ .*--tracking-uri") as caught:
        open_client(uri)
    assert "secret" not in str(caught.value)
    assert "".join(capfd.readouterr()) == ""


def test_a_port_that_is_none() -> None:
    with pytest.raises(StoreError, match="HOST:PORT") as caught:
        open_client("postgresql://me:secret@127.0.0.1:99999/runs")
    assert "secret" not in str(caught.value)


def test_a_figure_that_cannot_be_added_hides_the_password() -> None:
    with pytest.raises(StoreError) as caught:
        add_metrics("0" * 32, {"eps": 1.0}, tracking_uri=f"http://me:secret@127.0.0.1:{free_port()}")
    assert "secret" not in str(caught.value)


def test_the_database_of_a_server_is_not_on_its_command_line() -> None:
    uri = "postgresql://me:secret@db:5432/runs"
    assert "secret" not in " ".join(server_command(uri, host="127.0.0.1", port=5000))
    assert server_environment(uri)["MLFLOW_BACKEND_STORE_URI"] == uri


def test_checking_again_changes_nothing(store: str) -> None:
    assert check_store(store) == store
    client = open_client(store)
    assert ensure_experiment(client, store, "paretolens") == ensure_experiment(client, store, "paretolens")
    experiment = client.get_experiment_by_name("paretolens")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"  # the UI opens on runs, not on chat traces
    assert experiment.artifact_location == (Path(store.removeprefix("sqlite:///")).parent / "artifacts").as_uri()


def test_an_experiment_that_another_search_makes_meanwhile_is_taken(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = open_client(store), open_client(store)
    made: list[str] = []

    def too_late(name: str) -> None:
        monkeypatch.undo()
        made.append(theirs.create_experiment(name))

    monkeypatch.setattr(ours, "get_experiment_by_name", too_late)
    assert [ensure_experiment(ours, store, "at once")] == made


def test_a_deleted_experiment(store: str) -> None:
    client = open_client(store)
    number = ensure_experiment(client, store, "gone")
    client.delete_experiment(number)
    with pytest.raises(StoreError, match=f"was deleted; `mlflow experiments restore -x {number}`"):
        check_store(store, experiment="gone")


def test_search_goes_through_all_pages(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = open_client(store)
    number = ensure_experiment(client, store, "pages")
    made = {client.create_run(number, tags={"x": "1"}).info.run_id for _ in range(5)}
    monkeypatch.setattr("paretolens.mlflow.store._PAGE", 2)
    assert {run.info.run_id for run in search_runs(client, number, "tags.x = '1'")} == made


def test_a_database_that_was_emptied_says_how_it_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    for content in (b"", bytes(8192)):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"mlflow\.db.*search --name STUDY --resume"):
            open_client(f"sqlite:///{path}")
        assert path.read_bytes() == content


def test_front_needs_neither_ray_nor_torch() -> None:
    code = (
        "import paretolens.mlflow.front, paretolens.mlflow.tracking, paretolens.mlflow.explorer, paretolens.mlflow.table, "
        "paretolens.mlflow.plots, paretolens.mlflow.ui, sys; "
        "print(sorted({'ray', 'torch', 'mlflow', 'matplotlib', 'plotly', 'optuna'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
