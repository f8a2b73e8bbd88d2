import pytest
import torch
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.models.attention import Attention


@pytest.fixture
def pair() -> tuple[Attention, nn.MultiheadAttention]:
    """Our attention and torch's, with the same weights."""
    torch.manual_seed(0)
    ours, theirs = Attention(width=24, heads=3).eval(), nn.MultiheadAttention(24, 3, batch_first=True).eval()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.q.weight, ours.k.weight, ours.v.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.q.bias, ours.k.bias, ours.v.bias]).normal_())
        for layer, bias in zip((ours.q, ours.k, ours.v), theirs.in_proj_bias.chunk(3), strict=True):
            layer.bias.copy_(bias)
        theirs.out_proj.weight.copy_(ours.proj.weight)
        theirs.out_proj.bias.copy_(ours.proj.bias)
    return ours, theirs


def test_agrees_with_torch(pair):
    ours, theirs = pair
    query, memory = torch.randn(2, 5, 24), torch.randn(2, 7, 24)
    ignore = torch.zeros(2, 7, dtype=torch.bool)
    ignore[0, 4:] = True
    out, weights = ours(query, memory, ignore)
    expected, expected_weights = theirs(query, memory, memory, key_padding_mask=ignore, average_attn_weights=False)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(weights, expected_weights, atol=1e-6, rtol=1e-5)
    assert (weights[0, :, :, 4:] == 0).all()


def test_stays_finite_when_everything_is_ignored_also_in_half_precision(pair):
    ours, _ = pair
    query = torch.randn(1, 5, 24)
    ignore = torch.ones(1, 5, dtype=torch.bool)
    for dtype in (torch.float32, torch.float16):
        out, weights = ours.to(dtype)(query.to(dtype), query.to(dtype), ignore)
        assert torch.isfinite(out).all()
        torch.testing.assert_close(weights.float().sum(-1), torch.ones(1, 3, 5), atol=2e-3, rtol=0)


@pytest.mark.parametrize("heads", [0, 5])
def test_width_must_be_divisible_by_heads(heads):
    with pytest.raises(ConfigurationError, match=f"width 24 and heads {heads}"):
        Attention(width=24, heads=heads)


def test_quantisers_see_the_inputs_of_both_products(pair):
    ours, _ = pair
    seen: list[tuple[int, ...]] = []

    class Spy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape))
            return x

    for product in (ours.scores, ours.mix):
        product.left, product.right = Spy(), Spy()
    ours(torch.randn(2, 5, 24), torch.randn(2, 7, 24), torch.zeros(2, 7, dtype=torch.bool))
    assert seen == [(2, 3, 5, 8), (2, 3, 8, 7), (2, 3, 5, 7), (2, 3, 7, 8)]


def test_shared_keys_are_one_head_for_all_queries() -> None:
    torch.manual_seed(0)
    shared, whole = Attention(width=24, heads=3, shared=True).eval(), Attention(width=24, heads=3).eval()
    with torch.no_grad():
        for name in ("q", "proj"):
            getattr(whole, name).load_state_dict(getattr(shared, name).state_dict())
        for name in ("k", "v"):
            getattr(whole, name).weight.copy_(getattr(shared, name).weight.repeat(3, 1))
            getattr(whole, name).bias.copy_(getattr(shared, name).bias.repeat(3))
    query, memory = torch.randn(2, 5, 24), torch.randn(2, 7, 24)
    ignore = torch.arange(7).expand(2, 7) > 4
    for found, expected in zip(shared(query, memory, ignore), whole(query, memory, ignore), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert not shared.divisible
    assert whole.divisible


def test_low_rank_projections_have_that_rank_and_fewer_weights() -> None:
    whole, thin = Attention(width=24, heads=3), Attention(width=24, heads=3, rank=4)
    product = thin.q[1].weight @ thin.q[0].weight
    assert torch.linalg.matrix_rank(product) == 4
    assert sum(p.numel() for p in thin.parameters()) == 4 * (2 * 24 * 4 + 24)
    assert not thin.divisible
    useless = Attention(width=24, heads=3, rank=12)  # 12 · 48 weights are as many as 24 · 24
    assert sum(p.numel() for p in useless.parameters()) == sum(p.numel() for p in whole.parameters())
