from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.models.weights import load_weights


def network(classes: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, classes))


def test_a_safetensors_file_is_loaded_and_another_head_is_left(tmp_path: Path) -> None:
    source, model = network(1000), network()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    assert load_weights(model, tmp_path / "w.safetensors") == ("3.weight", "3.bias")
    torch.testing.assert_close(model[0].weight, source[0].weight)


@pytest.mark.parametrize("key", ["", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_torch_file_is_loaded_whatever_wraps_it(tmp_path: Path, key: str, prefix: str) -> None:
    source, model = network(), network()
    state = {f"{prefix}{name}": value for name, value in source.state_dict().items()}
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "w.pth")
    assert load_weights(model, tmp_path / "w.pth") == ()
    torch.testing.assert_close(model[3].weight, source[3].weight)


class Foreign:
    """Something that only unpickling could rebuild."""


def test_a_file_with_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": Foreign()}, tmp_path / "w.pth")
    with pytest.raises(ConfigurationError, match="cannot be read as tensors") as caught:
        load_weights(network(), tmp_path / "w.pth")
    assert "\n" not in str(caught.value)


def test_the_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"blocks.0.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(ConfigurationError, match=r"only 0 of the model's 9 tensors.*blocks.0.weight"):
        load_weights(network(), tmp_path / "w.pth")


@pytest.mark.parametrize("content", [b"", b"no tensors", None])
def test_what_is_no_file_of_tensors_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"w\.safetensors: cannot be read"):
        load_weights(network(), path)
