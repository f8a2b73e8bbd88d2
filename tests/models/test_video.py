import pytest
import torch

from paretolens.errors import ConfigurationError
from paretolens.models.video import FrameSampler, frame_index


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 4, [0, 2, 4, 6]),
        (8, 3, [0, 2, 5]),
        (30, 8, [0, 3, 7, 11, 15, 18, 22, 26]),
        (5, 1, [0]),
    ],
)
def test_frames_are_the_first_of_equal_periods(inputs, outputs, expected):
    assert frame_index(inputs, outputs) == expected


@pytest.mark.parametrize("outputs", [0, 9])
def test_more_frames_than_the_input_has_are_refused(outputs):
    with pytest.raises(ConfigurationError, match=f"between 1 and the input's 8; got {outputs}"):
        frame_index(8, outputs)


def test_a_whole_factor_averages_squares_of_the_chosen_frames():
    video = torch.randn(2, 8, 3, 64, 64)
    ignore = torch.arange(16).reshape(2, 8) % 3 == 0
    frames, mask = FrameSampler(input_frames=8, frames=4, input_size=64, frame_size=32)(video, ignore)
    expected = video.reshape(2, 8, 3, 32, 2, 32, 2).mean((4, 6))[:, ::2].reshape(8, 3, 32, 32)
    torch.testing.assert_close(frames, expected)
    assert torch.equal(mask, ignore[:, ::2])


@pytest.mark.parametrize(("size", "target"), [(64, 48), (128, 112), (128, 48)])
def test_other_sizes_keep_the_mean_and_a_linear_picture(size, target):
    ramp = torch.linspace(-1, 1, size).expand(1, 1, 3, size, size)
    frames, _ = FrameSampler(input_frames=1, frames=1, input_size=size, frame_size=target)(
        ramp, torch.zeros(1, 1, dtype=torch.bool)
    )
    assert frames.shape == (1, 3, target, target)
    row = frames[0, 0, 0]
    centres = (torch.arange(target) + 0.5) * size / target - 0.5
    expected = -1 + 2 * centres / (size - 1)
    torch.testing.assert_close(row[2:-2], expected[2:-2], atol=0.01, rtol=0)


@pytest.mark.parametrize("target", [64, 48, 32, 21, 16])
def test_a_gradient_changes_no_bit_of_the_frames(target):
    """Without one, frames are pooled in another way (see `_pools_with_torch`)."""
    sampler = FrameSampler(input_frames=4, frames=2, input_size=64, frame_size=target, sharpen=4.0)
    video, ignore = torch.randn(3, 4, 3, 64, 64), torch.zeros(3, 4, dtype=torch.bool)
    leaf = video.clone().requires_grad_()
    by_torch = sampler(leaf, ignore)[0]
    assert torch.equal(sampler(video, ignore)[0], by_torch)
    with torch.no_grad():
        assert torch.equal(sampler(leaf, ignore)[0], by_torch)
    by_torch.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad[:, ::2].abs().sum() > 0


@pytest.mark.parametrize("target", [8, 65])
def test_a_larger_or_tiny_frame_is_refused(target):
    with pytest.raises(ConfigurationError, match=f"between 16 and the input's 64; got {target}"):
        FrameSampler(input_frames=8, frames=8, input_size=64, frame_size=target)


def test_torch_export_takes_the_samplers_pooling_as_it_is() -> None:
    """The faster way writes into slices, which LiteRT's converter does not lower."""
    sampler = FrameSampler(input_frames=4, frames=2, input_size=32, frame_size=16, sharpen=1.0).eval()
    example = (torch.randn(1, 4, 3, 32, 32), torch.zeros(1, 4, dtype=torch.bool))
    with torch.no_grad():
        graph = torch.export.export(sampler, example).graph
    called = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert sum("avg_pool2d" in name for name in called) == 2
    assert not [name for name in called if "empty" in name or name.endswith("_.Tensor")]
