import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from paretolens.errors import ConfigurationError, IntegrityError, StoreError
from paretolens.models.record import MODEL_FILE, WEIGHTS_FILE, load_model, recordable, save_model

LOAD = """
import sys
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from paretolens.models.record import load_model
torch.set_num_threads(1)
inputs = load_file("inputs.safetensors")
for folder in sys.argv[1:]:
    with torch.no_grad():
        out = load_model(Path(folder))(*(inputs[name] for name in ("video", "audio", "video_mask", "audio_mask")))
    save_file({key: value.contiguous() for key, value in out._asdict().items()}, Path(folder, "outputs.safetensors"))
"""


def fold(model: nn.Module) -> None:
    """Fold the batch norms of a resnet backbone into its convolutions."""
    for block in model.video.backbone.modules():
        for conv, norm in (("conv", "bn"), ("conv1", "bn1"), ("conv2", "bn2")):
            if hasattr(block, conv) and hasattr(block, norm):
                setattr(block, conv, fuse_conv_bn_eval(getattr(block, conv), getattr(block, norm)))
                setattr(block, norm, nn.Identity())


def factorise(model: nn.Module) -> None:
    """Replace one layer by two of rank 4, and put an activation where there was none."""
    old = model.blocks[0].ffn.expand
    model.blocks[0].ffn.expand = nn.Sequential(nn.Linear(old.in_features, 4, bias=False), nn.Linear(4, old.out_features))
    model.blocks[1].gate = nn.Sequential(model.blocks[1].gate, nn.GELU())


def narrow(model: nn.Module) -> None:
    """Take one head and half of the neurons of the first block away by hand."""
    block = model.blocks[0]
    attention, ffn = block.cross, block.ffn
    kept = attention.head_dim * (attention.num_heads - 1)
    for layer in (attention.q, attention.k, attention.v):
        layer.weight, layer.bias, layer.out_features = nn.Parameter(layer.weight[:kept]), nn.Parameter(layer.bias[:kept]), kept
    attention.proj.weight, attention.proj.in_features = nn.Parameter(attention.proj.weight[:, :kept]), kept
    attention.num_heads -= 1
    half = ffn.expand.out_features // 2
    ffn.expand.weight, ffn.expand.bias, ffn.expand.out_features = (
        nn.Parameter(ffn.expand.weight[:half]),
        nn.Parameter(ffn.expand.bias[:half]),
        half,
    )
    ffn.contract.weight, ffn.contract.in_features = nn.Parameter(ffn.contract.weight[:, :half]), half


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def attributes(model: nn.Module) -> dict[str, str]:
    return {path: module.extra_repr() + type(module).__name__ for path, module in model.named_modules()}


def unusual(small: Callable[..., nn.Module], surgery: Callable[[nn.Module], None] | None) -> nn.Module:
    """A model whose batch norms are not those of a fresh build, after surgery."""
    model = small(seed=3)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.normal_()
    if surgery:
        surgery(model)
    return model


SURGERIES = {"untouched": None, "folded": fold, "factorised": factorise, "narrowed": narrow}


@pytest.mark.parametrize("surgery", SURGERIES)
def test_everything_comes_back(small, clips, tmp_path, surgery):
    model = unusual(small, SURGERIES[surgery])
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert shapes(loaded) == shapes(model)
    assert attributes(loaded) == attributes(model)
    assert not loaded.training
    batch = clips(seen=6, heard=60)
    for ours, theirs in zip(model(*batch), loaded(*batch), strict=True):
        torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=0)


def test_a_fresh_process_rebuilds_the_models(small, clips, tmp_path):
    batch = clips(seen=6, heard=60)
    save_file(dict(zip(("video", "audio", "video_mask", "audio_mask"), batch, strict=True)), tmp_path / "inputs.safetensors")
    models = {name: unusual(small, surgery) for name, surgery in SURGERIES.items()}
    for name, model in models.items():
        save_model(model, tmp_path / name)
    subprocess.run([sys.executable, "-c", LOAD, *models], check=True, cwd=tmp_path)
    for name, model in models.items():
        found = load_file(tmp_path / name / "outputs.safetensors")
        for field, value in model(*batch)._asdict().items():
            torch.testing.assert_close(found[field], value, atol=1e-6, rtol=0)


def test_saving_a_loaded_model_gives_the_same_files(small, tmp_path):
    model = small()
    fold(model)
    narrow(model)
    save_model(model, tmp_path / "one")
    save_model(load_model(tmp_path / "one"), tmp_path / "two")
    for name in (MODEL_FILE, WEIGHTS_FILE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted((MODEL_FILE, WEIGHTS_FILE))


def test_frozen_layers_and_buffers_come_back_as_they_were(small, tmp_path):
    model = small(freeze_through="layer1")
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    trained = {name: parameter.requires_grad for name, parameter in loaded.named_parameters()}
    assert trained == {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert not all(trained.values())
    assert {name for name, _ in loaded.named_buffers()} == {name for name, _ in model.named_buffers()}


@recordable
class Scaled(nn.Module):
    """A layer with a buffer and an attribute, put in by surgery."""

    def __init__(self, inner: nn.Module, power: int) -> None:
        super().__init__()
        self.inner, self.power = inner, power
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * self.scale**self.power


def test_a_recordable_wrapper_keeps_its_buffer_attribute_and_child(small, clips, tmp_path):
    model = small()
    model.verdict = Scaled(model.verdict, power=3)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert "verdict.scale" in dict(loaded.named_buffers())
    assert loaded.verdict.power == 3
    batch = clips()
    torch.testing.assert_close(loaded(*batch).logit, model(*batch).logit)


def test_an_unknown_module_type_is_refused_at_saving(small, tmp_path):
    model = small()
    model.verdict = nn.Bilinear(2, 2, 1)
    with pytest.raises(ConfigurationError, match=r"module verdict is a Bilinear.*@recordable"):
        save_model(model, tmp_path)


def test_a_type_is_recordable_once():
    with pytest.raises(ValueError, match="registered twice"):
        recordable(type("Linear", (nn.Module,), {}))


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: flip(folder / WEIGHTS_FILE, -100), "checksum does not match"),
        (lambda folder: flip(folder / WEIGHTS_FILE, 20), "checksum does not match"),
        (lambda folder: cut(folder / WEIGHTS_FILE), r"\d+ bytes instead of \d+"),
        (lambda folder: (folder / WEIGHTS_FILE).unlink(), "cannot be read"),
        (lambda folder: cut(folder / MODEL_FILE), "not valid JSON"),
        (lambda folder: (folder / MODEL_FILE).unlink(), "cannot be read"),
        (lambda folder: (folder / MODEL_FILE).write_text("[]"), "checksum does not match"),
        (lambda folder: (folder / MODEL_FILE).write_bytes(b"\xff\xfe"), "not valid JSON"),
    ],
    ids=["weight", "header", "truncated", "no weights", "truncated json", "no json", "other json", "no text"],
)
def test_damage_is_told_in_one_line(small, tmp_path, damage, message):
    save_model(small(), tmp_path)
    damage(tmp_path)
    with pytest.raises(IntegrityError, match=message) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_changed_argument_is_found(small, tmp_path):
    save_model(small(), tmp_path)
    record = json.loads((tmp_path / MODEL_FILE).read_text())
    record["arguments"]["heads"] = 2
    (tmp_path / MODEL_FILE).write_text(json.dumps(record))
    with pytest.raises(IntegrityError, match="it was changed"):
        load_model(tmp_path)


def test_an_unwritable_folder_is_told(small, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        save_model(small(), tmp_path / "file" / "model")
