import pytest

from paretolens.data.generated.settings import GeneratedSettings
from paretolens.errors import ConfigurationError


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"size": 65}, "size must be even"),
        ({"min_frames": 9}, "min_frames must not exceed frames"),
        ({"blend": 0.9}, "must be 1"),
        ({"strength_low": 0.9, "strength_high": 0.5}, "strength_low must be at most"),
        ({"crf_low": 40}, "crf_low must not exceed"),
        ({"noise_low": 0.5}, "noise_low must not exceed"),
    ],
)
def test_an_impossible_value_is_named(change: dict[str, float], rule: str) -> None:
    with pytest.raises(ConfigurationError, match=rule):
        GeneratedSettings(**change)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"size must be even.*min_frames"):
        GeneratedSettings(size=65, min_frames=9)
