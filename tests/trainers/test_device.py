import pytest
import torch
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.trainers.device import Device, device_for, moved


def test_auto_takes_what_torch_sees() -> None:
    assert device_for(Device.AUTO).type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_for(Device.CPU) == torch.device("cpu")


def test_a_gpu_that_is_not_there_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match=r"device is cuda.*auto or cpu"):
        device_for(Device.CUDA)


class _Traveller(nn.Linear):
    """Notes where it is sent, and stays: a GPU is not there to be sent to."""

    def __init__(self) -> None:
        super().__init__(2, 1)
        self.sent: list[torch.device] = []

    def to(self, device: torch.device) -> "_Traveller":  # type: ignore[override]  # only this form is used
        self.sent.append(device)
        return self


def test_models_come_back_also_after_an_error() -> None:
    gpu, model = torch.device("cuda"), _Traveller()

    def fail() -> None:
        with moved(gpu, model):
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    assert model.sent == [gpu, torch.device("cpu")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_weights_travel_to_the_gpu_and_back() -> None:
    model = nn.Linear(2, 1)
    with moved(device_for(Device.AUTO), model):
        assert model.weight.is_cuda
    assert not model.weight.is_cuda
