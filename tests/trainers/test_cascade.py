"""A cascade is taught stage by stage and settled: trees, temperatures."""

import numpy as np
import pytest
import torch

from paretolens.data.preprocessing import PictureSettings, Preprocessing
from paretolens.data.samples import SampleSet
from paretolens.models.aware import Cascade, CascadeVerdict
from paretolens.models.registry import build_seeded
from paretolens.models.signature import InputKind, InputSpec, Signature
from paretolens.models.trees import Trees
from paretolens.trainers.cascade import CascadeSettings, settle_cascade
from paretolens.trainers.distill import DistillSettings, distill
from paretolens.trainers.live_teacher import LiveTeacher

SIDE = 32
SIGNATURE = Signature(
    inputs=(InputSpec(name="image", shape=(3, SIDE, SIDE), kind=InputKind.IMAGE),), outputs=CascadeVerdict._fields
)
SMALL = {"cnn": "resnet18", "multiplier": 0.125, "convnext": "mote", "autoencoder": 0.25, "embed": 8, "hidden": 8, "align": 4}


def pictures(count: int, seed: int) -> SampleSet:
    """Noise, with a bright square in every fake."""
    generator = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype(np.float32)
    image = generator.integers(60, 160, (count, 3, SIDE, SIDE), dtype=np.uint8)
    image[labels == 1, :, 8:20, 8:20] += 60
    return SampleSet(
        signature=SIGNATURE,
        preprocessing=Preprocessing(picture=PictureSettings(size=SIDE)),
        arrays={"image": image},
        labels=labels,
        ids=tuple(map(str, range(count))),
        groups=np.arange(count) // 2,
        identities=np.arange(count) // 4,
        kinds=tuple("fake" if label else "real" for label in labels),
        strengths=labels.copy(),
        offsets=np.full(count, -100),
        regions=np.zeros((count, 1, 16, 16), bool),
        periods=np.zeros((count, 2), np.float32),
        mean_image=np.full((3, SIDE, SIDE), 110, np.float32),
        fingerprint=f"squares-{count}-{seed}",
    )


@pytest.fixture(scope="module")
def settled() -> tuple[Cascade, SampleSet]:
    train, val = pictures(48, 0), pictures(24, 1)
    first = {"network": "resnet18", "multiplier": 0.125, "input_size": SIDE}
    second = {**SMALL, "input_size": SIDE}
    model = build_seeded("aware-cascade", 0, first=first, second=second)
    assert isinstance(model, Cascade)
    teacher = build_seeded("aware-expert", 1, input_size=SIDE, **SMALL)
    settings = DistillSettings(epochs=10, batch_size=8, learning_rate=5e-3, alpha=1.0, beta=0.0)
    distill(model, LiveTeacher(teacher, train), train, val, settings, seed=0, report=lambda figures: None)
    return model, val


def test_both_stages_have_learnt(settled: tuple[Cascade, SampleSet]) -> None:
    model, val = settled
    image = val.batch(slice(0, len(val)))[0]
    for stage in model.stages(soft=True):
        with torch.no_grad():
            logits = stage(image).logit[:, 0].numpy()
        assert np.mean((logits > 0) == (val.labels > 0.5)) > 0.8


SETTINGS = CascadeSettings(trust_fake=0.8, trust_real=0.2, trees=8, tree_depth=2)


def test_settling_grows_trees_and_calibrates_each_stage(settled: tuple[Cascade, SampleSet]) -> None:
    model, val = settled
    done = settle_cascade(model, pictures(48, 0), val, SETTINGS, seed=0)
    assert done.trees == 8
    assert isinstance(model.second.trees, Trees)
    assert (model.low, model.high) == pytest.approx((np.log(0.25), np.log(4)))
    assert done.tree_agreement > 0.7
    assert (1.0 / model.scales).tolist() == pytest.approx(done.temperatures, rel=1e-5)
    again = settle_cascade(model, pictures(48, 0), val, SETTINGS, seed=0)
    assert again.temperatures == pytest.approx(done.temperatures)  # settling starts from the bare logits


def test_without_trees_the_linear_layer_decides(settled: tuple[Cascade, SampleSet]) -> None:
    model, val = settled
    done = settle_cascade(model, pictures(48, 0), val, CascadeSettings(), seed=0)
    assert (done.trees, done.tree_agreement) == (0, 1.0)
