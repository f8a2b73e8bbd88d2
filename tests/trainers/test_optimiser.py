from dataclasses import replace

import pytest
import torch
from torch import nn

from paretolens.trainers.loop import LoopSettings, Monitor, train_loop
from paretolens.trainers.losses import hard_loss
from paretolens.trainers.optimiser import OptimiserKind
from paretolens.trainers.rates import RateShape
from paretolens.trainers.validation import Score

SETTINGS = LoopSettings(
    optimiser=OptimiserKind.SGD, momentum=0.5, learning_rate=0.5, weight_decay=0.1, rate=RateShape.STEP, step_epochs=2,
    epochs=5, batch_size=16, clip_norm=1e6, monitor=Monitor.LAST,
)  # fmt: skip


class StoppedError(Exception):
    pass


def points() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 5, generator=generator)
    return x, (x[:, :1] + 0.3 * torch.randn(16, 1, generator=generator) > 0).float()


def linear() -> nn.Module:
    torch.manual_seed(1)
    return nn.Linear(5, 1)


def trained(model, settings=SETTINGS, *, folder=None, stop_after=None):
    x, y = points()

    def report(figures):
        if figures["epoch"] == stop_after:
            raise StoppedError

    train_loop(
        model,
        lambda model, batch: hard_loss(model(x[batch.rows]), y[batch.rows]),
        count=len(x),
        validate=lambda model: Score(loss=0.0, accuracy=0.0, auc=0.5),
        settings=settings,
        seed=0,
        stage="demo",
        report=report,
        folder=folder,
    )
    return model


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_sgd_in_steps_is_torchs_sgd_under_torchs_step_scheduler(momentum):
    (x, y), reference = points(), linear()
    groups = [{"params": [reference.weight], "weight_decay": 0.1}, {"params": [reference.bias], "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(groups, lr=0.5, momentum=momentum)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=2, gamma=0.1)
    for _ in range(5):
        optimiser.zero_grad()
        hard_loss(reference(x), y).backward()
        optimiser.step()
        schedule.step()
    found = trained(linear(), replace(SETTINGS, momentum=momentum))
    torch.testing.assert_close(found.weight, reference.weight, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.bias, reference.bias, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_stopped_run_of_sgd_goes_on_as_if_it_had_not_been(tmp_path, momentum):
    settings = replace(SETTINGS, momentum=momentum)
    wanted = trained(linear(), settings)
    with pytest.raises(StoppedError):
        trained(linear(), settings, folder=tmp_path, stop_after=3)
    torch.testing.assert_close(trained(linear(), settings, folder=tmp_path).weight, wanted.weight, atol=0, rtol=0)
