"""Whether the machines of a cluster can run what a search wants, so that it never waits in silence."""

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from paretolens.errors import BackendError

__all__ = ["await_room", "missing"]

_logger = logging.getLogger(__name__)
_LOOK_S = 1.0


def await_room(worker: Mapping[str, float], *, latency: str | None, timeout_s: float) -> None:
    """Wait until some machine has room for a worker, and some machine the device that latencies are measured on.

    An autoscaler is told what is wanted for as long as this waits: later it follows the trials. Machines that join later are used
    as they come.

    Args:
        worker: resources of one worker, by Ray's names (CPU, GPU, own ones).
        latency: resource of the measuring slot; None if there is none.
        timeout_s: how long machines may take to join.

    Raises:
        BackendError: they did not within that time; what is there is listed.
    """
    import ray

    if not (lacking := missing(ray.nodes(), worker, latency)):
        return
    _logger.warning("waiting up to %.0f s for a machine with %s to join the cluster", timeout_s, lacking)
    end = time.monotonic() + timeout_s
    try:
        while lacking := missing(ray.nodes(), worker, latency):
            _ask_autoscaler([dict(worker), *([] if latency is None else [{latency: 1.0}])])
            if time.monotonic() >= end:
                raise BackendError(
                    f"no machine of the Ray cluster has {lacking}; there is {_described(ray.nodes())}. Lower "
                    "search.cpus_per_worker, gpus_per_worker or worker_resources, name another search.latency_resource, or add "
                    "such a machine"
                )
            time.sleep(_LOOK_S)
    finally:
        _want_nothing_more()


def missing(nodes: Iterable[Mapping[str, Any]], worker: Mapping[str, float], latency: str | None) -> str:
    """What no live machine has, as `CPU 2, GPU 0.5` or `latency:h200 1`; empty if nothing is missing."""
    alive = [dict(node["Resources"]) for node in nodes if node["Alive"]]
    if not any(all(have.get(name, 0.0) >= amount for name, amount in worker.items()) for have in alive):
        return _amounts(worker)
    if latency is not None and not any(have.get(latency, 0.0) >= 1.0 for have in alive):
        return _amounts({latency: 1.0})
    return ""


def _ask_autoscaler(bundles: list[dict[str, float]]) -> None:
    """Ask for room, in place of what was asked last by any search of the cluster. Ray keeps a request until the next one: left
    there, it would keep machines up for ever.
    """
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=bundles)


def _want_nothing_more() -> None:
    """Where Ray is gone, that is told by whatever ended the wait; nothing is kept up there either."""
    try:
        _ask_autoscaler([])
    except Exception as error:  # Ray's own kinds vary
        _logger.warning("the cluster's autoscaler could not be told that nothing more is asked for: %s", error)


def _described(nodes: Iterable[Mapping[str, Any]]) -> str:
    alive = [node for node in nodes if node["Alive"]]
    shown = [f"{node['NodeManagerHostname']} ({_amounts(_named(node['Resources']))})" for node in alive]
    return "; ".join(shown) or "no machine at all"


def _named(resources: Mapping[str, float]) -> dict[str, float]:
    """Without what is Ray's own: memory, and the resource that every machine has for itself."""
    return {
        name: amount
        for name, amount in resources.items()
        if name not in ("memory", "object_store_memory") and "node:" not in name
    }


def _amounts(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(resources.items())) or "nothing to offer"
