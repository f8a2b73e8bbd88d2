"""A drawn face: identity, pose and light in, pictures out. Lengths are in the face units of `canvas`."""

from dataclasses import dataclass

import numpy as np

from paretolens.data.generated.canvas import Canvas, ellipse

__all__ = ["Face", "Pose", "aim", "column", "draw_face", "make_face"]

EYE_WHITE = np.array([0.93, 0.92, 0.9], np.float32)
PUPIL = np.array([0.03, 0.03, 0.03], np.float32)
FRAME = np.array([0.08, 0.08, 0.1], np.float32)
SHINE = np.array([1.0, 0.97, 0.92], np.float32)
CAVITY = np.array([0.16, 0.04, 0.05], np.float32)
TEETH = np.array([0.88, 0.86, 0.8], np.float32)
FAIR, DARK = np.array([0.93, 0.76, 0.66]), np.array([0.42, 0.27, 0.19])
HAIRS = np.array(
    [[0.08, 0.06, 0.05], [0.25, 0.16, 0.1], [0.5, 0.36, 0.2], [0.75, 0.62, 0.4], [0.55, 0.53, 0.52], [0.4, 0.14, 0.08]]
)
IRISES = np.array([[0.25, 0.15, 0.08], [0.2, 0.35, 0.5], [0.25, 0.4, 0.25], [0.12, 0.08, 0.06]])


@dataclass(frozen=True, kw_only=True, eq=False)
class Face:
    """What stays the same in every clip of one person."""

    skin: np.ndarray
    """(3,) colour 0..1."""
    hair: np.ndarray
    """(3,) colour 0..1."""
    iris: np.ndarray
    """(3,) colour 0..1."""
    lips: np.ndarray
    """(3,) colour 0..1."""
    width: float
    """Half width of the face."""
    jaw: float
    """How much the face narrows to the chin."""
    eye_distance: float
    """Distance of an eye from the middle."""
    eye_size: float
    """Half width of an eye."""
    eye_height: float
    """Position of the eyes."""
    brow: float
    """Thickness of the brows."""
    brow_tilt: float
    """Slope of the brows."""
    nose: float
    """Half width of the nose."""
    nose_length: float
    """Position of the tip of the nose."""
    mouth_height: float
    """Position of the mouth."""
    mouth_width: float
    """Half width of the closed mouth."""
    lip: float
    """Thickness of the lips."""
    fringe: float
    """How far the hair covers the forehead."""
    long_hair: bool
    """Hair beside the cheeks."""
    beard: float
    """Darkness of the beard, 0 = none."""
    glasses: float
    """Darkness of the glasses' frame, 0 = none."""
    texture: np.ndarray
    """(4, 4): frequencies, phase and weight of the skin's unevenness."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pose:
    """Where the face is and what it does in each of n frames; every field is (n,)."""

    x: np.ndarray
    """Centre, -1..1 from left to right of the picture."""
    y: np.ndarray
    """Centre, -1..1 from top to bottom."""
    scale: np.ndarray
    """Half height of the face as a share of the half picture."""
    roll: np.ndarray
    """Radians."""
    yaw: np.ndarray
    """-1..1, turned to the right."""
    pitch: np.ndarray
    """-1..1, turned down."""
    blink: np.ndarray
    """0..1, 1 = eyes closed."""
    openness: np.ndarray
    """0..1, mouth."""
    width: np.ndarray
    """0..1, lips."""


def make_face(rng: np.random.Generator) -> Face:
    """A random person."""
    tone = rng.uniform(0.0, 1.0)
    skin = (1 - tone) * FAIR + tone * DARK + rng.normal(0.0, 0.02, 3)
    lips = skin * np.array([0.88, 0.6, 0.62]) + rng.uniform(0.0, 0.12) * np.array([1.0, 0.1, 0.2])
    texture = np.stack([rng.normal(0, 7, 4), rng.normal(0, 7, 4), rng.uniform(0, 6.28, 4), rng.uniform(0.004, 0.02, 4)], axis=1)
    return Face(
        skin=skin.clip(0.1, 1.0).astype(np.float32),
        hair=(HAIRS[rng.integers(len(HAIRS))] * rng.uniform(0.7, 1.2)).clip(0.02, 1.0).astype(np.float32),
        iris=IRISES[rng.integers(len(IRISES))].astype(np.float32),
        lips=lips.clip(0.0, 1.0).astype(np.float32),
        width=float(rng.uniform(0.68, 0.82)),
        jaw=float(rng.uniform(0.1, 0.4)),
        eye_distance=float(rng.uniform(0.29, 0.36)),
        eye_size=float(rng.uniform(0.12, 0.16)),
        eye_height=float(rng.uniform(-0.18, -0.06)),
        brow=float(rng.uniform(0.02, 0.05)),
        brow_tilt=float(rng.uniform(-0.25, 0.25)),
        nose=float(rng.uniform(0.09, 0.16)),
        nose_length=float(rng.uniform(0.2, 0.3)),
        mouth_height=float(rng.uniform(0.5, 0.6)),
        mouth_width=float(rng.uniform(0.2, 0.28)),
        lip=float(rng.uniform(0.04, 0.08)),
        fringe=float(rng.uniform(-0.75, -0.45)),
        long_hair=bool(rng.random() < 0.45),
        beard=float(rng.uniform(0.15, 0.6)) if rng.random() < 0.3 else 0.0,
        glasses=float(rng.uniform(0.5, 0.95)) if rng.random() < 0.25 else 0.0,
        texture=texture.astype(np.float32),
    )


def column(values: np.ndarray) -> np.ndarray:
    """(n,) → (n, 1, 1) float32, to go with (n, S, S)."""
    return values.astype(np.float32)[:, None, None]


def aim(picture: np.ndarray, pose: Pose) -> Canvas:
    """A canvas on pictures (n, S, S, 3) whose face units follow the pose."""
    size = picture.shape[1]
    axis = ((np.arange(size) + 0.5) / size * 2.0 - 1.0).astype(np.float32)
    x = axis[None, None, :] - column(pose.x)
    y = axis[None, :, None] - column(pose.y)
    cosine, sine, scale = column(np.cos(pose.roll)), column(np.sin(pose.roll)), column(pose.scale)
    u, v = (x * cosine + y * sine) / scale, (y * cosine - x * sine) / scale
    return Canvas(picture=picture, u=u, v=v, pixel=2.0 / size / scale)


def draw_face(canvas: Canvas, face: Face, pose: Pose, light: np.ndarray) -> None:
    """Draw a face in place.

    Args:
        canvas: Pictures aimed at the face.
        face: The person.
        pose: What the face does in each picture.
        light: (3,): direction x, y and depth of the shading.
    """
    u, v = canvas.u, canvas.v
    chin = 0.1 * column(pose.openness)  # the jaw drops as the mouth opens
    half = face.width * (1.0 - face.jaw * np.clip(v, 0.0, 1.2) ** 2)
    outline = (np.abs(u / half) ** 2.3 + np.abs(v / (1.0 + chin * (v > 0))) ** 2.3) ** (1 / 2.3)
    inside = canvas.cover((outline - 1.0) * face.width)
    _draw_back(canvas, face)
    canvas.paint(inside, _skin(face, u, v, light))
    inner = canvas.moved(0.22 * column(pose.yaw), 0.12 * column(pose.pitch))  # features move more than the outline
    _draw_beard(inner, face, inside)
    _draw_eyes(inner.window(0.62, face.eye_height - 0.4, face.eye_height + 0.3), face, pose)
    _draw_nose(inner.window(0.25, -0.45, 0.6), face, light)
    _draw_mouth(inner.window(0.5, face.mouth_height - 0.15, face.mouth_height + 0.55), face, pose)
    fringe = v - face.fringe - 0.06 * np.sin(7.0 * u + 3.0 * face.fringe) - 0.25 * u**2
    canvas.paint(canvas.cover(fringe) * inside, face.hair * (0.9 + 0.15 * np.sin(31.0 * u)[..., None]))


def _draw_back(canvas: Canvas, face: Face) -> None:
    """Hair behind the head, ears and neck."""
    u, v = canvas.u, canvas.v
    back = ellipse(u, v + 0.25, face.width + 0.14, 0.95)
    if face.long_hair:
        back = np.minimum(back, np.maximum(np.abs(u) - face.width - 0.1, np.abs(v - 0.3) - 1.25))
    canvas.paint(canvas.cover(back), face.hair * (0.8 + 0.2 * np.sin(23.0 * u)[..., None]))
    canvas.paint(canvas.cover(np.maximum(np.abs(u) - 0.36, 0.6 - v)), face.skin * 0.62)
    ears = canvas.window(face.width + 0.15, -0.2, 0.3)
    for side in (-1.0, 1.0):
        ears.paint(ears.cover(ellipse(ears.u - side * face.width, ears.v - 0.05, 0.1, 0.2)), face.skin * 0.82)


def _skin(face: Face, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Shaded skin colour of every pixel."""
    depth = np.sqrt(np.clip(1.0 - (u / 0.95) ** 2 - (v / 1.2) ** 2, 0.05, 1.0))
    shade = 1.0 - light[2] + light[2] * np.clip(0.55 * depth + 0.6 * (light[0] * u + light[1] * v) + 0.35, 0.0, 1.4)
    for fu, fv, phase, weight in face.texture:
        shade = shade + weight * np.sin(fu * u + fv * v + phase)
    blush = 0.05 * np.exp(-(((np.abs(u) - 0.42) / 0.16) ** 2) - ((v - 0.25) / 0.16) ** 2)
    socket = 0.1 * np.exp(-(((np.abs(u) - face.eye_distance) / 0.2) ** 2) - ((v - face.eye_height) / 0.14) ** 2)
    colour: np.ndarray = face.skin * (shade - socket)[..., None]
    colour[..., 0] += blush
    return colour


def _draw_beard(canvas: Canvas, face: Face, inside: np.ndarray) -> None:
    if face.beard <= 0.0:
        return
    u, v = canvas.u, canvas.v
    area = inside * np.clip((v - 0.35) / 0.2, 0.0, 1.0) * np.clip((np.abs(u) * 0.9 + v - 0.45) / 0.25, 0.0, 1.0)
    canvas.paint(face.beard * area * (0.85 + 0.15 * np.sin(41.0 * u + 13.0 * v)), face.hair * 0.9)


def _draw_eyes(canvas: Canvas, face: Face, pose: Pose) -> None:
    lid = np.maximum(0.55 * face.eye_size * (1.0 - column(pose.blink)), 0.012)
    gaze = 0.25 * face.eye_size * column(pose.yaw)
    for side in (-1.0, 1.0):
        du, dv = canvas.u - side * face.eye_distance, canvas.v - face.eye_height
        white = canvas.cover(ellipse(du, dv, face.eye_size, lid))
        canvas.paint(canvas.cover(ellipse(du, dv, face.eye_size + 0.02, lid + 0.02)) * 0.7, face.skin * 0.35)
        canvas.paint(white, EYE_WHITE)
        radius = np.sqrt((du - gaze) ** 2 + dv**2)
        canvas.paint(white * canvas.cover(radius - 0.55 * face.eye_size), face.iris)
        canvas.paint(white * canvas.cover(radius - 0.26 * face.eye_size), PUPIL)
        brow = np.maximum(np.abs(dv + 0.19 + face.brow_tilt * (du * side) + 1.2 * du**2) - face.brow, np.abs(du) - 0.19)
        canvas.paint(canvas.cover(brow) * 0.85, face.hair * 0.8)
        if face.glasses > 0.0:
            canvas.paint(canvas.cover(np.abs(ellipse(du, dv - 0.02, 0.24, 0.2)) - 0.022) * face.glasses, FRAME)
    if face.glasses > 0.0:
        bridge = np.maximum(np.abs(canvas.v - face.eye_height) - 0.02, np.abs(canvas.u) - face.eye_distance + 0.24)
        canvas.paint(canvas.cover(bridge) * face.glasses, FRAME)


def _draw_nose(canvas: Canvas, face: Face, light: np.ndarray) -> None:
    u, v = canvas.u, canvas.v
    side = -1.0 if light[0] >= 0 else 1.0
    canvas.paint(0.3 * np.exp(-(((u - side * 0.07) / 0.05) ** 2) - ((v - 0.08) / 0.2) ** 2), face.skin * 0.55)
    canvas.paint(0.25 * np.exp(-((u / 0.04) ** 2) - ((v - face.nose_length + 0.08) / 0.14) ** 2), SHINE)
    for way in (-1.0, 1.0):
        nostril = ellipse(u - way * face.nose * 0.62, v - face.nose_length, 0.042, 0.026)
        canvas.paint(0.75 * canvas.cover(nostril), face.skin * 0.25)


def _draw_mouth(canvas: Canvas, face: Face, pose: Pose) -> None:
    openness, width, u = column(pose.openness), column(pose.width), canvas.u
    half = face.mouth_width * (0.75 + 0.5 * width) * (1.0 - 0.12 * openness)
    gap = 0.015 + 0.19 * openness
    dv = canvas.v - face.mouth_height - 0.5 * gap + 0.015
    canvas.paint(canvas.cover(ellipse(u, dv, half, gap + face.lip)), face.lips)
    inner = canvas.cover(ellipse(u, dv, half * 0.82, gap))
    canvas.paint(inner, CAVITY)
    upper = canvas.cover(np.maximum(dv + 0.45 * gap, np.abs(u) - half * 0.6))
    canvas.paint(0.9 * inner * upper * np.clip((gap - 0.05) / 0.05, 0.0, 1.0), TEETH)
    canvas.paint(0.3 * canvas.cover(ellipse(u, dv - gap - face.lip - 0.05, half * 0.7, 0.03)), face.skin * 0.5)
