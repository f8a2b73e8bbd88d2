"""Save any registered model and rebuild it on a fresh process, also after surgery: pruned, folded, factorised.

A folder holds `model.json` and `model.safetensors`; nothing is pickled. `model.json` names the registered builder and its
arguments, and what the model has become since: for every module the plain attributes that differ from a fresh build (channels,
groups, normalized_shape, num_heads ...), modules of another type (a folded batch norm is an `Identity`, a factorised layer a
`Sequential`), the shape of every tensor, and the SHA-256 of the weights. It carries its own SHA-256 too.
"""

import hashlib
import importlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from paretolens.errors import ConfigurationError, IntegrityError, StoreError
from paretolens.files import replacing
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

    Such a module is rebuilt without calling its constructor: from its plain attributes (numbers, text, tuples and dicts of
    them), its tensors in the state dict, and its children. Within the package its Python module is imported on loading.

    Raises:
        ValueError: a type of that name exists.
    """
    if kind.__name__ in _TYPES:
        raise ValueError(f"module type {kind.__name__!r} is registered twice")
    _TYPES[kind.__name__] = kind
    return kind


_LAYERS = (nn.Identity, nn.Sequential, nn.Linear, nn.Conv1d, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid)
for _kind in (*_LAYERS, *_ACTIVATIONS):
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
        "buffers": sorted(set(tensors) - {key for key, _ in model.named_parameters(remove_duplicate=False)}),
        "shapes": {key: list(value.shape) for key, value in tensors.items()},
    }
    try:
        with replacing(folder / WEIGHTS_FILE) as path:
            save_file(tensors, path)
        record["weights_bytes"] = (folder / WEIGHTS_FILE).stat().st_size
        record["weights_sha256"] = _sha256((folder / WEIGHTS_FILE).read_bytes())
        record["sha256"] = _seal(record)
        with replacing(folder / MODEL_FILE) as path:
            path.write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
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
    _set_tensors(model, tensors, frozenset(record["buffers"]))
    return model.eval()


def _changes(model: nn.Module, fresh: nn.Module) -> Record:
    """What of `model` differs from `fresh`, by module path; unchanged modules are left out."""
    before = dict(fresh.named_modules())
    after = dict(model.named_modules())
    changes: Record = {}
    for path, module in after.items():
        old = None if _parent(path) in changes and "type" in changes[_parent(path)] else before.get(path)
        attributes = _plain_attributes(module)
        if old is None or type(old) is not type(module):
            changes[path] = {
                "type": _type_name(path, module),
                "module": type(module).__module__,
                "attributes": attributes,
                "empty": sorted(key for key, value in module._parameters.items() if value is None),
            }
            continue
        known = _plain_attributes(old)
        if attributes != known:
            changes[path] = {"attributes": {key: value for key, value in attributes.items() if known.get(key, ...) != value}}
    for path in before:
        parent = _parent(path)
        if path not in after and parent in after and "type" not in changes.get(parent, {}):
            changes[path] = {"absent": True}
    return changes


def _type_name(path: str, module: nn.Module) -> str:
    name = type(module).__name__
    if _TYPES.get(name) is not type(module):
        raise ConfigurationError(f"module {path} is a {name}, which cannot be rebuilt from a record; mark its class @recordable")
    return name


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
        kind = _type_of(path, change)
        module = kind.__new__(kind)
        nn.Module.__init__(module)
        for key in change["empty"]:
            module.register_parameter(key, None)
        model.get_submodule(parent).add_module(name, module)
    module = model.get_submodule(path)
    for key, value in change["attributes"].items():
        setattr(module, key, _from_plain(value))


def _type_of(path: str, change: Mapping[str, Any]) -> type[nn.Module]:
    name, module = change["type"], str(change["module"])
    if name not in _TYPES and module.startswith("paretolens."):
        importlib.import_module(module)
    if name not in _TYPES:
        raise IntegrityError(
            f"module {path} is a {name} of {module}, which is not @recordable here; use the version that saved it"
        )
    return _TYPES[name]


def _set_tensors(model: nn.Module, tensors: Mapping[str, Tensor], buffers: Collection[str]) -> None:
    """Give every module exactly the recorded tensors; what a fresh build has and the record has not becomes None."""
    for key in set(model.state_dict()) - set(tensors):
        parent, _, name = key.rpartition(".")
        setattr(model.get_submodule(parent), name, None)
    for key, value in tensors.items():
        parent, _, name = key.rpartition(".")
        owner = model.get_submodule(parent)
        if key in buffers:
            owner.register_buffer(name, value)
            continue
        old = owner._parameters.get(name)
        trained = value.is_floating_point() and (old is None or old.requires_grad)
        setattr(owner, name, nn.Parameter(value, requires_grad=trained))


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
    tensors = load_file(path)
    if {key: list(value.shape) for key, value in tensors.items()} != record["shapes"]:
        raise IntegrityError(f"weights {path}: the shapes are not those in {MODEL_FILE}; save the model again")
    return tensors


def _seal(record: Mapping[str, Any]) -> str:
    body = {key: value for key, value in record.items() if key != "sha256"}
    return _sha256(json.dumps(body, sort_keys=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _parent(path: str) -> str:
    return path.rpartition(".")[0]
