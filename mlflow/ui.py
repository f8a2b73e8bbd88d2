"""Opening the MLflow UI on a store."""

import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from paretolens.errors import BackendError, ConfigurationError, StoreError
from paretolens.mlflow.names import Tag
from paretolens.mlflow.store import is_server, open_client, resolve_uri, sqlite_path

__all__ = ["free_port", "run_link", "runs_link", "serve", "server", "server_command", "server_environment", "wait_until_up"]

_LOGGER = logging.getLogger(__name__)
_LAST = 20
"""Lines of a server that ended by itself which are shown."""


def serve(
    tracking_uri: str,
    *,
    host: str = "127.0.0.1",
    port: int = 5000,
    ready: Callable[[str], None] | None = None,
    start_timeout_s: float = 120.0,
) -> str:
    """Serve the UI until it is interrupted; returns the address it had.

    A tracking server has its UI already: its address is returned at once.

    Args:
        tracking_uri: The store.
        host: Address to listen on. MLflow asks nobody who they are: anything but loopback lets the network write to the store.
        port: Port to listen on.
        ready: Called with the address once the UI answers.
        start_timeout_s: Longest time to wait for the first answer.

    Raises:
        StoreError: the store can't be read.
        ConfigurationError: the port is taken or out of range.
        BackendError: the server ended or didn't answer.
    """
    uri = resolve_uri(tracking_uri)
    if is_server(uri):
        if ready:
            ready(uri)
        return uri
    open_client(uri)
    _check_port(host, port)
    address = _address(host, port)
    try:
        with _running(uri, host, port, start_timeout_s) as process:
            if ready:
                ready(address)
            raise BackendError(f"the MLflow UI on {address} ended by itself with code {process.wait()}; its lines above say why")
    except KeyboardInterrupt:
        return address


@contextmanager
def server(tracking_uri: str, *, port: int, host: str = "127.0.0.1", start_timeout_s: float = 120.0) -> Iterator[str]:
    """A tracking server on a database for the time of a `with`; gives its address.

    Raises:
        BackendError: the server ended before it answered.
        StoreError: it didn't answer in time.
    """
    with _running(resolve_uri(tracking_uri), host, port, start_timeout_s):
        yield _address(host, port)


@contextmanager
def _running(uri: str, host: str, port: int, timeout_s: float) -> "Iterator[subprocess.Popen[bytes]]":
    # Somewhere else than the project: the UI must not care what lies in the current folder. What the server says is shown only
    # if it ends by itself: else its notes on itself and every request would stand between our own lines.
    with tempfile.TemporaryDirectory(prefix="paretolens-ui-") as folder, (Path(folder) / "server.log").open("w+b") as log:
        output = None if _LOGGER.isEnabledFor(logging.DEBUG) else log
        command = server_command(uri, host=host, port=port)
        process = subprocess.Popen(command, cwd=folder, env=server_environment(uri), stdout=output, stderr=output)
        try:
            wait_until_up(process, _address(host, port), timeout_s)
            yield process
        except BackendError:
            sys.stderr.write("".join(Path(log.name).read_text(errors="replace").splitlines(keepends=True)[-_LAST:]))
            raise
        finally:
            _end(process)


def server_command(uri: str, *, host: str, port: int) -> list[str]:
    """The command line of a server on a database: one worker, files from where the runs put them.

    The database itself is named in `server_environment`, since everybody on the machine can read a command line.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    path = sqlite_path(uri)
    if path is not None:
        command += ["--artifacts-destination", (path.parent / "artifacts").as_uri()]
    return [*command, "--workers", "1", "--uvicorn-opts", "--log-level warning"]


def server_environment(uri: str) -> dict[str, str]:
    """Ours, with the database and without the job workers that would take ten processes and 1.9 GB."""
    return {**os.environ, "MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def runs_link(address: str, experiment_id: str, *, study: str | None = None) -> str:
    """Address of the table of runs within the UI, of one study if it is named."""
    link = f"{address.rstrip('/')}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    if study is None:
        return link
    condition = f'tags.{Tag.STUDY} = "{study}"'
    return f"{link}&searchFilter={urllib.parse.quote(condition)}"


def run_link(address: str, experiment_id: str, run_id: str) -> str:
    """Address of a run within the UI: its figures, its tags, and under Artifacts its files."""
    return f"{address.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on right now."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _check_port(host: str, port: int) -> None:
    if not 1 <= port <= 65535:
        raise ConfigurationError(f"port: between 1 and 65535, got {port}")
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigurationError(f"port {port} on {host}: {reason}; choose another with --port, as {port + 1}") from error


def wait_until_up(process: "subprocess.Popen[bytes]", address: str, timeout_s: float = 120.0) -> None:
    """Wait until a server that was just started answers on `/health`.

    Raises:
        BackendError: it ended before it answered.
        StoreError: it didn't answer in time.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            code = process.returncode
            raise BackendError(f"the server on {address} ended with code {code} before it answered; its lines above say why")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise StoreError(f"the server on {address}: no answer within {timeout_s:.0f} s; the store may be very large or locked")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask the server to end, and make sure that it did."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
