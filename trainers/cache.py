"""Teacher outputs of a split, computed once and memory-mapped by every worker.

Exact, because preprocessing is deterministic: an entry is named by the hash of the teacher's weights, of the samples and of the
views (plain, mirrored) it covers. Processes that come at the same time wait for the first one's entry.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from paretolens.data.store import build_once, digest_of_file, digest_of_json
from paretolens.errors import IntegrityError
from paretolens.models.receptive import Field
from paretolens.trainers.views import View, mirror

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = ["TeacherBatch", "TeacherOutputs", "TeacherSource", "cache_teacher", "model_checksum"]

FORMAT = 2
RECORD = "outputs.json"
COLUMNS = ("logit", "offset", "attention", "patches")


@dataclass(frozen=True, kw_only=True)
class TeacherBatch:
    """What the teacher said about some clips, float32."""

    logit: Tensor
    """(B, 1), or (B, K) scores of classes."""
    offset: Tensor
    """(B, K) logits of the offset classes; K = 0 for a teacher without them."""
    attention: Tensor
    """(B, L, T) attention map; (B, 0, 0) for a teacher without one."""
    patches: Tensor
    """(B, ...) logits of the patches, in the shape of the teacher's `patches`; (B, 0) for a teacher without them."""

    @classmethod
    def of(cls, out: Any) -> "TeacherBatch":
        """What a model returned, on the CPU; what it does not give is empty."""
        empty, no_map = out.logit.new_zeros(len(out.logit), 0), out.logit.new_zeros(len(out.logit), 0, 0)
        return cls(
            logit=out.logit.float().cpu(),
            offset=getattr(out, "offset", empty).float().cpu(),
            attention=getattr(out, "attention", no_map).float().cpu(),
            patches=getattr(out, "patches", empty).float().cpu(),
        )


class TeacherSource(Protocol):
    """Where the teacher's outputs for a split come from: the cache, or the teacher itself (`LiveTeacher`)."""

    @property
    def views(self) -> tuple[View, ...]:
        """Versions of each clip that can be asked for."""

    @property
    def fingerprint(self) -> str:
        """Names the teacher and the samples."""

    @property
    def has_maps(self) -> bool:
        """Whether there are attention maps with at least one cell."""

    @property
    def patch_field(self) -> Field | None:
        """What a patch of the teacher is; None where it has none, or does not say."""

    @property
    def patch_spread(self) -> float:
        """The unit of the patches' squared error: their variance where they are calibrated, else 1."""

    def __len__(self) -> int:
        """Number of clips."""

    def batch(self, index: Tensor, mirrored: Tensor | None = None) -> TeacherBatch:
        """Outputs for rows (B,) int64, of the mirrored view where `mirrored` (B,) bool is True."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherOutputs:
    """Outputs for N clips in V views; arrays are (V, N, ...)."""

    views: tuple[View, ...]
    """The first axis of every array."""
    logit: np.ndarray
    """(V, N, 1) float32, or (V, N, K) scores of classes."""
    offset: np.ndarray
    """(V, N, K) float32."""
    attention: np.ndarray
    """(V, N, L, T) float16: rows are weights in 0..1, rounded by at most 2⁻¹²."""
    patches: np.ndarray
    """(V, N, ...) float32."""
    fingerprint: str
    """Name of the entry: the hash of teacher, samples and views."""
    patch_field: Field | None = None
    """What a patch of the teacher is; None where it has none, or does not say."""
    patch_spread: float = 1.0
    """The unit of the patches' squared error."""

    def __len__(self) -> int:
        return int(self.logit.shape[1])

    @property
    def has_maps(self) -> bool:
        """Whether the teacher gave attention maps with at least one cell."""
        return self.attention.size > 0

    def batch(self, index: Tensor, mirrored: Tensor | None = None) -> TeacherBatch:
        """Outputs for rows (B,) int64, of the mirrored view where `mirrored` (B,) bool is True."""
        rows = index.cpu().numpy()
        which = np.zeros(len(rows), np.int64)
        if mirrored is not None and mirrored.any():
            which[mirrored.cpu().numpy()] = self.views.index(View.MIRRORED)
        read = {name: np.asarray(getattr(self, name)[which, rows], dtype=np.float32) for name in COLUMNS}
        return TeacherBatch(**{name: torch.from_numpy(array) for name, array in read.items()})


def model_checksum(model: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and values of all parameters and buffers, and the builder's arguments."""
    digest = hashlib.sha256(json.dumps(vars(model).get("builder"), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def cache_teacher(
    model: nn.Module,
    samples: "SampleSet",
    folder: Path,
    *,
    views: Sequence[View] = (View.PLAIN,),
    batch_size: int = 32,
) -> TeacherOutputs:
    """Compute or map the teacher's outputs; safe in many processes at once.

    Args:
        model: the teacher; left in eval mode.
        samples: the split.
        folder: cache folder; the entry is a sub-folder of it.
        views: versions of each clip; the plain one comes first.
        batch_size: clips in one forward pass.

    Raises:
        IntegrityError: the entry is damaged.
        StoreError: the cache cannot be written.
    """
    model.eval()
    plain = {
        "format": FORMAT,
        "model": model_checksum(model),
        "samples": samples.fingerprint,
        "views": [str(view) for view in views],
    }
    name = digest_of_json(plain)
    place = folder / f"teacher-{name[:24]}"
    build_once(place, lambda temporary: _compute(temporary, model, samples, tuple(views), batch_size))
    return replace(_load(place, tuple(views), name, len(samples)), patch_field=getattr(model, "patch_field", None))


def _compute(place: Path, model: nn.Module, samples: "SampleSet", views: tuple[View, ...], batch_size: int) -> None:
    device = next(model.parameters()).device
    columns: dict[str, list[list[np.ndarray]]] = {name: [[] for _ in views] for name in COLUMNS}
    with torch.inference_mode():
        for start in range(0, len(samples), batch_size):
            inputs = samples.batch(slice(start, start + batch_size))
            for position, view in enumerate(views):
                shown = inputs if view is View.PLAIN else mirror(inputs, samples.signature)
                out = TeacherBatch.of(model(*(x.to(device) for x in shown)))
                columns["logit"][position].append(out.logit.numpy())
                columns["offset"][position].append(out.offset.numpy())
                columns["attention"][position].append(out.attention.half().numpy())
                columns["patches"][position].append(out.patches.numpy())
    for name, parts in columns.items():
        np.save(place / f"{name}.npy", np.stack([np.concatenate(view) for view in parts]), allow_pickle=False)
    files = {path.name: digest_of_file(path) for path in sorted(place.glob("*.npy"))}
    (place / RECORD).write_text(json.dumps({"format": FORMAT, "files": files}), encoding="utf-8")


def _load(place: Path, views: tuple[View, ...], name: str, count: int) -> TeacherOutputs:
    try:
        record = json.loads((place / RECORD).read_text(encoding="utf-8"))
        for file in (f"{column}.npy" for column in COLUMNS):
            if digest_of_file(place / file) != record["files"][file]:
                raise IntegrityError.damaged(place, "its checksum differs", file=file)
        arrays = {column: np.load(place / f"{column}.npy", mmap_mode="r", allow_pickle=False) for column in COLUMNS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError.damaged(place, error) from error
    if any(array.shape[:2] != (len(views), count) for array in arrays.values()):
        raise IntegrityError.damaged(place, "its arrays have another length")
    return TeacherOutputs(views=views, fingerprint=name, **arrays)
