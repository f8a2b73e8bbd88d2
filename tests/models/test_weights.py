import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.models.registry import build
from paretolens.models.weights import load_weights


def published(seed: int = 0) -> dict[str, torch.Tensor]:
    """Tensors named and shaped as Tiny-LaDeDa's authors save them."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"conv1.weight": (8, 3, 1, 1), "conv2.weight": (8, 8, 3, 3), "fc.weight": (1, 8), "fc.bias": (1,)}
    shapes |= {"layer1.0.conv1.weight": (8, 8, 1, 1), "layer1.0.conv2.weight": (8, 8, 3, 3)}
    found = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for norm in ("bn1", "layer1.0.bn1", "layer1.0.bn2"):
        found |= {f"{norm}.{name}": torch.rand(8, generator=generator) + 0.5 for name in ("weight", "bias")}
        found |= {f"{norm}.{name}": torch.rand(8, generator=generator) + 0.5 for name in ("running_mean", "running_var")}
        found[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    return found


def by_hand(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Tiny-LaDeDa's logit by plain functions, the classifier as a linear layer over the mean of the features."""
    f = nn.functional

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        values = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return f.relu(f.batch_norm(x, *values))

    x = norm(f.conv2d(f.conv2d(x, state["conv1.weight"]), state["conv2.weight"]), "bn1")
    x = norm(f.conv2d(x, state["layer1.0.conv1.weight"]), "layer1.0.bn1")
    x = norm(f.conv2d(x, state["layer1.0.conv2.weight"], stride=2), "layer1.0.bn2")
    return f.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


@pytest.mark.parametrize("way", ["plain", "wrapped", "parallel", "safetensors"])
def test_the_published_layout_is_loaded(tmp_path, way):
    state, path = published(), tmp_path / "tiny.pth"
    if way == "safetensors":
        path = tmp_path / "tiny.safetensors"
        save_file(state, path)
    elif way == "wrapped":
        torch.save({"model": state, "optimizer": {"lr": 1e-3}, "total_steps": 5}, path)
    else:
        torch.save({f"module.{name}": value for name, value in state.items()} if way == "parallel" else state, path)
    model = build("tiny-ladeda", prefilter="raw").eval()
    load_weights(model, path, whole=True)
    x = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model(x).logit, by_hand(state, x), atol=1e-4, rtol=1e-4)


def test_a_model_of_another_shape_is_refused_by_name(tmp_path):
    path = tmp_path / "tiny.pth"
    torch.save(published(), path)
    with pytest.raises(ConfigurationError, match=r"conv1.weight is 8×3×1×1, the model's is 4×3×1×1"):
        load_weights(build("tiny-ladeda", width=4), path, whole=True)
    with pytest.raises(ConfigurationError, match=r"layer1.1.conv1.weight is missing; .* and \d+ more"):
        load_weights(build("tiny-ladeda", layers=3, field=9), path, whole=True)
    with pytest.raises(ConfigurationError, match=r"layer1.0.conv1.weight is none of the model's"):
        load_weights(build("tiny-ladeda", layers=1), path, whole=True)


def test_a_refused_checkpoint_leaves_the_model_as_it_was(tmp_path):
    state = published()
    del state["fc.bias"]
    torch.save(state, tmp_path / "short.pth")
    model = build("tiny-ladeda")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ConfigurationError, match=r"fc\.bias is missing"):
        load_weights(model, tmp_path / "short.pth", whole=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Payload:
    """What must never run."""

    def __reduce__(self):
        return (print, ("a checkpoint ran code",))


def test_nothing_of_a_checkpoint_is_run(tmp_path, capsys):
    torch.save({"model": published(), "note": Payload()}, tmp_path / "evil.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Payload(), protocol=2))
    for name in ("evil.pth", "old.pth"):
        with pytest.raises(ConfigurationError, match=r"cannot be read as tensors \(it is no torch file, or holds more"):
            load_weights(build("tiny-ladeda"), tmp_path / name)
    assert "ran code" not in capsys.readouterr().out


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ConfigurationError, match="holds list, not a state dict"):
        load_weights(build("tiny-ladeda"), tmp_path / "list.pth")
    with pytest.raises(ConfigurationError, match=r"cannot be read as tensors .*gone"):
        load_weights(build("tiny-ladeda"), tmp_path / "gone.pth")


def test_a_file_of_another_network_is_refused_and_one_of_another_head_is_taken(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "resnet34.pth")
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), tmp_path / "ten.pth")
    model = torchvision.models.resnet18(num_classes=1)
    with pytest.raises(ConfigurationError, match=r"not those of this network.*layer1\.2"):
        load_weights(model, tmp_path / "resnet34.pth")
    assert set(load_weights(model, tmp_path / "ten.pth")) == {"fc.weight", "fc.bias"}
