"""Scenes, faces and manipulations, seen through the film that is encoded."""

from dataclasses import replace

import numpy as np
import pytest

from paretolens.data.generated.build import film
from paretolens.data.generated.plan import ClipPlan, plan_split
from paretolens.data.generated.scene import make_scene, person, photograph, render
from paretolens.data.generated.settings import GeneratedSettings

SETTINGS = GeneratedSettings(seed=9, train=60)


def plan(kind: str, **changes: object) -> ClipPlan:
    found = next(plan for plan in plan_split(SETTINGS, "train") if plan.count == 8)
    return replace(found, **({"kind": kind, "strength": 0.8, "period": (0, 8), "seed": 4} | changes))


def difference(kind: str, **changes: object) -> np.ndarray:
    """Absolute change of pictures against the real clip: (n, S, S)."""
    fake, real = film(plan(kind, **changes), SETTINGS), film(plan("real", period=(0, 0)), SETTINGS)
    return np.abs(fake.pictures.astype(int) - real.pictures).max(axis=3)


@pytest.mark.parametrize("size", [64, 128])
def test_pictures_have_the_wanted_size(size: int) -> None:
    settings = replace(SETTINGS, size=size)
    made = film(replace(plan("blend"), count=8), settings)
    assert made.pictures.shape == (8, size, size, 3)
    assert made.region.shape == (8, 16, 16)


def test_a_film_is_the_same_each_time() -> None:
    one, two = film(plan("mouth"), SETTINGS), film(plan("mouth"), SETTINGS)
    np.testing.assert_array_equal(one.pictures, two.pictures)
    np.testing.assert_array_equal(one.wave, two.wave)


@pytest.mark.parametrize("kind", ["blend", "mouth", "upsample"])
def test_a_fake_picture_differs_within_its_region(kind: str) -> None:
    changed = difference(kind)
    region = film(plan(kind), SETTINGS).region.repeat(4, axis=1).repeat(4, axis=2)
    assert changed[region].mean() > 5 * changed[~region].mean()


@pytest.mark.parametrize("kind", ["blend", "mouth", "upsample"])
def test_frames_outside_of_the_period_are_untouched(kind: str) -> None:
    changed = difference(kind, period=(2, 5))
    assert (changed[[0, 1, 5, 6, 7]] == 0).all()
    assert (changed[2:5].max(axis=(1, 2)) > 0).all()


@pytest.mark.parametrize("kind", ["voice", "shift"])
def test_a_fake_sound_leaves_the_picture_alone(kind: str) -> None:
    shift = 3 if kind == "shift" else 0
    assert (difference(kind, shift=shift) == 0).all()
    fake, real = film(plan(kind, shift=shift), SETTINGS), film(plan("real"), SETTINGS)
    assert not fake.region.any()
    assert np.abs(fake.wave - real.wave).max() > 0.05


@pytest.mark.parametrize("kind", ["blend", "mouth", "upsample"])
def test_a_fake_picture_leaves_the_sound_alone(kind: str) -> None:
    np.testing.assert_array_equal(film(plan(kind), SETTINGS).wave, film(plan("real"), SETTINGS).wave)


@pytest.mark.parametrize("kind", ["blend", "upsample"])
def test_a_stronger_fake_changes_more(kind: str) -> None:
    changes = [float(difference(kind, strength=strength).mean()) for strength in (0.25, 1.0)]
    assert changes[0] < changes[1]


def test_shifted_sound_is_the_same_speech_some_frames_later() -> None:
    late, real = film(plan("shift", shift=3), SETTINGS).wave, film(plan("real"), SETTINGS).wave
    step = round(3 / SETTINGS.fps * 16_000)
    inner = slice(1000, len(real) - step - 1000)
    assert np.corrcoef(late[step:][inner], real[inner])[0, 1] > 0.95


def test_the_mouth_follows_the_voice() -> None:
    """Dark pixels of the open mouth, counted where the face says its mouth is, against the openness that was spoken."""
    found = [p for p in plan_split(SETTINGS, "train") if p.kind == "real"][:6]
    dark, opened = [], []
    for one in found:
        scene = make_scene(SETTINGS, one.identity, one.source, one.count)
        canvas = render(scene)
        near = (np.abs(canvas.u - 0.22 * scene.pose.yaw[:, None, None]) < 0.2) & (
            np.abs(canvas.v - scene.face.mouth_height - 0.1 - 0.12 * scene.pose.pitch[:, None, None]) < 0.3
        )
        cavity = (np.abs(canvas.picture - np.array([0.16, 0.04, 0.05])).max(axis=3) < 0.1) & near
        dark += (cavity.sum(axis=(1, 2))).tolist()
        opened += scene.pose.openness.tolist()
    assert np.corrcoef(dark, opened)[0, 1] > 0.8


def test_two_people_do_not_look_alike() -> None:
    one, two = make_scene(SETTINGS, 0, 1, 6), make_scene(SETTINGS, 1, 1, 6)
    assert np.abs(render(one).picture - render(two).picture).mean() > 0.01
    assert person(9, 0)[0] is person(9, 0)[0]


def test_a_worse_camera_is_noisier() -> None:
    scene = make_scene(SETTINGS, 0, 1, 6)
    picture = render(scene).picture
    clean = photograph(picture, scene.camera, noise=0.0)
    errors = [float(np.std(photograph(picture, scene.camera, noise=level) - clean)) for level in (0.005, 0.02)]
    assert errors[1] > 3 * errors[0]
