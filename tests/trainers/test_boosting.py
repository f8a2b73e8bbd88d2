from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from paretolens.errors import ConfigurationError
from paretolens.models.trees import Trees
from paretolens.trainers.boosting import grow_trees


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(300, 12)).astype(np.float32)
    return features, ((features[:, 0] * features[:, 1] > 0) & (features[:, 2] > -1)).astype(np.float32)


@pytest.mark.parametrize("depth", [1, 3])
def test_trees_say_what_sklearn_says(data: tuple[np.ndarray, np.ndarray], depth: int) -> None:
    features, labels = data
    trees = Trees(count=20, depth=depth)
    grow_trees(trees, features, labels, seed=1)
    theirs = HistGradientBoostingClassifier(
        max_iter=20, max_depth=depth, max_leaf_nodes=None, learning_rate=0.1, min_samples_leaf=10,
        l2_regularization=1.0, max_features=0.5, early_stopping=False, random_state=1,
    ).fit(features, labels > 0.5)  # fmt: skip
    seen = np.concatenate([features, np.random.default_rng(2).normal(size=(500, 12)).astype(np.float32)])
    found = trees(torch.from_numpy(seen))[:, 0].numpy()
    np.testing.assert_allclose(found, theirs.decision_function(seen), atol=1e-5)


def test_they_learn_what_no_line_can_and_run_in_onnx_runtime(data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    features, labels = data
    trees = Trees(count=60, depth=3).eval()
    grow_trees(trees, features, labels, seed=0)
    wanted = trees(torch.from_numpy(features))
    assert np.mean((wanted[:, 0].numpy() > 0) == (labels > 0.5)) > 0.95
    path = tmp_path / "trees.onnx"
    dynamic = {"x": {0: "batch"}, "y": {0: "batch"}}
    torch.onnx.export(
        trees, (torch.from_numpy(features[:2]),), str(path), input_names=["x"], output_names=["y"], dynamic_axes=dynamic,
        opset_version=17, dynamo=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in (1, 300):
        (found,) = session.run(None, {"x": features[:batch]})
        np.testing.assert_allclose(found, wanted[:batch].numpy(), atol=1e-5)


def test_impossible_trees_are_refused(data: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ConfigurationError, match="depth within 1–8; got 3 of depth 9"):
        Trees(count=3, depth=9)
    with pytest.raises(ConfigurationError, match="one class only"):
        grow_trees(Trees(count=3, depth=2), data[0], np.ones(300, np.float32), seed=0)
