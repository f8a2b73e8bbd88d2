from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from paretolens.errors import BackendError, ConfigurationError
from paretolens.evaluators.cost import MacCounter, count_cost, peak_memory
from paretolens.models.attention import Attention


class Attend(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention(width=16, heads=4)

    def forward(self, query: Tensor, memory: Tensor) -> Tensor:
        out: Tensor = self.attention(query, memory, torch.zeros(memory.shape[:2], dtype=torch.bool))[0]
        return out


def layer(width: int, hidden: int) -> nn.Module:
    return nn.TransformerEncoderLayer(width, 4, hidden, batch_first=True)


@pytest.mark.parametrize(
    ("model", "shapes", "macs"),
    [
        (nn.Linear(5, 7, bias=False), [(3, 5)], 5 * 7),
        (nn.Conv2d(3, 8, 3, 2, 1), [(2, 3, 16, 16)], 8 * 8 * 8 * 3 * 9),
        (nn.Conv2d(8, 8, 3, 1, 1, groups=8), [(1, 8, 10, 10)], 8 * 100 * 9),
        (nn.Conv1d(13, 32, 3, 1, 1), [(4, 13, 20)], 20 * 32 * 13 * 3),
        (nn.GRU(13, 32, batch_first=True), [(2, 10, 13)], 10 * 3 * 32 * (13 + 32)),
        (nn.LSTM(13, 32, batch_first=True), [(2, 10, 13)], 10 * 4 * 32 * (13 + 32)),
        (Attend(), [(2, 10, 16), (2, 6, 16)], (10 * 2 + 6 * 2) * 16 * 16 + 2 * 10 * 6 * 16),
        (layer(32, 64), [(2, 10, 32)], 10 * 32 * 32 * 4 + 2 * 10 * 32 * 64 + 2 * 10 * 10 * 32),
    ],
    ids=["linear", "conv", "depthwise", "conv1d", "gru", "lstm", "attention", "encoder"],
)
def test_macs_equal_hand_counts(model: nn.Module, shapes: list[tuple[int, ...]], macs: int) -> None:
    cost = count_cost(model, [torch.randn(shape) for shape in shapes])
    assert cost.macs == macs
    assert cost.counter is MacCounter.TORCH
    assert cost.parameters == sum(value.numel() for value in model.parameters())


def test_fvcore_agrees_on_convolutions_and_misses_attention() -> None:
    conv, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 4)), [torch.randn(1, 3, 8, 8)]
    assert count_cost(conv, x, counter=MacCounter.FVCORE).macs == count_cost(conv, x).macs == 8 * 36 * 27 + 8 * 36 * 4
    encoder, tokens = layer(32, 64), [torch.randn(1, 10, 32)]
    assert count_cost(encoder, tokens, counter=MacCounter.FVCORE).macs < count_cost(encoder, tokens).macs


def test_shared_parameters_count_once_and_modes_stay() -> None:
    first = nn.Linear(4, 4)
    model = nn.Sequential(first, nn.Dropout(), first).train()
    model[1].eval()
    assert count_cost(model, [torch.randn(1, 4)]).parameters == 20
    assert [module.training for module in model.modules()] == [True, True, False]
    assert torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(ConfigurationError, match="at least one sample"):
        count_cost(model, [torch.randn(0, 4)])


def product(path: Path, size: int) -> Path:
    """x @ W with W of size × size floats."""
    value = helper.make_tensor_value_info
    weight = numpy_helper.from_array(torch.randn(size, size).numpy(), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    shapes = [value("x", TensorProto.FLOAT, ["n", size])], [value("y", TensorProto.FLOAT, ["n", size])]
    graph = helper.make_graph([node], "g", *shapes, [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_peak_memory_sees_weights_and_batch(tmp_path: Path) -> None:
    small = peak_memory(product(tmp_path / "small.onnx", 64))
    large_file = product(tmp_path / "large.onnx", 3000)  # 36 MB of weights
    large = peak_memory(large_file)
    assert large.model_bytes - small.model_bytes > 30e6
    assert large.process_bytes > large.model_bytes
    assert small.process_bytes < 200e6  # runtime and numpy, no torch
    batched = peak_memory(large_file, batch=1500)  # inputs and outputs of 18 MB each
    assert batched.model_bytes - large.model_bytes > 20e6


def test_peak_memory_of_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x07garbage")
    with pytest.raises(BackendError, match=r"peak memory of broken\.onnx could not be measured: .*IntegrityError"):
        peak_memory(tmp_path / "broken.onnx")
