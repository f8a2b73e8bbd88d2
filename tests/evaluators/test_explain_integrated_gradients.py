from collections.abc import Callable

import pytest
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor, nn

from paretolens.errors import BackendError, ConfigurationError, TrialError
from paretolens.evaluators.eps import ExplainedSet
from paretolens.evaluators.explain import IntegratedGradients, logit_of

Make = Callable[[int], nn.Module]


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_parity_with_captum_on_two_inputs_and_masks(tiny_detector: Make, tiny_explained: ExplainedSet, chunk: int) -> None:
    model = tiny_detector(3).eval()
    inputs, baseline = [x[:5] for x in tiny_explained.inputs], tiny_explained.baseline
    found = IntegratedGradients(nodes=12, probes=0, doublings=0, chunk=chunk)(model, inputs, baseline)
    captum = CaptumIntegratedGradients(lambda v, a, vm, am: model(v, a, vm, am).logit[:, 0])
    expected = captum.attribute(
        (inputs[0], inputs[1]),
        (baseline[0], baseline[1]),
        additional_forward_args=(inputs[2], inputs[3]),
        n_steps=12,
        method="gausslegendre",
    )
    for mine, theirs in zip(found.values[:2], expected, strict=True):
        assert mine is not None
        assert float((mine - theirs).abs().max()) <= 1e-5
    assert found.values[2:] == (None, None)


@pytest.mark.parametrize("probes", [0, 24])
def test_completeness(tiny_detector: Make, tiny_explained: ExplainedSet, probes: int) -> None:
    model = tiny_detector(4).eval()
    found = IntegratedGradients(nodes=32, probes=probes)(model, tiny_explained.inputs, tiny_explained.baseline)
    start = [x if b is None else b.expand_as(x) for x, b in zip(tiny_explained.inputs, tiny_explained.baseline, strict=True)]
    with torch.no_grad():
        change = (model(*tiny_explained.inputs).logit - model(*start).logit)[:, 0].double()
    total = sum(s for s in found.sums() if s is not None)
    torch.testing.assert_close(found.change, change, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.as_tensor(total), change, atol=2e-3, rtol=0)
    torch.testing.assert_close(found.delta, torch.as_tensor(total) - found.change)
    assert bool(found.converged.all())


def test_padding_gets_no_attribution(tiny_detector: Make, tiny_explained: ExplainedSet) -> None:
    found = IntegratedGradients()(tiny_detector(5), tiny_explained.inputs, tiny_explained.baseline)
    video, audio = found.values[:2]
    assert video is not None and audio is not None
    assert float(video[tiny_explained.inputs[2]].abs().max()) == 0.0
    assert float(audio[tiny_explained.inputs[3]].abs().max()) == 0.0


def test_model_is_put_back_as_it_was(tiny_detector: Make, tiny_explained: ExplainedSet) -> None:
    model = tiny_detector(6).train()
    model.picture[1].eval()  # type: ignore[index, operator, union-attr]  # a frozen norm inside of a training model
    model.sound.requires_grad_(False)  # type: ignore[operator, union-attr]
    modes, wanted = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    IntegratedGradients()(model, tiny_explained.inputs, tiny_explained.baseline)
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(x.requires_grad for x in tiny_explained.inputs)


class Step(nn.Module):
    """A logit that jumps by 8 in the middle of the path."""

    def forward(self, x: Tensor) -> Tensor:
        return 8.0 * torch.sigmoid(150.0 * (x.flatten(1).mean(1) - 0.5)) + 0.1 * x.flatten(1).sum(1)


def test_adaptive_nodes_converge_where_uniform_ones_do_not() -> None:
    x = 0.6 + torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    baseline = (torch.zeros(1, 1, 4, 4),)
    uniform = IntegratedGradients(nodes=24, probes=0, doublings=0)(Step(), (x,), baseline)
    adaptive = IntegratedGradients(nodes=24, probes=24, doublings=0)(Step(), (x,), baseline)
    assert int(uniform.converged.sum()) < 6
    assert bool(adaptive.converged.all())


class Counting(nn.Module):
    """Half of its way within three thousandths of the path; counts what it is shown only to find out where."""

    def __init__(self) -> None:
        super().__init__()
        self.probed = 0

    def forward(self, x: Tensor) -> Tensor:
        self.probed += len(x) * torch.is_inference_mode_enabled()
        mean = x.flatten(1).mean(1)
        return 4.0 * torch.sigmoid(1500.0 * (mean - 0.271)) + 4.0 * mean


@pytest.mark.parametrize(("probes", "taken"), [(33, 13), (6, 6), (0, 2)])
def test_no_more_is_probed_than_nodes_and_one(probes: int, taken: int) -> None:
    model, x = Counting(), torch.ones(5, 1, 4, 4)
    IntegratedGradients(nodes=12, probes=probes, doublings=0)(model, (x,), (torch.zeros(1, 1, 4, 4),))
    assert model.probed == 5 * taken


def test_a_jump_within_thousandths_of_the_path_is_found() -> None:
    x, baseline = torch.ones(3, 1, 4, 4), (torch.zeros(1, 1, 4, 4),)
    placed, spread = (
        IntegratedGradients(nodes=nodes, probes=probes, doublings=doublings)(Counting(), (x,), baseline)
        for nodes, probes, doublings in ((12, 33, 1), (48, 0, 0))
    )
    assert bool(placed.converged.all()) and not bool(spread.converged.any())
    assert float(placed.delta.abs().max()) < 0.4


def test_only_unconverged_samples_are_doubled() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(8, 1, 4, 4, generator=generator) * torch.tensor([1.0] * 4 + [0.1] * 4).view(-1, 1, 1, 1)
    x[:4] += 0.6
    found = IntegratedGradients(nodes=4, probes=0, doublings=4)(Step(), (x,), (torch.zeros(1, 1, 4, 4),))
    assert found.nodes[4:].tolist() == [4] * 4
    assert int(found.nodes[:4].max()) > 4
    once = IntegratedGradients(nodes=int(found.nodes[0]), probes=0, doublings=0)(Step(), (x[:1],), (torch.zeros(1, 1, 4, 4),))
    assert found.values[0] is not None and once.values[0] is not None
    torch.testing.assert_close(found.values[0][:1], once.values[0])


class Broken(nn.Module):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        total = x.flatten(1).sum(1)
        if self.fault == "detached":
            return total.detach()
        if self.fault == "nan logit":
            return total * torch.nan
        if self.fault == "nan gradient":
            return torch.sqrt(total * 0.0)
        if self.fault == "text":
            return "fake"  # type: ignore[return-value]  # the fault
        return x.flatten(1)


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("detached", BackendError, "cannot be differentiated"),
        ("nan logit", TrialError, "logits that are not finite"),
        ("nan gradient", TrialError, "gradients that are not finite"),
        ("text", BackendError, "returned str"),
        ("two logits", BackendError, "one logit per sample"),
    ],
)
def test_faults_are_one_line(fault: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        IntegratedGradients()(Broken(fault), (torch.rand(2, 3),), (torch.zeros(1, 3),))
    assert "\n" not in str(caught.value)


def test_foreign_inputs_are_refused(tiny_detector: Make) -> None:
    with pytest.raises(ConfigurationError, match="must take the same inputs") as caught:
        IntegratedGradients()(tiny_detector(0), (torch.rand(2, 3),), (torch.zeros(1, 3),))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="one baseline per explained input"):
        IntegratedGradients()(tiny_detector(0), (torch.rand(2, 3),), (None,))


def test_an_input_that_is_not_used_gets_zero() -> None:
    class First(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a.sum(1)

    found = IntegratedGradients()(First(), (torch.rand(2, 3), torch.rand(2, 3)), (torch.zeros(1, 3), torch.zeros(1, 3)))
    assert found.values[1] is not None and not found.values[1].any()


def test_logit_of_tensor_and_tuple() -> None:
    assert logit_of(torch.zeros(3, 1)).shape == (3,)
    assert logit_of(torch.zeros(3)).shape == (3,)
