"""Efficient ViT: one transformer over the last features of an EfficientNet-B0, the plain sibling of Cross Efficient ViT.

Coccomini et al. 2022 (ICIAP). Its published code adds a position by the picture's place in the batch; here positions belong to
tokens, so that a picture is judged alike in every batch.
"""

from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.registry import register
from paretolens.models.signature import Verdict
from paretolens.models.transformer import Layer, Tokens
from paretolens.models.trunk import HEAD, Trunk, grid_of

__all__ = ["EfficientViT", "efficient_vit"]

ROWS = 32
"""Positions that the published network holds."""


class EfficientViT(nn.Module):
    """The whole detector."""

    def __init__(self, *, trunk: Trunk, tokens: Tokens, layers: list[Layer], width: int, hidden: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.tokens = tokens
        self.layers = nn.ModuleList(layers)
        self.verdict = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, image: Tensor) -> Verdict:
        """Judge pictures (B, 3, H, H), scaled as the preprocessing says."""
        x = self.tokens(self.trunk(image)[0])
        for layer in self.layers:
            x = layer(x)
        return Verdict(self.verdict(x[:, 0]))


@register("efficient-vit")
def efficient_vit(
    *,
    input_size: int = 224,
    backbone_width: float = 1.0,
    patch: int = 7,
    width: int = 1024,
    depth: int = 6,
    heads: int = 8,
    head_dim: int = 64,
    hidden: int = 2048,
    dropout: float = 0.15,
    whole: bool = False,
) -> EfficientViT:
    """Build an Efficient ViT; the defaults are the published one without what never runs.

    Args:
        input_size: side of the pictures in pixels.
        backbone_width: width multiplier of EfficientNet-B0.
        patch: places of the last map along a side of a patch.
        width: of the tokens.
        depth: layers.
        heads: attention heads of every layer.
        head_dim: width of one head.
        hidden: hidden width of every feed-forward layer and of the verdict's.
        dropout: of tokens, attention and feed-forward, 0 ≤ p < 1.
        whole: hold the classifier and the positions that never run, so that its parameters count as published.

    Raises:
        ConfigurationError: a size is below 1, the dropout is outside of its range, or the patch does not divide the map.
    """
    if min(width, depth, heads, head_dim, hidden) < 1 or not 0 <= dropout < 1:
        raise ConfigurationError(
            "width, depth, heads, head_dim and hidden must be at least 1 and dropout in 0 to below 1; "
            f"got {width}, {depth}, {heads}, {head_dim}, {hidden} and {dropout:g}"
        )
    trunk = Trunk(width=backbone_width, ends=(HEAD,), whole=whole)
    tokens = Tokens(
        channels=trunk.channels[0],
        grid=grid_of(input_size, HEAD),
        patch=patch,
        width=width,
        dropout=dropout,
        rows=ROWS if whole else None,
    )
    layers = [Layer(width=width, heads=heads, head_dim=head_dim, hidden=hidden, dropout=dropout) for _ in range(depth)]
    return EfficientViT(trunk=trunk, tokens=tokens, layers=layers, width=width, hidden=hidden)
