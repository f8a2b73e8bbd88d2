"""Explainers by name: each works with the metric as it is; wrong names are answered with the nearest right one."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

import paretolens.models.pinpoint  # noqa: F401  # registers the builder
from paretolens.errors import BackendError, ConfigurationError, TrialError
from paretolens.evaluators.eps import EpsSettings, ExplainedSet, Population, TeacherReference, score_eps
from paretolens.evaluators.explain import (
    EXPLAINERS,
    AttentionMaps,
    Depth,
    GradCam,
    GradientShap,
    IntegratedGradients,
    PatchLogits,
    feature_layers,
    held_still,
    make_explainer,
    register_explainer,
)
from paretolens.models.attention import Attention
from paretolens.models.registry import build
from paretolens.models.signature import InputKind, InputSpec, Signature

Make = Callable[[int], nn.Module]
FRAMES, SIDE, LENGTH = 6, 64, 24


def detector(seed: int, *, width: int = 32, frames: int = FRAMES, backbone: str = "resnet18") -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = {"input_frames": FRAMES, "input_size": SIDE, "audio_frames": LENGTH}
        model = build("pinpoint", backbone=backbone, backbone_width=0.25, width=width, depth=2, heads=4, frames=frames, **sizes)
    return model.eval()


@pytest.fixture(scope="module")
def clips() -> ExplainedSet:
    signature = Signature(
        inputs=(
            InputSpec(name="video", shape=(FRAMES, 3, SIDE, SIDE), kind=InputKind.VIDEO, mask="video_mask"),
            InputSpec(name="audio", shape=(LENGTH, 13), kind=InputKind.AUDIO, mask="audio_mask"),
            InputSpec(name="video_mask", shape=(FRAMES,), kind=InputKind.MASK),
            InputSpec(name="audio_mask", shape=(LENGTH,), kind=InputKind.MASK),
        ),
        outputs=("logit", "offset", "attention"),
    )
    generator = torch.Generator().manual_seed(5)
    masks = torch.zeros(6, FRAMES, dtype=torch.bool), torch.zeros(6, LENGTH, dtype=torch.bool)
    masks[0][::2, -1], masks[1][::2, -4:] = True, True
    inputs = (
        torch.randn(6, FRAMES, 3, SIDE, SIDE, generator=generator),
        torch.randn(6, LENGTH, 13, generator=generator),
        *masks,
    )
    baseline = (torch.zeros(1, FRAMES, 3, SIDE, SIDE), torch.zeros(1, LENGTH, 13), None, None)
    return ExplainedSet.of_tensors(signature, inputs, baseline)


@pytest.fixture(scope="module")
def settings() -> EpsSettings:
    return EpsSettings(population=Population.ALL, change_share=0.0, nodes=4, probes=4, resamples=100)


@pytest.mark.parametrize("name", sorted(EXPLAINERS))
def test_every_explainer_serves_every_metric(name: str, clips: ExplainedSet, settings: EpsSettings) -> None:
    chosen = dataclasses.replace(settings, explainer=name)
    teacher = detector(0)
    reference = TeacherReference.compute(teacher, clips, chosen)
    own = score_eps(teacher, reference)
    assert own.eps == pytest.approx(1.0, abs=1e-6)
    assert own.pixel == pytest.approx(1.0, abs=1e-6)
    other = score_eps(detector(1, width=16, frames=3, backbone="mobilenet_v3_small"), reference)
    assert -0.5 <= other.eps < 0.9
    assert other.metrics_beside("eps_second")["eps_second"] == other.eps
    assert "video" in other.modalities


def test_grad_cam_is_captums(clips: ExplainedSet) -> None:
    model = detector(0)
    found = GradCam(layer="video.backbone.stages.layer2", chunk=4)(model, clips.inputs, clips.baseline)
    with held_still(model):
        explainer = LayerGradCam(lambda *x: model(*x).logit[:, 0], model.get_submodule("video.backbone.stages.layer2"))
        expected = explainer.attribute(tuple(x.clone().requires_grad_() if x.is_floating_point() else x for x in clips.inputs))
    upsampled = nn.functional.interpolate(expected, size=(SIDE, SIDE), mode="bilinear").view(6, FRAMES, SIDE, SIDE)
    assert found.values[0] is not None
    torch.testing.assert_close(found.values[0], upsampled.detach(), atol=1e-5, rtol=1e-4)
    assert found.values[1:] == (None, None, None)
    assert not found.complete


def test_grad_cam_takes_the_last_layer_that_is_fine_enough_and_sound_layers_by_name(clips: ExplainedSet) -> None:
    model = detector(0)
    shapes = feature_layers(model, clips.inputs)
    assert shapes["video.backbone.stages.layer4"][-2:] == (2, 2)
    auto = GradCam()(model, clips.inputs, clips.baseline).values[0]
    named = GradCam(layer="video.backbone.stages.layer3")(model, clips.inputs, clips.baseline).values[0]
    assert auto is not None and named is not None
    torch.testing.assert_close(auto, named)
    sound = GradCam(layer="audio.convs.0")(model, clips.inputs, clips.baseline)
    assert sound.values[0] is None
    assert sound.values[1] is not None and sound.values[1].shape == (6, LENGTH, 1)


def test_grad_cam_layer_that_is_not_there_lists_those_that_are(clips: ExplainedSet) -> None:
    with pytest.raises(ConfigurationError, match=r"'video.backbone.stages.layer9' is not in PinPoint; did you mean .*layer\d"):
        GradCam(layer="video.backbone.stages.layer9")(detector(0), clips.inputs, clips.baseline)
    with pytest.raises(BackendError, match=r"'verdict' of PinPoint gives no feature map; those that do: .*layer3 \(4×4\)"):
        GradCam(layer="verdict")(detector(0), clips.inputs, clips.baseline)


def test_patch_logits_average_to_the_logits_of_deep_supervision(clips: ExplainedSet) -> None:
    model = detector(0, frames=3)
    found = PatchLogits(chunk=4)(model, clips.inputs, clips.baseline)
    with torch.no_grad():
        early = model.forward_deep(*clips.inputs)[1]  # type: ignore[operator]  # PinPoint's own
        places = model.patch_logits(*clips.inputs)["video"]  # type: ignore[operator]
    expected = early.frames.masked_fill(early.frame_ignore, 0.0)
    torch.testing.assert_close(places.mean((2, 3)), expected, atol=1e-5, rtol=1e-4)
    assert found.values[0] is not None and found.values[0].shape == (6, FRAMES, SIDE, SIDE)
    assert bool((found.values[0][:, [1, 3, 5]] == 0).all())  # frames that the model does not look at
    assert found.values[1] is not None and found.values[1].shape == (6, LENGTH, 1)


def test_attention_maps_weigh_frames(clips: ExplainedSet) -> None:
    model = detector(0)
    found = AttentionMaps(chunk=4)(model, clips.inputs, clips.baseline)
    with torch.no_grad():
        attention = model(*clips.inputs).attention
    video = found.values[0]
    assert video is not None and found.values[1] is None and not found.signed
    torch.testing.assert_close(video[1, :, 0, 0], attention[1].mean(0))
    torch.testing.assert_close(video[0, :, 0, 0], attention[0, :-4].mean(0))
    torch.testing.assert_close(video[..., :1, :1].expand_as(video), video)


def test_rollout_is_the_product_of_the_attention_matrices(clips: ExplainedSet) -> None:
    """Against the joint matrices over sound and frames, multiplied out."""
    model = detector(0)
    calls: list[Tensor] = []
    hooks = [
        m.register_forward_hook(lambda _m, _i, out: calls.append(out[1].mean(1)))
        for m in model.modules()
        if isinstance(m, Attention)
    ]
    with torch.no_grad():
        model(*clips.inputs)
    for hook in hooks:
        hook.remove()
    row, both = 1, LENGTH + FRAMES
    product = torch.eye(both)
    for weights in calls:  # cross, self, cross, self
        step = torch.eye(both)
        step[:LENGTH, :LENGTH] *= 0.5
        columns = slice(LENGTH, None) if weights.shape[2] == FRAMES else slice(0, LENGTH)
        step[:LENGTH, columns] += 0.5 * weights[row]
        product = step @ product
    expected = product[:LENGTH].mean(0)
    found = AttentionMaps(depth=Depth.ROLLOUT)(model, clips.inputs, clips.baseline)
    assert found.values[0] is not None and found.values[1] is not None
    torch.testing.assert_close(found.values[1][row, :, 0], expected[:LENGTH])
    torch.testing.assert_close(found.values[0][row, :, 0, 0], expected[LENGTH:])
    assert float(expected.sum()) == pytest.approx(1.0)


def test_gradient_shap_converges_to_integrated_gradients_without_noise(tiny_detector: Make, tiny_explained: ExplainedSet) -> None:
    model, inputs = tiny_detector(2), [x[:3] for x in tiny_explained.inputs]
    exact = IntegratedGradients(nodes=64, probes=0)(model, inputs, tiny_explained.baseline)
    sampled = GradientShap(nodes=1024, noise=0.0)(model, inputs, tiny_explained.baseline)
    for a, b in zip(exact.values[:2], sampled.values[:2], strict=True):
        assert a is not None and b is not None
        assert float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) > 0.995
    torch.testing.assert_close(sampled.change, exact.change)


def test_gradient_shap_repeats_itself_and_leaves_the_generators_alone(tiny_detector: Make, tiny_explained: ExplainedSet) -> None:
    model, inputs = tiny_detector(2), [x[:3] for x in tiny_explained.inputs]
    before = torch.random.get_rng_state()
    first, second = (GradientShap(nodes=4)(model, inputs, tiny_explained.baseline) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.values[0] is not None and second.values[0] is not None
    assert torch.equal(first.values[0], second.values[0])
    other = GradientShap(nodes=4, seed=1)(model, inputs, tiny_explained.baseline)
    assert other.values[0] is not None and not torch.equal(first.values[0], other.values[0])


def test_models_without_what_an_explainer_needs(tiny_detector: Make, tiny_explained: ExplainedSet) -> None:
    model, inputs, baseline = tiny_detector(0), tiny_explained.inputs, tiny_explained.baseline
    with pytest.raises(BackendError, match="TinyDetector has no method patch_logits"):
        PatchLogits()(model, inputs, baseline)
    with pytest.raises(BackendError, match="TinyDetector returns no field `attention`"):
        AttentionMaps()(model, inputs, baseline)
    with pytest.raises(BackendError, match="TinyDetector has no self- and cross-attention"):
        AttentionMaps(depth=Depth.ROLLOUT)(model, inputs, baseline)
    with pytest.raises(BackendError, match=r"need a video .* and a sound"):
        AttentionMaps()(nn.Linear(4, 1), (torch.ones(2, 4),), (torch.zeros(1, 4),))
    broken = tiny_detector(0)
    with torch.no_grad():
        broken.head[3].bias.fill_(torch.nan)  # type: ignore[index, union-attr, operator]
    with pytest.raises(TrialError, match="not finite"):
        GradCam()(broken, inputs, baseline)


def test_names_are_checked_before_anything_runs() -> None:
    with pytest.raises(ConfigurationError, match=r"'gradcam' is not known; did you mean grad_cam\? Allowed: attention, "):
        EpsSettings(explainer="gradcam")
    with pytest.raises(ConfigurationError, match="integrated_gradients takes no argument"):
        EpsSettings(explainer="integrated_gradients:layer3")
    with pytest.raises(ConfigurationError, match="takes the name of a layer after the colon"):
        EpsSettings(second="grad_cam:")
    assert make_explainer("grad_cam:features.3", nodes=3, chunk=7) == GradCam(layer="features.3", chunk=7)
    assert EpsSettings(explainer="integrated_gradients_uniform", nodes=5).make_explainer() == IntegratedGradients(
        nodes=5, probes=0
    )
    with pytest.raises(ValueError, match="registered twice"):
        register_explainer("grad_cam", GradCam, "again")


def test_teacher_and_student_must_be_explained_alike(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    with pytest.raises(
        ConfigurationError, match="reference's maps are of IntegratedGradients, the student's would be of GradientShap"
    ):
        score_eps(tiny_detector(1), tiny_reference, explainer=GradientShap())
