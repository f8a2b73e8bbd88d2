"""manifest.json of a bundle: what it must hold, how it is made and read."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretolens import __version__
from paretolens.data.preprocessing import Preprocessing
from paretolens.errors import IntegrityError
from paretolens.models.signature import InputKind

if TYPE_CHECKING:
    from paretolens.exporters.bundle import BundleContent

__all__ = ["FORMAT", "MANIFEST", "MODEL", "SUMS", "make_manifest", "read_manifest"]

FORMAT = 1
MODEL, MANIFEST, SUMS = "model.onnx", "manifest.json", "SHA256SUMS"
LARGEST = "largest"
"""Rule of a decision: the label of the largest score."""
_NUMBER = (int, float)
_SCHEMA: Mapping[str, Any] = {
    "format": int,
    "name": str,
    "summary": str,
    "labels": [str],
    "decision": {"output": str},
    "model": {
        "file": str,
        "opset": int,
        "precision": str,
        "operators": dict,
        "inputs": [{"name": str, "shape": [int], "kind": str, "dtype": str}],
        "outputs": [str],
    },
    "preprocessing": {"normaliser": dict},
    "objectives": dict,
    "parity": {"max_difference": _NUMBER, "tolerance": _NUMBER, "decision_agreement": _NUMBER, "samples": int},
    "sample": {"file": str, "count": int, "tolerance": _NUMBER},
    "targets": dict,
    "details": dict,
    "versions": {"paretolens": str, "python": str, "onnxruntime": str},
    "files": dict,
}


def make_manifest(content: "BundleContent", versions: Mapping[str, str]) -> dict[str, Any]:
    """All but `files`, `sample` and `targets`, which are known once the files are there."""
    artefact = content.artefact
    return {
        "format": FORMAT,
        "name": content.name,
        "summary": content.summary,
        "labels": list(content.labels),
        "decision": {"output": content.signature.outputs[0], **_rule(content)},
        "model": {
            "file": MODEL,
            "opset": artefact.opset,
            "precision": artefact.precision,
            "operators": dict(artefact.operators),
            "inputs": [
                asdict(spec) | {"shape": list(spec.shape), "dtype": "bool" if spec.kind is InputKind.MASK else "float32"}
                for spec in content.signature.inputs
            ],
            "outputs": list(content.signature.outputs),
            **({} if content.patches is None else {"patches": asdict(content.patches)}),
        },
        "preprocessing": content.preprocessing.to_json(),
        "objectives": {name: asdict(objective) for name, objective in content.objectives.items()},
        "parity": asdict(content.parity),
        "details": dict(content.details),
        "versions": {"paretolens": __version__, "python": platform.python_version(), **versions},
    }


def _rule(content: "BundleContent") -> dict[str, Any]:
    """How the output becomes a label."""
    return {"rule": LARGEST} if content.signature.classes else {"threshold": 0.0, "positive": content.labels[1]}


def read_manifest(folder: Path, sums: Mapping[str, str]) -> dict[str, Any]:
    """The manifest, held against its schema and against the checksums by file name.

    Raises:
        IntegrityError: it cannot be read, has another format, lacks a key or has one of another type (it is named), or lists
            other files.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version = manifest.get("format")
    except (OSError, ValueError, AttributeError) as error:
        raise IntegrityError(f"bundle {folder}: {MANIFEST} is not a manifest ({error}); write the bundle again") from error
    if version != FORMAT:
        raise IntegrityError(
            f"bundle {folder}: {MANIFEST} has format {version}{_writer(manifest)}, this is {__version__} and reads format "
            f"{FORMAT}; use the version that wrote it, or export the model again with this one"
        )
    wrong = _misfit(manifest, _SCHEMA, "") or _misfit(manifest["decision"], _decision(manifest), "decision")
    if wrong:
        raise IntegrityError(
            f"bundle {folder}: {MANIFEST} is not a manifest of this version, {__version__} ({wrong}){_writer(manifest)}; "
            "write the bundle again"
        )
    try:
        listed = {name: entry["sha256"] for name, entry in manifest["files"].items()}
        Preprocessing.from_json(manifest["preprocessing"])
        named = {f"targets.{name}.file": str(record["file"]) for name, record in manifest["targets"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, IntegrityError) as error:
        raise IntegrityError(f"bundle {folder}: {MANIFEST} is not a manifest ({error}); write the bundle again") from error
    if listed != {name: digest for name, digest in sums.items() if name != MANIFEST}:
        raise IntegrityError(f"bundle {folder}: {MANIFEST} and {SUMS} do not list the same files; write the bundle again")
    named |= {"model.file": manifest["model"]["file"], "sample.file": manifest["sample"]["file"]}
    for key, name in named.items():
        if name not in listed:
            raise IntegrityError(f"bundle {folder}: {key} in {MANIFEST} is {name}, which it does not list; write it again")
    return manifest


def _writer(manifest: Mapping[str, Any]) -> str:
    """Who says to have written a manifest, if it says so."""
    versions = manifest.get("versions")
    name = versions.get("paretolens") if isinstance(versions, Mapping) else None
    return f", written by Paretolens {name}" if isinstance(name, str) else ""


def _decision(manifest: dict[str, Any]) -> Mapping[str, Any]:
    """What a decision must say: a rule by name, or a threshold."""
    return {"rule": str} if "rule" in manifest["decision"] else {"threshold": _NUMBER, "positive": str}


def _misfit(value: Any, schema: Any, where: str) -> str:
    """The first key that is missing or of another type; empty if all fit."""
    if isinstance(schema, Mapping):
        if not isinstance(value, dict):
            return f"{where or 'it'} must be an object"
        inner = ((f"{where}.{key}" if where else key, value.get(key), expected) for key, expected in schema.items())
    elif isinstance(schema, list) and isinstance(value, list):
        inner = ((f"{where}[{index}]", item, schema[0]) for index, item in enumerate(value))
    elif isinstance(schema, list) or not isinstance(value, schema) or isinstance(value, bool):
        return f"{where} is missing" if value is None else f"{where} has the wrong type, {type(value).__name__}"
    else:
        return ""
    return next((wrong for path, item, expected in inner if (wrong := _misfit(item, expected, path))), "")
