"""Starts, joins and ends Ray: quiet, small, with the driver's environment left as it was.

Ray's own ports are open on every interface; a Ray that we start admits only those who hold its token, which is Ray's own default
unless RAY_AUTH_MODE says otherwise.
"""

import fcntl
import logging
import math
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import paretolens
from paretolens.errors import BackendError
from paretolens.search.limits import KERNEL_CACHE, THREAD_VARIABLES

__all__ = ["SIGNALS", "check_address", "ray_runtime", "sweep"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""What ends a search cleanly; starting or joining Ray replaces their handlers."""
_logger = logging.getLogger(__name__)
_PREFIX = "plens-"
_HELD = "driver.lock"
_OBJECT_STORE_BYTES = 200 * 2**20
_ANSWER_S = 10.0
_GPUS = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
"""A worker that takes no GPU sees none, else all of them would train on the first one."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # Ray prints "A worker died" to stdout, into whatever table is there
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    **_GPUS,
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_WARN_THRESHOLD_S": "30",
}


@contextmanager
def ray_runtime(*, address: str | None, cpus: float, gpus: int, threads: int, waiting: int = 1) -> Iterator[Path]:
    """Start a local Ray, or join the one at `address`, and leave nothing behind.

    A Ray that this process is already connected to is used and left running.

    Args:
        address: of a cluster, "auto" for the one on this machine, None for a private one.
        cpus: slots of a private Ray; may exceed the machine's cores.
        gpus: of a private Ray, all there.
        threads: of numerical libraries in every worker.
        waiting: trials that may wait for a machine at the same time.

    Yields:
        Scratch folder of this session on the driver's disk; removed at the end.

    Raises:
        BackendError: Ray cannot be started or joined.
    """
    sweep(Path(tempfile.gettempdir()))
    settings = {**_QUIET, **_numerical(threads), "TUNE_MAX_PENDING_TRIALS_PG": str(waiting)}
    with _scratch() as scratch, _environment(settings):
        import ray

        ours = not ray.is_initialized()
        tune_logger = logging.getLogger("ray.tune")
        level = tune_logger.level
        if not _logger.isEnabledFor(logging.DEBUG):
            tune_logger.setLevel(logging.CRITICAL)  # every fault it would log reaches the journal with its reason
        try:
            if ours:
                _start(address, cpus=cpus, gpus=gpus, scratch=scratch, threads=threads)
            yield scratch
        finally:
            tune_logger.setLevel(level)
            if ours:
                ray.shutdown()


def check_address(address: str) -> tuple[str, int] | None:
    """Host and port of a cluster's head; None for "auto", which Ray finds by itself.

    Raises:
        BackendError: anything else, also the address of a Ray client.
    """
    if address == "auto":
        return None
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        raise BackendError(
            f"address {address!r}: expected auto, local, or HOST:PORT of the head of a cluster that this machine is in"
        )
    return host, int(port)


def _ensure_answer(address: str) -> None:
    """Find out in seconds that nobody listens there; Ray itself tries for minutes.

    Raises:
        BackendError: the address is none, or nobody answers.
    """
    place = check_address(address)
    if place is None:
        return
    try:
        socket.create_connection(place, timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise BackendError(f"the Ray cluster at {address} cannot be joined: nobody answers there ({error})") from error


def _start(address: str | None, *, cpus: float, gpus: int, scratch: Path, threads: int) -> None:
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    try:
        if address is not None:
            _ensure_answer(address)
            environment = {
                "env_vars": {**_numerical(threads), **_GPUS},
                "py_modules": [str(Path(paretolens.__file__).parent)],  # the driver's code, whatever the machines have
                "excludes": ["**/__pycache__", "*.pyc"],
            }
            ray.init(address=address, runtime_env=environment, **quiet)
        else:
            with _deaf_to_sigterm():
                ray.init(
                    num_cpus=math.ceil(cpus),
                    num_gpus=gpus,
                    include_dashboard=False,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    _node_ip_address="127.0.0.1",
                    _temp_dir=str(scratch),
                    **quiet,
                )
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        where = f"the Ray cluster at {address} cannot be joined" if address else "Ray cannot be started on this machine"
        refused = "Failed to connect" in str(error) and "RAY_AUTH_MODE" not in os.environ  # this may be all that Ray says of it
        hint = "if it asks for a token, set RAY_AUTH_MODE=token (docs/cluster.md)" if refused else "see 'paretolens doctor'"
        raise BackendError(f"{where} ({' '.join(str(error).split())[:300]}); {hint}") from error
    _protect_token()


def _numerical(threads: int) -> dict[str, str]:
    """What numerical libraries of a worker read when they are imported."""
    return {**KERNEL_CACHE, **dict.fromkeys(THREAD_VARIABLES, str(threads))}


@contextmanager
def _deaf_to_sigterm() -> Iterator[None]:
    """What is started within ignores SIGTERM, as Ray's processes ignore SIGINT: `timeout`, Slurm and systemd send it to all of a
    job, and a driver that is to stop cleanly needs its Ray until then. A signal that comes meanwhile is taken afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _protect_token() -> None:
    """Ray writes the token that admits to its ports for everyone to read; keep it to this user."""
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file() and token.stat().st_uid == os.getuid():
        token.chmod(0o600)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder of this driver's own, under a lock that its process holds; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))  # short: Unix socket paths end at 107 characters
    held = os.open(folder / f"{_HELD}.new", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with suppress(OSError):  # a file system without locks: nothing is swept there either
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (folder / f"{_HELD}.new").rename(folder / _HELD)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def sweep(place: Path) -> None:
    """Remove the scratch folders of drivers that were killed: those whose lock nobody holds, in whichever container."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another driver sweeps too, or it is another user's
            lock = os.open(folder / _HELD, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
