"""What every family owes the search, tried on each of its presets."""

import json
import random

import pytest
import torch
from torch import Tensor

from paretolens.errors import ConfigurationError
from paretolens.models.registry import build, builder_of
from paretolens.models.signature import InputKind, Signature
from paretolens.spaces.knobs import Stage
from paretolens.spaces.registry import families, get_family


def example(signature: Signature, batch: int) -> tuple[Tensor, ...]:
    shapes = [(spec.kind, (batch, *spec.shape)) for spec in signature.inputs]
    return tuple(torch.zeros(shape, dtype=torch.bool) if kind is InputKind.MASK else torch.randn(shape) for kind, shape in shapes)


@pytest.fixture(params=families())
def family(request):
    return get_family(request.param)


def test_the_teacher_answers_by_the_signature(family):
    settings = family.settings_type()
    signature = family.signature(settings)
    teacher = family.teacher(settings, seed=1).eval()
    with torch.no_grad():
        out = teacher(*example(signature, 2))
    assert out._fields == signature.outputs
    assert signature.outputs[0] == "logit"
    assert out.logit.shape == (2, 1)
    names = {spec.name for spec in signature.inputs}
    assert {spec.mask for spec in signature.explained} <= names | {None}


def test_the_seed_decides_the_weights_and_leaves_the_global_generator_alone(family):
    settings = family.settings_type()
    state = torch.random.get_rng_state()
    one, same, other = (family.teacher(settings, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_students_of_the_first_preset_are_smaller_and_answer(family):
    settings = family.settings_type()
    signature = family.signature(settings)
    space = family.space(family.presets[0])
    family.check(space, settings)
    teacher = sum(parameter.numel() for parameter in family.teacher(settings).parameters())
    inputs, rng = example(signature, 2), random.Random(0)
    for genome in (space.default(), *(space.sample(rng) for _ in range(6))):
        student = family.student(genome, signature, seed=0).eval()
        with torch.no_grad():
            assert student(*inputs)._fields == signature.outputs
        assert sum(parameter.numel() for parameter in student.parameters()) < teacher
        json.dumps(builder_of(student))


def test_every_preset_is_a_valid_documented_space(family):
    for preset in family.presets:
        space = family.space(preset)
        space.validate(space.default())
        assert all(knob.doc for knob in space.knobs)
        assert {knob.stage for knob in space.knobs} | {Stage.SETTLE} == set(Stage)
        assert len(set(space.names)) == len(space.names)


def test_published_networks_have_their_published_counts(family):
    for network in family.published.values():
        model = build(network.builder, **network.arguments)
        assert sum(parameter.numel() for parameter in model.parameters()) == network.parameters


def test_an_unknown_preset_is_refused(family):
    with pytest.raises(ConfigurationError, match="preset 'nope'"):
        family.space("nope")
