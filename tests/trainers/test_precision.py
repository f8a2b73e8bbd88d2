from dataclasses import replace

import pytest
import torch
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.trainers.precision import Precision, Stepper
from paretolens.trainers.teacher import TeacherSettings, train_teacher

SETTINGS = TeacherSettings(epochs=4, batch_size=16, learning_rate=3e-3)


def test_bfloat16_learns_and_leaves_float32_weights(model_of, train, val) -> None:
    model = model_of()
    seen: list[torch.dtype] = []
    hook = model.verdict.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    history = train_teacher(model, train, val, replace(SETTINGS, precision=Precision.BFLOAT16), seed=0, report=lambda f: None)
    hook.remove()
    assert torch.bfloat16 in seen
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert history.best["teacher_val_auc"] > 0.85


def test_float16_needs_a_gpu(model_of, train, val) -> None:
    with pytest.raises(ConfigurationError, match="float16 needs a GPU, this trains on a cpu"):
        train_teacher(model_of(), train, val, replace(SETTINGS, precision=Precision.FLOAT16), seed=0, report=lambda f: None)


def test_the_norm_is_that_before_clipping() -> None:
    layer = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(layer.weight)
    stepper = Stepper(Precision.FLOAT32, torch.device("cpu"), torch.optim.SGD(layer.parameters(), lr=1.0))
    with stepper.forward():
        loss = layer(torch.tensor([[3.0, 4.0]])).sum()
    assert stepper.backward(loss, list(layer.parameters()), clip_norm=1.0) == pytest.approx(5.0)
    stepper.step()
    assert layer.weight.tolist() == [pytest.approx([-0.6, -0.8])]


def test_training_ends_when_nothing_gets_better(model_of, train, val) -> None:
    seen: list[float] = []
    settings = replace(SETTINGS, epochs=6, learning_rate=1e-12, monitor="accuracy", patience=2)
    history = train_teacher(model_of(), train, val, settings, seed=0, report=lambda figures: seen.append(figures["epoch"]))
    assert len(seen) <= history.best_epoch + 3
    assert len(seen) < 6
