"""The affine start of a model runs once per sample: found where it is, refused where it is not, exact either way."""

from collections.abc import Callable

import pytest
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor, nn

from paretolens.evaluators.eps import ExplainedSet
from paretolens.evaluators.explain import IntegratedGradients, Paths, gauss_legendre, held_still, norms_folded
from paretolens.evaluators.explain.stem import find_cut

Make = Callable[[int], nn.Module]


class Sharpened(nn.Module):
    """Frames chosen, sharpened and shrunk before the first convolution, as detectors do it; an activation in place after it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.Hardswish(inplace=True))
        self.last = nn.Linear(4, 1)

    def forward(self, video: Tensor) -> Tensor:
        frames = video[:, ::2].flatten(0, 1)
        frames = nn.functional.avg_pool2d(frames + 4.0 * (frames - nn.functional.avg_pool2d(frames, 3, 1, 1)), 2)
        seen = self.first(frames).mean((2, 3)).unflatten(0, (len(video), -1))
        logit: Tensor = self.last(seen.square().mean(1))
        return logit


class Bent(Sharpened):
    """Squares its input before the convolution: nothing there is affine."""

    def forward(self, video: Tensor) -> Tensor:
        return super().forward(video.square())


class Twice(Sharpened):
    """Reads its input a second time, past the convolution."""

    def forward(self, video: Tensor) -> Tensor:
        return super().forward(video) + video.square().mean((1, 2, 3, 4))[:, None]


class TimeFirst(nn.Module):
    """Folds time before the batch, so that rows of a sample do not lie together."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, video: Tensor) -> Tensor:
        seen = self.conv(video.transpose(0, 1).flatten(0, 1)).tanh().mean((1, 2, 3))
        return seen.unflatten(0, (video.shape[1], -1)).square().mean(0)


def clips(count: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 4, 3, 16, 16, generator=generator), torch.randn(1, 4, 3, 16, 16, generator=generator)


@pytest.mark.parametrize(("make", "name"), [(Sharpened, "first.0"), (Bent, None), (Twice, None), (TimeFirst, None)])
def test_a_stem_is_found_only_where_it_is_one_and_gradients_are_captums(make: type[nn.Module], name: str | None) -> None:
    torch.manual_seed(1)
    model = make().eval()
    x, baseline = clips()
    with held_still(model), norms_folded(model, (x[:2],)):
        cut = find_cut(model, (x,), (baseline,))
    assert (None if cut is None else cut.name) == name
    found = IntegratedGradients(nodes=12, probes=0, doublings=0, chunk=7)(model, (x,), (baseline,)).values[0]
    expected = CaptumIntegratedGradients(lambda v: model(v).reshape(-1)).attribute(x, baseline, n_steps=12)
    assert found is not None
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_points_and_gradients_are_the_whole_models(tiny_detector: Make, tiny_explained: ExplainedSet, chunk: int) -> None:
    model, inputs, baseline = tiny_detector(3), tiny_explained.inputs, tiny_explained.baseline
    position, weight = gauss_legendre(len(inputs[0]), 6)
    with held_still(model), norms_folded(model, [x[:2] for x in inputs]):
        cut = find_cut(model, inputs, baseline)
        assert cut is not None and cut.name == "picture.0" and cut.rows == 4
        whole, short = (Paths(model, inputs, baseline, chunk=chunk, cut=used) for used in (None, cut))
        torch.testing.assert_close(short.logits(position), whole.logits(position), atol=1e-6, rtol=1e-5)
        for mine, theirs in zip(short.gradient_sums(position, weight), whole.gradient_sums(position, weight), strict=True):
            assert (mine is None) == (theirs is None)
            if mine is not None and theirs is not None:
                torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
    assert "forward" not in vars(model.get_submodule("picture.0"))


def test_a_chosen_few_of_the_paths(tiny_detector: Make, tiny_explained: ExplainedSet) -> None:
    model = tiny_detector(3)
    with held_still(model):
        paths = Paths(model, tiny_explained.inputs, tiny_explained.baseline, chunk=8)
        position = torch.linspace(0, 1, 3, dtype=torch.float64).expand(len(paths), -1)
        some = paths.rows(torch.tensor([4, 1]))
        torch.testing.assert_close(some.logits(position[:2]), paths.logits(position)[[4, 1]])
