import pytest
import torch
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.models.registry import build
from paretolens.models.signature import Detection

VARIANTS = [
    {},
    {"audio_head": "tcn"},
    {"frames": 4, "frame_size": 32},
    {"frames": 4, "frame_size": 48, "audio_head": "tcn"},
    {"video_positions": "sinusoidal", "audio_positions": "learned"},
]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_published_teacher_has_14_998_732_parameters():
    teacher = build("pinpoint", freeze_through="layer2")
    assert count(teacher) == 14_998_732
    assert count(teacher.video.backbone) == 11_176_512
    assert sum(p.numel() for p in teacher.parameters() if not p.requires_grad) == 683_072  # torchvision's stem, layer1 and layer2


def test_pin_lite_has_1_694_508_parameters():
    lite = build("pinpoint", backbone="mobilenet_v3_small", width=128, heads=4, depth=2, dropout=0.15)
    assert count(lite) == 1_694_508


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs(small, clips, variant):
    out = small(**variant)(*clips(3, seen=6, heard=60))
    columns = variant.get("frames", 8)
    assert isinstance(out, Detection)
    assert out.logit.shape == (3, 1)
    assert out.offset.shape == (3, 11)
    assert out.attention.shape == (3, 80, columns)
    assert all(torch.isfinite(field).all() for field in out)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("garbage", [1e4, float("nan")])
def test_padding_does_not_matter(small, clips, variant, garbage):
    model = small(**variant)
    video, audio, video_mask, audio_mask = clips(seen=5, heard=52)
    expected = model(video, audio, video_mask, audio_mask)
    other_video = video.masked_fill(video_mask[:, :, None, None, None], garbage)
    other_audio = audio.masked_fill(audio_mask[:, :, None], garbage)
    for field, other in zip(expected, model(other_video, other_audio, video_mask, audio_mask), strict=True):
        torch.testing.assert_close(other, field, atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", ["gru", "tcn"])
def test_a_padded_clip_is_judged_as_the_clip_alone(small, clips, head):
    model = small(audio_head=head)
    video, audio, video_mask, audio_mask = clips(seen=5, heard=52)
    padded = model(video, audio, video_mask, audio_mask)
    alone = model(video[:, :5], audio[:, :52], video_mask[:, :5], audio_mask[:, :52])
    torch.testing.assert_close(padded.logit, alone.logit, atol=1e-5, rtol=0)
    torch.testing.assert_close(padded.offset, alone.offset, atol=1e-5, rtol=0)
    torch.testing.assert_close(padded.attention[:, :52, :5], alone.attention, atol=1e-5, rtol=0)


def test_attention_rows_sum_to_one_over_what_is_there(small, clips):
    attention = small()(*clips(seen=5, heard=52)).attention
    torch.testing.assert_close(attention[:, :52].sum(-1), torch.ones(2, 52))
    assert (attention[:, 52:] == 0).all()
    assert (attention[:, :, 5:] == 0).all()


@pytest.mark.parametrize(("seen", "heard"), [(0, 80), (8, 0), (0, 0)])
def test_a_missing_modality_is_judged_by_the_other_alone(small, clips, seen, heard):
    model = small()
    video, audio, video_mask, audio_mask = clips(seen=seen, heard=heard)
    out = model(video, audio, video_mask, audio_mask)
    assert all(torch.isfinite(field).all() for field in out)
    assert (out.attention == 0).all()
    other = clips(seen=seen, heard=heard, seed=1)
    again = model(video if seen else other[0], audio if heard else other[1], video_mask, audio_mask)
    torch.testing.assert_close(again.logit, out.logit, atol=1e-6, rtol=0)


def test_what_is_not_padding_does_matter(small, clips):
    model = small()
    video, audio, video_mask, audio_mask = clips(seen=5, heard=52)
    base = model(video, audio, video_mask, audio_mask).logit
    assert (model(-video, audio, video_mask, audio_mask).logit - base).abs().min() > 1e-4
    assert (model(video, -audio, video_mask, audio_mask).logit - base).abs().min() > 1e-4


def test_every_parameter_learns(small, clips):
    model = small(frames=4, frame_size=32).train()
    out = model(*clips(4, seen=6, heard=60))
    (out.logit.square().sum() + out.offset.square().sum() + out.attention.square().sum()).backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    key_bias = [name for name in dead if name.endswith(".k.bias")]  # a softmax does not change when all its scores are shifted
    assert dead == key_bias or not dead


def test_inputs_have_gradients_but_padding_has_none(small, clips):
    video, audio, video_mask, audio_mask = clips(seen=5, heard=52)
    video.requires_grad_()
    audio.requires_grad_()
    small()(video, audio, video_mask, audio_mask).logit.sum().backward()
    assert (video.grad[:, :5].abs().sum((2, 3, 4)) > 0).all()
    assert (video.grad[:, 5:] == 0).all()
    assert (audio.grad[:, :52].abs().sum(2) > 0).all()
    assert (audio.grad[:, 52:] == 0).all()


def test_padded_frames_never_enter_the_batch_norms(small, clips):
    video, audio, video_mask, audio_mask = clips(4, seen=5)
    states = []
    for garbage in (0.0, 1e3):
        model = small(dropout=0.0).train()
        out = model(video.masked_fill(video_mask[:, :, None, None, None], garbage), audio, video_mask, audio_mask)
        states.append({"logit": out.logit.detach(), **model.video.state_dict()})
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, atol=1e-5, rtol=0)


def test_maps_are_made_only_when_asked_for(small, clips):
    model = small()
    batch = clips()
    with_maps = model(*batch)
    model.return_maps = False
    without = model(*batch)
    assert without.attention.shape == (2, 0, 0)
    assert torch.equal(without.logit, with_maps.logit)


def test_half_precision_agrees(small, clips):
    model = small()
    video, audio, video_mask, audio_mask = clips(seen=5, heard=52)
    expected = model(video, audio, video_mask, audio_mask)
    half = model.half()(video.half(), audio.half(), video_mask, audio_mask)
    torch.testing.assert_close(half.logit.float(), expected.logit, atol=2e-2, rtol=0)
    torch.testing.assert_close(half.attention.float(), expected.attention, atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 30}, "width 30 and heads 4"),
        ({"backbone": "resnet19"}, r"did you mean resnet18\?"),
        ({"depth": 0}, "depth must be at least 1; got 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1; got 1"),
        ({"ffn": 0}, "ffn must be above 0; got 0"),
        ({"frames": 9}, "between 1 and the input's 8; got 9"),
        ({"frames": 0}, "between 1 and the input's 8; got 0"),
        ({"frame_size": 96}, "between 16 and the input's 64; got 96"),
        ({"audio_head": "lstm"}, "audio_head 'lstm' is not known; allowed: gru, tcn"),
        ({"audio_convs": []}, "at least one convolution"),
        ({"video_positions": "sin"}, "llowed: learned, none, sinusoidal"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(small, change, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        small(**change)
    assert "\n" not in str(caught.value)
