"""Joining a cluster for a whole session, checked before anything is computed."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paretolens.search.settings import EngineSettings

__all__ = ["joined"]


@contextmanager
def joined(search: EngineSettings, workspace: Path) -> Iterator[int]:
    """Be part of the cluster at `search.address`; gives its number of machines, 0 without an address (then nothing happens).

    Raises:
        BackendError: the cluster cannot be joined, lacks room or the measuring slot, or a machine has other libraries.
        StoreError: a machine does not see the workspace.
    """
    if search.address is None:
        yield 0
        return
    from paretolens.search.cluster.room import await_room
    from paretolens.search.cluster.shared import ensure_shared
    from paretolens.search.cluster.slot import open_slot
    from paretolens.search.runtime import SIGNALS, ray_runtime

    handlers = {name: signal.getsignal(name) for name in SIGNALS}
    with ray_runtime(address=search.address, cpus=0, gpus=0, threads=search.threads):
        if threading.current_thread() is threading.main_thread():
            for name, handler in handlers.items():
                signal.signal(name, handler)  # joining has replaced them
        await_room(search.worker, latency=search.latency_resource, timeout_s=search.cluster_wait_s)
        machines = ensure_shared(workspace)
        if search.latency_resource is not None:
            open_slot(search.latency_resource)
        yield machines
