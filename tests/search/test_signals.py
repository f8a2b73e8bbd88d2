"""SIGTERM, as a scheduler of jobs or `kill` sends it, outside the search loop: nothing that was started stays behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from paretolens.mlflow.store import check_store, open_client
from paretolens.mlflow.ui import free_port

pytestmark = pytest.mark.slow


def _start(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-u", "-m", "paretolens.search.cli", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait_for(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"it ended without printing {text!r}: {process.stderr.read() if process.stderr else ''}")


def test_ui_takes_its_server_along(tmp_path: Path) -> None:
    store = check_store(f"sqlite:///{tmp_path}/store.db")
    ui = _start("ui", "--tracking-uri", store, "--port", str(free_port()), "--workspace", str(tmp_path))
    _wait_for(ui, "MLflow UI on")
    servers = psutil.Process(ui.pid).children(recursive=True)
    assert servers
    ui.send_signal(signal.SIGTERM)
    out, error = ui.communicate(timeout=120)
    assert ui.returncode == 0  # its usual end
    assert not [word for word in ("INFO", "Warning", "Traceback", "MLFLOW_") if word in out + error], out + error
    _, alive = psutil.wait_procs(servers, timeout=120)
    assert not alive


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGUSR1", 138)])
def test_search_that_is_still_preparing_closes_its_run_and_says_how_to_go_on(tmp_path: Path, name: str, code: int) -> None:
    search = _start("search", "--name", "early", "--workspace", str(tmp_path))
    _wait_for(search, "study early")
    time.sleep(1.0)  # among the clips
    search.send_signal(getattr(signal, name))
    out, error = search.communicate(timeout=240)
    assert search.returncode == code
    assert "--name early --resume" in out
    assert error.strip().splitlines()[-1] == f"stopped by {name}"
    client = open_client(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = [found.experiment_id for found in client.search_experiments() if found.name == "paretolens"]
    assert [run.info.status for run in client.search_runs([experiment])] == ["KILLED"]
