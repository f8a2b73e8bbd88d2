"""Which knobs an objective depends on, as far as the trials of a study can tell.

Permutation importance (Breiman, "Random forests", 2001; scikit-learn's `permutation_importance`) of a forest of extremely
randomised trees (Geurts et al. 2006): how much worse the forest predicts an objective of trials it hasn't seen once one knob's
values are shuffled. Held-out trials tell how far the forest itself is to be believed: where it predicts nothing, its
importances say nothing, and none are given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from paretolens.mlflow.explorer.columns import KNOB_PREFIX
from paretolens.mlflow.front import Front
from paretolens.mlflow.pareto import Floats

__all__ = ["FEWEST", "Importance", "knob_importance"]

FEWEST = 20
"""Complete trials below which nothing is said."""
_MOST = 600
_FOLDS, _REPEATS, _TREES = 5, 3, 60
_USELESS = 0.05


@dataclass(frozen=True, kw_only=True)
class Importance:
    """What the knobs explain of one objective."""

    objective: str
    """Metric."""
    trials: int
    """Complete trials that it rests on."""
    held_out: float | None
    """R² of the forest on trials it hasn't seen, 1 = perfect, ≤ 0 = useless; None where there are too few trials."""
    knobs: list[str]
    """Knobs that vary, the most important first; empty if there is nothing to say."""
    drop: list[float]
    """Loss of held-out R² when the knob is shuffled, mean over folds, in the same order."""
    spread: list[float]
    """Standard deviation over the folds."""
    note: str
    """Why nothing is shown, or how far to trust it; empty if there is no doubt worth a line."""


def knob_importance(front: Front) -> list[Importance]:
    """One entry per objective; deterministic. Takes about 1 s for 24 trials, some seconds for thousands (600 drawn at random)."""
    trials = front.trials
    knobs = [str(name) for name in trials.columns if str(name).startswith(KNOB_PREFIX)]
    varying = [name for name in knobs if trials[name].astype(str).nunique() > 1]
    if len(trials) < FEWEST or not varying:
        few = f"too few complete trials: {len(trials)}, at least {FEWEST} are needed"
        why = few if len(trials) < FEWEST else "no knob varies"
        return [_nothing(name, len(trials), None, why) for name in front.objectives]
    chosen = trials if len(trials) <= _MOST else trials.sample(_MOST, random_state=0)
    features = np.column_stack([_encoded(chosen[name]) for name in varying])
    names = [name.removeprefix(KNOB_PREFIX) for name in varying]
    return [_explain(name, chosen[name].to_numpy(dtype=np.float64), features, names) for name in front.objectives]


def _explain(objective: str, target: Floats, features: Floats, names: Sequence[str]) -> Importance:
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    if np.ptp(target) == 0:
        return _nothing(objective, len(target), None, "it is the same in all trials")
    predicted, drops = np.empty(len(target)), []
    variance = float(target.var())
    for fold, (train, test) in enumerate(KFold(_FOLDS, shuffle=True, random_state=0).split(features)):
        forest = ExtraTreesRegressor(_TREES, min_samples_leaf=2, random_state=fold).fit(features[train], target[train])
        predicted[test] = forest.predict(features[test])
        found = permutation_importance(
            forest, features[test], target[test], scoring="neg_mean_squared_error", n_repeats=_REPEATS, random_state=fold
        )
        drops.append(found.importances_mean / variance)
    held_out = 1.0 - float(np.mean((predicted - target) ** 2)) / variance
    if held_out < _USELESS:
        return _nothing(objective, len(target), held_out, "the knobs don't predict it on held-out trials")
    mean, spread = np.mean(drops, axis=0), np.std(drops, axis=0)
    order = np.argsort(-mean, kind="stable")
    note = "a rough order only: the knobs predict less than half of it on held-out trials" if held_out < 0.5 else ""
    return Importance(
        objective=objective,
        trials=len(target),
        held_out=held_out,
        knobs=[names[row] for row in order],
        drop=mean[order].tolist(),
        spread=spread[order].tolist(),
        note=note,
    )


def _nothing(objective: str, trials: int, held_out: float | None, note: str) -> Importance:
    return Importance(objective=objective, trials=trials, held_out=held_out, knobs=[], drop=[], spread=[], note=note)


def _encoded(values: pd.Series) -> Floats:
    """(n,) float64: numbers as they are, anything else by its place in the alphabet, a knob that isn't active below all."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        codes = pd.Categorical(values.map(str, na_action="ignore")).codes.astype(np.float64)
        numbers = np.where(codes < 0, np.nan, codes)
    present = numbers[np.isfinite(numbers)]
    below = present.min() - (np.ptp(present) or 1.0) if len(present) else 0.0
    return np.where(np.isfinite(numbers), numbers, below)
