"""Where runs are kept: checking a tracking URI, opening a client on it, and saying in one line why it can't be used."""

import logging
import os
import socket
import sqlite3
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from paretolens.errors import StoreError

__all__ = [
    "DEFAULT_EXPERIMENT",
    "cache_folder",
    "check_store",
    "current_uri",
    "ensure_experiment",
    "find_experiment",
    "is_server",
    "one_line",
    "open_client",
    "resolve_uri",
    "search_runs",
    "sqlite_path",
    "without_password",
]

DEFAULT_EXPERIMENT = "paretolens"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_SERVERS = ("http", "https")
_PAGE = 500  # a server must hand over a page well within the time-out below: 5,000 runs took longer than that
_WRITTEN_AGAIN = (
    "name another with --tracking-uri, or move it away: 'paretolens search --name STUDY --resume' writes a study again"
)
# A server that is down must cost seconds: MLflow's own defaults (7 retries, 120 s each) block one call for 246 s.
# And no progress bar per file.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PGCONNECT_TIMEOUT": "10",  # of libpq; by default it waits as long as the network does
}


def _scheme(uri: str) -> str:
    return uri.partition(":")[0].partition("+")[0].lower() if "://" in uri else ""


def is_server(uri: str) -> bool:
    """Whether the URI names a tracking server rather than a database."""
    return _scheme(uri) in _SERVERS


def sqlite_path(uri: str) -> Path | None:
    """The file of a sqlite store; None for any other store."""
    return Path(uri.partition(":///")[2]) if _scheme(uri) == "sqlite" else None


def cache_folder(uri: str) -> Path | None:
    """Where reads of a sqlite store may keep what they found, beside it; None for any other store."""
    path = sqlite_path(uri)
    return path.parent / "cache" / "tracking" if path is not None else None


def current_uri() -> str:
    """The store that MLflow itself would use: `mlflow.set_tracking_uri`, else MLFLOW_TRACKING_URI, else its default."""
    import mlflow

    return str(mlflow.get_tracking_uri())


def resolve_uri(uri: str) -> str:
    """The same store by an absolute URI, since workers run in other folders.

    Raises:
        StoreError: not a database or a server; a plain folder too, since MLflow 3 refuses its old file store.
    """
    scheme = _scheme(uri)
    if scheme in _SERVERS:
        return uri.rstrip("/")
    if scheme not in _DATABASES:
        kind = "the file store" if scheme in ("", "file") else f"{scheme!r}"
        raise StoreError(
            f"tracking URI {uri!r}: {kind} is not supported; give sqlite:///FILE.db, postgresql://…, mysql://… or http(s)://HOST:PORT"
        )
    path = sqlite_path(uri)
    if path is None:
        return uri
    if path.name in ("", ":memory:"):
        raise StoreError(f"tracking URI {uri!r}: a sqlite store needs a file, as in sqlite:///runs/mlflow.db")
    return f"sqlite:///{path.expanduser().absolute()}"


def open_client(uri: str, *, create: bool = False) -> Any:
    """An `MlflowClient` on a store that answers.

    Args:
        uri: Any tracking URI.
        create: Make the sqlite file and its tables if they are missing (seconds, and only ever in the driver: several
            processes that create one store at once leave it unusable).

    Raises:
        StoreError: the store is missing, can't be written, doesn't answer or has another version.
    """
    uri = resolve_uri(uri)
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for name in ("mlflow.store.db.utils", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)  # we say ourselves, once, that a store is away
    path = sqlite_path(uri)
    if path is not None:
        _check_sqlite(path, create=create)
    elif is_server(uri):
        _check_server(uri)
    else:
        _check_database(uri)
    from mlflow import MlflowClient

    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:
        raise StoreError(f"tracking store {without_password(uri)}: {_hint(error, uri)}") from error
    return client


def check_store(uri: str, *, experiment: str = DEFAULT_EXPERIMENT, artifact_root: str | None = None) -> str:
    """Make sure that the store exists and can be written, before anything expensive starts; returns the absolute URI.

    Raises:
        StoreError: it can't.
    """
    uri = resolve_uri(uri)
    client = open_client(uri, create=True)
    try:
        number = ensure_experiment(client, uri, experiment, artifact_root=artifact_root)
        client.set_experiment_tag(number, "paretolens.checked", str(int(time.time())))
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(f"tracking store {without_password(uri)}: can't be written ({_hint(error, uri)})") from error
    return uri


def ensure_experiment(client: Any, uri: str, name: str, *, artifact_root: str | None = None) -> str:
    """Id of an experiment, created if it is missing.

    Files go to `artifact_root`; without one, beside a sqlite file in `artifacts/`, and wherever a server keeps them.

    Raises:
        StoreError: the experiment was deleted in the UI.
    """
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage != "active":
        raise StoreError(
            f"experiment {name!r} in {without_password(uri)} was deleted; "
            f"`mlflow experiments restore -x {found.experiment_id}` brings it back, or name another experiment"
        )
    if found is not None:
        return str(found.experiment_id)
    path = sqlite_path(uri)
    if artifact_root is None and path is not None:
        artifact_root = (path.parent / "artifacts").as_uri()
    number = _create_experiment(client, name, artifact_root)
    client.set_experiment_tag(number, "mlflow.experimentKind", "custom_model_development")  # else the UI opens on chat traces
    return number


def _create_experiment(client: Any, name: str, artifact_root: str | None) -> str:
    """Of several searches that begin at once in a new store, one makes the experiment and the others take it."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(name, artifact_location=artifact_root))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(client.get_experiment_by_name(name).experiment_id)


def find_experiment(client: Any, uri: str, name: str) -> str:
    """Id of an experiment; empty if there is none, or it was deleted.

    Raises:
        StoreError: the store can't be read.
    """
    try:
        found = client.get_experiment_by_name(name)
    except Exception as error:
        raise StoreError(f"tracking store {without_password(uri)}: can't be read ({one_line(error)})") from error
    return str(found.experiment_id) if found is not None and found.lifecycle_stage == "active" else ""


def search_runs(client: Any, experiment: str, condition: str, *, deleted: bool = False) -> list[Any]:
    """Every active (or deleted) run of an experiment that meets a condition, however many pages it takes; the newest first."""
    from mlflow.entities import ViewType

    view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
    runs, token = [], None
    while True:
        page = client.search_runs([experiment], condition, run_view_type=view, max_results=_PAGE, page_token=token)
        runs += list(page)
        token = page.token
        if not token:
            return runs


def one_line(error: BaseException, *, longest: int = 300) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())[:longest] or type(error).__name__


def _check_sqlite(path: Path, *, create: bool) -> None:
    if path.is_dir():
        raise StoreError(f"tracking store {path}: is a folder; name a file, as in sqlite:///{path}/mlflow.db")
    if not path.exists():
        if not create:
            raise StoreError(f"tracking store {path}: there is none; run a search first, or name another with --tracking-uri")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"tracking store {path}: its folder can't be made ({error.strerror}); choose another place"
            ) from error
    elif not create and path.stat().st_size == 0:
        raise StoreError(f"tracking store {path}: the file is empty; {_WRITTEN_AGAIN}")
    try:
        _probe_sqlite(path, write=create)
    except sqlite3.DatabaseError as error:
        hint = {"file is not a database": _WRITTEN_AGAIN, "database is locked": "end what holds it"}
        advice = hint.get(str(error), "change its permissions or name another with --tracking-uri")
        raise StoreError(f"tracking store {path}: {error}; {advice}") from error


def _probe_sqlite(path: Path, *, write: bool) -> None:
    """Open the database as MLflow will, in milliseconds and without a trace.

    Raises:
        sqlite3.DatabaseError: it can't be read, or not written if that was asked.
    """
    existed = path.exists()
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
    try:
        connection.execute("PRAGMA schema_version")
        if write:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE paretolens_probe (x)")
            connection.execute("ROLLBACK")
    finally:
        connection.close()
        if not existed:
            path.unlink(missing_ok=True)


def _check_server(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=5):
            pass
    except urllib.error.HTTPError:
        return  # it answers; a proxy or its login may hide /health
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise StoreError(
            f"tracking server {without_password(uri)}: no answer ({reason}); start it, or name another store with --tracking-uri"
        ) from error


def _check_database(uri: str) -> None:
    """Whether anybody listens where a database should be: MLflow would try ten times, which takes 100 s.

    A URI without a host (a socket file) or with several is left to its driver.
    """
    parts = urllib.parse.urlsplit(uri)
    try:
        host, port = parts.hostname, parts.port or _PORTS.get(_scheme(uri))
    except ValueError as error:
        raise StoreError(f"tracking URI {without_password(uri)!r}: {error}; give …://USER:PASSWORD@HOST:PORT/NAME") from error
    if not host or not port or "," in parts.netloc:
        return
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise StoreError(
            f"tracking store {without_password(uri)}: no answer from {host}, port {port} ({error}); "
            "start it, or name another store with --tracking-uri"
        ) from error
    _log_in(uri)


def _log_in(uri: str) -> None:
    """Open the database once: MLflow would take a refused password for an outage and try for minutes."""
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.pool.NullPool)
        engine.connect().close()
    except ModuleNotFoundError as error:
        raise StoreError(
            f"tracking store {without_password(uri)}: its driver is not installed ({error}); pip install '.[server]' has that of "
            "PostgreSQL"
        ) from error
    except sqlalchemy.exc.ArgumentError as error:
        raise StoreError(f"tracking URI {without_password(uri)!r}: {one_line(error)}") from error
    except sqlalchemy.exc.DBAPIError as error:
        raise StoreError(
            f"tracking store {without_password(uri)}: the database does not let you in ({one_line(error.orig or error)}); "
            "check user, password (PGPASSWORD keeps it out of the URI) and the database's name"
        ) from error


def without_password(uri: str) -> str:
    """The store's address as it may be shown: user and password hidden."""
    head, separator, tail = uri.partition("://")
    return f"{head}{separator}***@{tail.rpartition('@')[2]}" if "@" in tail else uri


def _hint(error: Exception, uri: str) -> str:
    text = one_line(error)
    if is_server(uri) and ("error code 401" in text or "error code 403" in text or "not authenticated" in text):
        return "it doesn't let you in; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a user with a right on it"
    if "schema" in text and ("out-of-date" in text or "version" in text):
        return f"it was written by another MLflow version; run `mlflow db upgrade {without_password(uri)}` or name another store"
    return text
