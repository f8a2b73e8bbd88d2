import pytest
import torch
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.models.receptive import Field, exact_pooling
from paretolens.models.registry import build
from paretolens.models.tiny_ladeda import TINY_FIELDS, TINY_STRIDES, layout

SMALL = {"width": 4, "depths": [1, 1, 1, 1], "prefilter": "raw"}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def image(side: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


def seen_by(model: nn.Module, cells: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """(H, W) bool, the pixels that a cell's value depends on."""
    return torch.autograd.grad(cells, x, retain_graph=True)[0].abs().sum((0, 1)) > 0


def square(top: int, left: int, size: int, side: int) -> torch.Tensor:
    found = torch.zeros(side, side, dtype=torch.bool)
    found[top : top + size, left : left + size] = True
    return found


def smooth(model: nn.Module) -> nn.Module:
    """ReLUs let no gradient through where they are 0; in place of them, something that always does."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.ReLU):
            model.set_submodule(name, nn.Softplus())
    return model.eval()


def test_ladeda9_has_13_641_793_parameters_and_31_patches_a_side_of_256_pixels():
    model = build("ladeda").eval()
    assert count(model) == 13_641_793
    assert model.patch_field == Field(size=9, stride=8)
    assert model.patch_field.cells(256) == 31
    with torch.no_grad():
        out = model(image(256))
    assert out.patches.shape == (1, 31, 31)
    torch.testing.assert_close(out.logit, out.patches.mean((1, 2))[:, None])


@pytest.mark.parametrize(("field", "parameters"), [(5, 13_510_721), (9, 13_641_793), (17, 14_166_081), (33, 16_263_233)])
def test_each_wider_field_makes_one_more_convolution_3_by_3(field, parameters):
    assert count(build("ladeda", field=field)) == parameters
    small = build("ladeda", **{**SMALL, "field": field}).eval()
    assert small.patch_field == Field(size=field, stride=8)
    assert small(image(96)).patches.shape[1:] == (small.patch_field.cells(96),) * 2


def test_tiny_ladeda_has_1_297_parameters_and_126_patches_a_side_of_256_pixels():
    model = build("tiny-ladeda").eval()
    assert count(model) == 1_297
    assert model.patch_field == Field(size=5, stride=2)
    assert model(image(256)).patches.shape == (1, 126, 126)


@pytest.mark.parametrize("field", [5, 9, 17, 33])
def test_a_patch_of_the_teacher_sees_its_pixels_and_no_others(field):
    model = smooth(build("ladeda", **{**SMALL, "field": field}))
    x = image(64).requires_grad_()
    patches = model(x).patches
    assert torch.equal(seen_by(model, patches[0, 2, 1], x), square(16, 8, field, 64))


LAYOUTS = [(n, field, stride) for n in (1, 2, 3) for field in TINY_FIELDS for stride in TINY_STRIDES if field > 2 * n]


@pytest.mark.parametrize(("layers", "field", "stride"), LAYOUTS)
def test_a_patch_of_a_student_sees_its_pixels_without_a_gap(layers, field, stride):
    model = smooth(build("tiny-ladeda", layers=layers, field=field, stride=stride, prefilter="raw"))
    x = image(40).requires_grad_()
    patches = model(x).patches
    assert model.patch_field == Field(size=field, stride=stride)
    assert patches.shape[1] == model.patch_field.cells(40)
    assert torch.equal(seen_by(model, patches[0, 3, 2], x), square(3 * stride, 2 * stride, field, 40))


@pytest.mark.parametrize(("layers", "field", "stride"), LAYOUTS)
def test_pooled_patches_of_a_student_see_what_the_teachers_see(layers, field, stride):
    teacher = build("ladeda", **SMALL).patch_field
    student = smooth(build("tiny-ladeda", layers=layers, field=field, stride=stride, prefilter="raw"))
    pooling = exact_pooling(student.patch_field, teacher)
    if (teacher.size - field) % stride:
        assert pooling is None
        return
    assert pooling is not None
    x = image(64).requires_grad_()
    cells = pooling(student(x).patches)
    assert cells.shape[1] >= teacher.cells(64) == 7
    for row, column in ((0, 0), (3, 5), (6, 6)):
        assert torch.equal(seen_by(student, cells[0, row, column], x), square(8 * row, 8 * column, 9, 64))


def test_the_published_pair_meets_by_a_mean_of_3_cells_every_4():
    pooling = exact_pooling(Field(size=5, stride=2), Field(size=9, stride=8))
    assert pooling is not None
    assert (pooling.kernel, pooling.stride) == (3, 4)
    assert pooling(torch.zeros(1, 126, 126)).shape == (1, 31, 31)


def test_a_student_that_sees_more_than_the_teacher_has_no_exact_pooling():
    assert exact_pooling(Field(size=9, stride=2), Field(size=5, stride=8)) is None
    assert exact_pooling(Field(size=5, stride=3), Field(size=9, stride=8)) is None


def test_the_verdict_is_the_mean_of_the_highest_patches():
    model = build("tiny-ladeda", top_share=0.1).eval()
    out = model(image(32, batch=2))
    flat = out.patches.flatten(1).sort(descending=True).values
    torch.testing.assert_close(out.logit[:, 0], flat[:, :20].mean(1))  # ⌈.1 · 14²⌉
    few = build("tiny-ladeda", top_share=0.02).eval()(image(24))
    torch.testing.assert_close(few.logit[0, 0], few.patches.flatten().topk(5).values.mean())


def test_prefilters_take_flat_pictures_away():
    flat = torch.full((1, 3, 21, 17), 0.7)
    for kind in ("diagonal", "nearest"):
        model = build("tiny-ladeda", prefilter=kind)
        filtered = model.prefilter(flat)
        assert filtered.shape == flat.shape
        torch.testing.assert_close(filtered[..., 1:-1, 1:-1], torch.zeros(1, 3, 19, 15), atol=1e-6, rtol=0)
    x = image(16)
    reference = x - nn.functional.interpolate(
        nn.functional.interpolate(x, scale_factor=0.5, mode="nearest"), scale_factor=2, mode="nearest"
    )
    torch.testing.assert_close(build("tiny-ladeda", prefilter="nearest").prefilter(x), reference)


@pytest.mark.parametrize(("name", "side"), [("tiny-ladeda", 64), ("ladeda", 65)])
def test_heat_maps_lie_on_what_the_patches_saw(name, side):
    model = build(name, **(SMALL if name == "ladeda" else {"prefilter": "raw"})).eval()
    field = model.patch_field
    with torch.no_grad():
        patches, places = model(image(side)).patches[0], model.patch_logits(image(side))["image"][0]
    assert places.shape == (-(-side // field.stride),) * 2
    for place in range(len(places)):
        centre = (place + 0.5) * field.stride
        centres = torch.arange(len(patches)) * field.stride + field.size / 2
        nearest = (centres - centre).abs()
        assert any(torch.equal(places[place, 0], patches[row, 0]) for row in torch.nonzero(nearest == nearest.min())[:, 0])


def test_every_parameter_learns():
    for model in (build("ladeda", **SMALL), build("tiny-ladeda", layers=3, field=9, top_share=0.5)):
        model.train()(image(64, batch=4)).logit.square().sum().backward()
        assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ladeda", {"field": 11}, "field must be one of 5, 9, 17, 33 pixels; got 11"),
        ("ladeda", {"depths": [1, 1, 1]}, "depths four numbers"),
        ("ladeda", {"prefilter": "nearst"}, r"did you mean nearest\?"),
        ("ladeda", {"stem_momentum": 0}, "stem_momentum must be above 0"),
        ("tiny-ladeda", {"field": 6}, "sees 5, 7 or 9 pixels"),
        ("tiny-ladeda", {"layers": 3, "field": 5}, "3 3×3 layers see at least 7 pixels; got field 5"),
        ("tiny-ladeda", {"width": 0}, "width must be at least 1; got 0"),
        ("tiny-ladeda", {"top_share": 0}, "top_share must be above 0"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(name, change, message):
    with pytest.raises(ConfigurationError, match=message):
        build(name, **change)


def test_a_picture_smaller_than_a_patch_is_refused():
    with pytest.raises(ConfigurationError, match="at least as large as one patch, 9 pixels; got 8"):
        Field(size=9, stride=8).cells(8)


def test_layouts_name_what_they_cannot_make():
    assert layout(2, 5, 2).convolutions == ((1, 1), (2, 1))
    assert layout(1, 9, 4).mean == (4, 2)
    with pytest.raises(ConfigurationError, match="moves by 2 or 4"):
        layout(2, 5, 3)
