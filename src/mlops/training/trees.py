"""Every kind of fitted tree ensemble in one form: arrays of nodes, and how the leaves become an answer.

Forests give shares of classes or values and are averaged; boosted trees give margins that are added to a base and
go through a link.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.ensemble._forest import BaseForest
from sklearn.tree import BaseDecisionTree

from mlops.training.graph import ExportError

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
#: How a model's last sum becomes its answer. ``shares``: it is the answer already, probabilities or values.
Link = Literal["shares", "value", "exp", "sigmoid", "softmax", "one_against_rest"]

_HIST = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_KINDS = (BaseDecisionTree, BaseForest, *_HIST, GradientBoostingClassifier, GradientBoostingRegressor)


@dataclass(frozen=True)
class Tree:
    """One tree; all arrays have shape (nodes,), ``values`` (nodes, targets). A row goes left when its feature is
    not above the threshold. ``first_target``: which output the first column of ``values`` adds to; ``cover``: training
    rows that reached each node, by weight, which explanations need and answers do not."""

    feature: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    missing_left: npt.NDArray[np.bool_]
    leaf: npt.NDArray[np.bool_]
    values: FloatArray
    cover: FloatArray
    first_target: int = 0


@dataclass(frozen=True)
class Trees:
    """All trees of a model. ``base`` is added to each target."""

    trees: tuple[Tree, ...]
    targets: int
    averaged: bool
    base: tuple[float, ...]
    link: Link


def is_tree_model(model: Any) -> bool:
    """Whether :func:`trees_of` reads it."""
    return isinstance(model, _KINDS)


def trees_of(model: Any, present: int) -> Trees:
    """The trees of a fitted estimator.

    Parameters
    ----------
    present : number of classes that training rows had; 0 for a regression. With two classes there is one target,
        of the second class.
    """
    if isinstance(model, BaseForest):
        return _forest(model.estimators_, present)
    if isinstance(model, BaseDecisionTree):
        return _forest([model], present)
    if isinstance(model, _HIST):
        return _hist(model, present)
    return _gradient(model, present)


def splits(model: Any) -> Iterator[tuple[IntArray, FloatArray]]:
    """Feature and threshold of every inner node, tree by tree."""
    for tree in trees_of(model, len(getattr(model, "classes_", ()))).trees:
        yield tree.feature[~tree.leaf], tree.threshold[~tree.leaf]


def _plain(tree: Any, values: FloatArray, first_target: int = 0) -> Tree:
    return Tree(
        feature=tree.feature.astype(np.int64),
        threshold=tree.threshold,
        left=tree.children_left,
        right=tree.children_right,
        missing_left=np.asarray(tree.missing_go_to_left).astype(bool),
        leaf=tree.children_left < 0,
        values=values,
        cover=tree.weighted_n_node_samples,
        first_target=first_target,
    )


def _forest(members: Any, present: int) -> Trees:
    targets = (1 if present == 2 else present) if present else 1
    trees = []
    for member in members:
        values = member.tree_.value[:, 0, :]
        if present:
            values = values / values.sum(axis=1, keepdims=True)
            values = values[:, 1:] if present == 2 else values
        trees.append(_plain(member.tree_, values))
    return Trees(tuple(trees), targets, True, (0.0,) * targets, "shares" if present else "value")


def _hist(model: Any, present: int) -> Trees:
    base = tuple(float(b) for b in np.asarray(model._baseline_prediction, dtype=np.float64).ravel())
    trees = []
    for iteration in model._predictors:
        for target, predictor in enumerate(iteration):
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            if np.any(nodes["is_categorical"].astype(bool) & ~leaf):
                raise ExportError("a boosted tree splits by sets of categories; categories must be one-hot")
            trees.append(
                Tree(
                    feature=nodes["feature_idx"].astype(np.int64),
                    threshold=nodes["num_threshold"],
                    left=nodes["left"].astype(np.int64),
                    right=nodes["right"].astype(np.int64),
                    missing_left=nodes["missing_go_to_left"].astype(bool),
                    leaf=leaf,
                    values=nodes["value"].reshape(-1, 1),
                    cover=nodes["count"].astype(np.float64),
                    first_target=target,
                )
            )
    link: Link = "value"
    if present:
        link = "sigmoid" if len(base) == 1 else "softmax"
    elif model.loss in ("poisson", "gamma"):
        link = "exp"
    return Trees(tuple(trees), len(base), False, base, link)


def _gradient(model: Any, present: int) -> Trees:
    if model.init is not None:
        raise ExportError("gradient boosting must start from a constant; leave out 'init'")
    if present and model.loss != "log_loss":
        raise ExportError(f"gradient boosting with loss '{model.loss}' has no exact form; use loss='log_loss'")
    targets = model.estimators_.shape[1]
    trees = [
        _plain(member.tree_, member.tree_.value[:, 0, :] * model.learning_rate, target)
        for stage in model.estimators_
        for target, member in enumerate(stage)
    ]
    base = _constant(model, trees, targets, present)
    link: Link = "value" if not present else "sigmoid" if targets == 1 else "softmax"
    return Trees(tuple(trees), targets, False, base, link)


def _constant(model: Any, trees: list[Tree], targets: int, present: int) -> tuple[float, ...]:
    """What the trees are added to: the model's margin of one row less what the trees say of it."""
    row = np.zeros((1, model.n_features_in_))
    margin = model.decision_function(row) if present else model.predict(row)
    said = np.zeros(targets)
    for tree in trees:
        at = 0
        while not tree.leaf[at]:
            at = int(tree.left[at] if row[0, tree.feature[at]] <= tree.threshold[at] else tree.right[at])
        said[tree.first_target] += tree.values[at, 0]
    return tuple(float(v) for v in np.ravel(margin) - said)
