import torch

from paretolens.trainers.cache import cache_teacher
from paretolens.trainers.distill import DistillSettings, distill
from paretolens.trainers.live_teacher import LiveTeacher
from paretolens.trainers.views import View


def test_a_live_teacher_says_what_the_cache_says(model_of, train, tmp_path) -> None:
    teacher = model_of(seed=3)
    cached = cache_teacher(teacher, train, tmp_path, views=(View.PLAIN, View.MIRRORED))
    live = LiveTeacher(teacher, train)
    rows, mirrored = torch.tensor([0, 5, 9, 2]), torch.tensor([False, True, True, False])
    for asked in (mirrored, None):
        mine, theirs = live.batch(rows, asked), cached.batch(rows, asked)
        assert torch.allclose(mine.logit, theirs.logit, atol=1e-5)
        assert torch.allclose(mine.attention, theirs.attention, atol=1e-3)
        assert torch.allclose(mine.offset, theirs.offset, atol=1e-5)
    assert len(live) == len(cached)
    assert live.has_maps == cached.has_maps is True
    assert live.fingerprint != cached.fingerprint


def test_a_student_learns_the_same_from_either(model_of, train, val, tmp_path) -> None:
    teacher, weights = model_of(seed=3), []
    for outputs in (cache_teacher(teacher, train, tmp_path), LiveTeacher(teacher, train)):
        student = model_of(seed=1)
        settings = DistillSettings(epochs=1, batch_size=16, learning_rate=3e-3)
        distill(student, outputs, train, val, settings, seed=0, report=lambda figures: None)
        weights.append(torch.cat([value.flatten().float() for value in student.state_dict().values()]))
    assert torch.allclose(*weights, atol=1e-2)
    assert not torch.equal(weights[0], torch.cat([value.flatten().float() for value in model_of(seed=1).state_dict().values()]))
