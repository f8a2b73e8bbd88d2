import numpy as np
import pytest

from paretolens.trainers.temperature import LIMIT, fitted_temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_it_finds_the_temperature_that_logits_were_made_with(temperature: float) -> None:
    generator = np.random.default_rng(0)
    true = generator.normal(0, 2, 20_000)
    labels = (generator.random(20_000) < 1 / (1 + np.exp(-true))).astype(float)
    assert fitted_temperature(labels, true * temperature) == pytest.approx(temperature, rel=0.05)


def test_it_stays_within_its_limits_where_no_mistake_is_made() -> None:
    assert 1 / LIMIT <= fitted_temperature([0, 0, 1, 1], [-1.0, -2.0, 1.0, 2.0]) < 1 / LIMIT * 1.1
    assert LIMIT / 1.1 < fitted_temperature([1, 1, 0, 0], [-1.0, -2.0, 1.0, 2.0]) <= LIMIT
