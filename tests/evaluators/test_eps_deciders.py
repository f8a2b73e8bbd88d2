"""A cascade's EPS is that of the stage that decides each sample."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from paretolens.evaluators.eps import EpsSettings, ExplainedSet, TeacherReference, score_eps
from paretolens.models.signature import InputKind, InputSpec, Signature

SIGNATURE = Signature(inputs=(InputSpec(name="image", shape=(3, 32, 32), kind=InputKind.IMAGE),), outputs=("logit",))
SETTINGS = EpsSettings(samples=8, nodes=4, probes=0, doublings=0, population="all", resamples=50)


class Patch(nn.Module):
    """The mean of one half of the picture."""

    def __init__(self, rows: slice) -> None:
        super().__init__()
        self.rows = rows
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, 32))

    def forward(self, image: Tensor) -> Tensor:
        return (image * self.weight)[:, :, self.rows].mean((1, 2, 3))[:, None] + 0.01 * (image**2).mean((1, 2, 3))[:, None]


class Pair(nn.Module):
    """One decides pictures that are bright in the first corner, the other the rest; the jump is large."""

    def __init__(self) -> None:
        super().__init__()
        self.top, self.bottom = Patch(slice(0, 16)), Patch(slice(16, 32))

    def which(self, image: Tensor) -> Tensor:
        return (image[:, 0, 0, 0] > 0).to(torch.int64)

    def forward(self, image: Tensor) -> Tensor:
        return torch.where(self.which(image)[:, None] == 1, 50 + self.bottom(image), self.top(image))

    def deciders(self, image: Tensor) -> tuple[tuple[nn.Module, ...], Tensor]:
        return (self.top, self.bottom), self.which(image)


@pytest.fixture
def explained() -> Iterator[ExplainedSet]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 3, 32, 32, generator=generator) + 0.5
    images[::2, 0, 0, 0], images[1::2, 0, 0, 0] = 1.0, -1.0
    yield ExplainedSet.of_tensors(SIGNATURE, (images,), (torch.zeros(1, 3, 32, 32),))


def test_each_sample_has_the_score_of_its_decider(explained: ExplainedSet) -> None:
    pair = Pair()
    reference = TeacherReference.compute(pair.top, explained, SETTINGS)
    whole, top, bottom = (score_eps(model, reference, SETTINGS) for model in (pair, pair.top, pair.bottom))
    assert whole.samples.eps[1::2] == pytest.approx(top.samples.eps[1::2])
    assert whole.samples.eps[::2] == pytest.approx(bottom.samples.eps[::2])
    assert top.samples.eps == pytest.approx([1.0] * 8)
    assert whole.samples.eps[::2].max() < 0.5
