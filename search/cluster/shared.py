"""Whether every machine of a cluster sees the workspace and has the same libraries, found out before anything is computed."""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretolens.errors import BackendError, StoreError
from paretolens.search.origin import MISSING, library_versions

__all__ = ["check_libraries", "ensure_shared", "look"]

_TIMEOUT_S = 180.0
_LIBRARIES = (
    "torch", "torchvision", "timm", "torch-pruning", "tensorly", "safetensors", "numpy", "scipy", "scikit-learn", "captum",
    "onnx", "onnxruntime", "optuna", "ray", "filelock", "av",
)  # fmt: skip
_WHERE_GPUS_ARE = ("tensorrt-cu13", "tensorrt-cu13-bindings", "tensorrt-rtx-cu13-bindings")
"""Need not be everywhere: only the versions of those machines that have them must agree."""


def ensure_shared(workspace: Path, *, timeout_s: float = _TIMEOUT_S) -> int:
    """Ask every machine for a file that was just written into the workspace; returns how many machines there are.

    Trials read data, teacher and cache from the workspace and leave their artefacts there, so it must be on storage that all
    machines mount at the same path.

    Raises:
        StoreError: a machine does not see the workspace, or cannot write there.
        BackendError: a machine does not answer, or its libraries are missing or of other versions than here.
    """
    nonce = workspace / f".cluster-{uuid.uuid4().hex}"
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        nonce.write_text(nonce.name, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"workspace {workspace}: cannot be written ({error.strerror}); choose another --workspace") from error
    try:
        found = _ask_all(str(nonce), timeout_s)
    finally:
        nonce.unlink(missing_ok=True)
    blind = {host: answer["fault"] for host, answer in found.items() if answer["fault"]}
    if blind:
        told = "; ".join(f"{host}: {fault}" for host, fault in sorted(blind.items()))
        raise StoreError(
            f"workspace {workspace}: not usable on every machine of the cluster ({told}); put it on storage that all of them "
            "mount at the same path, and name that with --workspace"
        )
    check_libraries({host: answer["libraries"] for host, answer in found.items()})
    return len(found)


def look(nonce: str) -> dict[str, Any]:
    """What one machine says: `fault` (empty if the file is there and its folder can be written) and `libraries`."""
    path, fault = Path(nonce), ""
    try:
        fault = "" if path.read_text(encoding="utf-8") == path.name else "another file is there"
        own = path.with_name(f"{path.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
        own.write_bytes(b"")
        own.unlink()
    except FileNotFoundError:
        fault = "not there"
    except OSError as error:
        fault = error.strerror or str(error)
    return {"fault": fault, "libraries": library_versions((*_LIBRARIES, *_WHERE_GPUS_ARE))}


def _ask_all(nonce: str, timeout_s: float) -> dict[str, dict[str, Any]]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=1)(look)
    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[task.options(scheduling_strategy=here).remote(nonce)] = f"{node['NodeManagerHostname']} ({node['NodeID'][:8]})"
    ready, silent = ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)
    if silent:
        names = ", ".join(sorted(asked[answer] for answer in silent))
        raise BackendError(f"no answer within {timeout_s:g} s from {names}; remove it from the cluster or mend it")
    found = {}
    for answer in ready:
        try:
            found[asked[answer]] = ray.get(answer, timeout=timeout_s)
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[:300]
            raise BackendError(f"{asked[answer]} cannot run this version of paretolens ({reason})") from error
    return found


def check_libraries(found: Mapping[str, Mapping[str, str]]) -> None:
    """Hold every machine's libraries (host → library → version) against the driver's.

    Raises:
        BackendError: one is missing or differs, or machines with a GPU have TensorRTs that differ.
    """
    here = library_versions(_LIBRARIES)
    other = [
        f"{name} {versions[name]} on {host}"
        for host, versions in sorted(found.items())
        for name in _LIBRARIES
        if versions[name] != here[name]
    ]
    if other:
        raise BackendError(
            f"all machines of the cluster must have the driver's versions; {', '.join(other)}, here "
            f"{', '.join(f'{name} {version}' for name, version in here.items())}"
        )
    for name in _WHERE_GPUS_ARE:
        have = {host: versions[name] for host, versions in sorted(found.items()) if versions[name] != MISSING}
        if len(set(have.values())) > 1:
            told = ", ".join(f"{version} on {host}" for host, version in have.items())
            raise BackendError(f"all machines of the cluster with {name} must have the same version; found {told}")
