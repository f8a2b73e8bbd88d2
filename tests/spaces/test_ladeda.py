import random
from dataclasses import replace

import pytest
import torch

from paretolens.errors import ConfigurationError
from paretolens.models.registry import build
from paretolens.spaces.ladeda import LadedaFamily, LadedaSettings, LadedaTeacher
from paretolens.spaces.stages import TWO_STAGES, stages_of
from paretolens.trainers.prune import PruneSettings, prune

FAMILY = LadedaFamily()


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_published_settings_give_the_published_pair():
    settings = LadedaSettings(size=256, teacher=LadedaTeacher(width=64, blocks=(3, 4, 6, 3)))
    assert count(FAMILY.teacher(settings)) == 13_641_793
    space = FAMILY.space("published")
    FAMILY.check(space, settings)
    assert count(FAMILY.student(space.default(), FAMILY.signature(settings))) == 1_297


def test_layers_that_see_more_than_the_field_get_a_wider_one():
    space = FAMILY.space("default")
    assert space.repair({**space.default(), "layers": 3, "field": 5})["field"] == 7
    narrow = space.override({"field": [5, 9]})
    assert narrow.repair({**narrow.default(), "layers": 3, "field": 5})["field"] == 9
    with pytest.raises(ConfigurationError, match="3 layers see at least 7 pixels; allow 7 or more"):
        space.override({"field": 5})


def test_the_top_share_counts_only_where_the_highest_are_pooled():
    space = FAMILY.space("default")
    mean, top = ({**space.default(), "pooling": pooling, "top_share": 0.05} for pooling in ("mean", "top"))
    assert "top_share" not in space.active(mean)
    assert space.active(top)["top_share"] == 0.05
    signature = FAMILY.signature(LadedaSettings())
    assert FAMILY.student(mean, signature).top_share == 1.0
    assert FAMILY.student(top, signature).top_share == 0.05


def test_two_stages_teach_the_head_first():
    genome = {**FAMILY.space("default").default(), "schedule": TWO_STAGES, "prune_ratio": 0.0}
    assert stages_of(genome)[:2] == ("head", "distill")
    student = FAMILY.student(genome, FAMILY.signature(LadedaSettings()))
    paths = dict(student.named_modules())
    assert set(student.head_parts) < set(student.last_parts) <= set(paths)


def test_every_student_of_a_space_is_pruned_where_it_is_wide():
    space, rng = FAMILY.space("default").override({"width": 16}), random.Random(0)
    signature = FAMILY.signature(LadedaSettings(size=48))
    x = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    for _ in range(4):
        student = FAMILY.student(space.sample(rng), signature)
        before, field = count(student), student.patch_field
        prune(student, (x,), PruneSettings(ratio=0.5), FAMILY.pruning_rules(student))
        assert count(student) < before
        assert student.patch_field == field
        assert student(x).patches.shape[1] == field.cells(48)


def test_the_teacher_may_begin_from_a_checkpoint(tmp_path):
    plain = LadedaTeacher(width=2, blocks=(1, 1, 1, 1))
    other = build("ladeda", width=2, depths=[1, 1, 1, 1])
    torch.save(other.state_dict(), tmp_path / "teacher.pth")
    settings = LadedaSettings(teacher=LadedaTeacher(width=2, blocks=(1, 1, 1, 1), weights=str(tmp_path / "teacher.pth")))
    loaded = FAMILY.teacher(settings).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in other.state_dict().items())
    with pytest.raises(ConfigurationError, match=r"conv1\.weight is 2×3×1×1"):
        FAMILY.teacher(LadedaSettings(teacher=replace(settings.teacher, width=4)))
    assert any(not torch.equal(FAMILY.teacher(LadedaSettings(teacher=plain)).state_dict()[name], loaded[name]) for name in loaded)


def test_a_teacher_that_can_not_be_built_is_refused():
    settings = LadedaSettings(size=33, teacher=LadedaTeacher(field=34))
    with pytest.raises(ConfigurationError, match="field must be one of 5, 9, 17, 33 pixels; got 34"):
        FAMILY.check(FAMILY.space("default"), settings)
