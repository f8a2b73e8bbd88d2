"""The manipulations. Each takes what the camera filmed and changes a part of it, before the one and only encoding.

Every function returns the pictures (n, S, S, 3) in 0..1 and the mask (n, S, S) in 0..1 of what was changed.
"""

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from paretolens.data.generated.canvas import Canvas
from paretolens.data.generated.face import aim
from paretolens.data.generated.plan import ClipPlan
from paretolens.data.generated.scene import MARGIN, Scene, person, photograph, render
from paretolens.data.generated.settings import GeneratedSettings
from paretolens.data.generated.voice import speak

__all__ = ["blend", "mouth", "upsample"]

Changed = tuple[np.ndarray, np.ndarray]


def _soft_ellipse(canvas: Canvas, centre: tuple[float, float], half: tuple[float, float], edge: float) -> np.ndarray:
    """1 inside an ellipse in face units, falling to 0 over `edge`."""
    distance = np.hypot((canvas.u - centre[0]) / half[0], (canvas.v - centre[1]) / half[1]) - 1.0
    return np.asarray(np.clip(0.5 - distance * min(half) / edge, 0.0, 1.0), np.float32)


def _match_colour(new: np.ndarray, old: np.ndarray, mask: np.ndarray, amount: float) -> np.ndarray:
    """Move the mean colour under the mask `amount` of the way to the old one's."""
    weight = mask[..., None]
    total = weight.sum(axis=(1, 2), keepdims=True) + 1e-6
    difference = ((old - new) * weight).sum(axis=(1, 2), keepdims=True) / total
    return np.asarray(np.clip(new + amount * difference, 0.0, 1.0))


def _blur(pictures: np.ndarray, sigma: float) -> np.ndarray:
    scaled = sigma * pictures.shape[1] / 64.0
    blurred: np.ndarray = gaussian_filter(pictures, (0.0, scaled, scaled, 0.0), truncate=3.0)
    return blurred


def _generator_trace(size: int, amplitude: float, *, stripes: bool) -> np.ndarray:
    """(S, S, 1): the periodic trace that a generator's upsampling layers leave (Odena et al. 2016), four pixels of 64 a period.

    A checkerboard as of transposed convolutions, or stripes as of one that stretches one axis only.
    """
    rows, columns = np.indices((size, size)) // max(1, size // 32)
    sign = (rows if stripes else rows + columns) % 2 * 2.0 - 1.0
    return np.asarray(amplitude * sign[..., None], np.float32)


def blend(filmed: np.ndarray, scene: Scene, plan: ClipPlan, settings: GeneratedSettings) -> Changed:
    """Another person's inner face, pasted with a soft edge: colour, noise and sharpness differ by `strength`."""
    rng = np.random.default_rng([settings.seed, plan.seed])
    donor, _ = person(settings.seed, plan.donor)
    canvas = render(scene, face=donor)
    camera = replace(
        scene.camera, gain=scene.camera.gain * (1.0 + 0.10 * plan.strength * rng.normal(0.0, 1.0, 3)).astype(np.float32)
    )
    sharpness = scene.camera.blur + 0.9 * plan.strength
    new = photograph(canvas.picture, camera, blur=sharpness, noise=scene.camera.noise * (1.0 - plan.strength), seed=2)
    mask = _soft_ellipse(canvas, (0.0, 0.12), (0.8 * scene.face.width, 0.66), 0.32 - 0.22 * plan.strength)
    new = _match_colour(new, filmed, mask, 1.0 - 0.45 * plan.strength)
    new = np.clip(new + _generator_trace(settings.size, 0.13 * plan.strength**1.5, stripes=False), 0.0, 1.0)
    return filmed + mask[..., None] * (new - filmed), mask


def mouth(filmed: np.ndarray, scene: Scene, plan: ClipPlan, settings: GeneratedSettings) -> Changed:
    """The mouth of another utterance in a softened patch around it; the sound stays."""
    rng = np.random.default_rng([settings.seed, plan.seed])
    other = speak(scene.speaker, settings.frames / settings.fps + 2 * MARGIN / settings.fps, rng)
    openness, width = other.mouth(MARGIN / settings.fps + np.arange(scene.count) / settings.fps)
    pose = replace(scene.pose, openness=openness, width=width)
    canvas = render(scene, pose=pose)
    sharpness, grain = scene.camera.blur + 0.9 * plan.strength, scene.camera.noise * (1.0 - plan.strength)
    new = photograph(canvas.picture, scene.camera, blur=sharpness, noise=grain, seed=3)
    new = np.clip(new + 0.06 * plan.strength * rng.normal(0.0, 1.0, 3).astype(np.float32), 0.0, 1.0)
    new = np.clip(new + _generator_trace(settings.size, 0.16 * plan.strength**1.5, stripes=True), 0.0, 1.0)
    u, v = 0.22 * float(scene.pose.yaw.mean()), scene.face.mouth_height + 0.08 + 0.12 * float(scene.pose.pitch.mean())
    mask = _soft_ellipse(canvas, (u, v), (0.46, 0.36), 0.3 - 0.2 * plan.strength)
    return filmed + mask[..., None] * (new - filmed), mask


def upsample(filmed: np.ndarray, scene: Scene, plan: ClipPlan, settings: GeneratedSettings) -> Changed:
    """A face that a network upsampled: coarser than its surroundings, with a checkerboard of transposed convolutions."""
    canvas = aim(filmed, scene.pose)
    size = settings.size
    step = max(2, size // 32)
    coarse = filmed.reshape(len(filmed), size // step, step, size // step, step, 3).mean(axis=(2, 4))
    rough = coarse.repeat(step, axis=1).repeat(step, axis=2)
    new = filmed + (0.3 + 0.7 * plan.strength) * (_blur(rough, 0.5) - filmed)
    new = new + _generator_trace(size, 0.05 * plan.strength**1.5, stripes=False)
    mask = _soft_ellipse(canvas, (0.0, 0.1), (0.9 * scene.face.width, 0.8), 0.15)
    return np.clip(filmed + mask[..., None] * (new - filmed), 0.0, 1.0).astype(np.float32), mask
