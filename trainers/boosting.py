"""Gradient boosting over a network's features: scikit-learn grows the trees, `models.trees` runs them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paretolens.errors import ConfigurationError
from paretolens.models.trees import Trees

__all__ = ["grow_trees"]


def grow_trees(trees: Trees, features: NDArray[np.float32], labels: NDArray[np.float32], *, seed: int) -> None:
    """Fit trees to tell fake from real and write them into `trees`.

    Histogram gradient boosting of the logistic loss (Friedman 2001; Ke et al. 2017), with half of the features at every split.

    Args:
        trees: count and depth are taken from it; filled in place.
        features: (N, F).
        labels: (N,) 1 = fake, 0 = real; both must be there.
        seed: of the drawn features.

    Raises:
        ConfigurationError: one class only.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if len(np.unique(labels)) < 2:
        raise ConfigurationError("trees need real and fake samples; the training split has one class only: enlarge it")
    booster = HistGradientBoostingClassifier(
        max_iter=trees.count, max_depth=trees.depth, max_leaf_nodes=None, learning_rate=0.1, min_samples_leaf=10,
        l2_regularization=1.0, max_features=0.5, early_stopping=False, random_state=seed,
    ).fit(features, labels > 0.5)  # fmt: skip
    inner, leaves = 2**trees.depth - 1, 2**trees.depth
    feature, threshold = np.zeros((trees.count, inner), np.int64), np.zeros((trees.count, inner), np.float64)
    value = np.zeros((trees.count, leaves), np.float32)
    for place, (grown,) in enumerate(booster._predictors):
        _Copy(grown.nodes, feature[place], threshold[place], value[place]).below(0, 0, trees.depth)
    with torch.no_grad():
        trees.feature.copy_(torch.from_numpy(feature.reshape(-1)))
        trees.threshold.copy_(torch.from_numpy(_just_below(threshold.reshape(-1))))
        trees.value.copy_(torch.from_numpy(value.reshape(-1)))
        trees.start.fill_(float(np.ravel(booster._baseline_prediction)[0]))


class _Copy:
    """One grown tree, and the arrays of the complete one that it becomes."""

    def __init__(self, nodes: Any, feature: NDArray[Any], threshold: NDArray[Any], value: NDArray[Any]) -> None:
        self.nodes, self.feature, self.threshold, self.value = nodes, feature, threshold, value

    def below(self, node: int, place: int, left: int) -> None:
        """Copy what lies below a node, `left` decisions deep; a leaf that comes early is repeated at all places below."""
        grown = self.nodes[node]
        if left == 0:
            self.value[place - len(self.feature)] = grown["value"]
            return
        leaf = bool(grown["is_leaf"])
        if not leaf:
            self.feature[place], self.threshold[place] = grown["feature_idx"], grown["num_threshold"]
        children = (node, node) if leaf else (int(grown["left"]), int(grown["right"]))
        for child, below in zip(children, (2 * place + 1, 2 * place + 2), strict=True):
            self.below(child, below, left - 1)


def _just_below(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above each threshold: x ≤ t then says the same of every float32 x."""
    rounded = threshold.astype(np.float32)
    lower: NDArray[np.float32] = np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return lower
