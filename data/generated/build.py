"""The files of a set: clips as .mp4, metadata in LAV-DF's layout, regions, and the decoded arrays, made by several processes.

Each process writes its own rows of memory-mapped arrays, so memory stays flat however large the set is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paretolens.data.clips import read_clip
from paretolens.data.generated.encode import write_clip
from paretolens.data.generated.fill import Progress, fill_rows, finish_splits
from paretolens.data.generated.manipulations import blend, mouth, upsample
from paretolens.data.generated.plan import ClipPlan, plan_split
from paretolens.data.generated.rows import Columns, open_rows
from paretolens.data.generated.scene import Scene, clean_speech, hear, make_scene, photograph, render
from paretolens.data.generated.settings import SPLITS, GeneratedSettings
from paretolens.data.generated.vocoder import vocode
from paretolens.data.generated.voice import RATE
from paretolens.data.preprocessing import ClipSettings, Preprocessing, audio_visual_signature
from paretolens.data.regions import REGION_CELLS, coarse
from paretolens.data.samples import IN_SYNC, UNKNOWN_OFFSET
from paretolens.data.scales import clip_scales

__all__ = ["build_set", "clip_settings", "film", "shoot"]


def clip_settings(settings: GeneratedSettings) -> ClipSettings:
    """How the set's clips are read back."""
    return ClipSettings(frames=settings.frames, fps=settings.fps, size=settings.size)


@dataclass(frozen=True, kw_only=True, eq=False)
class Film:
    """A clip before encoding."""

    pictures: np.ndarray
    """(n, S, S, 3) uint8."""
    wave: np.ndarray
    """(samples,) float32."""
    region: np.ndarray
    """(n, 16, 16) bool, manipulated part of the picture."""
    scene: Scene
    """What it shows."""


def film(plan: ClipPlan, settings: GeneratedSettings) -> Film:
    """Draw, synthesise and manipulate one clip."""
    pictures, region, scene = shoot(plan, settings)
    return Film(pictures=pictures, wave=_sound(plan, settings, scene), region=region, scene=scene)


def shoot(plan: ClipPlan, settings: GeneratedSettings) -> tuple[np.ndarray, np.ndarray, Scene]:
    """Draw and manipulate what is seen: (n, S, S, 3) uint8, the manipulated part (n, 16, 16) bool, and the scene."""
    scene = make_scene(settings, plan.identity, plan.source, plan.count)
    filmed = photograph(render(scene).picture, scene.camera)
    region = np.zeros((plan.count, REGION_CELLS, REGION_CELLS), bool)
    pictured = {"blend": blend, "mouth": mouth, "upsample": upsample}.get(plan.kind)
    if pictured is not None:
        first, last = plan.period
        changed, mask = pictured(filmed, scene, plan, settings)
        filmed[first:last] = changed[first:last]
        region[first:last] = coarse(mask)[first:last]
    return (np.clip(filmed, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8), region, scene


def _sound(plan: ClipPlan, settings: GeneratedSettings, scene: Scene) -> np.ndarray:
    if plan.kind != "voice":
        return hear(scene, plan.shift)
    rng = np.random.default_rng([settings.seed, plan.seed, 5])
    span = (plan.period[0] / settings.fps, plan.period[1] / settings.fps)
    pitch = scene.speaker.pitch * float(rng.uniform(0.9, 1.1))
    return hear(scene, speech=vocode(clean_speech(scene), pitch, plan.strength, span, rng))


def build_set(settings: GeneratedSettings, place: Path, workers: int, progress: Progress | None) -> None:
    """Fill a new folder with the whole set.

    Args:
        settings: What to make.
        place: An empty folder.
        workers: Processes; 1 makes everything in this one.
        progress: Called with (clips done, clips in all).
    """
    plans = [plan for split in SPLITS for plan in plan_split(settings, split)]
    fill_rows(
        partial(make_batch, settings),
        place / "clips",
        plans,
        _columns(settings),
        card={"settings": settings.to_json(), "layout": "metadata.json follows LAV-DF, with further fields"},
        workers=workers,
        progress=progress,
    )
    _finish(settings, place, plans)


def _columns(settings: GeneratedSettings) -> Columns:
    clip = clip_settings(settings)
    T, L = clip.frames, clip.audio_frames
    return {
        "input_video": ((T, 3, clip.size, clip.size), np.uint8),
        "input_audio": ((L, clip.audio.coefficients), np.float32),
        "input_video_mask": ((T,), bool),
        "input_audio_mask": ((L,), bool),
        "regions": ((T, REGION_CELLS, REGION_CELLS), bool),
    }


def make_batch(settings: GeneratedSettings, place: Path, plans: Sequence[ClipPlan]) -> list[dict[str, Any]]:
    """Make some clips: encode them, decode them again, write their rows. Returns their metadata."""
    columns: dict[str, dict[str, np.ndarray]] = {}
    entries = []
    for plan in plans:
        if plan.split not in columns:
            columns[plan.split] = open_rows(place / plan.split, _columns(settings))
        arrays = columns[plan.split]
        made = film(plan, settings)
        path = place / "clips" / plan.split / f"{plan.index:06d}.mp4"
        write_clip(path, made.pictures, settings.fps, made.wave, RATE, crf=plan.crf, bit_rate=plan.bit_rate)
        clip = read_clip(path, clip_settings(settings))
        for name, array in clip.arrays.items():
            arrays[f"input_{name}"][plan.index] = array
        arrays["regions"][plan.index, : plan.count] = made.region
        entries.append(_metadata(plan, settings, len(made.wave)))
    return entries


def _offset(plan: ClipPlan) -> int:
    return UNKNOWN_OFFSET if plan.kind == "mouth" else IN_SYNC + plan.shift


def _seconds(plan: ClipPlan, settings: GeneratedSettings) -> list[float]:
    return [round(frame / settings.fps, 6) for frame in plan.period]


def _metadata(plan: ClipPlan, settings: GeneratedSettings, samples: int) -> dict[str, Any]:
    """LAV-DF's fields, then ours."""
    return {
        "file": f"{plan.split}/{plan.index:06d}.mp4",
        "n_fakes": int(plan.fake),
        "fake_periods": [_seconds(plan, settings)] if plan.fake else [],
        "duration": plan.count / settings.fps,
        "original": f"{plan.split}/{plan.original:06d}.mp4" if plan.fake else None,
        "modify_video": plan.kind in ("blend", "mouth", "upsample"),
        "modify_audio": plan.kind in ("voice", "shift"),
        "split": plan.split,
        "video_frames": plan.count,
        "audio_channels": 1,
        "audio_frames": samples,
        "kind": plan.kind,
        "strength": round(plan.strength, 6),
        "identity": plan.identity,
        "source": plan.source,
        "offset": _offset(plan),
        "generated": True,
        "index": plan.index,
    }


def _finish(settings: GeneratedSettings, place: Path, plans: list[ClipPlan]) -> None:
    """Write the small columns, the scales of the training split, and each split's record."""
    clip = clip_settings(settings)
    normaliser, mean_image = clip_scales(place / "train")
    finish_splits(
        place,
        plans,
        offset=_offset,
        period=partial(_seconds, settings=settings),
        mean_image=mean_image,
        signature=audio_visual_signature(clip),
        preprocessing=Preprocessing(clip=clip, normaliser=normaliser),
    )
    for split in SPLITS:
        regions, periods = (np.load(place / split / f"{name}.npy", mmap_mode="r") for name in ("regions", "periods"))
        np.savez_compressed(place / "clips" / split / "regions.npz", regions=regions, periods=periods)
