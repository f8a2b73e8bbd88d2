import json

import numpy as np
import pytest
import torch

from paretolens.data.features import AudioSettings
from paretolens.data.preprocessing import (
    ClipSettings,
    ColourOrder,
    Fit,
    Normaliser,
    PictureSettings,
    PixelScale,
    Preprocessing,
    audio_visual_signature,
)
from paretolens.errors import ConfigurationError, IntegrityError
from paretolens.models.signature import InputKind


def test_default_sizes_are_those_of_the_default_task() -> None:
    shapes = {spec.name: spec.shape for spec in audio_visual_signature(ClipSettings()).inputs}
    assert shapes == {"video": (8, 3, 64, 64), "audio": (80, 13), "video_mask": (8,), "audio_mask": (80,)}


def test_every_mask_that_is_named_is_an_input() -> None:
    signature = audio_visual_signature(ClipSettings())
    masks = {spec.name for spec in signature.inputs if spec.kind is InputKind.MASK}
    assert {spec.mask for spec in signature.explained} == masks


def test_image_is_scaled_by_imagenets_figures() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 5), np.uint8)
    normaliser = Normaliser()
    expected = (pixels / 255.0 - np.reshape([0.485, 0.456, 0.406], (3, 1, 1))) / np.reshape([0.229, 0.224, 0.225], (3, 1, 1))
    np.testing.assert_allclose(normaliser.image(pixels).numpy(), expected, atol=1e-5)


def test_scaling_leaves_its_argument_alone() -> None:
    frozen = np.ones((1, 3, 2, 2), np.float32)
    frozen.flags.writeable = False
    Normaliser().image(frozen)
    assert (frozen == 1.0).all()


def test_hidden_positions_are_zero_and_masks_are_bool() -> None:
    clip = ClipSettings(frames=2, size=8)
    rng = np.random.default_rng(0)
    arrays = {
        "video": rng.integers(1, 255, (1, 2, 3, 8, 8), np.uint8),
        "audio": rng.normal(5.0, 1.0, (1, 20, 13)).astype(np.float32),
        "video_mask": np.array([[False, True]]),
        "audio_mask": np.arange(20)[None] >= 15,
    }
    scales = Normaliser(audio_mean=(5.0,) * 13, audio_std=(2.0,) * 13)
    video, audio, video_mask, audio_mask = Preprocessing(clip=clip, normaliser=scales).inputs(
        audio_visual_signature(clip), arrays
    )
    assert (video[0, 1] == 0).all()
    assert (video[0, 0] != 0).any()
    assert (audio[0, 15:] == 0).all()
    np.testing.assert_allclose(audio[0, :15].numpy(), (arrays["audio"][0, :15] - 5.0) / 2.0, rtol=1e-6)
    assert video_mask.dtype == audio_mask.dtype == torch.bool


def test_json_round_trip() -> None:
    before = Preprocessing(
        clip=ClipSettings(frames=4, fps=5.0, audio=AudioSettings(n_fft=400)), normaliser=Normaliser(audio_mean=(1.0, 2.0))
    )
    assert Preprocessing.from_json(json.loads(json.dumps(before.to_json()))) == before


@pytest.mark.parametrize("broken", [{}, {"clip": {}, "normaliser": {}}, {"clip": {"audio": {"colour": 1}}, "normaliser": {}}])
def test_a_foreign_file_is_one_clear_line(broken: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match="fields of ClipSettings"):
        Preprocessing.from_json(broken)


def test_json_round_trip_of_pictures() -> None:
    picture = PictureSettings(size=224, fit=Fit.STRETCH, order=ColourOrder.BGR)
    before = Preprocessing(picture=picture, normaliser=Normaliser.of_pixels(PixelScale.BYTES))
    plain = json.loads(json.dumps(before.to_json()))
    assert "clip" not in plain
    assert Preprocessing.from_json(plain) == before


def test_the_geometry_is_of_clips_or_of_pictures() -> None:
    for both in ({}, {"clip": ClipSettings(), "picture": PictureSettings()}):
        with pytest.raises(ConfigurationError, match="exactly one"):
            Preprocessing(**both)


@pytest.mark.parametrize("scale", list(PixelScale))
@pytest.mark.parametrize("order", list(ColourOrder))
def test_pixels_come_back_from_what_a_model_sees(scale: PixelScale, order: ColourOrder) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), np.uint8)
    preprocessing = Preprocessing(picture=PictureSettings(size=8, order=order), normaliser=Normaliser.of_pixels(scale))
    np.testing.assert_allclose(preprocessing.pixels(preprocessing.image(pixels)) * 255.0, pixels, atol=1e-3)
