from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paretolens.data.preprocessing import ClipSettings, Preprocessing, audio_visual_signature
from paretolens.data.samples import SampleSet
from paretolens.search.localise import localisation_of

CLIP = ClipSettings(frames=8, fps=8.0, size=16)  # a second, 80 moments of sound


def clips() -> SampleSet:
    count, sounds = 4, CLIP.audio_frames
    periods = np.array([[0, 0], [0.25, 0.5], [0.5, 1.0], [0, 0]], np.float32)
    labels = (periods[:, 1] > 0).astype(np.float32)
    return SampleSet(
        signature=audio_visual_signature(CLIP),
        preprocessing=Preprocessing(clip=CLIP),
        arrays={
            "video": np.zeros((count, 8, 3, 16, 16), np.uint8),
            "audio": np.zeros((count, sounds, 13), np.float32),
            "video_mask": np.zeros((count, 8), bool),
            "audio_mask": np.zeros((count, sounds), bool),
        },
        labels=labels,
        ids=tuple("abcd"),
        groups=np.arange(count),
        identities=np.arange(count),
        kinds=("real", "fake", "fake", "real"),
        strengths=labels.copy(),
        offsets=np.full(count, -100),
        regions=np.zeros((count, 8, 16, 16), bool),
        periods=periods,
        mean_image=np.zeros((3, 16, 16), np.float32),
        fingerprint="periods",
    )


def chosen(samples: SampleSet) -> SampleSet:
    """The same clips by five frames that were chosen, three places being padding."""
    moments = np.tile(np.array([0.1, 0.26, 0.3, 0.44, 0.9, 0, 0, 0], np.float32), (4, 1))
    hidden = np.tile(np.arange(8) >= 5, (4, 1))
    return replace(samples, moments=moments, arrays={**samples.arrays, "video_mask": hidden})


class Oracle(nn.Module):
    """Sees the second clip's period in the picture and hears the third's."""

    def __init__(self, shift: int = 0) -> None:
        super().__init__()
        self.shift = shift

    def patch_logits(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> dict[str, Tensor]:
        seen, heard = torch.full((4, 8, 2, 2), -6.0), torch.full((4, audio.shape[1]), -6.0)
        seen[1, 2 + self.shift : 4 + self.shift] = 6.0
        heard[2, 40:] = 6.0
        return {"video": seen, "audio": heard}


@pytest.mark.parametrize(("shift", "precision", "recall"), [(0, 1.0, 1.0), (4, 0.25, 0.5)])  # as sure of the wrong one
def test_periods_in_picture_and_sound_are_found(shift: int, precision: float, recall: float) -> None:
    found = localisation_of(Oracle(shift), clips())
    assert found is not None
    assert found.periods == 2
    assert found.average_precision[0.95] == pytest.approx(precision)
    assert found.average_recall[10] == pytest.approx(recall)


@pytest.mark.parametrize(
    ("model", "change"),
    [(nn.Identity(), lambda samples: samples), (Oracle(), lambda samples: replace(samples, periods=0 * samples.periods))],
)
def test_nothing_to_compare(model: nn.Module, change: Callable[[SampleSet], SampleSet]) -> None:
    assert localisation_of(model, change(clips())) is None


class Listed(nn.Module):
    """Sees the fake in the frames 1 to 3 of the second clip, hears the third's, and is of two minds about padding."""

    def patch_logits(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> dict[str, Tensor]:
        seen, heard = torch.full((4, 8, 2, 2), -6.0), torch.full((4, audio.shape[1]), -6.0)
        seen[1, 1:4] = 6.0
        heard[2, 40:] = 6.0
        return {"video": seen.masked_fill(video_mask[:, :, None, None], 0), "audio": heard.masked_fill(audio_mask, 0)}


def test_chosen_frames_speak_for_the_moments_around_them() -> None:
    found = localisation_of(Listed(), chosen(clips()))
    assert found is not None
    # between the frames at .1 and .26 s, and at .44 and .9 s: from .18 to .67 s, of which .25 to .5 are true, IoU .25 / .49
    assert found.average_precision[0.5] == pytest.approx(1.0)
    assert found.average_precision[0.75] == pytest.approx(0.25)  # wrong, and ranked before the right one
    assert found.average_recall[10] == pytest.approx((1 + 10) / 20)
    evenly = localisation_of(Listed(), replace(chosen(clips()), moments=None))  # .125 to .5 s: IoU .25 / .375
    assert evenly is not None
    assert evenly.average_recall[10] == pytest.approx((4 + 10) / 20)


def test_padding_proposes_nothing() -> None:
    samples = clips()
    silent = {**samples.arrays, "audio_mask": np.ones((4, CLIP.audio_frames), bool)}
    silent["video_mask"] = np.tile(np.arange(8) >= 6, (4, 1))  # three quarters of a second without sound
    mute = replace(samples, arrays=silent, periods=np.array([[0, 0], [0.25, 0.5], [0, 0], [0, 0]], np.float32))
    found = localisation_of(Listed(), mute)
    assert found is not None
    assert found.average_recall[10] == pytest.approx(4 / 10)  # frames 1 to 3, .125 to .5 s: the places without sound say nothing
    assert found.average_precision[0.5] == pytest.approx(1.0)
