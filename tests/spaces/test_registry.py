import pytest

from paretolens.errors import ConfigurationError
from paretolens.spaces.family import Family
from paretolens.spaces.registry import families, get_family


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(ConfigurationError, match=r"'pin-point' is not known; did you mean pinpoint\?"):
        get_family("pin-point")


@pytest.mark.parametrize("name", families())
def test_every_family_keeps_the_protocol(name):
    family = get_family(name)
    assert isinstance(family, Family)
    assert family.name == name
    assert family.summary
    assert family.presets
