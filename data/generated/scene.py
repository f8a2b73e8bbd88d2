"""A scene: one person who says something in one place, before a camera. A fake shows the scene of its source again."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from paretolens.data.generated.canvas import Canvas
from paretolens.data.generated.face import Face, Pose, aim, draw_face, make_face
from paretolens.data.generated.settings import GeneratedSettings
from paretolens.data.generated.voice import RATE, Speaker, Utterance, make_speaker, speak

__all__ = ["MARGIN", "Camera", "Scene", "hear", "make_scene", "person", "photograph", "render"]

MARGIN = 5
"""Frames of speech before and after the clip, so that shifted sound is still speech."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Camera:
    """What the camera and the microphone do to a clip."""

    blur: float
    """Standard deviation in pixels of a 64-pixel picture."""
    noise: float
    """Standard deviation, pixels 0..1."""
    gain: np.ndarray
    """(3,) exposure and white balance."""
    gamma: float
    """Exponent."""
    room: float
    """Level of the room's noise against speech of peak 0.5."""
    tilt: float
    """Microphone: decibels per octave around 1 kHz."""
    level: float
    """Loudness."""
    seed: int
    """Seed of its noise."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """All that is needed to film a clip."""

    face: Face
    """Who is seen."""
    speaker: Speaker
    """Who is heard."""
    utterance: Utterance
    """What is said; the clip starts MARGIN frames in."""
    pose: Pose
    """Movement."""
    light: np.ndarray
    """(3,) for `draw_face`."""
    patch: np.ndarray
    """(4,): place, size and depth of a shadow or spot of light on the scene."""
    background: np.ndarray
    """(S, S, 3) in 0..1."""
    cloth: np.ndarray
    """(3,) colour."""
    camera: Camera
    """Camera and microphone."""
    fps: float
    """Frames a second."""

    @property
    def count(self) -> int:
        """Frames."""
        return len(self.pose.x)


@lru_cache(maxsize=256)
def person(seed: int, identity: int) -> tuple[Face, Speaker]:
    """Face and voice of a person."""
    rng = np.random.default_rng([seed, 11, identity])
    return make_face(rng), make_speaker(rng)


def make_scene(settings: GeneratedSettings, identity: int, source: int, count: int) -> Scene:
    """The scene number `source`, of `count` frames."""
    rng = np.random.default_rng([settings.seed, 13, source])
    face, speaker = person(settings.seed, identity)
    margin = MARGIN / settings.fps
    utterance = speak(speaker, settings.frames / settings.fps + 2.0 * margin + 0.1, rng)
    openness, width = utterance.mouth(margin + np.arange(count) / settings.fps)
    camera = Camera(
        blur=float(rng.uniform(0.25, 0.75)),
        noise=float(np.exp(rng.uniform(np.log(settings.noise_low + 1e-6), np.log(settings.noise_high + 1e-6)))),
        gain=(rng.uniform(0.75, 1.15) * (1.0 + rng.normal(0.0, 0.05, 3))).astype(np.float32),
        gamma=float(rng.uniform(0.85, 1.2)),
        room=float(np.exp(rng.uniform(np.log(0.0015), np.log(0.02)))),
        tilt=float(rng.uniform(-3.0, 3.0)),
        level=float(rng.uniform(0.4, 1.0)),
        seed=int(rng.integers(2**31)),
    )
    angle = rng.uniform(0, 6.28)
    return Scene(
        face=face,
        speaker=speaker,
        utterance=utterance,
        pose=_pose(count, openness, width, rng),
        light=np.array([np.cos(angle), 0.6 * np.sin(angle), rng.uniform(0.2, 0.65)], np.float32),
        patch=_patch(rng),
        background=_background(settings.size, rng),
        cloth=rng.uniform(0.05, 0.9, 3).astype(np.float32),
        camera=camera,
        fps=settings.fps,
    )


def _patch(rng: np.random.Generator) -> np.ndarray:
    """A shadow or a spot of light in half of the scenes: x, y, size, depth."""
    place, reach = rng.uniform(-0.8, 0.8, 2), rng.uniform(0.2, 0.7)
    return np.array([*place, reach, rng.uniform(-0.3, 0.3) * (rng.random() < 0.5)], np.float32)


def _pose(count: int, openness: np.ndarray, width: np.ndarray, rng: np.random.Generator) -> Pose:
    """Slow drift and a little trembling around a random attitude."""

    def walk(centre: float, spread: float, drift: float) -> np.ndarray:
        steps = gaussian_filter1d(rng.normal(0.0, 1.0, count + 8), 2.0)[4 : 4 + count]
        track: np.ndarray = rng.normal(centre, spread) + 2.0 * drift * (steps - steps.mean())
        return track

    blink = np.zeros(count)
    if rng.random() < 0.5:
        blink[rng.integers(count)] = rng.uniform(0.6, 1.0)
    return Pose(
        x=walk(0.0, 0.06, 0.04),
        y=walk(0.02, 0.04, 0.03),
        scale=np.clip(walk(0.7, 0.05, 0.015), 0.55, 0.82),
        roll=walk(0.0, 0.08, 0.05),
        yaw=np.clip(walk(0.0, 0.3, 0.2), -0.8, 0.8),
        pitch=np.clip(walk(0.0, 0.3, 0.2), -0.8, 0.8),
        blink=blink,
        openness=openness,
        width=width,
    )


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """A blurred wall, shelf or window: coarse noise and a few rectangles."""
    grey = rng.uniform(0.1, 0.9)
    coarse = grey + rng.normal(0.0, 0.12, (1, 1, 3)) + rng.normal(0.0, 0.08, (6, 6, 3))
    axis = np.linspace(0.0, 5.0, size)
    weights = np.clip(1.0 - np.abs(axis[:, None] - np.arange(6)), 0.0, 1.0)  # (S, 6): bilinear
    picture = np.einsum("yi,xj,ijc->yxc", weights, weights, coarse, optimize=True)
    for _ in range(rng.integers(0, 5)):
        x, y = rng.integers(0, size, 2)
        width, height = rng.integers(size // 12, size // 2, 2)
        picture[y : y + height, x : x + width] = rng.uniform(0.1, 0.9) + rng.normal(0.0, 0.1, 3)
    blurred: np.ndarray = gaussian_filter(picture, (size / 64.0 * rng.uniform(0.3, 2.0),) * 2 + (0.0,))
    return blurred.clip(0.0, 1.0).astype(np.float32)


def render(scene: Scene, pose: Pose | None = None, face: Face | None = None) -> Canvas:
    """Ideal pictures of a scene, in 0..1, and the face units of their pixels.

    Args:
        scene: What is filmed.
        pose: Another movement than the scene's.
        face: Another face than the scene's.
    """
    pose = pose or scene.pose
    size = len(scene.background)
    canvas = aim(np.repeat(scene.background[None], scene.count, axis=0), pose)
    draw_face(canvas, face or scene.face, pose, scene.light)
    cloth = scene.cloth * (0.9 + 0.1 * np.sin(9.0 * (canvas.u + canvas.v)))[..., None]
    canvas.paint(canvas.cover((np.abs(canvas.u) / 1.5) ** 2.5 + 1.15 - canvas.v), cloth)
    x, y, reach, depth = scene.patch
    axis = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    spot = np.exp(-((axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2) / reach**2)
    np.multiply(canvas.picture, (1.0 + depth * spot)[None, :, :, None], out=canvas.picture)
    return canvas


def photograph(
    picture: np.ndarray, camera: Camera, *, noise: float | None = None, blur: float | None = None, seed: int = 0
) -> np.ndarray:
    """What the camera makes of ideal pictures: (n, S, S, 3) in 0..1."""
    sigma = (camera.blur if blur is None else blur) * picture.shape[1] / 64.0
    seen = gaussian_filter(picture, (0.0, sigma, sigma, 0.0), truncate=3.0)
    seen = np.clip(seen * camera.gain, 0.0, 1.0) ** camera.gamma
    level = camera.noise if noise is None else noise
    rng = np.random.default_rng([camera.seed, seed])
    grain = rng.standard_normal(seen.shape, dtype=np.float32)
    result: np.ndarray = np.clip(seen + level * (0.6 + 0.8 * np.sqrt(seen)) * grain, 0.0, 1.0)
    return result.astype(np.float32)


def hear(scene: Scene, shift: int = 0, speech: np.ndarray | None = None) -> np.ndarray:
    """What the microphone records during the clip: (samples,) float32.

    Args:
        scene: Who speaks.
        shift: Frames by which the sound comes late.
        speech: Clean speech of the clip instead of the scene's.
    """
    if speech is None:
        speech = clean_speech(scene, shift)
    rng = np.random.default_rng([scene.camera.seed, 1])
    spectrum = np.fft.rfft(speech + scene.camera.room * rng.standard_normal(len(speech)))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(speech), 1.0 / RATE), 60.0) / 1000.0)
    heard = np.fft.irfft(spectrum * 10.0 ** (scene.camera.tilt * octaves / 20.0), n=len(speech))
    heard *= scene.camera.level * 0.6 / max(0.2, float(np.abs(heard).max()))
    return heard.astype(np.float32)


def clean_speech(scene: Scene, shift: int = 0) -> np.ndarray:
    """The speech of the clip before the microphone: (samples,) float32."""
    first = round((MARGIN - shift) / scene.fps * RATE)
    return scene.utterance.wave[first : first + round(scene.count / scene.fps * RATE)]
