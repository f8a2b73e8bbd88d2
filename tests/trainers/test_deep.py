from types import SimpleNamespace

import numpy as np
import torch

from paretolens.trainers.deep import DeepTargets


def targets(sounds: list[bool] | None, *, marked: bool = True) -> DeepTargets:
    """A real clip, a fake picture, a fake sound, and a clip with both, of two frames each; the second frame is marked."""
    regions = np.zeros((4, 2, 4, 4), bool)
    regions[[1, 3], 1, 0, 0] = marked
    told = None if sounds is None else np.array(sounds)
    return DeepTargets(SimpleNamespace(labels=np.array([0, 1, 1, 1], np.float32), regions=regions, sounds=told))


def test_without_word_of_the_sound_it_is_fake_where_no_frame_is() -> None:
    frames, sound = targets(None).batch(torch.arange(4))
    assert frames.tolist() == [[0, 0], [0, 1], [0, 0], [0, 1]]
    assert sound.tolist() == [0, 0, 1, 0]


def test_a_sound_that_is_said_to_be_fake_is_so_beside_a_fake_picture() -> None:
    _, sound = targets([False, False, True, True]).batch(torch.arange(4))
    assert sound.tolist() == [0, 0, 1, 1]


def test_a_set_that_marks_nothing_gives_the_label_to_both() -> None:
    frames, sound = targets(None, marked=False).batch(torch.arange(4))
    assert frames.tolist() == [[0, 0], [1, 1], [1, 1], [1, 1]]
    assert sound.tolist() == [0, 1, 1, 1]
