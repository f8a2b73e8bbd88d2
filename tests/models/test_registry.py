import pytest
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.models.registry import build, builder_of, input_shapes, names, register


def test_unknown_model_names_the_nearest():
    with pytest.raises(ConfigurationError, match=r"'pinpiont' is not known; did you mean pinpoint\?"):
        build("pinpiont")


def test_unknown_argument_names_the_nearest():
    with pytest.raises(ConfigurationError, match=r"no argument 'hedas'; did you mean heads\?"):
        build("pinpoint", hedas=4)


def test_arguments_must_be_plain():
    with pytest.raises(ConfigurationError, match="plain JSON"):
        build("pinpoint", heads=object())


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="registered twice"):
        register("pinpoint")(nn.Identity)


def test_builder_is_noted(small):
    model = small(heads=2)
    name, arguments = builder_of(model)
    assert name == "pinpoint"
    assert arguments["heads"] == 2
    assert name in names()


def test_a_foreign_model_has_no_builder():
    with pytest.raises(ConfigurationError, match="a Linear not made by"):
        builder_of(nn.Linear(2, 2))


def test_a_model_tells_what_it_takes(small):
    shapes = input_shapes(small(input_frames=6, frames=3, audio_frames=24))
    assert list(shapes) == ["video", "audio", "video_mask", "audio_mask"]
    assert (shapes["video"][0], shapes["audio"][0], shapes["video_mask"], shapes["audio_mask"]) == (6, 24, (6,), (24,))
    assert input_shapes(build("pinpoint", backbone_width=0.125, width=16, depth=1, heads=2))["audio"] == (300, 13)
    assert input_shapes(nn.Linear(2, 2)) is None
