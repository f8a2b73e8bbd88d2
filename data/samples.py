"""`SampleSet`: one split of a data set, memory-mapped, in the layout that trainers and evaluators read.

A set is owned by the process that loaded it and is read-only. Do not send it to another process: send its `folder` and load it
there, which costs milliseconds and shares the pages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paretolens.data.preprocessing import Preprocessing
from paretolens.errors import DataError
from paretolens.models.signature import InputKind, Signature

__all__ = ["IN_SYNC", "UNKNOWN_OFFSET", "SampleSet"]

IN_SYNC = 5
"""Offset class of a clip whose sound and picture belong together; class 5 + k means sound that comes k frames late."""
UNKNOWN_OFFSET = -100
"""Offset class of a clip without a true offset; the default `ignore_index` of torch's cross-entropy."""

Index = slice | Sequence[int] | np.ndarray | Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleSet:
    """N samples of one split."""

    signature: Signature
    """Names, shapes and kinds of the inputs."""
    preprocessing: Preprocessing
    """Geometry and scales by which the arrays become inputs."""
    arrays: Mapping[str, np.ndarray]
    """Per input: image (N, 3, H, W) or video (N, T, 3, H, W) uint8 RGB, audio (N, L, F) float32 unscaled, masks (N, T) or (N, L)
    bool, True = ignore."""
    labels: np.ndarray
    """(N,) float32, 1 = fake, 0 = real; with classes in the signature the number of the class."""
    ids: tuple[str, ...]
    """Name of each clip, for instance `train/000012`."""
    groups: np.ndarray
    """(N,) int64, number of the source clip or picture: a real one and every fake made from it share a group."""
    identities: np.ndarray
    """(N,) int64, number of the person whose face is shown; no person is in two splits."""
    kinds: tuple[str, ...]
    """`real` or the kind of manipulation."""
    strengths: np.ndarray
    """(N,) float32 in 0..1, how strong the manipulation is; 0 = real."""
    offsets: np.ndarray
    """(N,) int64, offset class 0..10 (5 = in sync, 5 + k = sound k frames late), -100 = unknown."""
    regions: np.ndarray
    """(N, T, 16, 16) bool (T = 1 for pictures), manipulated part of the picture on a coarse grid; all False for what is real, and
    for sound."""
    periods: np.ndarray
    """(N, 2) float32, start and end of the manipulated period in seconds; (0, 0) for real clips."""
    mean_image: np.ndarray
    """(3, H, W) float32 in 0..255, mean over the unmasked frames of the training split."""
    fingerprint: str
    """Hash of the content: two sets with the same fingerprint hold the same samples in the same order (`videos` apart)."""
    sounds: np.ndarray | None = None
    """(N,) bool, whether the sound is manipulated; None = not told: then it is where the clip is fake and no frame is."""
    moments: np.ndarray | None = None
    """(N, T) float32, when each frame is shown, in seconds from the clip's start; None = at even distances. Padding has 0."""
    videos: np.ndarray | None = None
    """(N,) int64, number of the video that a sample is of; None = each sample is of another one, or that is not known."""
    generated: bool = False
    """True for the built-in set, whose clips are drawn and synthesised, not recorded."""
    folder: Path | None = None
    """Where the set was loaded from; None for a subset in memory."""

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.kinds)} | {len(column) for column in self._columns().values()}
        if len(lengths) != 1:
            raise DataError(
                f"every column of a sample set must have one row per sample, got lengths {sorted(lengths)}: build it again"
            )
        missing = [spec.name for spec in self.signature.inputs if spec.name not in self.arrays]
        if missing:
            raise DataError(f"a sample set must hold every input of its signature, {missing} are missing: build it again")

    def __len__(self) -> int:
        return len(self.ids)

    def _columns(self) -> dict[str, np.ndarray]:
        columns = {name: getattr(self, name) for name in COLUMNS} | self.optional()
        return columns | {f"input_{name}": array for name, array in self.arrays.items()}

    def optional(self) -> dict[str, np.ndarray]:
        """The columns of `OPTIONAL` that this set has."""
        return {name: column for name in OPTIONAL if (column := getattr(self, name)) is not None}

    def batch(self, index: Index) -> tuple[Tensor, ...]:
        """The model's inputs of some samples, in the signature's order.

        Args:
            index: Slice, integers or bools that choose rows.

        Returns:
            Pictures and video float32, scaled as `preprocessing` says, audio float32 standardised, masks bool (True = ignore);
            hidden positions are 0.
        """
        rows = _rows(index)
        return self.preprocessing.inputs(self.signature, {name: array[rows] for name, array in self.arrays.items()})

    def targets(self, index: Index) -> Tensor:
        """Labels of some samples: (B, 1) float32, 1 = fake, or the number of the class."""
        return torch.from_numpy(np.array(self.labels[_rows(index)], dtype=np.float32)).unsqueeze(1)

    def baseline(self) -> tuple[Tensor, ...]:
        """The uninformative input of explanation methods: tensors of shape (1, ...) in the signature's order.

        Pictures are the training split's mean image, sound its mean coefficients, and nothing is masked.
        """
        tensors: list[Tensor] = []
        for spec in self.signature.inputs:
            if spec.kind is InputKind.MASK:
                tensors.append(torch.zeros((1, *spec.shape), dtype=torch.bool))
            elif spec.kind is InputKind.AUDIO:
                tensors.append(torch.zeros((1, *spec.shape)))  # the mean of standardised features
            else:
                tensors.append(self.preprocessing.image(self.mean_image).expand((1, *spec.shape)).clone())
        return tuple(tensors)

    def subset(self, index: Index) -> "SampleSet":
        """Some rows as a set of their own: a slice stays memory-mapped, any other index copies its rows into memory."""
        from paretolens.data.store import digest_of_json

        rows = _rows(index)
        chosen = np.arange(len(self))[rows]
        return SampleSet(
            signature=self.signature,
            preprocessing=self.preprocessing,
            arrays={name: array[rows] for name, array in self.arrays.items()},
            ids=tuple(self.ids[row] for row in chosen),
            kinds=tuple(self.kinds[row] for row in chosen),
            mean_image=self.mean_image,
            fingerprint=digest_of_json({"parent": self.fingerprint, "rows": [int(row) for row in chosen]}),
            generated=self.generated,
            **{name: getattr(self, name)[rows] for name in COLUMNS},
            sounds=None if self.sounds is None else self.sounds[rows],
            moments=None if self.moments is None else self.moments[rows],
            videos=None if self.videos is None else self.videos[rows],
        )

    def save(self, folder: Path) -> None:
        """Write the set to a new folder; see `paretolens.data.store.save_samples`."""
        from paretolens.data.store import save_samples

        save_samples(self, folder)

    @staticmethod
    def load(folder: Path, *, verify: bool = True) -> "SampleSet":
        """Map a saved set into memory; see `paretolens.data.store.load_samples`."""
        from paretolens.data.store import load_samples

        return load_samples(folder, verify=verify)


COLUMNS = ("labels", "groups", "identities", "strengths", "offsets", "regions", "periods")
"""Names of the per-sample arrays that are not inputs."""
OPTIONAL = ("sounds", "moments", "videos")
"""Names of those that a set may lack."""


def _rows(index: Index) -> slice | np.ndarray:
    if isinstance(index, slice):
        return index
    array = index.detach().cpu().numpy() if isinstance(index, Tensor) else np.asarray(index)
    return array if array.dtype == bool else array.astype(np.int64)
