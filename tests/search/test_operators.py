"""Networks of a space are parsed by TensorRT before anything is trained; the library is asked, no GPU is needed."""

import pytest
import torch
from torch import Tensor, nn

from paretolens.errors import BackendError
from paretolens.exporters.tensorrt_flavours import flavours
from paretolens.search.config import Config, load_config
from paretolens.search.operators import check_networks, networks_of
from paretolens.spaces.pinpoint import PinpointFamily

pytestmark = pytest.mark.skipif(not any(one.usable for one in flavours()), reason="no TensorRT is installed")


@pytest.fixture
def config() -> Config:
    small = ["space.backbone=[resnet18]", "space.backbone_width=[0.125]", "space.audio_head=[gru,tcn]", "space.qat=[false,true]"]
    numbers = ["space.frames=[2,4]", "space.frame_size=[32]", "space.depth=[1]", "space.width=[32]"]
    teacher = ["model.teacher.backbone_width=0.125", "model.teacher.depth=1", "model.teacher.width=32"]
    return load_config(preset="default", file=None, assignments=[*small, *numbers, *teacher], flags={})


def test_every_kind_of_network_is_parsed(config: Config) -> None:
    networks = networks_of(config)
    assert {"audio_head gru", "audio_head tcn", "qat True", "qat False", "the highest numbers"} <= set(networks)
    told: list[tuple[int, int, str]] = []
    taken = check_networks(config, lambda *step: told.append(step))
    assert taken.networks == len(networks) + 1 == told[-1][0]
    assert taken.runtime.startswith("tensorrt")


class Inverse(nn.Module):
    """Ends in an operator that TensorRT has not."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> object:
        found = self.model(*inputs)
        return found._replace(logit=torch.linalg.det(found.logit[:, :, None]).unsqueeze(-1))


def test_an_operator_that_is_unknown_is_named_with_its_genes(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = PinpointFamily.student

    def student(self: PinpointFamily, genome: dict[str, object], *arguments: object, **options: object) -> nn.Module:
        made: nn.Module = plain(self, genome, *arguments, **options)  # type: ignore[arg-type]  # passed on as they came
        return Inverse(made) if genome["audio_head"] == "tcn" else made

    monkeypatch.setattr(PinpointFamily, "student", student)
    with pytest.raises(BackendError, match=r"a student with audio_head tcn: tensorrt\w* .* operator Det .*leave that choice out"):
        check_networks(config)
