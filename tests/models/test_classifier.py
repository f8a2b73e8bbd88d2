import pytest
import timm
import torch

from paretolens.errors import ConfigurationError
from paretolens.models.classifier import check_network
from paretolens.models.registry import build
from paretolens.models.self_attention import adopt_attention


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("ours", "theirs"), [("efficientnet_lite0", "timm:efficientnet_lite0"), ("resnet18", "torchvision:resnet18")]
)
def test_a_backbone_at_full_width_is_the_librarys_network(ours: str, theirs: str) -> None:
    assert count(build("picture-classifier", network=ours)) == count(build("picture-classifier", network=theirs))


@pytest.mark.parametrize("network", ["resnet18", "vit", "torchvision:mobilenet_v3_small", "timm:regnety_002"])
def test_a_classifier_gives_one_logit_at_the_size_it_shrinks_to(network: str) -> None:
    arguments = {"embed_dim": 32, "depth": 1, "num_heads": 2, "patch_size": 8} if network == "vit" else {}
    model = build("picture-classifier", network=network, input_size=64, size=48, sharpen=4.0, arguments=arguments).eval()
    with torch.no_grad():
        out = model(torch.randn(3, 3, 64, 64))
    assert out._fields == ("logit",)
    assert out.logit.shape == (3, 1)


def test_our_attention_answers_as_timms() -> None:
    network = timm.create_model(
        "vit_tiny_patch16_224", num_classes=2, img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3
    )
    pictures = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = network.eval()(pictures)
        assert adopt_attention(network) == ("blocks.0.attn", "blocks.1.attn")
        torch.testing.assert_close(network(pictures), before)


def test_patch_logits_have_the_logit_as_their_mean() -> None:
    model = build("picture-classifier", network="mobilenet_v3_small", multiplier=0.25, input_size=64).eval()
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model.patch_logits(pictures)["image"].mean((1, 2)), model(pictures).logit[:, 0])


@pytest.mark.parametrize(
    ("name", "message"),
    [("resnet19", "did you mean resnet18"), ("timm:resnet188", "did you mean resnet18"), ("torchvison:resnet18", "one of timm")],
)
def test_an_unknown_network_names_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_network(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "timm:resnet18", "multiplier": 0.5}, "no width multiplier"),
        ({"network": "vit", "size": 50}, "no multiple of 16"),
        ({"network": "vit", "arguments": {"embed_dim": 50, "num_heads": 3}}, "cannot be built"),
        ({"network": "timm:resnet18", "arguments": {"colour": 1}}, "colour"),
        ({"size": 256}, "between 16 and the input's 128"),
        ({"sharpen": -1.0}, "at least 0"),
    ],
)
def test_what_cannot_be_built_is_one_line(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        build("picture-classifier", **arguments)
    assert "\n" not in str(caught.value)
