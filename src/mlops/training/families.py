"""The model families and the candidates that a search tries: per family its sound default, then samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline

from mlops.contract import Contract
from mlops.errors import ContractError
from mlops.training.design import FilledDesign, LinearDesign, TreeDesign, sources, tree_sources
from mlops.training.supported import form_of

#: Leaves of all trees of one model, which bounds ``model.onnx`` to about 20 MB.
MAX_LEAVES = 200_000
FOREST_TREES = 100
#: Boosted trees grow with the rows: hundreds of them learn nothing more from a few hundred rows.
LEAST_TREES, ROWS_A_TREE = 100, 3

_DESIGNS: Mapping[str, Callable[..., Any]] = {"linear": LinearDesign, "trees": TreeDesign, "filled": FilledDesign}


@dataclass(frozen=True)
class Candidate:
    """A family and its parameters; ``name`` is unique within a search. ``prototype``: the unfitted estimator of a
    recipe, in place of a family's. ``hungry``: a large model that few rows do no justice to."""

    name: str
    family: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    prototype: Any = field(default=None, compare=False, repr=False)
    hungry: bool = field(default=False, compare=False, repr=False)


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    return float(f"{np.exp(generator.uniform(np.log(low), np.log(high))):.4g}")


def _linear(generator: np.random.Generator, classification: bool) -> dict[str, Any]:
    return (
        {"C": _log_uniform(generator, 1e-3, 1e2)} if classification else {"alpha": _log_uniform(generator, 1e-2, 1e3)}
    )


def _forest(generator: np.random.Generator, classification: bool) -> dict[str, Any]:
    return {
        "max_features": [0.2, 0.33, 0.5, 0.8][generator.integers(4)],
        "min_samples_leaf": int([1, 2, 4, 8, 16][generator.integers(5)]),
    }


def _boosting(generator: np.random.Generator, classification: bool) -> dict[str, Any]:
    return {
        "learning_rate": _log_uniform(generator, 0.02, 0.2),
        "max_iter": int([100, 200, 300][generator.integers(3)]),
        "max_leaf_nodes": int([4, 8, 15, 31][generator.integers(4)]),
        "min_samples_leaf": int([5, 10, 20, 40][generator.integers(4)]),
        "l2_regularization": [0.0, 0.1, 1.0, 10.0][generator.integers(4)],
        "max_features": [0.3, 0.6, 1.0][generator.integers(3)],
    }


def _boosted(rate: float, trees: int, leaves: int, l2: float, features: float) -> dict[str, Any]:
    return {
        "learning_rate": rate,
        "max_iter": trees,
        "max_leaf_nodes": leaves,
        "min_samples_leaf": 20,
        "l2_regularization": l2,
        "max_features": features,
    }


#: Per family what is tried before any sample: scikit-learn's own default, then what is good where that is not. Small
#: trees suit few or noisy rows, many large ones with a slow rate large and clean tables.
_LARGE = _boosted(0.06, 300, 31, 1.0, 0.5)
_BOOSTING = (_boosted(0.1, 100, 31, 0.0, 1.0), _boosted(0.05, 100, 6, 1.0, 0.5), _LARGE)
_KNOWN: Mapping[str, Mapping[bool, Sequence[Mapping[str, Any]]]] = {
    "linear": {True: ({"C": 1.0},), False: ({"alpha": 1.0},)},
    "forest": {
        True: ({"max_features": "sqrt", "min_samples_leaf": 1}, {"max_features": 0.33, "min_samples_leaf": 5}),
        False: ({"max_features": 0.33, "min_samples_leaf": 2},),
    },
    "boosting": {True: _BOOSTING, False: _BOOSTING},
}
_SAMPLERS: Mapping[str, Callable[[np.random.Generator, bool], dict[str, Any]]] = {
    "linear": _linear,
    "forest": _forest,
    "boosting": _boosting,
}
FAMILIES: tuple[str, ...] = tuple(_SAMPLERS)


def candidates(contract: Contract, per_family: int = 5) -> list[Candidate]:
    """The candidates of a search, the same list for the same seed: every family's known ones first, then samples,
    by turns, so that a search cut short has seen every family.

    Raises
    ------
    ContractError
        for an unknown family.
    """
    classification = contract.task == "classification"
    generator = np.random.default_rng(contract.training.seed)
    result: list[Candidate] = []
    for i in range(per_family):
        for family in contract.training.families:
            if family not in _SAMPLERS:
                raise ContractError(
                    f"training.families: unknown family '{family}'; known families are {', '.join(FAMILIES)}"
                )
            known = _KNOWN[family][classification]
            parameters = dict(known[i]) if i < len(known) else _SAMPLERS[family](generator, classification)
            if any(c.family == family and c.parameters == parameters for c in result):
                continue
            hungry = family == "boosting" and parameters == _LARGE
            result.append(Candidate(f"{family}-{i}", family, parameters, hungry=hungry))
    return result


def build(contract: Contract, candidate: Candidate, rows: int) -> Pipeline:
    """An unfitted pipeline over the encoded matrix.

    Parameters
    ----------
    rows : how many rows it will be fitted on, which bounds the size of trees.
    """
    estimator = _estimator(contract, candidate, rows)
    form = form_of(estimator, contract.task == "classification")
    columns = sources(contract.features) if form == "linear" else tree_sources(contract.features)
    design = _DESIGNS[form](columns)
    return Pipeline([("design", design), ("model", estimator)])


def _estimator(contract: Contract, candidate: Candidate, rows: int) -> Any:
    if candidate.prototype is not None:
        return clone(candidate.prototype)
    classification = contract.task == "classification"
    parameters = dict(candidate.parameters)
    seed = contract.training.seed
    weight = {"class_weight": contract.training.class_weight} if classification else {}
    if candidate.family == "linear":
        if classification:
            return LogisticRegression(max_iter=1000, **weight, **parameters)
        return Ridge(**parameters)
    if candidate.family == "forest":
        leaves = min(MAX_LEAVES // FOREST_TREES, max(2, rows))
        common = {"n_estimators": FOREST_TREES, "max_leaf_nodes": leaves, "random_state": seed, "n_jobs": 1}
        kind = RandomForestClassifier if classification else RandomForestRegressor
        return kind(**common, **weight, **parameters)
    trees_a_step = len(contract.target.classes) if len(contract.target.classes) > 2 else 1
    most = min(MAX_LEAVES // (trees_a_step * parameters["max_leaf_nodes"]), max(LEAST_TREES, rows // ROWS_A_TREE))
    parameters["max_iter"] = max(1, min(parameters["max_iter"], most))
    boosting = HistGradientBoostingClassifier if classification else HistGradientBoostingRegressor
    return boosting(random_state=seed, early_stopping=False, **weight, **parameters)
