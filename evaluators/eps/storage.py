"""A teacher reference on disk: `reference.json` and one `.npy` per array, checksummed, renamed into place.

Nothing is pickled. Several processes may ask for the same folder at once: one builds, the others wait for it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paretolens.data.store import build_once, digest_of_file, digest_of_json
from paretolens.errors import IntegrityError
from paretolens.evaluators.eps.compare import RankedMaps
from paretolens.evaluators.eps.explained import ExplainedSet
from paretolens.evaluators.eps.reference import MAPS, TeacherReference
from paretolens.evaluators.eps.settings import BaselineKind, EpsSettings, Population
from paretolens.models.signature import Signature

__all__ = ["FORMAT", "fingerprint", "load_reference", "save_reference"]

FORMAT = 2
RECORD = "reference.json"
SCALARS = ("logit", "baseline_logit", "converged", "sums")
CLASSES = "classes"
"""Name of the column that a reference of one logit lacks."""
COLUMNS = ("indices", "labels", "groups", "regions")


def fingerprint(teacher: nn.Module, explained: ExplainedSet, settings: EpsSettings, explainer: str) -> str:
    """32 hexadecimal digits over everything that the maps depend on."""
    digest = hashlib.sha256()
    for name, value in teacher.state_dict().items():
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(np.ascontiguousarray(value.detach().cpu().numpy()).data)
    for tensor in (*explained.inputs, *explained.baseline):
        digest.update(b"none" if tensor is None else np.ascontiguousarray(tensor.cpu().numpy()).data)
    plain = {"format": FORMAT, "settings": settings.map_record(), "pixels": settings.pixels, "explainer": explainer}
    digest.update(digest_of_json(plain | {"signature": explained.signature.to_plain()}).encode())
    return digest.hexdigest()[:32]


def arrays_of(reference: TeacherReference) -> dict[str, NDArray[Any]]:
    """Every array by file name without its suffix."""
    explained = reference.explained
    arrays: dict[str, NDArray[Any]] = {"indices": explained.indices, "labels": explained.labels, "groups": explained.groups}
    if explained.regions is not None:
        arrays["regions"] = explained.regions
    for spec, x, b in zip(explained.signature.inputs, explained.inputs, explained.baseline, strict=True):
        arrays[f"input_{spec.name}"] = x.cpu().numpy()
        if b is not None:
            arrays[f"baseline_{spec.name}"] = b.cpu().numpy()
    arrays |= {name: getattr(reference, name).numpy() for name in SCALARS}
    if reference.classes is not None:
        arrays[CLASSES] = reference.classes.numpy()
    for group, maps in (("grid", reference.grids), ("pixel", reference.pixels)):
        for name, ranked in maps.items():
            arrays |= {f"{group}_{name}_{part}": getattr(ranked, part).numpy() for part in MAPS}
    return arrays


def save_reference(reference: TeacherReference | Callable[[], TeacherReference], folder: Path) -> None:
    """Write a reference to a new folder; given a function, it is called only by the process that builds."""

    def build(place: Path) -> None:
        made = reference if isinstance(reference, TeacherReference) else reference()
        for name, array in arrays_of(made).items():
            np.save(place / f"{name}.npy", array, allow_pickle=False)
        record: dict[str, Any] = {
            "format": FORMAT,
            "signature": made.explained.signature.to_plain(),
            "kinds": list(made.explained.kinds),
            "settings": made.settings.record(),
            "explainer": made.explainer,
            "shapes": {
                group: {name: list(ranked.shape) for name, ranked in maps.items()}
                for group, maps in (("grid", made.grids), ("pixel", made.pixels))
            },
            "files": {path.name: digest_of_file(path) for path in sorted(place.glob("*.npy"))},
        }
        record["digest"] = digest_of_json(record)
        (place / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")

    build_once(folder, build)


def load_reference(folder: Path, *, verify: bool = True) -> TeacherReference:
    """Map a saved reference into memory, copy on write.

    Raises:
        IntegrityError: a file is missing, damaged or of another format.
    """
    try:
        record = read_record(folder)
        if verify:
            for name, digest in record["files"].items():
                if digest_of_file(folder / name) != digest:
                    raise IntegrityError.damaged(folder, "its checksum differs", file=name)
        arrays = {
            name.removesuffix(".npy"): np.load(folder / name, mmap_mode="c", allow_pickle=False) for name in record["files"]
        }
        return restore(record, arrays)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError.damaged(folder, error) from error


def restore(record: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> TeacherReference:
    """A reference from its record and its arrays."""
    signature = Signature.from_plain(record["signature"])
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items() if name not in COLUMNS}
    explained = ExplainedSet(
        signature=signature,
        indices=arrays["indices"],
        inputs=tuple(tensors[f"input_{spec.name}"] for spec in signature.inputs),
        baseline=tuple(tensors.get(f"baseline_{spec.name}") for spec in signature.inputs),
        labels=arrays["labels"],
        groups=arrays["groups"],
        kinds=tuple(record["kinds"]),
        regions=arrays.get("regions"),
    )
    maps = {
        group: {
            name: RankedMaps(shape=tuple(shape), **{part: tensors[f"{group}_{name}_{part}"] for part in MAPS})
            for name, shape in shapes.items()
        }
        for group, shapes in record["shapes"].items()
    }
    plain = dict(record["settings"])
    settings = EpsSettings(**plain | {"baseline": BaselineKind(plain["baseline"]), "population": Population(plain["population"])})
    return TeacherReference(
        explained=explained,
        settings=settings,
        explainer=record["explainer"],
        grids=maps["grid"],
        pixels=maps["pixel"],
        classes=tensors.get(CLASSES),
        **{name: tensors[name] for name in SCALARS},
    )


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a folder, its own checksum compared."""
    record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if record["format"] != FORMAT:
        raise IntegrityError(
            f"a teacher reference has format {FORMAT}, {folder} has {record['format']}: delete it and build it again"
        )
    if record.pop("digest") != digest_of_json(record):
        raise IntegrityError.damaged(folder, "its checksum differs", file=RECORD)
    return record
