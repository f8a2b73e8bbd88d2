"""Occlusion against Captum's, and against what a model of a known patch must give."""

import pytest
import torch
from captum.attr import FeatureAblation
from torch import Tensor, nn

from paretolens.evaluators.eps import EpsSettings, ExplainedSet, TeacherReference, score_eps
from paretolens.evaluators.explain import Occlusion, make_explainer
from paretolens.models.signature import InputKind, InputSpec, Signature


class Toy(nn.Module):
    """A verdict on a video (B, 4, 3, 8, 8) and a sound (B, 6, 5), padding left out."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.look = nn.Parameter(torch.randn(4, 3, 8, 8, generator=generator))
        self.hear = nn.Parameter(torch.randn(6, 5, generator=generator))

    def forward(self, video: Tensor, audio: Tensor, ignore: Tensor) -> Tensor:
        seen = (torch.tanh(video * self.look).flatten(2).sum(2) * ~ignore).sum(1)
        return (seen + 3 * torch.tanh(audio * self.hear).sum((1, 2)))[:, None]


@pytest.fixture
def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    ignore = torch.zeros(3, 4, dtype=torch.bool)
    ignore[0, 2:] = True
    return [torch.randn(3, 4, 3, 8, 8, generator=generator), torch.randn(3, 6, 5, generator=generator), ignore]


BASELINE = [torch.full((1, 4, 3, 8, 8), 0.1), torch.full((1, 6, 5), -0.2), None]


@pytest.mark.parametrize("chunk", [5, 1000])
def test_falls_are_captums(inputs: list[Tensor], chunk: int) -> None:
    model, occlusion = Toy(), Occlusion(cells=3, frames=2, sounds=4, bands=2, chunk=chunk)
    found = occlusion(model, inputs, BASELINE)
    start = (BASELINE[0], BASELINE[1])
    masks = (occlusion.patches((4, 3, 8, 8))[None, :, None], occlusion.patches((6, 5))[None])
    masks = (masks[0], masks[1] + int(masks[0].max()) + 1)
    wanted = FeatureAblation(lambda *x: model(*x)[:, 0]).attribute(
        (inputs[0], inputs[1]), baselines=start, feature_mask=masks, additional_forward_args=(inputs[2],)
    )
    assert found.values[0] is not None and found.values[1] is not None and found.values[2] is None
    torch.testing.assert_close(found.values[0], wanted[0][:, :, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.values[1], wanted[1], atol=1e-5, rtol=0)
    assert found.signed and not found.complete
    torch.testing.assert_close(found.change, model(*inputs)[:, 0].double() - model(*_start(inputs))[:, 0].double())


def _start(inputs: list[Tensor]) -> list[Tensor]:
    return [x if b is None else b.expand_as(x) for x, b in zip(inputs, BASELINE, strict=True)]


def test_patches_cover_an_input_once() -> None:
    occlusion = Occlusion(cells=4, frames=2, sounds=8, bands=3)
    for shape, count in (((8, 3, 64, 64), 4 * 16), ((3, 10, 10), 16), ((80, 13), 10 * 3), ((3, 3, 2, 2), 2 * 4)):
        patches = occlusion.patches(shape)
        assert patches.shape == (shape if len(shape) == 2 else (*shape[: len(shape) - 3], *shape[-2:]))
        assert patches.unique().tolist() == list(range(count))


def test_padding_changes_nothing(inputs: list[Tensor]) -> None:
    values = Occlusion(frames=1)(Toy(), inputs, BASELINE).values[0]
    assert values is not None
    assert (values[0, 2:] == 0).all() and (values[0, :2] != 0).any()


def test_eps_takes_it() -> None:
    specs = (InputSpec(name="video", shape=(4, 3, 8, 8), kind=InputKind.VIDEO, mask="ignore"),)
    specs = (*specs, InputSpec(name="audio", shape=(6, 5), kind=InputKind.AUDIO))
    specs = (*specs, InputSpec(name="ignore", shape=(4,), kind=InputKind.MASK))
    generator = torch.Generator().manual_seed(2)
    clips = [torch.randn(6, 4, 3, 8, 8, generator=generator), torch.randn(6, 6, 5, generator=generator)]
    clips.append(torch.zeros(6, 4, dtype=torch.bool))
    explained = ExplainedSet.of_tensors(Signature(inputs=specs, outputs=("logit",)), clips, BASELINE)
    settings = EpsSettings(explainer="occlusion", second="none", population="all", pixels=False, video_grid=4)
    reference = TeacherReference.compute(Toy(), explained, settings)
    assert isinstance(make_explainer("occlusion"), Occlusion)
    assert score_eps(Toy(), reference).eps == pytest.approx(1.0)
