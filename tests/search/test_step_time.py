from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from paretolens.models.signature import Detection
from paretolens.search.step_time import step_seconds


class Recording(nn.Linear):
    """Notes the device of its inputs, and whether it learns."""

    def __init__(self) -> None:
        super().__init__(3, 1)
        self.seen: list[tuple[str, bool]] = []

    def forward(self, x: Tensor) -> Detection:
        self.seen.append((x.device.type, self.training))
        logit = super().forward(x)
        return Detection(logit, x.new_zeros(len(x), 11), x.new_zeros(len(x), 0, 0))


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_steps_are_timed_where_the_study_trains(name: str, gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    model, waited = Recording(), []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    with gpu.pretended_gpu():
        step, look = step_seconds(model, [torch.rand(4, 3)], torch.device(name))
        assert next(model.parameters()).device.type == "cpu"  # as it was
    assert model.seen == [(name, True)] * 3 + [(name, False)] * 3
    assert min(step, look) >= 0  # some systems count CPU time coarsely
    assert len(waited) == (8 if name == "cuda" else 0)  # before and after each that counts: a GPU works on alone
