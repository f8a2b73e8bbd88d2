"""A drawn face: identity, pose and light in, pictures out. Shapes are signed distances in face units, so edges are antialiased.

Face units: the face is 2 high (v from -1 at the crown to 1 at the chin), u points right. All arrays are float32.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Face", "Grid", "Pose", "draw_face", "face_grid", "make_face"]

Pixels = np.ndarray


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Face units of every pixel."""

    u: np.ndarray
    """(n, S, S)."""
    v: np.ndarray
    """(n, S, S)."""
    pixel: np.ndarray
    """(n, 1, 1), size of a pixel in face units."""


def make_face(rng: np.random.Generator) -> Face:
    """A random person."""
    tone = rng.uniform(0.0, 1.0)
    skin = (1 - tone) * np.array([0.93, 0.76, 0.66]) + tone * np.array([0.42, 0.27, 0.19]) + rng.normal(0.0, 0.02, 3)
    hairs = np.array(
        [[0.08, 0.06, 0.05], [0.25, 0.16, 0.1], [0.5, 0.36, 0.2], [0.75, 0.62, 0.4], [0.55, 0.53, 0.52], [0.4, 0.14, 0.08]]
    )
    irises = np.array([[0.25, 0.15, 0.08], [0.2, 0.35, 0.5], [0.25, 0.4, 0.25], [0.12, 0.08, 0.06]])
    texture = np.stack([rng.normal(0, 7, 4), rng.normal(0, 7, 4), rng.uniform(0, 6.28, 4), rng.uniform(0.004, 0.02, 4)], axis=1)
    return Face(
        skin=skin.clip(0.1, 1.0).astype(np.float32),
        hair=(hairs[rng.integers(len(hairs))] * rng.uniform(0.7, 1.2)).clip(0.02, 1.0).astype(np.float32),
        iris=irises[rng.integers(len(irises))].astype(np.float32),
        lips=(skin * np.array([0.88, 0.6, 0.62]) + rng.uniform(0.0, 0.12) * np.array([1.0, 0.1, 0.2]))
        .clip(0, 1)
        .astype(np.float32),
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


def face_grid(pose: Pose, size: int) -> Grid:
    """Face units of the pixels of n pictures of size x size."""
    axis = ((np.arange(size) + 0.5) / size * 2.0 - 1.0).astype(np.float32)
    x = axis[None, None, :] - _column(pose.x)
    y = axis[None, :, None] - _column(pose.y)
    cosine, sine, scale = _column(np.cos(pose.roll)), _column(np.sin(pose.roll)), _column(pose.scale)
    return Grid(u=(x * cosine + y * sine) / scale, v=(y * cosine - x * sine) / scale, pixel=2.0 / size / scale)


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None, None]


def _cover(distance: np.ndarray, soft: np.ndarray | float) -> np.ndarray:
    """Share of a pixel inside a shape, from the signed distance to its edge (negative inside)."""
    return np.clip(0.5 - distance / soft, 0.0, 1.0)


def _ellipse(u: np.ndarray, v: np.ndarray, a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    """Approximate signed distance to an ellipse with half axes a and b."""
    return (np.sqrt((u / a) ** 2 + (v / b) ** 2) - 1.0) * np.minimum(a, b)


def _paint(picture: np.ndarray, alpha: np.ndarray, colour: np.ndarray) -> None:
    """Lay a colour over a picture (n, S, S, 3) in place."""
    picture += alpha[..., None] * (colour - picture)


def draw_face(picture: np.ndarray, face: Face, pose: Pose, grid: Grid, light: np.ndarray) -> None:
    """Draw a face over n pictures in place.

    Args:
        picture: (n, S, S, 3) in 0..1, changed.
        face: The person.
        pose: What the face does in each picture.
        grid: Its face units.
        light: (3,): direction x, y and depth of the shading.
    """
    u, v, soft = grid.u, grid.v, grid.pixel
    chin = 0.1 * _column(pose.openness)  # the jaw drops as the mouth opens
    low = np.clip(v, 0.0, 1.2)
    half = face.width * (1.0 - face.jaw * low**2)
    outline = (np.abs(u / half) ** 2.3 + np.abs(v / (1.0 + chin * (v > 0))) ** 2.3) ** (1 / 2.3)
    inside = _cover((outline - 1.0) * face.width, soft)
    _draw_back(picture, face, u, v, soft)
    _paint(picture, inside, _skin(face, u, v, light))
    inner_u, inner_v = u - 0.22 * _column(pose.yaw), v - 0.12 * _column(pose.pitch)
    _draw_beard(picture, face, inner_u, inner_v, inside)
    _draw_eyes(picture, face, pose, inner_u, inner_v, soft)
    _draw_nose(picture, face, inner_u, inner_v, soft, light)
    _draw_mouth(picture, face, pose, inner_u, inner_v, soft)
    _draw_fringe(picture, face, u, v, soft, inside)


def _draw_back(picture: Pixels, face: Face, u: Pixels, v: Pixels, soft: Pixels) -> None:
    """Hair behind the head, ears and neck."""
    tall = 1.25 if face.long_hair else 0.85
    back = _ellipse(u, v + 0.25, face.width + 0.14, 0.95)
    if face.long_hair:
        back = np.minimum(back, np.maximum(np.abs(u) - face.width - 0.1, np.abs(v - 0.3) - tall))
    _paint(picture, _cover(back, soft), face.hair * (0.8 + 0.2 * np.sin(23.0 * u)[..., None]))
    _paint(picture, _cover(np.maximum(np.abs(u) - 0.36, 0.6 - v), soft), face.skin * 0.62)
    for side in (-1.0, 1.0):
        _paint(picture, _cover(_ellipse(u - side * face.width, v - 0.05, 0.1, 0.2), soft), face.skin * 0.82)


def _skin(face: Face, u: Pixels, v: Pixels, light: np.ndarray) -> Pixels:
    """Shaded skin colour of every pixel."""
    depth = np.sqrt(np.clip(1.0 - (u / 0.95) ** 2 - (v / 1.2) ** 2, 0.05, 1.0))
    shade = 1.0 - light[2] + light[2] * np.clip(0.55 * depth + 0.6 * (light[0] * u + light[1] * v) + 0.35, 0.0, 1.4)
    for fu, fv, phase, weight in face.texture:
        shade = shade + weight * np.sin(fu * u + fv * v + phase)
    blush = 0.05 * np.exp(-(((np.abs(u) - 0.42) / 0.16) ** 2) - ((v - 0.25) / 0.16) ** 2)
    socket = 0.1 * np.exp(-(((np.abs(u) - face.eye_distance) / 0.2) ** 2) - ((v - face.eye_height) / 0.14) ** 2)
    colour = face.skin * (shade - socket)[..., None]
    colour[..., 0] += blush
    return colour


def _draw_beard(picture: Pixels, face: Face, u: Pixels, v: Pixels, inside: Pixels) -> None:
    if face.beard <= 0.0:
        return
    area = inside * np.clip((v - 0.35) / 0.2, 0.0, 1.0) * np.clip((np.abs(u) * 0.9 + v - 0.45) / 0.25, 0.0, 1.0)
    _paint(picture, face.beard * area * (0.85 + 0.15 * np.sin(41.0 * u + 13.0 * v)), face.hair * 0.9)


def _draw_eyes(picture: Pixels, face: Face, pose: Pose, u: Pixels, v: Pixels, soft: Pixels) -> None:
    lid = np.maximum(0.55 * face.eye_size * (1.0 - _column(pose.blink)), 0.012)
    gaze = 0.25 * face.eye_size * _column(pose.yaw)
    for side in (-1.0, 1.0):
        du, dv = u - side * face.eye_distance, v - face.eye_height
        white = _cover(_ellipse(du, dv, face.eye_size, lid), soft)
        _paint(picture, _cover(_ellipse(du, dv, face.eye_size + 0.02, lid + 0.02), soft) * 0.7, face.skin * 0.35)
        _paint(picture, white, np.float32([0.93, 0.92, 0.9]))
        radius = np.sqrt((du - gaze) ** 2 + dv**2)
        _paint(picture, white * _cover(radius - 0.55 * face.eye_size, soft), face.iris)
        _paint(picture, white * _cover(radius - 0.26 * face.eye_size, soft), np.float32([0.03, 0.03, 0.03]))
        brow = np.maximum(np.abs(dv + 0.19 + face.brow_tilt * (du * side) + 1.2 * du**2) - face.brow, np.abs(du) - 0.19)
        _paint(picture, _cover(brow, soft) * 0.85, face.hair * 0.8)
        if face.glasses > 0.0:
            ring = np.abs(_ellipse(du, dv - 0.02, 0.24, 0.2)) - 0.022
            _paint(picture, _cover(ring, soft) * face.glasses, np.float32([0.08, 0.08, 0.1]))
    if face.glasses > 0.0:
        bridge = np.maximum(np.abs(v - face.eye_height) - 0.02, np.abs(u) - face.eye_distance + 0.24)
        _paint(picture, _cover(bridge, soft) * face.glasses, np.float32([0.08, 0.08, 0.1]))


def _draw_nose(picture: Pixels, face: Face, u: Pixels, v: Pixels, soft: Pixels, light: np.ndarray) -> None:
    side = -1.0 if light[0] >= 0 else 1.0
    ridge = np.exp(-(((u - side * 0.07) / 0.05) ** 2) - ((v - 0.08) / 0.2) ** 2)
    _paint(picture, 0.3 * ridge, face.skin * 0.55)
    _paint(
        picture, 0.25 * np.exp(-((u / 0.04) ** 2) - ((v - face.nose_length + 0.08) / 0.14) ** 2), np.float32([1.0, 0.97, 0.92])
    )
    for way in (-1.0, 1.0):
        nostril = _ellipse(u - way * face.nose * 0.62, v - face.nose_length, 0.042, 0.026)
        _paint(picture, 0.75 * _cover(nostril, soft), face.skin * 0.25)


def _draw_mouth(picture: Pixels, face: Face, pose: Pose, u: Pixels, v: Pixels, soft: Pixels) -> None:
    openness, width = _column(pose.openness), _column(pose.width)
    half = face.mouth_width * (0.75 + 0.5 * width) * (1.0 - 0.12 * openness)
    gap = 0.015 + 0.19 * openness
    dv = v - face.mouth_height - 0.5 * gap + 0.015
    _paint(picture, _cover(_ellipse(u, dv, half, gap + face.lip), soft), face.lips)
    inner = _cover(_ellipse(u, dv, half * 0.82, gap), soft)
    _paint(picture, inner, np.float32([0.16, 0.04, 0.05]))
    teeth = inner * _cover(np.maximum(dv + 0.45 * gap, np.abs(u) - half * 0.6), soft) * np.clip((gap - 0.05) / 0.05, 0.0, 1.0)
    _paint(picture, teeth * 0.9, np.float32([0.88, 0.86, 0.8]))
    _paint(picture, 0.3 * _cover(_ellipse(u, dv - gap - face.lip - 0.05, half * 0.7, 0.03), soft), face.skin * 0.5)


def _draw_fringe(picture: Pixels, face: Face, u: Pixels, v: Pixels, soft: Pixels, inside: Pixels) -> None:
    edge = v - face.fringe - 0.06 * np.sin(7.0 * u + 3.0 * face.fringe) - 0.25 * u**2
    _paint(picture, _cover(edge, soft) * inside, face.hair * (0.9 + 0.15 * np.sin(31.0 * u)[..., None]))
