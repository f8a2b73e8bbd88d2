import pytest
import torch
import torchvision
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.models.backbones import backbone_names, backbone_widths, make_backbone

PUBLISHED = {
    "efficientnet_b0": (1.0, 4_007_548),  # torchvision's models without their classifiers
    "mobilenet_v3_small": (1.0, 927_008),
    "regnet_y_400mf": (1.0, 3_903_144),
    "resnet18": (1.0, 11_176_512),
    "shufflenet_v2_x0_5": (1.0, 341_792),
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_unscaled_backbone_is_torchvisions(name):
    width, parameters = PUBLISHED[name]
    backbone, channels = make_backbone(name, width)
    theirs = torchvision.models.get_model(name, weights=None)
    classifier = theirs.fc if hasattr(theirs, "fc") else theirs.classifier
    assert count(backbone) == parameters == count(theirs) - count(classifier)
    assert channels == next(layer for layer in [classifier, *classifier.modules()] if isinstance(layer, nn.Linear)).in_features


def test_resnet18_computes_what_torchvisions_does():
    torch.manual_seed(0)
    ours, _ = make_backbone("resnet18")
    theirs = torchvision.models.resnet18(weights=None)
    theirs.fc = nn.Identity()
    state = list(ours.state_dict().values())
    keys = [key for key in theirs.state_dict() if not key.startswith("fc.")]
    theirs.load_state_dict(dict(zip(keys, state, strict=True)))
    frames = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours.eval()(frames), theirs.eval()(frames), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", backbone_names())
def test_the_narrowest_is_smaller_and_works_on_one_small_frame(name):
    narrow, channels = make_backbone(name, backbone_widths(name)[0])
    whole, _ = make_backbone(name, 1.0)
    assert count(narrow) < count(whole) / 2
    features = narrow.eval()(torch.randn(1, 3, 32, 32))
    assert features.shape == (1, channels)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("name", backbone_names())
def test_batch_norms_forget_fast_enough_for_short_trainings(name):
    backbone, _ = make_backbone(name, backbone_widths(name)[0])
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert {module.momentum for module in norms} == {0.1}


def test_unknown_backbone_names_the_nearest_and_all():
    with pytest.raises(
        ConfigurationError, match=r"'resnet8' is not known; did you mean resnet18\? Allowed: efficientnet_b0, .*x0_5"
    ):
        make_backbone("resnet8")


def test_a_width_it_has_not_is_refused():
    with pytest.raises(
        ConfigurationError, match=r"backbone_width of mobilenetv4_conv_small must be one of 0.35, 0.5, 1; got 0.4"
    ):
        make_backbone("mobilenetv4_conv_small", 0.4)


def test_freezing_stops_gradients_and_statistics_up_to_the_stage():
    backbone, _ = make_backbone("resnet18", 0.125, freeze_through="layer2")
    backbone.train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone(torch.randn(4, 3, 32, 32)).sum().backward()
    frozen = ("stages.stem.", "stages.layer1.", "stages.layer2.")
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen), name
    for key, value in backbone.state_dict().items():
        if key.endswith("running_mean"):
            assert torch.equal(value, before[key]) == key.startswith(frozen), key


def test_freezing_an_unknown_stage_is_refused():
    with pytest.raises(ConfigurationError, match=r"'layer9' is no stage"):
        make_backbone("resnet18", freeze_through="layer9")
