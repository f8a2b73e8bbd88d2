"""Save any registered model and rebuild it on a fresh process, also after surgery: pruned, folded, factorised.

A folder holds `model.json` and `model.safetensors`; nothing is pickled. `model.json` names the registered builder and its
arguments, and what the model has become since: for every module the plain attributes that differ from a fresh build (channels,
groups, normalized_shape, num_heads ...), modules of another type (a folded batch norm is an `Identity`, a factorised layer a
`Sequential`), the shape of every tensor, and the SHA-256 of the weights. It carries its own SHA-256 too.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from paretolens.errors import ConfigurationError, IntegrityError, StoreError
from paretolens.models.registry import build, builder_of

__all__ = ["MODEL_FILE", "WEIGHTS_FILE", "load_model", "recordable", "save_model"]

MODEL_FILE = "model.json"
WEIGHTS_FILE = "model.safetensors"
FORMAT = 1

Record = dict[str, Any]
ModuleType = TypeVar("ModuleType", bound=type[nn.Module])

_INTERNAL = frozenset(vars(nn.Module())) | {"builder"}
_TYPES: dict[str, type[nn.Module]] = {}


def recordable(kind: ModuleType) -> ModuleType:
    """Class decorator: surgery may put modules of this type where the builder had another, or none.

    Such a module is rebuilt from its plain attributes (numbers, text, tuples and dicts of them), tensors and children.

    Raises:
        ValueError: a type of that name exists.
    """
    if kind.__name__ in _TYPES:
        raise ValueError(f"module type {kind.__name__!r} is registered twice")
    _TYPES[kind.__name__] = kind
    return kind


for _kind in (nn.Identity, nn.Sequential, nn.Linear, nn.Conv1d, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.ReLU):
    recordable(_kind)


def save_model(model: nn.Module, folder: Path) -> None:
    """Write `model` into `folder` (made if needed); each file appears whole or not at all.

    Raises:
        ConfigurationError: the model is not registered, or surgery left a module that cannot be recorded.
        StoreError: the folder cannot be written.
    """
    name, arguments = builder_of(model)
    with torch.random.fork_rng(devices=[]):
        fresh = build(name, **arguments)
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    record: Record = {
        "format": FORMAT,
        "builder": name,
        "arguments": dict(arguments),
        "modules": _changes(model, fresh),
        "shapes": {key: list(value.shape) for key, value in tensors.items()},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / WEIGHTS_FILE, lambda path: save_file(tensors, path))
        record["weights_bytes"] = (folder / WEIGHTS_FILE).stat().st_size
        record["weights_sha256"] = _sha256((folder / WEIGHTS_FILE).read_bytes())
        record["sha256"] = _seal(record)
        text = json.dumps(record, indent=1, sort_keys=True)
        _replace(folder / MODEL_FILE, lambda path: path.write_text(text, encoding="utf-8"))
    except (OSError, SafetensorError) as error:
        raise StoreError(f"model folder {folder}: cannot be written ({error}); free space or choose another folder") from error


def load_model(folder: Path) -> nn.Module:
    """Rebuild the model that `save_model` wrote, in evaluation mode, on the CPU.

    Raises:
        IntegrityError: a file is missing, cut short, or differs by as little as one byte from what was written.
    """
    record = _read_record(folder)
    tensors = _read_weights(folder, record)
    with torch.random.fork_rng(devices=[]):
        model = build(record["builder"], **record["arguments"])
    for path, change in sorted(record["modules"].items(), key=lambda item: item[0].count(".")):
        _apply(model, path, change)
    _set_tensors(model, tensors, folder)
    return model.eval()


def _changes(model: nn.Module, fresh: nn.Module) -> Record:
    """What of `model` differs from `fresh`, by module path: {"type", "attributes", "absent"}; unchanged modules are left out."""
    before = dict(fresh.named_modules())
    after = dict(model.named_modules())
    changes: Record = {path: {"absent": True} for path in before if path not in after and _parent(path) in after}
    for path, module in after.items():
        old = before.get(path)
        known = _plain_attributes(old) if old is not None and type(old) is type(module) else None
        attributes = _plain_attributes(module)
        if known is None:
            if _TYPES.get(type(module).__name__) is not type(module):
                raise ConfigurationError(
                    f"module {path} is a {type(module).__name__}, which models.record cannot rebuild; mark the class @recordable"
                )
            changes[path] = {"type": type(module).__name__, "attributes": attributes}
        elif attributes != known:
            changes[path] = {"attributes": {key: value for key, value in attributes.items() if known.get(key, ...) != value}}
    return changes


def _plain_attributes(module: nn.Module) -> Record:
    found = {}
    for key, value in vars(module).items():
        plain = _to_plain(value)
        if key not in _INTERNAL and plain is not ...:
            found[key] = plain
    return found


def _to_plain(value: Any) -> Any:
    """Plain JSON for numbers, text, None and (nested) sequences and dicts of them; `...` for anything else."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        items = [_to_plain(item) for item in value]
        return ... if any(item is ... for item in items) else items
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        pairs = {key: _to_plain(item) for key, item in value.items()}
        return ... if any(item is ... for item in pairs.values()) else pairs
    return ...


def _from_plain(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_from_plain(item) for item in value)
    return {key: _from_plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def _apply(model: nn.Module, path: str, change: Mapping[str, Any]) -> None:
    parent, _, name = path.rpartition(".")
    if change.get("absent"):
        delattr(model.get_submodule(parent), name)
        return
    if "type" in change:
        module = _TYPES[change["type"]].__new__(_TYPES[change["type"]])
        nn.Module.__init__(module)
        model.get_submodule(parent).add_module(name, module)
    module = model.get_submodule(path)
    for key, value in change["attributes"].items():
        setattr(module, key, _from_plain(value))


def _set_tensors(model: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Give every module exactly the recorded tensors, in their shapes; those of a fresh build that are gone become None."""
    expected = set(model.state_dict())
    for key in expected - set(tensors):
        parent, _, name = key.rpartition(".")
        setattr(model.get_submodule(parent), name, None)
    for key, value in tensors.items():
        parent, _, name = key.rpartition(".")
        try:
            owner = model.get_submodule(parent)
        except AttributeError as error:
            raise IntegrityError(
                f"model folder {folder}: weights for an unknown module {parent}; save the model again"
            ) from error
        if name in owner._buffers:
            owner._buffers[name] = value
            continue
        old = owner._parameters.get(name)
        trained = value.is_floating_point() and (old is None or old.requires_grad)
        owner.register_parameter(name, nn.Parameter(value, requires_grad=trained))


def _read_record(folder: Path) -> Record:
    path = folder / MODEL_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IntegrityError(f"model file {path}: cannot be read ({error.strerror}); save the model again") from error
    except ValueError as error:
        raise IntegrityError(f"model file {path}: not valid JSON, so cut short or changed; save the model again") from error
    if not isinstance(record, dict) or record.get("sha256") != _seal(record):
        raise IntegrityError(f"model file {path}: its checksum does not match, so it was changed; save the model again")
    if record["format"] != FORMAT:
        raise IntegrityError(f"model file {path}: format {record['format']} is not {FORMAT}; use the version that wrote it")
    return record


def _read_weights(folder: Path, record: Mapping[str, Any]) -> dict[str, Tensor]:
    path = folder / WEIGHTS_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"weights {path}: cannot be read ({error.strerror}); save the model again") from error
    if len(content) != record["weights_bytes"]:
        raise IntegrityError(f"weights {path}: {len(content)} bytes instead of {record['weights_bytes']}; save the model again")
    if _sha256(content) != record["weights_sha256"]:
        raise IntegrityError(f"weights {path}: the checksum does not match, so the file was changed; save the model again")
    return load_file(path)


def _seal(record: Mapping[str, Any]) -> str:
    body = {key: value for key, value in record.items() if key != "sha256"}
    return _sha256(json.dumps(body, sort_keys=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write under a temporary name beside `path`, then rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
