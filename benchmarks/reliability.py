"""Faults that take too long for the test suite, each really caused; what docs/reliability.md promises of them is checked.

    make reliability            (about twenty minutes on two busy cores; `python benchmarks/reliability.py kills` runs one)

kills    a driver is killed with SIGKILL at ten random moments, then left to finish
outage   the MLflow server is dead for a minute in one study, and for good in another, which is resumed when it is back
memory   Ray's own memory monitor kills trials
slurm    search/cluster/slurm.sh with stand-ins for srun and scontrol: USR1, queued again, resumed, with a measuring slot
scaling  Ray's own autoscaler, with its stand-in for a cloud: machines come for a search and go after it

Prints a Markdown table. Exit code 1 if a promise is broken.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bench_reliability.clusters import scaling, slurm
from bench_reliability.driver import BrokenPromiseError, check, must, start, until
from paretolens.mlflow.ui import free_port, server_command, server_environment, wait_until_up
from paretolens.search.journal import read_records
from paretolens.search.outcome import Fate


def kills(folder: Path) -> str:
    """Ten kills at random moments."""
    uri, moments, trials, hit = f"sqlite:///{folder}/mlflow.db", random.Random(11), 40, 0
    for _ in range(10):
        driver = start(folder, uri, trials=trials, seconds=0.6)
        word, times = moments.choice(
            [("started", 1), ("started", 3), ("reported", 2), ("reported", 5), ("ended", 1), ("ended", 3)]
        )
        hit += until(driver, word, times)
        time.sleep(moments.uniform(0.0, 0.3))
        family = psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []
        driver.kill()
        driver.communicate()
        psutil.wait_procs(family, timeout=30)
    must(hit >= 8, f"the kills hit running searches, {hit} of 10 did")
    last = start(folder, uri, trials=trials, seconds=0.6)
    said, _ = last.communicate(timeout=300)
    must(f"result {trials}" in said, f"the last driver finishes: {said[-500:]}")
    records, members = check(folder, uri, trials)
    again = sum(entry.fate is Fate.INTERRUPTED for entry in records)
    return f"{trials} of {trials} complete, {again} cut off and done again, front of {members} the same in journal and MLflow"


@contextmanager
def server(folder: Path, port: int) -> Iterator[None]:
    """A tracking server with its workers; killed at the end."""
    uri = f"sqlite:///{folder}/server.db"
    command = server_command(uri, host="127.0.0.1", port=port)
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        command, cwd=folder, env=server_environment(uri), start_new_session=True, stdout=quiet, stderr=quiet
    )
    try:
        wait_until_up(process, f"http://127.0.0.1:{port}")
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def outage(folder: Path) -> str:
    """A minute without the server; then without it for good."""
    port, trials = free_port(), 40
    uri = f"http://127.0.0.1:{port}"
    with server(folder, port):
        driver = start(folder / "minute", uri, trials=trials, seconds=4.0)
        must(until(driver, "ended", 2), "two trials before the outage")
    began = time.monotonic()
    must(until(driver, "ended", 5), "trials go on without the server")
    time.sleep(max(0.0, 60.0 - (time.monotonic() - began)))
    with server(folder, port):
        said, _ = driver.communicate(timeout=400)
        must(f"result {trials}" in said, f"the search ends: {said[-500:]}")
        check(folder / "minute", uri, trials)
        must(not (folder / "minute" / "spool.jsonl").exists(), "nothing is left to send")
    return _for_good(folder, port)


def _for_good(folder: Path, port: int) -> str:
    uri, trials, place = f"http://127.0.0.1:{port}", 8, folder / "good"
    (folder / "server.db").unlink(missing_ok=True)
    with server(folder, port):
        driver = start(place, uri, trials=trials, seconds=1.0)
        must(until(driver, "ended", 2), "two trials before the end of the server")
    said, _ = driver.communicate(timeout=400)
    must(f"result {trials}" in said, f"the search ends without the server: {said[-500:]}")
    waiting = len((place / "spool.jsonl").read_text().splitlines())
    must(waiting > 0, "what could not be sent waits on disk")
    refused, _ = start(place, uri, trials=trials, seconds=1.0).communicate(timeout=120)
    must("no answer" in refused, "a resume without the server says so")
    with server(folder, port):
        start(place, uri, trials=trials, seconds=1.0).communicate(timeout=120)
        check(place, uri, trials)
    return (
        f"40 of 40 through a minute without it; then {waiting} records kept on disk without it for good, all replayed on resume"
    )


def memory(folder: Path) -> str:
    """Ray's monitor kills what makes the machine run out of memory: here, what makes it use 3 GB more than now."""
    uri, trials, hunger = f"sqlite:///{folder}/mlflow.db", 6, 6 * 2**30
    held = psutil.virtual_memory()
    limit = (held.total - held.available + 3 * 2**30) / held.total
    must(limit < 0.9, "6 GB of free memory for this check")
    around = {"RAY_memory_usage_threshold": f"{limit:.3f}", "RAY_memory_monitor_refresh_ms": "100"}
    said, _ = start(folder, uri, trials=trials, seconds=0.5, hunger=hunger, around=around).communicate(timeout=400)
    must(f"result {trials}" in said, f"the search ends: {said[-800:]}")
    records = read_records(folder / "study")
    fates = Counter(str(entry.fate) for entry in records)
    must(fates[str(Fate.EVALUATED)] == trials and len(records) > trials, f"a trial was killed and tried again: {dict(fates)}")
    reasons = {entry.reason[:90] for entry in records if entry.fate is not Fate.EVALUATED}
    return f"{trials} of {trials} complete after {', '.join(sorted(reasons))!r}"


PARTS: dict[str, Callable[[Path], str]] = {
    "kills": kills, "outage": outage, "memory": memory, "slurm": slurm, "scaling": scaling,
}  # fmt: skip


def _end_children() -> None:
    """A broken promise leaves drivers and their Rays behind."""
    left = psutil.Process().children(recursive=True)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=30)


def main() -> int:
    """Cause the faults and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all without")
    broken = 0
    print("| fault | seconds | result |\n|---|---|---|", flush=True)
    for name in parser.parse_args().parts or list(PARTS):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"paretolens-{name}-", ignore_cleanup_errors=True) as folder:
            try:
                result = PARTS[name](Path(folder))
            except (BrokenPromiseError, subprocess.TimeoutExpired) as error:
                result, broken = f"BROKEN: {error}", broken + 1
            finally:
                _end_children()
        print(f"| {name} | {time.monotonic() - began:.0f} | {result} |", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
