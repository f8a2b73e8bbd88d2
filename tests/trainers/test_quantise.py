from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from paretolens.errors import ConfigurationError, TrialError
from paretolens.exporters.onnx import export_onnx
from paretolens.models.record import load_model, save_model
from paretolens.spaces.pinpoint import PinpointFamily
from paretolens.trainers.fake_quant import ActivationQuantiser, Grid, Observer, QuantisedLinear, WeightQuantiser
from paretolens.trainers.fold import fold_batch_norms
from paretolens.trainers.losses import hard_loss
from paretolens.trainers.prune import PruneSettings, prune
from paretolens.trainers.quantise import (
    AttentionProducts,
    Placement,
    QuantiseSettings,
    freeze,
    quantise,
    quantisers_off,
)

SETTINGS = QuantiseSettings()


@pytest.fixture
def prepared(model_of, train):
    """A model whose batch norms have seen data."""

    def make(**arguments):
        model = model_of(**arguments).train()
        with torch.no_grad():
            for _ in range(4):
                model(*train.batch(slice(0, 24)))
        return model.eval()

    return make


def quantised(model, train, settings=SETTINGS):
    report = quantise(model, train.batch(slice(0, 2)), settings, batches=[train.batch(slice(0, 24)), train.batch(slice(24, 48))])
    freeze(model)
    return report


def logits(model, train) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(*train.batch(slice(0, 24))).logit


def run_onnx(path, train, *, optimise: bool) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {spec.name: x.numpy() for spec, x in zip(train.signature.inputs, train.batch(slice(0, 24)), strict=True)}
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))


def test_activation_grid_by_hand() -> None:
    x = torch.tensor([-3.0, -1.0, 0.0, 0.3, 1.27, 2.54])
    for grid, wanted in (
        (Grid.INT8, [-2.56, -1.0, 0.0, 0.3, 1.28, 2.54]),
        (Grid.UINT8, [-2.56, -1.0, 0.0, 0.3, 1.28, 2.54]),
        (Grid.UINT8_POSITIVE, [0, 0, 0, 0.3, 1.27, 2.54]),
    ):
        quantiser = ActivationQuantiser(grid=grid).eval()
        quantiser.reach.fill_(2.54 if grid is not Grid.UINT8_POSITIVE else 2.55)
        step = quantiser.step()
        assert step == pytest.approx(0.02 if grid is not Grid.UINT8_POSITIVE else 0.01)
        assert torch.allclose(quantiser(x), torch.tensor(wanted), atol=float(step) / 2 + 1e-6)
        assert torch.allclose((quantiser(x) / step).round() * step, quantiser(x), atol=1e-6)
        assert quantiser(torch.zeros(1)) == 0


def test_observers() -> None:
    x = torch.linspace(-1, 1, 1001)
    x[0] = -100.0
    largest, most = ActivationQuantiser(), ActivationQuantiser(observer=Observer.PERCENTILE, percentile=0.99)
    largest(x), most(x)
    assert largest.reach == 100
    assert 0.97 < float(most.reach) < 1.0
    largest(torch.zeros(3))
    assert largest.reach == pytest.approx(95.0)  # momentum .05
    largest.eval()(torch.full((3,), 1e6))
    assert largest.reach == pytest.approx(95.0)


def test_weight_steps_are_per_channel_and_transposing_changes_nothing() -> None:
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 1, 5)[:, None]
    quantiser = WeightQuantiser(channels=5)
    rounded = quantiser(weight)
    steps = weight.abs().amax(1, keepdim=True) / 127
    assert torch.allclose(rounded, torch.clamp((weight / steps).round(), -128, 127) * steps, atol=1e-7)
    assert torch.equal(quantiser(weight.t(), 1).t(), rounded)


def test_gradients_pass_straight_through_where_nothing_is_clipped() -> None:
    quantiser = ActivationQuantiser().eval()
    quantiser.reach.fill_(1.0)
    x = torch.tensor([0.31, 5.0], requires_grad=True)
    quantiser(x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v3_small", "mobilenetv4_conv_small", "shufflenet_v2_x0_5"])
def test_folding_changes_no_answer(prepared, train, backbone: str) -> None:
    model = prepared(backbone=backbone, backbone_width=0.5)
    before = logits(model, train)
    folded = fold_batch_norms(model, train.batch(slice(0, 2)))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert len(folded) > 15
    assert torch.allclose(logits(model, train), before, atol=1e-4)


def test_folding_notices_a_second_reader() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
            self.norm.running_mean += 1  # type: ignore[operator]

        def forward(self, x):
            y = self.conv(x)
            return (self.norm(y) + y,)

    with pytest.raises(TrialError, match="cannot be folded"):
        fold_batch_norms(Fork(), (torch.randn(2, 3, 4, 4),))


@pytest.mark.parametrize("placement", list(Placement))
@pytest.mark.parametrize("head", ["gru", "tcn"])
def test_the_exported_graph_answers_as_the_model(prepared, train, tmp_path, placement: Placement, head: str) -> None:
    model = prepared(audio_head=head)
    plain = logits(model, train)
    report = quantised(model, train, replace(SETTINGS, placement=placement))
    rounded = logits(model, train)
    assert 0 < float((rounded - plain).abs().max()) < 0.25 * float(plain.std()) + 0.1
    artefact = export_onnx(model, train.signature, train.batch(slice(0, 2)), tmp_path / "model.onnx")
    assert artefact.precision == "int8"
    assert artefact.folded == sum(layer.quantised and layer.kind != "matmul" for layer in report.layers)
    exact = run_onnx(tmp_path / "model.onnx", train, optimise=False)["logit"]
    # a sum in another order may round one activation to its neighbour; such a step moves a logit by less than 1 % of its spread
    assert np.median(np.abs(exact - rounded.numpy())) <= 1e-4
    assert np.abs(exact - rounded.numpy()).max() <= 0.02 * float(rounded.std()) + 1e-4
    fast = run_onnx(tmp_path / "model.onnx", train, optimise=True)["logit"]
    assert np.abs(fast - rounded.numpy()).mean() <= 0.1 * float(rounded.std())  # bias and sums are integers there


def test_onnx_runtime_melts_every_convolution(prepared, train, tmp_path) -> None:
    model = prepared(backbone_width=0.25)
    quantised(model, train)
    export_onnx(model, train.signature, train.batch(slice(0, 2)), tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == 20 + 2  # resnet18 and the two audio convolutions
    assert not {"Conv", "FusedConv"} & set(kinds)
    assert "MatMulIntegerToFloat" in kinds
    assert kinds.count("SpaceToDepth") == 1, "the stem sees squares of pixels"


def test_what_stays_in_float_is_listed_with_reasons(prepared, train) -> None:
    model = prepared(backbone="mobilenet_v3_small", backbone_width=0.5)
    report = quantised(model, train, replace(SETTINGS, depthwise=False))
    reasons = {layer.path: layer.reason for layer in report.left_in_float}
    assert {"verdict", "offset", "audio.head", "blocks.0.gate", "blocks.0.cross.scores"} <= set(reasons)
    assert any("depthwise" in reason for reason in reasons.values())
    assert any("squeeze" in reason for reason in reasons.values())
    assert all(reasons.values())
    rounded = {layer.path for layer in report.layers if layer.quantised}
    assert {"blocks.0.cross.q", "blocks.0.ffn.expand", "video.project", "audio.convs.0"} <= rounded


def test_gates_are_rounded_where_that_is_asked_for(prepared, train) -> None:
    model = prepared(backbone="mobilenet_v3_small", backbone_width=0.5)
    report = quantised(model, train, replace(SETTINGS, gates=True, keep=()))
    assert {layer.path for layer in report.left_in_float if layer.kind != "matmul"} == {"verdict", "offset", "audio.head"}
    assert isinstance(model.blocks[0].gate, QuantisedLinear)
    assert torch.isfinite(logits(model, train)).all()


def test_attention_products_follow_the_placement(prepared, train) -> None:
    for settings, wanted in (
        (replace(SETTINGS, placement=Placement.TENSORRT), True),
        (SETTINGS, False),
        (replace(SETTINGS, attention=AttentionProducts.INT8), True),
        (replace(SETTINGS, placement=Placement.TENSORRT, attention=AttentionProducts.FLOAT), False),
    ):
        model = prepared()
        quantised(model, train, settings)
        assert isinstance(model.blocks[0].cross.scores.left, ActivationQuantiser) is wanted


def test_tensorrt_gets_signed_integers_around_zero_only(prepared, train, tmp_path) -> None:
    model = prepared()
    quantised(model, train, replace(SETTINGS, placement=Placement.TENSORRT))
    export_onnx(model, train.signature, train.batch(slice(0, 2)), tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    constants |= {n.output[0]: onnx.numpy_helper.to_array(n.attribute[0].t) for n in graph.node if n.op_type == "Constant"}
    zeros = [constants[node.input[2]] for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert zeros
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)


def test_training_goes_on_under_quantisers(prepared, train) -> None:
    model = prepared()
    quantise(model, train.batch(slice(0, 2)), SETTINGS, batches=[train.batch(slice(0, 24))])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    model.train()
    for _ in range(25):
        loss = hard_loss(model(*train.batch(slice(0, 24))).logit, train.targets(slice(0, 24)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_the_float_twin(prepared, train) -> None:
    model = prepared()
    plain = logits(model, train)
    quantised(model, train)
    rounded = logits(model, train)
    with quantisers_off(model) as twin:
        assert torch.allclose(logits(twin, train), plain, atol=1e-4)
    assert torch.equal(logits(model, train), rounded)
    assert not torch.equal(rounded, plain)


def test_a_pruned_and_quantised_model_is_saved_and_rebuilt(prepared, train, tmp_path) -> None:
    model = prepared()
    prune(model, train.batch(slice(0, 2)), PruneSettings(ratio=0.5), PinpointFamily().pruning_rules(model))
    quantised(model, train)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert torch.equal(logits(again, train), logits(model, train))
    assert set(again.state_dict()) == set(model.state_dict())


def test_quantising_twice_or_without_clips_is_refused(prepared, train) -> None:
    model = prepared()
    with pytest.raises(ConfigurationError, match="at least one batch"):
        quantise(model, train.batch(slice(0, 2)), SETTINGS, batches=[])
    with pytest.raises(ConfigurationError, match="quantised once"):
        quantise(model, train.batch(slice(0, 2)), SETTINGS, batches=[train.batch(slice(0, 4))])
