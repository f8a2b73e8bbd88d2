"""Checkpoints of a running stage: safetensors and JSON only, written beside and renamed, checked when read.

A folder holds one `epoch-NNNN/` (the newest) with `model`, `optimiser`, `best` (.safetensors) and `state.json` (progress and
the checksums of the three).
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from paretolens.errors import IntegrityError, StoreError

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

FILES = ("model.safetensors", "optimiser.safetensors", "best.safetensors")
STATE = "state.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """How far a stage has come."""

    epoch: int
    """Last finished epoch, from 0; −1 before the first."""
    history: tuple[Mapping[str, float], ...]
    """What was reported, one mapping per epoch."""
    best_epoch: int
    """Best epoch so far; −1 before the first."""
    best_key: tuple[float, ...]
    """Its rank, larger is better; empty before the first."""
    best_weights: Mapping[str, Tensor]
    """Its state dict."""


def save_checkpoint(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, state: Checkpoint, *, key: Mapping[str, Any]
) -> None:
    """Write the state after an epoch, then remove the one before it.

    Raises:
        StoreError: the folder cannot be written, or the disk is full.
    """
    place = folder / f"epoch-{state.epoch:04d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".epoch.", dir=folder))
        try:
            _write(temporary, model, optimiser, state, key)
            if place.exists():
                shutil.rmtree(place)
            temporary.rename(place)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        for older in folder.glob("epoch-*"):
            if older != place:
                shutil.rmtree(older, ignore_errors=True)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as an error of its own
        reason = getattr(error, "strerror", None) or error
        raise StoreError(f"checkpoints must be writable, {folder} is not ({reason}): free space") from error


def load_checkpoint(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, *, key: Mapping[str, Any]
) -> Checkpoint | None:
    """Restore model and optimiser; None where there is no checkpoint yet.

    Raises:
        IntegrityError: a file is damaged or missing, or the checkpoint belongs to another run (`key`).
    """
    places = sorted(folder.glob("epoch-*"))
    if not places:
        return None
    place = places[-1]
    try:
        record: dict[str, Any] = json.loads((place / STATE).read_text(encoding="utf-8"))
        for name in FILES:
            if hashlib.sha256((place / name).read_bytes()).hexdigest() != record["files"][name]:
                raise IntegrityError.damaged(place, "its checksum differs", file=name)
        if record["key"] != dict(key):
            raise IntegrityError(f"checkpoint {place} must belong to {dict(key)}, it has {record['key']}: use another folder")
        model.load_state_dict(load_file(place / "model.safetensors"))
        _restore(optimiser, load_file(place / "optimiser.safetensors"))
        return Checkpoint(
            epoch=record["epoch"],
            history=tuple(record["history"]),
            best_epoch=record["best_epoch"],
            best_key=tuple(record["best_key"]),
            best_weights=load_file(place / "best.safetensors"),
        )
    except IntegrityError:
        raise
    except Exception as error:  # safetensors, JSON and torch each have their own
        raise IntegrityError.damaged(place, str(error).splitlines()[0]) from error


def _write(place: Path, model: nn.Module, optimiser: torch.optim.Optimizer, state: Checkpoint, key: Mapping[str, Any]) -> None:
    save_file(_plain(model.state_dict()), place / "model.safetensors")
    save_file(_flatten(optimiser), place / "optimiser.safetensors")
    save_file(_plain(state.best_weights), place / "best.safetensors")
    record = {
        "key": dict(key),
        "epoch": state.epoch,
        "history": [dict(figures) for figures in state.history],
        "best_epoch": state.best_epoch,
        "best_key": list(state.best_key),
        "files": {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in FILES},
    }
    with (place / STATE).open("w", encoding="utf-8") as stream:
        json.dump(record, stream)
        stream.flush()
        os.fsync(stream.fileno())


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def _flatten(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's moments as `<parameter's number>.<name>`."""
    state = optimiser.state_dict()["state"]
    return _plain({f"{number}.{name}": value for number, slots in state.items() for name, value in slots.items()})


def _restore(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, slot = name.split(".", 1)
        state.setdefault(int(number), {})[slot] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
