"""Pictures of what teacher and student look at: frame strips and time × coefficient heat maps, on one scale.

Evidence maps are drawn as they are scored, on their grid. Each model's map is divided by its own 99th percentile: EPS does not
depend on scale, so what may differ in a picture is where the evidence lies. Colours are safe for the colour-blind: inferno for
evidence, purple to orange for signed values, and blue, orange and white for the masks.
"""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from paretolens.errors import StoreError
from paretolens.evaluators.eps import EpsScore, TeacherReference
from paretolens.evaluators.eps.masks import top_mask
from paretolens.models.signature import InputKind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_overlay", "draw_overlays", "pick_samples", "write_overlays"]

Floats = NDArray[np.float64]

TILE = 80
"""Side of a drawn frame in pixels of the strip."""
GAP = 6
"""Pixels between drawn frames."""
COLUMNS = 8
"""Frames drawn at most."""
TEACHER, STUDENT, BOTH, TRUTH = "#0072B2", "#E69F00", "#FFFFFF", "#F5A9D0"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""ImageNet's, by which pictures were normalised."""


WIDTH_INCHES, TITLE_INCHES, STRIP_INCHES, SOUND_INCHES = 9.2, 0.34, 4.35, 2.3
TITLE: dict[str, Any] = {"fontsize": 10.5, "ha": "left", "va": "center", "weight": "bold"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of the figure over its whole width; places are in inches, so that nothing has to be laid out twice."""

    figure: "Figure"
    """The figure."""
    bottom: float
    """Where the stretch begins, from the bottom."""
    height: float
    """How high it is."""

    def axes(self, left: float, bottom: float, width: float, height: float) -> "Axes":
        """New axes, measured from the stretch's own corner."""
        across, up = self.figure.get_size_inches()
        place: Axes = self.figure.add_axes((left / across, (self.bottom + bottom) / up, width / across, height / up))
        return place

    def above(self) -> float:
        """Middle of the caption line as a fraction of the figure."""
        line: float = (self.bottom + self.height - 0.13) / self.figure.get_figheight()
        return line


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One modality of one sample, ready to be drawn."""

    name: str
    kind: InputKind
    image: Floats
    """Input: (T, 3, H, W) or (L, F)."""
    teacher: Floats
    """(T, g, g) or (cells, F), scaled to 0..1."""
    student: Floats
    """The same of the student."""
    teacher_mask: NDArray[np.bool_]
    """Top share of the teacher's map, same shape."""
    student_mask: NDArray[np.bool_]
    """The same of the student."""
    ignored: NDArray[np.bool_]
    """(T,) or (L,), True = padding."""
    region: NDArray[np.bool_] | None
    """(T, h, w), true manipulated region."""
    caption: str
    """ρ and J of this modality."""


def pick_samples(score: EpsScore) -> dict[str, int]:
    """Rows of the best, the median and the worst scored sample."""
    known = np.flatnonzero(~np.isnan(score.samples.eps))
    order = known[np.argsort(score.samples.eps[known], kind="stable")]
    return {"best": int(order[-1]), "median": int(order[len(order) // 2]), "worst": int(order[0])}


def draw_overlays(reference: TeacherReference, score: EpsScore, rows: Mapping[str, int] | None = None) -> dict[str, bytes]:
    """PNG images by name; the best, median and worst sample by default."""
    chosen = pick_samples(score) if rows is None else rows
    return {name: draw_overlay(reference, score, row, name) for name, row in chosen.items()}


def write_overlays(
    reference: TeacherReference, score: EpsScore, folder: Path, rows: Mapping[str, int] | None = None
) -> list[Path]:
    """Write `overlay_<name>.png` into a folder, each file renamed into place.

    Raises:
        StoreError: the folder cannot be written.
    """
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in draw_overlays(reference, score, rows).items():
            path = folder / f"overlay_{name}.png"
            temporary = folder / f".{path.name}.{os.getpid()}"
            temporary.write_bytes(content)
            temporary.replace(path)
            paths.append(path)
    except OSError as error:
        raise StoreError(
            f"overlays must be writable, {folder} is not ({error.strerror or error}): free space or name another folder"
        ) from error
    return paths


def draw_overlay(reference: TeacherReference, score: EpsScore, row: int, name: str = "") -> bytes:
    """PNG of one sample: input, teacher, student, top-share masks and the true region, every modality.

    Args:
        reference: the teacher's side.
        score: a score of that reference.
        row: sample of the explained set that was scored.
        name: what to call the sample in the title, such as `best`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [make_panel(reference, score, row, column) for column in range(len(reference.modalities))]
    heights = [SOUND_INCHES if panel.kind is InputKind.AUDIO else STRIP_INCHES for panel in panels]
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights) + TITLE_INCHES), dpi=100)
    FigureCanvasAgg(figure)
    figure.text(0.012, 1 - 0.5 * TITLE_INCHES / figure.get_figheight(), title_of(reference, score, row, name), **TITLE)
    top = figure.get_figheight() - TITLE_INCHES
    for panel, height in zip(panels, heights, strict=True):
        top -= height
        draw = draw_sound if panel.kind is InputKind.AUDIO else draw_strip
        draw(Part(figure=figure, bottom=top, height=height), panel, score.settings.audio_pool)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 4})
    return buffer.getvalue()


def title_of(reference: TeacherReference, score: EpsScore, row: int, name: str) -> str:
    """What the sample is and how it scored."""
    kind = reference.explained.kinds[row]
    said = f"logit: teacher {float(reference.logit[row]):+.1f}, student {score.samples.logit[row]:+.1f}"
    lead = f"{name} sample" if name else f"sample {row}"
    return f"{lead} ({kind} fake)   EPS {score.samples.eps[row]:.2f}   (all samples {score.eps:.2f})   {said}"


def make_panel(reference: TeacherReference, score: EpsScore, row: int, column: int) -> Panel:
    """Collect what is drawn of one modality."""
    explained, name = reference.explained, reference.modalities[column]
    position, spec = next((i, spec) for i, spec in enumerate(explained.signature.inputs) if spec.name == name)
    maps = reference.grids[name].rows(torch.tensor([row]), torch.device("cpu"))
    mine = torch.from_numpy(score.samples.grids[name][row : row + 1])
    mask = top_mask(mine, score.settings.top_share, maps.valid)
    ignored = explained.ignored(name, torch.tensor([row]))
    image = explained.inputs[position][row].numpy().astype(np.float64)
    no_padding = np.zeros(1 if spec.kind is InputKind.IMAGE else len(image), dtype=bool)
    rho, iou = score.samples.rho[row, column], score.samples.iou[row, column]
    share = float(reference.share[row, column])
    scored = f"ρ {rho:.2f}   J {iou:.2f}" if not np.isnan(rho) else "not scored"
    return Panel(
        name=name,
        kind=spec.kind,
        image=image[None] if spec.kind is InputKind.IMAGE else image,
        teacher=scaled(maps.values, maps.shape, spec.kind),
        student=scaled(mine, maps.shape, spec.kind),
        teacher_mask=shaped(maps.mask, maps.shape, spec.kind),
        student_mask=shaped(mask, maps.shape, spec.kind),
        ignored=no_padding if ignored is None else ignored[0].numpy(),
        region=true_region(explained.regions, row) if spec.kind is not InputKind.AUDIO else None,
        caption=f"{name}   {scored}   teacher's share {share:.0%}",
    )


def true_region(regions: NDArray[np.generic] | None, row: int) -> NDArray[np.bool_] | None:
    """The region of a sample; None where there is none to see."""
    region = None if regions is None else np.asarray(regions[row], dtype=bool)
    return region if region is not None and region.any() else None


def shaped(flat: torch.Tensor, shape: tuple[int, ...], kind: InputKind) -> NDArray[Any]:
    """A flattened map (1, N) in its own shape; images get a time axis of 1."""
    array: NDArray[Any] = flat[0].reshape(shape).numpy()
    return array[None] if kind is InputKind.IMAGE else array


def scaled(flat: torch.Tensor, shape: tuple[int, ...], kind: InputKind) -> Floats:
    """A map divided by its 99th percentile (its maximum where that is 0), clipped to 0..1."""
    array = shaped(flat, shape, kind).astype(np.float64)
    top = float(np.percentile(array, 99)) or float(array.max())
    return np.clip(array / top, 0.0, 1.0) if top > 0 else np.zeros_like(array)


def draw_strip(part: Part, panel: Panel, _pool: int) -> None:
    """Rows input, teacher, student and masks of some frames, as one picture."""
    frames = strip_frames(panel.ignored)
    blank = [np.full((TILE, TILE, 3), 0.93)] * (min(COLUMNS, len(panel.ignored)) - len(frames))
    pictures = [picture(panel.image[frame]) for frame in frames]
    grey = [np.repeat(p.mean(axis=2, keepdims=True), 3, axis=2) for p in pictures]
    rows = [
        pictures,
        [heat(g, panel.teacher[frame]) for g, frame in zip(grey, frames, strict=True)],
        [heat(g, panel.student[frame]) for g, frame in zip(grey, frames, strict=True)],
        [masks(g, panel.teacher_mask[f], panel.student_mask[f]) for g, f in zip(grey, frames, strict=True)],
    ]
    strip = mosaic([[*row, *blank] for row in rows])
    height = part.height - 0.55
    axes = part.axes(0.85, 0.27, min(WIDTH_INCHES - 1.65, height * strip.shape[1] / strip.shape[0]), height)
    axes.imshow(strip, interpolation="none", aspect="auto")
    step = TILE + GAP
    axes.set_yticks([step * i + TILE / 2 for i in range(4)], ["input", "teacher", "student", "top-share\nmasks"], fontsize=9)
    names = [f"frame {frame}" for frame in frames] + ["padding"] * len(blank)
    axes.set_xticks([step * i + TILE / 2 for i in range(len(names))], names, fontsize=8)
    bare(axes)
    if panel.region is not None:
        for row in (0, 3):
            outline(axes, [panel.region[frame] for frame in frames], row * step)
    colour_bar(part.axes(WIDTH_INCHES - 0.68, 0.27, 0.11, height))
    caption(part, panel)


def strip_frames(ignored: NDArray[np.bool_]) -> list[int]:
    """At most COLUMNS frames that are not padding, evenly spaced."""
    seen = np.flatnonzero(~ignored)
    return [int(frame) for frame in seen[np.linspace(0, len(seen) - 1, min(COLUMNS, len(seen))).round().astype(int)]]


def picture(normalised: Floats) -> Floats:
    """(3, H, W) as the model sees it → (TILE, TILE, 3) in 0..1."""
    shown: Floats = np.clip(resized(normalised.transpose(1, 2, 0)) * STD + MEAN, 0.0, 1.0)
    return shown


def resized(image: NDArray[Any]) -> NDArray[Any]:
    """(h, w, ...) → (TILE, TILE, ...) by the nearest cell, so that the grid stays visible."""
    rows = (np.arange(TILE) + 0.5) * image.shape[0] / TILE
    columns = (np.arange(TILE) + 0.5) * image.shape[1] / TILE
    chosen: NDArray[Any] = image[rows.astype(int)][:, columns.astype(int)]
    return chosen


def heat(grey: Floats, values: Floats) -> Floats:
    """Evidence over a grey picture: the more evidence, the more colour."""
    from matplotlib import colormaps

    level = resized(values)[..., None]
    colour = colormaps["inferno"](level[..., 0])[..., :3]
    opacity = 0.35 + 0.55 * level
    blended: Floats = (1 - opacity) * 0.8 * grey + opacity * colour
    return blended


def masks(grey: Floats, teacher: NDArray[np.bool_], student: NDArray[np.bool_]) -> Floats:
    """Whose top share a cell is in."""
    from matplotlib.colors import to_rgb

    drawn = 0.45 * grey
    mine, theirs = resized(student)[..., None], resized(teacher)[..., None]
    for chosen, colour in ((theirs & ~mine, TEACHER), (mine & ~theirs, STUDENT), (mine & theirs, BOTH)):
        drawn = np.where(chosen, 0.25 * grey + 0.75 * np.array(to_rgb(colour)), drawn)
    return drawn


def mosaic(rows: Sequence[Sequence[Floats]]) -> Floats:
    """Tiles with gaps between them, (height, width, 3)."""
    step = TILE + GAP
    canvas = np.ones((step * len(rows) - GAP, step * max(len(row) for row in rows) - GAP, 3))
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            canvas[i * step : i * step + TILE, j * step : j * step + TILE] = tile
    return canvas


def outline(axes: "Axes", regions: Sequence[NDArray[np.bool_]], top: int) -> None:
    """The border of the true region on each frame of a row of the strip."""
    from matplotlib.collections import LineCollection

    lines: list[Floats] = []
    for column, region in enumerate(regions):
        scale = np.array([TILE / region.shape[1], TILE / region.shape[0]])
        shift = np.array([column * (TILE + GAP) - 0.5, top - 0.5])
        padded = np.pad(region, 1)
        for y, x in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]):
            lines.append(np.array([[x, y], [x, y + 1]]) * scale + shift)
        for y, x in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]):
            lines.append(np.array([[x, y], [x + 1, y]]) * scale + shift)
    axes.add_collection(LineCollection(lines, colors="black", linewidths=2.6, capstyle="projecting"), autolim=False)
    axes.add_collection(LineCollection(lines, colors=TRUTH, linewidths=1.3, capstyle="projecting"), autolim=False)


def draw_sound(part: Part, panel: Panel, pool: int) -> None:
    """Input, teacher, student and masks as time × coefficient maps beside each other."""
    from matplotlib.colors import ListedColormap

    length, coefficients = panel.image.shape
    kept = int((~panel.ignored).sum())
    cells = panel.ignored[::pool]
    height = part.height - 0.98
    axes = [part.axes(0.5 + 1.99 * column, 0.45, 1.87, height) for column in range(4)]
    shown = np.where(panel.ignored[:, None], np.nan, panel.image)
    limit = float(np.nanpercentile(np.abs(shown), 99)) or 1.0
    categories = panel.teacher_mask + 2 * panel.student_mask.astype(int)
    blank = np.array([1.0, np.nan])[cells.astype(int)][:, None]
    wheel = ListedColormap(["0.25", TEACHER, STUDENT, BOTH])
    options: dict[str, Any] = {"origin": "lower", "aspect": "auto", "interpolation": "none"}
    across = (0, len(cells) * pool, -0.5, coefficients - 0.5)
    maps: tuple[tuple[NDArray[Any], dict[str, Any], str], ...] = (
        (shown, {"cmap": "PuOr_r", "vmin": -limit, "vmax": limit, "extent": (0, length, -0.5, coefficients - 0.5)}, "input"),
        (panel.teacher * blank, {"cmap": "inferno", "vmin": 0, "vmax": 1, "extent": across}, "teacher"),
        (panel.student * blank, {"cmap": "inferno", "vmin": 0, "vmax": 1, "extent": across}, "student"),
        (categories * blank, {"cmap": wheel, "vmin": 0, "vmax": 3, "extent": across}, "top-share masks"),
    )
    for place, (values, style, label) in zip(axes, maps, strict=True):
        place.set_facecolor("0.88")
        place.imshow(values.T, **options, **style)
        place.set_xlim(0, kept)
        place.set_xticks(np.arange(0, kept - 1, 20 if kept <= 100 else 100))  # the last frame's number would touch its neighbour
        place.set_title(label, fontsize=9)
        place.tick_params(labelsize=7.5, length=2)
        place.set_xlabel("audio frame", fontsize=8)
    axes[0].set_yticks(np.arange(0, coefficients, 5))
    for place in axes[1:]:
        place.set_yticks([])
    axes[0].set_ylabel("coefficient", fontsize=8)
    colour_bar(part.axes(WIDTH_INCHES - 0.68, 0.45, 0.11, height))
    caption(part, panel)


def bare(axes: "Axes") -> None:
    """No frame, no tick marks."""
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def colour_bar(axes: "Axes") -> None:
    """The scale that teacher and student share."""
    from matplotlib import colormaps

    axes.imshow(np.linspace(0, 1, 128)[:, None], cmap=colormaps["inferno"], aspect="auto", origin="lower", extent=(0, 1, 0, 1))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=7.5)
    axes.tick_params(length=2)
    axes.set_ylabel("evidence / 99th pct.", fontsize=7.5)


def caption(part: Part, panel: Panel) -> None:
    """A line above a modality: its name and scores on the left, the colours of the masks on the right."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.patheffects import withStroke

    part.figure.text(0.012, part.above(), panel.caption, fontsize=9.5, ha="left", va="center")
    names = {"teacher only": TEACHER, "student only": STUDENT, "both": BOTH}
    handles: list[Any] = [Patch(facecolor=colour, edgecolor="0.3", label=name) for name, colour in names.items()]
    if panel.region is not None:
        outline_colour = [withStroke(linewidth=3.2, foreground="black")]
        handles.append(Line2D([], [], color=TRUTH, linewidth=1.6, path_effects=outline_colour, label="truly manipulated"))
    where: dict[str, Any] = {"loc": "center right", "bbox_to_anchor": (0.995, part.above()), "borderaxespad": 0.0}
    part.figure.legend(handles=handles, ncol=4, fontsize=8, frameon=False, columnspacing=1.2, **where)
