"""Cross Efficient ViT: a face is judged by two transformers, one over fine features and one over coarse, that read each other.

Coccomini et al. 2022 (ICIAP), after CrossViT (Chen et al. 2021). The small branch reads the last features of an EfficientNet-B0,
the large branch early ones, each cut into patches; in every scale the class token of each attends to the other's patches. The
published patches are as large as the maps, one token a branch, so its attention says nothing of where; smaller ones do.
The maps to explain by are `small_trunk.stages.stage8` and `large_trunk.stages.stage2` (`trunk.stages…` where it is shared).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.attention import Attention
from paretolens.models.registry import register
from paretolens.models.signature import Verdict
from paretolens.models.transformer import Encoder, Tokens
from paretolens.models.trunk import HEAD, Trunk, grid_of

__all__ = ["CrossAttend", "CrossEfficientViT", "cross_efficient_vit"]


@dataclass(frozen=True, kw_only=True)
class Branch:
    """Sizes of one branch."""

    patch: int
    width: int
    layers: int


class CrossAttend(nn.Module):
    """A branch's class token reads the other branch's patches, in the other's width; the token itself is among what it reads."""

    def __init__(self, *, width: int, other: int, heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        alike = width == other
        self.project_in: nn.Module = nn.Identity() if alike else nn.Linear(width, other)
        self.norm = nn.LayerNorm(other)
        self.attend = Attention(width=other, heads=heads, head_dim=head_dim, dropout=dropout, bias=False)
        self.project_out: nn.Module = nn.Identity() if alike else nn.Linear(other, width)

    def forward(self, first: Tensor, patches: Tensor) -> Tensor:
        """(B, 1, width) and (B, n, other) → what is added to the token (B, 1, width)."""
        asked = self.norm(self.project_in(first))
        out: Tensor = self.project_out(self.attend(asked, torch.cat((asked, patches), dim=1))[0])
        return out


class Scale(nn.Module):
    """Both encoders, then both class tokens across, `crossings` times."""

    def __init__(
        self, small: Branch, large: Branch, *, heads: int, head_dim: int, hidden: int, crossings: int, dropout: float
    ) -> None:
        super().__init__()
        shape = {"heads": heads, "head_dim": head_dim}
        self.small = Encoder(depth=small.layers, width=small.width, hidden=hidden, dropout=dropout, **shape)
        self.large = Encoder(depth=large.layers, width=large.width, hidden=hidden, dropout=dropout, **shape)
        self.to_large = nn.ModuleList(
            CrossAttend(width=small.width, other=large.width, dropout=dropout, **shape) for _ in range(crossings)
        )
        self.to_small = nn.ModuleList(
            CrossAttend(width=large.width, other=small.width, dropout=dropout, **shape) for _ in range(crossings)
        )

    def forward(self, small: Tensor, large: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of both branches → the same."""
        small, large = self.small(small), self.large(large)
        one, other = small[:, :1], large[:, :1]
        for to_large, to_small in zip(self.to_large, self.to_small, strict=True):
            one = one + to_large(one, large[:, 1:])
            other = other + to_small(other, small[:, 1:])
        return torch.cat((one, small[:, 1:]), dim=1), torch.cat((other, large[:, 1:]), dim=1)


class CrossEfficientViT(nn.Module):
    """The whole detector; `trunk` where the branches share it, else `small_trunk` and `large_trunk`."""

    def __init__(
        self,
        *,
        trunks: tuple[Trunk, ...],
        tokens: tuple[Tokens, Tokens],
        scales: list[Scale],
        widths: tuple[int, int],
    ) -> None:
        super().__init__()
        if len(trunks) == 1:
            self.trunk = trunks[0]
        else:
            self.small_trunk, self.large_trunk = trunks
        self.small_tokens, self.large_tokens = tokens
        self.scales = nn.ModuleList(scales)
        self.small_verdict = nn.Sequential(nn.LayerNorm(widths[0]), nn.Linear(widths[0], 1))
        self.large_verdict = nn.Sequential(nn.LayerNorm(widths[1]), nn.Linear(widths[1], 1))

    def forward(self, image: Tensor) -> Verdict:
        """Judge pictures (B, 3, H, H), scaled as the preprocessing says."""
        large, small = self.features(image)
        small, large = self.small_tokens(small), self.large_tokens(large)
        for scale in self.scales:
            small, large = scale(small, large)
        return Verdict(self.small_verdict(small[:, 0]) + self.large_verdict(large[:, 0]))

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The maps of the large branch (B, C, g, g) and of the small branch."""
        if hasattr(self, "trunk"):
            large, small = self.trunk(image)
            return large, small
        return self.large_trunk(image)[0], self.small_trunk(image)[0]


@register("cross-efficient-vit")
def cross_efficient_vit(
    *,
    input_size: int = 224,
    backbone_width: float = 1.0,
    shared: bool = False,
    small_stage: int = HEAD,
    large_stage: int = 2,
    small_patch: int = 7,
    large_patch: int = 56,
    small_width: int = 192,
    large_width: int = 384,
    small_layers: int = 2,
    large_layers: int = 3,
    depth: int = 4,
    heads: int = 8,
    head_dim: int = 64,
    hidden: int = 2048,
    crossings: int = 2,
    dropout: float = 0.15,
    whole: bool = False,
    same_padding: bool = False,
) -> CrossEfficientViT:
    """Build a Cross Efficient ViT; the defaults are the published one without what never runs.

    Args:
        input_size: side of the pictures in pixels.
        backbone_width: width multiplier of EfficientNet-B0, one of `backbone_widths("efficientnet_b0")`.
        shared: whether both branches read the same backbone.
        small_stage: stage whose map the small branch reads; later stages are not built.
        large_stage: the same for the large branch, before the small one's.
        small_patch: places along a side of the small branch's patches.
        large_patch: the same for the large branch.
        small_width: width of the small branch's tokens.
        large_width: the same for the large branch.
        small_layers: layers of the small branch in every scale, ≥ 1.
        large_layers: the same for the large branch.
        depth: scales, ≥ 1.
        heads: attention heads of every layer, ≥ 1.
        head_dim: width of one head, ≥ 1.
        hidden: hidden width of every feed-forward layer, ≥ 1.
        crossings: how often the class tokens cross in a scale, ≥ 1.
        dropout: of tokens, attention and feed-forward, 0 ≤ p < 1.
        whole: hold what the published network holds and never runs (the rest of each backbone, its classifier, positions by the
            picture's size), so that its parameters count alike.
        same_padding: let the backbones pad and normalise as TensorFlow does, as the published weights need it.

    Raises:
        ConfigurationError: any of these is outside of what is allowed, or a patch does not divide its map.
    """
    sizes = {
        "small_layers": small_layers, "large_layers": large_layers, "depth": depth, "heads": heads, "head_dim": head_dim,
        "hidden": hidden, "crossings": crossings, "small_width": small_width, "large_width": large_width,
    }  # fmt: skip
    _check(sizes, dropout, (large_stage, small_stage))
    ends = (large_stage, small_stage)
    if shared:  # both branches read one
        trunks: tuple[Trunk, ...] = (Trunk(width=backbone_width, ends=ends, same_padding=same_padding),)
    else:  # the small branch's, then the large branch's
        trunks = tuple(Trunk(width=backbone_width, ends=(end,), whole=whole, same_padding=same_padding) for end in reversed(ends))
    channels = trunks[0].channels if shared else (trunks[1].channels[0], trunks[0].channels[0])
    small = Branch(patch=small_patch, width=small_width, layers=small_layers)
    large = Branch(patch=large_patch, width=large_width, layers=large_layers)
    tokens = [
        Tokens(
            channels=count,
            grid=grid_of(input_size, stage),
            patch=branch.patch,
            width=branch.width,
            dropout=dropout,
            rows=(input_size // branch.patch) ** 2 + 1 if whole else None,
        )
        for branch, count, stage in zip((large, small), channels, ends, strict=True)
    ]
    shape = {"heads": heads, "head_dim": head_dim, "hidden": hidden, "crossings": crossings}
    scales = [Scale(small, large, dropout=dropout, **shape) for _ in range(depth)]
    return CrossEfficientViT(trunks=trunks, tokens=(tokens[1], tokens[0]), scales=scales, widths=(small_width, large_width))


def _check(sizes: Mapping[str, int], dropout: float, ends: tuple[int, int]) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ConfigurationError(f"{name} must be at least 1; got {value}")
    if not 0 <= dropout < 1:
        raise ConfigurationError(f"dropout must be at least 0 and below 1; got {dropout:g}")
    if not 0 <= ends[0] < ends[1] <= HEAD:
        raise ConfigurationError(f"large_stage must come before small_stage, up to {HEAD}; got {ends[0]} and {ends[1]}")
