import pytest
import torch

from paretolens.errors import ConfigurationError
from paretolens.models.genconvit import CONVNEXTS, GenConvit


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_published_network_has_30_157_753_parameters() -> None:
    model = GenConvit()
    assert count(model) == 30_157_753
    assert count(model.autoencoder.encoder) == 448 + 4_640 + 18_496 + 73_856 + 295_168
    assert count(model.autoencoder.decoder) == 131_200 + 32_832 + 8_224 + 2_064 + 195
    assert count(model.backbone) == 28_589_128


def test_the_reconstruction_is_as_large_as_the_picture_and_is_seen_by_the_same_network() -> None:
    torch.manual_seed(0)
    model = GenConvit(convnext="mote", width=0.25, embed=24, hidden=10, outputs=0).eval()
    image = torch.randn(2, 3, 64, 96)
    made = model.autoencoder(image)
    assert made.shape == image.shape
    assert float(made.detach().min()) >= 0  # a ReLU ends the decoder
    joined = torch.cat([model.backbone(made), model.backbone(image)], dim=1)
    gelu = torch.nn.functional.gelu
    torch.testing.assert_close(model(image), gelu(model.join(gelu(joined))))


def test_smaller_ones_are_smaller() -> None:
    sizes = [count(GenConvit(convnext=name, width=0.5, embed=8, hidden=8, outputs=1)) for name in ("nano", "atto", "mote")]
    assert sizes == sorted(sizes, reverse=True)
    assert "tiny" in CONVNEXTS
    with pytest.raises(ConfigurationError, match="'small' is not known"):
        GenConvit(convnext="small")
