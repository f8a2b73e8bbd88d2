"""Published Cross Efficient ViT checkpoints: their names and shapes, against the network by plain functions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.cross_layout import from_published
from paretolens.models.efficientnet_layout import from_efficientnet
from paretolens.models.registry import build
from paretolens.models.trunk import Trunk
from paretolens.models.weights import load_weights
from paretolens.spaces.cross_efficient_vit import CrossEfficientViTFamily, CrossSettings, CrossTeacher

State = dict[str, Tensor]
F = nn.functional
SIDE, HEADS, HEAD_DIM, HIDDEN, SCALES, CROSSINGS = 64, 2, 6, 20, 2, 2
WIDTHS, LAYERS, PATCHES, CHANNELS = {"sm": 12, "lg": 16}, {"sm": 2, "lg": 1}, {"sm": 1, "lg": 8}, {"sm": 1280, "lg": 24}
BLOCKS = ((1, 16, 1, 3), (6, 24, 2, 3), (6, 40, 2, 5), (6, 80, 3, 3), (6, 112, 3, 5), (6, 192, 4, 5), (6, 320, 1, 3))
"""Expansion, channels, repeats and kernel of an EfficientNet-B0's stages (Tan and Le 2019, table 1)."""


def shapes_of_efficientnet() -> Iterator[tuple[str, tuple[int, ...]]]:
    """As EfficientNet-PyTorch names them."""
    yield "_conv_stem.weight", (32, 3, 3, 3)
    yield from norm("_bn0", 32)
    inputs, number = 32, 0
    for expansion, outputs, repeats, kernel in BLOCKS:
        for _ in range(repeats):
            name, wide, squeezed = f"_blocks.{number}.", inputs * expansion, inputs // 4
            if expansion > 1:
                yield f"{name}_expand_conv.weight", (wide, inputs, 1, 1)
                yield from norm(f"{name}_bn0", wide)
            yield f"{name}_depthwise_conv.weight", (wide, 1, kernel, kernel)
            yield from norm(f"{name}_bn1", wide)
            yield from linear(f"{name}_se_reduce", squeezed, wide, 1, 1)
            yield from linear(f"{name}_se_expand", wide, squeezed, 1, 1)
            yield f"{name}_project_conv.weight", (outputs, wide, 1, 1)
            yield from norm(f"{name}_bn2", outputs)
            inputs, number = outputs, number + 1
    yield "_conv_head.weight", (1280, 320, 1, 1)
    yield from norm("_bn1", 1280)
    yield from linear("_fc", 1000, 1280)


def norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def linear(name: str, outputs: int, *inputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (outputs, *inputs)
    yield f"{name}.bias", (outputs,)


def attention(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    inner = HEADS * HEAD_DIM
    yield from linear(f"{name}.norm", width)
    yield f"{name}.fn.to_q.weight", (inner, width)
    yield f"{name}.fn.to_kv.weight", (2 * inner, width)
    yield from linear(f"{name}.fn.to_out.0", width, inner)


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    for branch, width in WIDTHS.items():
        name = f"{branch}_image_embedder"
        yield f"{name}.pos_embedding", (1, (SIDE // PATCHES[branch]) ** 2 + 1, width)
        yield f"{name}.cls_token", (1, 1, width)
        for inner, shape in shapes_of_efficientnet():
            yield f"{name}.efficient_net.{inner}", shape
        yield from linear(f"{name}.to_patch_embedding.1", width, CHANNELS[branch] * PATCHES[branch] ** 2)
        yield from linear(f"{branch}_mlp_head.0", width)
        yield from linear(f"{branch}_mlp_head.1", 1, width)
    for scale in range(SCALES):
        name = f"multi_scale_encoder.layers.{scale}"
        for part, (branch, width) in enumerate(WIDTHS.items()):
            for layer in range(LAYERS[branch]):
                yield from attention(f"{name}.{part}.layers.{layer}.0", width)
                yield from linear(f"{name}.{part}.layers.{layer}.1.norm", width)
                yield from linear(f"{name}.{part}.layers.{layer}.1.fn.net.0", HIDDEN, width)
                yield from linear(f"{name}.{part}.layers.{layer}.1.fn.net.3", width, HIDDEN)
            yield from linear(f"{name}.{part}.norm", width)
        for crossing in range(CROSSINGS):
            for part, (own, other) in enumerate((("sm", "lg"), ("lg", "sm"))):
                cross = f"{name}.2.layers.{crossing}.{part}"
                yield from linear(f"{cross}.project_in", WIDTHS[other], WIDTHS[own])
                yield from linear(f"{cross}.project_out", WIDTHS[own], WIDTHS[other])
                yield from attention(f"{cross}.fn", WIDTHS[other])


@pytest.fixture(scope="module")
def published() -> State:
    generator = torch.Generator().manual_seed(0)

    def filled(name: str, shape: tuple[int, ...]) -> Tensor:
        if name.endswith("num_batches_tracked"):
            return torch.tensor(3)
        if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            return torch.rand(shape, generator=generator) + 0.5
        deep = len(shape) > 1 and name.endswith("weight")
        scale = (2 / max(1, shape[1:].numel())) ** 0.5 if deep else 0.2
        return scale * torch.randn(shape, generator=generator)

    return {name: filled(name, torch.Size(shape)) for name, shape in shapes()}


@pytest.fixture(scope="module")
def checkpoint(published: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As data-parallel training saves it: every name with the same prefix."""
    state = {f"module.{name}": value for name, value in published.items()}
    return save({"state_dict": state}, tmp_path_factory.mktemp("published"))


SHAPE = {
    "backbone_width": 1.0, "small_patch": 1, "large_patch": 8, "small_width": 12, "large_width": 16, "small_layers": 2,
    "large_layers": 1, "depth": SCALES, "heads": HEADS, "head_dim": HEAD_DIM, "hidden": HIDDEN, "crossings": CROSSINGS,
    "same_padding": True,
}  # fmt: skip


def model(**change: object) -> nn.Module:
    return build("cross-efficient-vit", **{"input_size": SIDE, **SHAPE, **change}).eval()


def teacher(**change: object) -> nn.Module:
    """As a study builds it."""
    return CrossEfficientViTFamily().teacher(CrossSettings(size=SIDE, teacher=CrossTeacher(**{**SHAPE, **change}))).eval()


def pictures() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def timm_state(state: State, branch: str) -> State:
    """An EfficientNet's tensors by timm's names."""
    found = {}
    for name, value in state.items():
        _, marker, inner = name.partition(f"{branch}_image_embedder.efficient_net.")
        if marker:
            found[timm_name(inner)] = value
    return found


def timm_name(name: str) -> str:
    tops = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    first, _, rest = name.partition(".")
    if first in tops:
        return f"{tops[first]}.{rest}"
    number, layer, rest = (int(rest.split(".")[0]), *rest.split(".", 2)[1:])
    stage = 0
    while number >= BLOCKS[stage][2]:
        number, stage = number - BLOCKS[stage][2], stage + 1
    plain = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand", "_depthwise_conv": "conv_dw"}
    early = {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    late = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}
    return f"blocks.{stage}.{number}.{(plain | (early if stage == 0 else late))[layer]}.{rest}"


def by_hand(state: State, x: Tensor) -> Tensor:
    """The published network's logit: timm's TensorFlow EfficientNet, then plain functions."""
    import timm

    streams, logit = {}, torch.zeros(())
    for branch in WIDTHS:
        network = timm.create_model("tf_efficientnet_b0", pretrained=False).eval()
        network.load_state_dict(timm_state(state, branch))
        maps = (
            network.forward_features(x)
            if branch == "sm"
            else nn.Sequential(network.conv_stem, network.bn1, *network.blocks[:2])(x)
        )
        streams[branch] = tokens(state, f"{branch}_image_embedder", maps, PATCHES[branch])
    for scale in range(SCALES):
        name = f"multi_scale_encoder.layers.{scale}"
        for part, branch in enumerate(WIDTHS):
            streams[branch] = encoded(state, f"{name}.{part}", streams[branch], LAYERS[branch])
        firsts = {branch: stream[:, :1] for branch, stream in streams.items()}
        for crossing in range(CROSSINGS):
            for part, (own, other) in enumerate((("sm", "lg"), ("lg", "sm"))):
                cross = f"{name}.2.layers.{crossing}.{part}"
                asked = normed(state, f"{cross}.fn.norm", affine(state, f"{cross}.project_in", firsts[own]))
                heard = attended(state, f"{cross}.fn.fn", asked, torch.cat((asked, streams[other][:, 1:]), 1))
                firsts[own] = firsts[own] + affine(state, f"{cross}.project_out", heard)
        streams = {branch: torch.cat((firsts[branch], stream[:, 1:]), 1) for branch, stream in streams.items()}
    for branch, stream in streams.items():
        logit = logit + affine(state, f"{branch}_mlp_head.1", normed(state, f"{branch}_mlp_head.0", stream[:, 0]))
    return logit


def tokens(state: State, name: str, maps: Tensor, patch: int) -> Tensor:
    count, side = len(maps), maps.shape[2] // patch
    parts = maps.reshape(count, -1, side, patch, side, patch).permute(0, 2, 4, 3, 5, 1).reshape(count, side * side, -1)
    stream = torch.cat(
        (state[f"{name}.cls_token"].expand(count, -1, -1), affine(state, f"{name}.to_patch_embedding.1", parts)), 1
    )
    return stream + state[f"{name}.pos_embedding"][:, : stream.shape[1]]


def encoded(state: State, name: str, x: Tensor, layers: int) -> Tensor:
    for layer in range(layers):
        first, second = f"{name}.layers.{layer}.0", f"{name}.layers.{layer}.1"
        y = normed(state, f"{first}.norm", x)
        x = x + attended(state, f"{first}.fn", y, y)
        hidden = F.gelu(affine(state, f"{second}.fn.net.0", normed(state, f"{second}.norm", x)))
        x = x + affine(state, f"{second}.fn.net.3", hidden)
    return normed(state, f"{name}.norm", x)


def attended(state: State, name: str, x: Tensor, memory: Tensor) -> Tensor:
    keys, values = F.linear(memory, state[f"{name}.to_kv.weight"]).chunk(2, -1)
    q, k, v = (
        y.unflatten(-1, (HEADS, HEAD_DIM)).transpose(1, 2) for y in (F.linear(x, state[f"{name}.to_q.weight"]), keys, values)
    )
    return affine(state, f"{name}.to_out.0", F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def affine(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def normed(state: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def load(model: nn.Module, path: Path) -> nn.Module:
    load_weights(model, path, whole=True, layout=from_published)
    return model


def save(state: State, folder: Path) -> Path:
    torch.save(state, folder / "saved.pth")
    return folder / "saved.pth"


def refused(model: nn.Module, path: Path, message: str) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ConfigurationError, match=message) as caught:
        load(model, path)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> nn.Module:
    return load(model(), checkpoint)


def test_a_published_checkpoint_is_loaded_to_the_last_key_and_gives_its_logits(published, checkpoint, loaded):
    whole = teacher(whole=True, weights=str(checkpoint))
    assert sum(value.numel() for value in whole.state_dict().values()) == sum(value.numel() for value in published.values())
    ours = [float(value.double().sum()) for name, value in whole.state_dict().items() if value.ndim == 1]
    assert sorted(ours) == sorted(float(value.double().sum()) for value in published.values() if value.ndim == 1)
    with torch.no_grad():
        wanted = by_hand(published, pictures())
        torch.testing.assert_close(whole(pictures()).logit, wanted, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(loaded(pictures()).logit, wanted, atol=1e-3, rtol=1e-3)


def test_padding_decides_what_the_same_weights_say(checkpoint, loaded):
    other = model(same_padding=False)
    refused(other, checkpoint, r"set model\.teacher\.same_padding to true")
    other.load_state_dict(loaded.state_dict())
    with torch.no_grad():
        assert (loaded(pictures()).logit - other(pictures()).logit).abs().max() > 0.01


def test_what_is_missing_unknown_or_of_another_shape_is_refused_by_name(published, checkpoint, tmp_path):
    name = "lg_image_embedder.efficient_net._blocks.1._bn2.running_var"
    strange = {"sm_image_embedder.efficient_net._blocks.16._bn2.bias": torch.zeros(4), "note": torch.zeros(1)}
    mixed = save({key: value for key, value in published.items() if key != name} | strange, tmp_path)
    refused(
        model(),
        mixed,
        r"large_trunk\.stages\.stage2\.0\.block\.3\.1\.running_var is missing; .*"
        r"_blocks\.16\._bn2\.bias is none of the model's; note is none of the model's",
    )
    refused(model(large_patch=16), checkpoint, r"large_tokens\.project\.weight is 16×24×8×8, the model's is 16×24×16×16")


def test_files_by_our_own_names_are_loaded_too(tmp_path, loaded):
    found = load(model(), save(loaded.state_dict(), tmp_path))
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in found.state_dict().items())


def test_an_efficientnet_of_either_library_fills_a_branch(published, tmp_path, loaded):
    from torchvision.models import efficientnet_b0

    x = pictures()
    inner = "lg_image_embedder.efficient_net."
    numbered = {name.removeprefix(inner): value for name, value in published.items() if name.startswith(inner)}
    torch.manual_seed(0)
    network = efficientnet_b0().eval()
    for name, state in (("numbered", numbered), ("staged", network.state_dict())):
        torch.save(state, tmp_path / f"{name}.pth")
    same = teacher(backbone_weights=str(tmp_path / "numbered.pth")).large_trunk
    plain = Trunk(width=1.0, ends=(2,)).eval()
    load_weights(plain, tmp_path / "staged.pth", whole=True, layout=from_efficientnet)
    with torch.no_grad():
        torch.testing.assert_close(same(x)[0], loaded.large_trunk(x)[0])
        torch.testing.assert_close(plain(x)[0], network.features[:3](x), atol=1e-5, rtol=1e-4)
    for trunk, name, wanted in ((plain, "numbered", "true"), (same, "staged", "false")):
        with pytest.raises(ConfigurationError, match=f"set model.teacher.same_padding to {wanted}"):
            load_weights(trunk, tmp_path / f"{name}.pth", whole=True, layout=from_efficientnet)
    with pytest.raises(ConfigurationError, match="must have the names of EfficientNet-PyTorch or torchvision"):
        load_weights(same, save({"fc.weight": torch.zeros(1)}, tmp_path), whole=True, layout=from_efficientnet)
