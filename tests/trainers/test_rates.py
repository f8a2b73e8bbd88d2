import random

import pytest
import torch

from paretolens.trainers.rates import plateau_share, step_share


def torchs_share(losses: list[float], patience: int, factor: float) -> float:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=factor, patience=patience, eps=0.0)
    for loss in losses:
        schedule.step(loss)
    return float(optimiser.param_groups[0]["lr"])


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_the_rate_falls_as_torchs_scheduler_lowers_it(patience):
    generator = random.Random(0)
    for length in range(25):
        losses = [generator.choice([0.3, 0.5, 0.5 * (1 - 5e-5), 0.7]) for _ in range(length)]
        assert plateau_share(losses, patience=patience, factor=0.1) == pytest.approx(torchs_share(losses, patience, 0.1))


def test_it_is_full_before_anything_is_known():
    assert plateau_share([]) == 1.0
    assert plateau_share([1.0, 0.9, 0.8]) == 1.0
    assert plateau_share([1.0, 1.0, 1.0]) == 0.5


def test_the_rate_falls_in_steps_as_torchs_scheduler_lowers_it():
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=3, gamma=0.2)
    for epoch in range(10):
        assert step_share(epoch, every=3, factor=0.2) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
