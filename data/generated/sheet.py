"""A contact sheet of a set: each kind of clip, its manipulated region, the mouth's openness against the sound's energy."""

from pathlib import Path
from typing import Any

import numpy as np

from paretolens.data.generated.build import film
from paretolens.data.generated.plan import ClipPlan, plan_split
from paretolens.data.generated.settings import SPLITS, GeneratedSettings
from paretolens.data.samples import SampleSet
from paretolens.errors import DataError
from paretolens.files import replacing

__all__ = ["draw_sheet"]


def draw_sheet(sets: dict[str, SampleSet], settings: GeneratedSettings, path: Path, *, per_kind: int = 3) -> None:
    """Write a PNG: one row per clip, its decoded frames, then the mouth (line) against the loudness (filled).

    Args:
        sets: The splits that `prepare` returned.
        settings: What they were made with.
        path: The picture to write.
        per_kind: Clips of each kind, from faint to strong.

    Raises:
        DataError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    rows = _choose(sets, settings, per_kind)
    columns = settings.frames + 2
    figure = Figure(figsize=(1.25 * columns, 1.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False, width_ratios=[1.0] * settings.frames + [2.0, 2.0])
    figure.suptitle("Generated clips: drawn faces, synthesised voices. Red: manipulated region.", fontsize=10)
    for line, (samples, row, plan) in zip(axes, rows, strict=True):
        _draw_frames(line[: settings.frames], samples, row)
        line[0].set_ylabel(f"{plan.kind}\n{plan.strength:.2f}\ncrf {plan.crf}", fontsize=7)
        _draw_tracks(line[settings.frames], samples, row, plan, settings)
        line[-1].imshow(np.asarray(samples.arrays["audio"][row]).T, aspect="auto", origin="lower", cmap="magma")
        line[-1].set_axis_off()
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=90, format="png")
    except OSError as error:
        raise DataError(f"contact sheet {path}: cannot be written ({error.strerror}); choose another file") from error


def _choose(sets: dict[str, SampleSet], settings: GeneratedSettings, per_kind: int) -> list[tuple[SampleSet, int, ClipPlan]]:
    by_kind: dict[str, list[tuple[SampleSet, int, ClipPlan]]] = {}
    for split in SPLITS:
        for plan in plan_split(settings, split):
            if split == "train" or plan.kind not in ("real", *settings.shares()):
                by_kind.setdefault(plan.kind, []).append((sets[split], plan.index, plan))
    chosen = []
    for kind in ("real", *(kind for kind in by_kind if kind != "real")):
        ordered = sorted(by_kind.get(kind, []), key=lambda item: item[2].strength)
        places = np.linspace(0, len(ordered) - 1, min(per_kind, len(ordered))).round().astype(int)
        chosen += [ordered[place] for place in places]
    return chosen


def _draw_frames(axes: Any, samples: SampleSet, row: int) -> None:
    size = samples.arrays["video"].shape[-1]
    for frame, axis in enumerate(axes):
        axis.set_xticks([])
        axis.set_yticks([])
        if samples.arrays["video_mask"][row, frame]:
            axis.set_axis_off()
            continue
        axis.imshow(samples.arrays["video"][row, frame].transpose(1, 2, 0))
        region = samples.regions[row, frame]
        if region.any():
            centres = (np.arange(region.shape[0]) + 0.5) * size / region.shape[0]
            axis.contour(centres, centres, region.astype(float), levels=[0.5], colors="red", linewidths=0.7)


def _draw_tracks(axis: Any, samples: SampleSet, row: int, plan: ClipPlan, settings: GeneratedSettings) -> None:
    heard = ~samples.arrays["audio_mask"][row]
    loud = np.asarray(samples.arrays["audio"][row][heard, 0])
    rate = samples.preprocessing.of_clips().audio.frames_per_second
    times = np.arange(len(loud)) / rate
    axis.fill_between(times, (loud - loud.min()) / max(1e-6, float(np.ptp(loud))), color="0.75")
    shown = film(plan, settings).scene.pose.openness
    axis.plot((np.arange(plan.count)) / settings.fps, shown, "b.-", linewidth=0.8, markersize=3)
    axis.set_xlim(0, settings.frames / settings.fps)
    axis.set_axis_off()
