"""Where on the way from a baseline to a clip a model finds its evidence: the integrand of Integrated Gradients, in cells.

The teacher's side is computed once at a few fixed places of every clip's path, and memory-mapped by every worker.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from paretolens.data.store import build_once, digest_of_file, digest_of_json
from paretolens.errors import IntegrityError
from paretolens.models.decision import logit_of_class, verdicts
from paretolens.models.signature import InputKind, Signature
from paretolens.trainers.cache import model_checksum

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = ["PathMaps", "cache_paths", "path_evidence"]

FORMAT = 1
RECORD = "paths.json"
CELLS = 16
"""Cells along each side of a picture: networks that look at other sizes spread the same evidence over other pixels."""
PLACES = 4
"""Places on the path of every clip, one at random in each quarter of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PathMaps:
    """The teacher's evidence for N clips at K places."""

    baseline: tuple[Tensor | None, ...]
    """(1, ...) each, where paths begin, in the signature's order; None for masks."""
    places: np.ndarray
    """(N, K) float32 in 0..1."""
    maps: tuple[np.ndarray, ...]
    """(N, K, cells) float32 per explained input; 0 for clips that the teacher calls real, which are not explained."""
    fake: np.ndarray
    """(N,) bool, what the teacher calls anything but real."""
    fingerprint: str
    """Hash of teacher, samples and baseline."""
    classes: np.ndarray | None = None
    """(N,) int64, the class that the teacher chooses, whose logit is explained; None = one logit."""

    def __len__(self) -> int:
        return len(self.fake)


def path_evidence(
    model: nn.Module,
    inputs: Sequence[Tensor],
    baseline: Sequence[Tensor | None],
    alpha: Tensor,
    signature: Signature,
    *,
    classes: Tensor | None = None,
    differentiable: bool = False,
) -> list[Tensor]:
    """Gradient of the logit, or of a class's, at b + α(x - b), times (x - b): one map (B, cells) per explained input.

    Maps are on the inputs' device.

    Its mean over α is Integrated Gradients (Sundararajan et al. 2017, eq. 1), summed over channels, averaged over cells.

    Args:
        model: in evaluation mode.
        inputs: (B, ...) each, in the signature's order, on the model's device.
        baseline: (1, ...) each; None for what is passed through.
        alpha: (B,) in 0..1, on the model's device.
        signature: what the inputs hold.
        classes: (B,) int64, the class of each sample; None = one logit.
        differentiable: whether the maps can be differentiated again.
    """
    points, ways = list(inputs), {}
    for place, (x, start) in enumerate(zip(inputs, baseline, strict=True)):
        if start is not None:
            way = x - start.to(x)
            points[place] = (x - (1 - alpha).view(-1, *[1] * (x.dim() - 1)) * way).requires_grad_()
            ways[place] = way
    with torch.enable_grad(), TwiceDifferentiable(), _recurrent_layers_of_torch(model):
        scores = model(*points).logit
        logit = scores if classes is None else logit_of_class(scores, classes)
        gradients = torch.autograd.grad(logit.sum(), [points[place] for place in ways], create_graph=differentiable)
    pairs = zip(gradients, ways.items(), strict=True)
    return [_cells(gradient * way, signature.inputs[place].kind) for gradient, (place, way) in pairs]


def cache_paths(
    model: nn.Module, samples: "SampleSet", baseline: Sequence[Tensor | None], folder: Path, *, seed: int, batch_size: int = 16
) -> PathMaps:
    """Compute or map the teacher's evidence; safe in many processes at once.

    Args:
        model: the teacher; left in evaluation mode.
        samples: the split.
        baseline: where paths begin.
        folder: cache folder; the entry is a sub-folder of it.
        seed: of the places.
        batch_size: clips in one pass.

    Raises:
        IntegrityError: the entry is damaged.
        StoreError: the cache cannot be written.
    """
    starts = [None if start is None else digest_of_json(start.double().flatten().tolist()) for start in baseline]
    plain = {
        "format": FORMAT, "model": model_checksum(model), "samples": samples.fingerprint, "baseline": starts, "seed": seed,
        "cells": CELLS, "places": PLACES,
    }  # fmt: skip
    name = digest_of_json(plain)
    place = folder / f"paths-{name[:24]}"
    generator = torch.Generator().manual_seed(seed)
    places = (torch.arange(PLACES) + torch.rand(len(samples), PLACES, generator=generator)) / PLACES
    build_once(place, lambda temporary: _compute(temporary, model.eval(), samples, baseline, places.split(batch_size)))
    return _load(place, tuple(baseline), name, len(samples))


def _compute(
    entry: Path, model: nn.Module, samples: "SampleSet", baseline: Sequence[Tensor | None], places: Sequence[Tensor]
) -> None:
    """`places` are (B, K) of one block of clips after the other."""
    device = next(model.parameters()).device
    chosen: list[np.ndarray] = []
    fake: list[np.ndarray] = []
    maps: list[list[np.ndarray]] = [[] for start in baseline if start is not None]
    for block in places:
        start = sum(map(len, chosen))
        inputs = samples.batch(slice(start, start + len(block)))
        with torch.inference_mode():
            scores = model(*(x.to(device) for x in inputs)).logit.cpu().numpy()
        found = torch.from_numpy(verdicts(scores))
        verdict = found > 0 if samples.signature.has_real else torch.ones(len(block), dtype=torch.bool)
        asked = verdict if verdict.any() else torch.arange(len(block)) == 0  # one clip at least gives the maps' shape
        some = [x[asked].to(device) for x in inputs]
        own = found[asked].to(device) if samples.signature.classes else None
        each = [
            path_evidence(model, some, baseline, alpha[asked].to(device), samples.signature, classes=own) for alpha in block.T
        ]
        for kept, one in zip(maps, zip(*each, strict=True), strict=True):
            whole = torch.zeros(len(block), len(each), one[0].shape[1])
            whole[asked] = torch.stack(one, dim=1).cpu()
            kept.append((whole * verdict[:, None, None]).numpy())
        chosen.append(found.numpy())
        fake.append(verdict.numpy())
    arrays = {f"maps{index}": np.concatenate(kept) for index, kept in enumerate(maps)}
    arrays |= {"places": torch.cat(list(places)).numpy(), "fake": np.concatenate(fake)}
    if samples.signature.classes:
        arrays["classes"] = np.concatenate(chosen)
    for name, array in arrays.items():
        np.save(entry / f"{name}.npy", array, allow_pickle=False)
    files = {path.name: digest_of_file(path) for path in sorted(entry.glob("*.npy"))}
    (entry / RECORD).write_text(json.dumps({"files": files}), encoding="utf-8")


def _load(place: Path, baseline: tuple[Tensor | None, ...], name: str, count: int) -> PathMaps:
    try:
        files: Mapping[str, str] = json.loads((place / RECORD).read_text(encoding="utf-8"))["files"]
        for file, digest in files.items():
            if digest_of_file(place / file) != digest:
                raise IntegrityError.damaged(place, "its checksum differs", file=file)
        arrays = {Path(file).stem: np.load(place / file, mmap_mode="r", allow_pickle=False) for file in sorted(files)}
        places, fake, classes = arrays.pop("places"), arrays.pop("fake"), arrays.pop("classes", None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError.damaged(place, error) from error
    if any(len(array) != count for array in (places, fake, *arrays.values())):
        raise IntegrityError.damaged(place, "its arrays have another length")
    return PathMaps(baseline=baseline, places=places, maps=tuple(arrays.values()), fake=fake, fingerprint=name, classes=classes)


def _cells(attribution: Tensor, kind: InputKind) -> Tensor:
    """(B, ...) → (B, cells): channels summed, pictures averaged over a grid; sound as it is."""
    if kind is InputKind.AUDIO:
        return attribution.flatten(1)
    picture = attribution.sum(dim=-3)
    shape = (min(CELLS, picture.shape[-2]), min(CELLS, picture.shape[-1]))
    return F.adaptive_avg_pool2d(picture if picture.dim() == 4 else picture[:, None], shape).flatten(1)


@contextmanager
def _recurrent_layers_of_torch(model: nn.Module) -> Iterator[None]:
    """Recurrent layers on a GPU by torch's own kernels: cuDNN differentiates none in evaluation mode, and none twice.

    What is computed within may be differentiated outside. Convolutions, which cuDNN does differentiate twice, stay with it where
    there is no such layer.
    """
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    if not (recurrent and next(model.parameters()).is_cuda):
        yield
        return
    with torch.backends.cudnn.flags(enabled=False):
        yield


class TwiceDifferentiable(TorchFunctionMode):
    """Torch can't differentiate hard sigmoids twice; the same function made of clamps it can."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Put relu6(x + 3) / 6 in the place of a hard sigmoid, and x times that in the place of a hard swish."""
        if func in (F.hardsigmoid, torch._C._nn.hardsigmoid):
            return F.relu6(args[0] + 3) / 6
        if func in (F.hardswish, torch._C._nn.hardswish):
            return args[0] * F.relu6(args[0] + 3) / 6
        return func(*args, **(kwargs or {}))
