"""GenConViT-ED: a picture and what an autoencoder makes of it, seen by one ConvNeXt (Wodajo et al. 2023).

The published network has 30.2M parameters that it uses: encoder 0.39M, decoder 0.17M, ConvNeXt-T with 1000 outputs 28.59M, and
1.00M in the two linear layers behind. Every width is an argument; the defaults are the published ones.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.registry import register
from paretolens.naming import did_you_mean

__all__ = ["CONVNEXTS", "Autoencoder", "GenConvit", "genconvit"]

_PLANES = (16, 32, 64, 128, 256)
CONVNEXTS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "nano": ((2, 2, 8, 2), (80, 160, 320, 640)),
    "pico": ((2, 2, 6, 2), (64, 128, 256, 512)),
    "femto": ((2, 2, 6, 2), (48, 96, 192, 384)),
    "atto": ((2, 2, 6, 2), (40, 80, 160, 320)),
    "mote": ((1, 1, 2, 1), (16, 32, 64, 128)),
}
"""Name → blocks and channels of the four stages; all but `mote`, which is ours for two cores, are published."""


class Autoencoder(nn.Module):
    """(B, 3, H, W) → the same shape, through five halvings; H and W must be divisible by 32."""

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        planes = [max(4, round(width * channels)) for channels in _PLANES]
        down: list[nn.Module] = []
        for inputs, outputs in zip((3, *planes), planes, strict=False):
            down += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        up: list[nn.Module] = []
        for inputs, outputs in zip(planes[::-1], (*planes[-2::-1], 3), strict=True):
            up += [nn.ConvTranspose2d(inputs, outputs, 2, stride=2), nn.ReLU()]
        self.encoder = nn.Sequential(*down)
        self.decoder = nn.Sequential(*up)

    def forward(self, image: Tensor) -> Tensor:
        """The reconstruction."""
        out: Tensor = self.decoder(self.encoder(image))
        return out


class GenConvit(nn.Module):
    """Features of a picture: ConvNeXt's outputs for it and for its reconstruction, joined, GELU, a linear layer, GELU.

    Args:
        convnext: one of `CONVNEXTS`.
        width: multiplier of the autoencoder's channels.
        embed: outputs of the ConvNeXt; published: ImageNet's 1000 classes.
        hidden: width of the features; published: 500.
        outputs: of the last linear layer; published: 2; 0 leaves it out.

    Raises:
        ConfigurationError: an unknown ConvNeXt.
    """

    def __init__(
        self, *, convnext: str = "tiny", width: float = 1.0, embed: int = 1000, hidden: int = 500, outputs: int = 2
    ) -> None:
        super().__init__()
        self.autoencoder = Autoencoder(width=width)
        self.backbone = _convnext(convnext, embed)
        self.join = nn.Linear(2 * embed, hidden)
        self.out: nn.Module = nn.Linear(hidden, outputs) if outputs else nn.Identity()

    def features(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, hidden)."""
        seen = torch.cat([self.backbone(self.autoencoder(image)), self.backbone(image)], dim=1)
        return F.gelu(self.join(F.gelu(seen)))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, outputs), or the features without a last layer."""
        out: Tensor = self.out(self.features(image))
        return out


def _convnext(name: str, outputs: int) -> nn.Module:
    import timm

    if name not in CONVNEXTS:
        raise ConfigurationError(f"convnext {name!r} is not known{did_you_mean(name, tuple(CONVNEXTS))}")
    depths, dims = CONVNEXTS[name]
    built: Any = timm.create_model("convnext_tiny", pretrained=False, num_classes=outputs, depths=depths, dims=dims)
    network: nn.Module = built
    return network


@register("genconvit")
def genconvit(*, convnext: str = "tiny", width: float = 1.0, embed: int = 1000, hidden: int = 500, outputs: int = 2) -> GenConvit:
    """Build a GenConViT-ED by itself; see `GenConvit`."""
    return GenConvit(convnext=convnext, width=width, embed=embed, hidden=hidden, outputs=outputs)
