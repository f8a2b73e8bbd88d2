"""TensorRT engines on disk: `NAME.engine`, and beside it `NAME.engine.json` that says with what and for what it was built."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from paretolens.errors import BackendError, IntegrityError
from paretolens.exporters.files import write_atomic
from paretolens.exporters.tensorrt import Engine, EnginePrecision, EngineSettings
from paretolens.exporters.tensorrt_flavours import load_flavour

__all__ = ["ANY_DEVICE", "load_engine", "save_engine"]

FORMAT = 2
ANY_DEVICE = "any"
"""Device of an engine that was built where there is no GPU: TensorRT-RTX finishes it on the device it is loaded on."""


def save_engine(engine: Engine, path: Path, *, device: str) -> None:
    """Write an engine and its facts.

    Args:
        engine: As built.
        path: Where the plan goes, `NAME.engine`.
        device: Name of the GPU it was built on, or ANY_DEVICE.

    Raises:
        StoreError: the files cannot be written.
    """
    facts = asdict(engine)
    plan = facts.pop("plan")
    facts |= {"format": FORMAT, "device": device, "plan_sha256": hashlib.sha256(plan).hexdigest()}
    write_atomic(path, plan)
    write_atomic(_facts_of(path), json.dumps(facts, indent=1, default=str).encode())


def load_engine(path: Path, *, device: str) -> Engine:
    """Read an engine for a device, refusing one that cannot run on it before the library is asked.

    Args:
        path: The plan.
        device: Name of the GPU it shall run on.

    Raises:
        IntegrityError: a file is missing or was changed.
        BackendError: the library is missing or of another version, or the engine was built for another device.
    """
    try:
        plan, facts = path.read_bytes(), json.loads(_facts_of(path).read_text(encoding="utf-8"))
        built_for, digest = str(facts.pop("device")), str(facts.pop("plan_sha256"))
        if facts.pop("format") != FORMAT:
            raise ValueError("another format")
        settings = facts.pop("settings")
        settings = EngineSettings(**settings | {"precision": EnginePrecision(settings["precision"])})
        facts |= {name: tuple(facts[name]) for name in ("inputs", "outputs")}
        engine = Engine(plan=plan, settings=settings, **facts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"engine {path}: cannot be read with its .json ({error}); build it again") from error
    if hashlib.sha256(plan).hexdigest() != digest:
        raise IntegrityError(f"engine {path}: does not match its checksum, so it was changed; build it again")
    installed = load_flavour(engine.flavour).version
    if installed != engine.version:
        built = f"{engine.flavour} {engine.version}"
        raise BackendError(f"engine {path}: was built with {built}, {installed} is installed: build it again")
    if built_for not in (ANY_DEVICE, device):
        raise BackendError(f"engine {path}: was built for {built_for}, this device is {device}: build it again here")
    return engine


def _facts_of(path: Path) -> Path:
    return path.with_name(path.name + ".json")
