"""Networks of a space are parsed by TensorRT before anything is trained; the library is asked, no GPU is needed."""

import pytest
import torch
from torch import Tensor

from paretolens.errors import BackendError
from paretolens.exporters.tensorrt_flavours import flavours
from paretolens.models.audio import TemporalConvolutions
from paretolens.search.config import Config, load_config
from paretolens.search.operators import check_networks, networks_of

pytestmark = pytest.mark.skipif(not any(one.usable for one in flavours()), reason="no TensorRT is installed")


@pytest.fixture
def config() -> Config:
    small = ["space.backbone=[resnet18]", "space.backbone_width=[0.125]", "space.audio_head=[gru,tcn]", "space.qat=[true]"]
    numbers = ["space.frames=[2]", "space.frame_size=[32]", "space.depth=[1]", "space.width=[32]"]
    teacher = ["model.teacher.backbone_width=0.125", "model.teacher.depth=1", "model.teacher.width=32"]
    return load_config(preset="default", file=None, assignments=[*small, *numbers, *teacher], flags={})


def test_every_kind_of_network_is_parsed(config: Config) -> None:
    networks = networks_of(config)
    assert {str(genome["audio_head"]) for genome in networks.values()} == {"gru", "tcn"}
    assert len(networks) == len({tuple(genome.items()) for genome in networks.values()})
    told: list[tuple[int, int, str]] = []
    taken = check_networks(config, lambda *step: told.append(step))
    assert taken.networks == len(networks) + 1 == told[-1][0]
    assert taken.runtime.startswith("tensorrt")


def test_an_operator_that_is_unknown_is_named_with_its_genes(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = TemporalConvolutions.forward

    def forward(self: TemporalConvolutions, x: Tensor, ignore: Tensor) -> Tensor:
        found = plain(self, x, ignore)
        return found + torch.linalg.det(found[:, :3, :3])[:, None, None]

    monkeypatch.setattr(TemporalConvolutions, "forward", forward)
    with pytest.raises(BackendError, match=r"a student with audio_head tcn: tensorrt\w* .* operator Det .*leave that choice out"):
        check_networks(config)
