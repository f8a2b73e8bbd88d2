"""The files of a set of pictures: one frame of a scene each, encoded once as WebP, JPEG or PNG, and the decoded arrays.

Scenes, persons and manipulations are those of the generated clips; only what can be seen is manipulated.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from paretolens.data.generated.build import shoot
from paretolens.data.generated.fill import Progress, fill_rows, finish_splits
from paretolens.data.generated.picture_settings import GeneratedPictures
from paretolens.data.generated.plan import ClipPlan, plan_split
from paretolens.data.generated.rows import Columns, open_rows
from paretolens.data.generated.settings import SPLITS
from paretolens.data.pictures import read_picture
from paretolens.data.preprocessing import picture_signature
from paretolens.data.regions import REGION_CELLS
from paretolens.data.samples import UNKNOWN_OFFSET
from paretolens.data.scales import mean_picture

__all__ = ["build_pictures", "encode_picture", "plan_pictures"]


def plan_pictures(settings: GeneratedPictures, split: str) -> tuple[ClipPlan, ...]:
    """All pictures of a split: the clips' plans, of one frame each."""
    plans = plan_split(settings.scenes(), split)
    return tuple(replace(plan, count=1, period=(0, int(plan.fake))) for plan in plans)


def build_pictures(settings: GeneratedPictures, place: Path, workers: int, progress: Progress | None) -> None:
    """Fill a new folder with the whole set.

    Args:
        settings: What to make.
        place: An empty folder.
        workers: Processes; 1 makes everything in this one.
        progress: Called with (pictures done, pictures in all).
    """
    plans = [plan for split in SPLITS for plan in plan_pictures(settings, split)]
    fill_rows(
        partial(make_pictures, settings),
        place / "pictures",
        plans,
        _columns(settings),
        card={"settings": settings.to_json()},
        workers=workers,
        progress=progress,
    )
    preprocessing = settings.preprocessing()
    finish_splits(
        place,
        plans,
        offset=lambda _: UNKNOWN_OFFSET,
        period=lambda _: (0.0, 0.0),
        mean_image=mean_picture(place / "train"),
        signature=picture_signature(preprocessing.of_pictures()),
        preprocessing=preprocessing,
    )


def make_pictures(settings: GeneratedPictures, place: Path, plans: Sequence[ClipPlan]) -> list[dict[str, Any]]:
    """Make some pictures: encode them, decode them again, write their rows. Returns their metadata."""
    scenes, geometry = settings.scenes(), settings.preprocessing().of_pictures()
    columns = {split: open_rows(place / split, _columns(settings)) for split in {plan.split for plan in plans}}
    entries = []
    for plan in plans:
        pixels, region, _ = shoot(plan, scenes)
        path = encode_picture(place / "pictures" / plan.split / f"{plan.index:06d}", pixels[0], plan, settings)
        columns[plan.split]["input_image"][plan.index] = read_picture(path, geometry)
        columns[plan.split]["regions"][plan.index] = region
        entries.append(_metadata(plan, path))
    return entries


def encode_picture(stem: Path, pixels: np.ndarray, plan: ClipPlan, settings: GeneratedPictures) -> Path:
    """Write a picture (S, S, 3) uint8 as the kind of file that its plan's seed draws; returns the file."""
    rng = np.random.default_rng([settings.seed, plan.seed, 17])
    chance, quality = rng.random(), int(rng.integers(settings.quality_low, settings.quality_high + 1))
    picture = Image.fromarray(pixels)
    if chance < settings.webp:
        path = stem.with_suffix(".webp")
        picture.save(path, quality=quality, method=2)
    elif chance < settings.webp + settings.jpeg:
        path = stem.with_suffix(".jpg")
        picture.save(path, quality=quality)
    else:
        path = stem.with_suffix(".png")
        picture.save(path)
    return path


def _columns(settings: GeneratedPictures) -> Columns:
    return {
        "input_image": ((3, settings.size, settings.size), np.uint8),
        "regions": ((1, REGION_CELLS, REGION_CELLS), bool),
    }


def _metadata(plan: ClipPlan, path: Path) -> dict[str, Any]:
    return {
        "file": f"{plan.split}/{path.name}",
        "label": "fake" if plan.fake else "real",
        "kind": plan.kind,
        "strength": round(plan.strength, 6),
        "identity": plan.identity,
        "source": plan.source,
        "split": plan.split,
        "generated": True,
        "index": plan.index,
    }
