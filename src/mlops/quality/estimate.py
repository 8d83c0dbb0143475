"""Performance before labels come.

**Classification** (confidence-based performance estimation). If probabilities are calibrated, a row's label is a draw
from them, so the metric's distribution over such draws is the distribution of the performance. Sums over rows have an
expectation in closed form; for others (F1, areas under curves) labels are drawn and the metric itself is computed.

**Regression** (direct loss estimation). A small tree learns from the hold-out rows how large the error is for which
predictions and features; its mean over the window is the expected error. The tree's depth is chosen by
cross-validation, down to none: then the estimate is the hold-out error itself. What is no mean over rows (R², the
median error) and the pinball loss of an interval, which depends on the error's sign, are computed on drawn truths: the
prediction and an error of a hold-out row that the tree takes for alike.

Both see a change of *which* rows come (covariate shift). Neither can see that the same rows begin to mean something
else (concept drift): that is what labels, and the gap between estimated and realised, are for.

References
----------
NannyML's documentation, "Confidence-based Performance Estimation" and "Direct Loss Estimation" (2022).
Garg et al., "Leveraging unlabeled data to predict out-of-distribution performance", ICLR 2022: limits of the approach.
Breiman et al., "Classification and Regression Trees", 1984.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.evaluation.compare import MAX_ROWS, Interval
from mlops.evaluation.metrics import Metric, Task, labels
from mlops.features.columns import Columns
from mlops.features.spec import Feature

FloatArray = npt.NDArray[np.float64]

DRAWS = 200
CONFIDENCE = 0.95
_LEAST = float(np.finfo(np.float64).eps)


def expected(
    scores: FloatArray, probabilities: FloatArray, metric: Metric, task: Task, *, seed: int, draws: int = DRAWS
) -> Interval:
    """The expected metric of a classification, and the interval that labels and sampling of rows leave open.

    Parameters
    ----------
    scores : what the model answered, (rows, classes).
    probabilities : the calibrated probabilities of the same rows.
    """
    generator = np.random.default_rng(seed)
    if len(scores) > MAX_ROWS:
        keep = np.sort(generator.permutation(len(scores))[:MAX_ROWS])
        scores, probabilities = scores[keep], probabilities[keep]
    exact = _EXACT.get(metric.name)
    values = np.empty((draws, 2))
    for i in range(draws):
        if exact is None:
            values[i, 0] = metric.compute(_drawn(probabilities, generator), scores, task)
        index = generator.integers(0, len(scores), len(scores))
        values[i, 1] = metric.compute(_drawn(probabilities[index], generator), scores[index], task)
    value = exact(scores, probabilities, task) if exact else _mean(values[:, 0])
    return _interval(value, values[:, 1])


def _drawn(probabilities: FloatArray, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    edges = np.cumsum(probabilities, axis=1)[:, :-1]
    drawn: npt.NDArray[np.int64] = (generator.random(len(edges))[:, None] >= edges).sum(axis=1)
    return drawn


def _accuracy(scores: FloatArray, probabilities: FloatArray, task: Task) -> float:
    return float(np.mean(probabilities[np.arange(len(scores)), labels(scores, task)]))


def _log_loss(scores: FloatArray, probabilities: FloatArray, task: Task) -> float:
    clipped = np.clip(scores, _LEAST, 1.0 - _LEAST)
    return float(-np.mean((probabilities * np.log(clipped / scores.sum(axis=1, keepdims=True))).sum(axis=1)))


def _brier(scores: FloatArray, probabilities: FloatArray, task: Task) -> float:
    if task.binary:
        score, truth = scores[:, task.positive], probabilities[:, task.positive]
        return float(np.mean(truth * (1 - score) ** 2 + (1 - truth) * score**2))
    square = (scores**2).sum(axis=1, keepdims=True)
    return float(np.mean((probabilities * (square - 2 * scores + 1)).sum(axis=1)))


#: Metrics that are means over rows.
_EXACT: Mapping[str, Callable[[FloatArray, FloatArray, Task], float]] = {
    "accuracy": _accuracy,
    "log_loss": _log_loss,
    "brier": _brier,
}

# Regression --------------------------------------------------------------------------------------

MAX_DEPTH = 3
FOLDS = 5
LEAST_LEAF = 20
_CUTS = 16

#: Metric -> loss of a row from its error, and how the mean loss becomes the metric.
_ABSOLUTE: tuple[Callable[[FloatArray], FloatArray], Callable[[float], float]] = (np.abs, float)
_LOSSES: Mapping[str, tuple[Callable[[FloatArray], FloatArray], Callable[[float], float]]] = {
    "mae": _ABSOLUTE,
    "rmse": (np.square, lambda mean: float(np.sqrt(max(0.0, mean)))),
}


def can_estimate(metric: Metric, task: Task) -> bool:
    """Whether there is an estimate of this metric without labels: pinball loss needs a prediction interval."""
    return metric.name != "pinball" or task.interval is not None


@dataclass(frozen=True)
class Node:
    """The expected loss of a row: ``mean``, or by the branch that its value in ``column`` takes, ``high`` above ``cut``
    and ``low`` otherwise, also where it is missing."""

    mean: float
    column: int = 0
    cut: float = 0.0
    low: Node | None = None
    high: Node | None = None

    def __call__(self, rows: FloatArray) -> FloatArray:
        if self.low is None or self.high is None:
            return np.full(len(rows), self.mean)
        goes_low = ~(rows[:, self.column] > self.cut)
        result = np.empty(len(rows))
        result[goes_low], result[~goes_low] = self.low(rows[goes_low]), self.high(rows[~goes_low])
        return result

    def leaf(self, rows: FloatArray, number: int = 1) -> npt.NDArray[np.int64]:
        """The number of the leaf in which each row ends."""
        if self.low is None or self.high is None:
            return np.full(len(rows), number)
        goes_low = ~(rows[:, self.column] > self.cut)
        result = np.empty(len(rows), dtype=np.int64)
        result[goes_low] = self.low.leaf(rows[goes_low], 2 * number)
        result[~goes_low] = self.high.leaf(rows[~goes_low], 2 * number + 1)
        return result


@dataclass(frozen=True)
class LossModel:
    """What the hold-out rows say about the error.

    Attributes
    ----------
    predict : the tree; ``depth``: its depth.
    left : what it left over, per hold-out row.
    errors : number of a leaf -> the errors (truth minus prediction) of its hold-out rows.
    """

    predict: Node
    left: FloatArray
    depth: int
    errors: Mapping[int, FloatArray]


def learn_loss(inputs: FloatArray, errors: FloatArray, metric: Metric, *, seed: int) -> LossModel:
    """Learn the loss of a row from ``inputs`` ((rows, columns), NaN allowed): prediction and features."""
    losses = _LOSSES.get(metric.name, _ABSOLUTE)[0](errors)
    order = np.random.default_rng(seed).permutation(len(losses))
    wrong = []
    for depth in range(MAX_DEPTH + 1):
        total = 0.0
        for fold in range(FOLDS):
            test = order[fold::FOLDS]
            train = np.setdiff1d(order, test)
            if len(train):
                total += float(((_tree(inputs[train], losses[train], depth)(inputs[test]) - losses[test]) ** 2).sum())
        wrong.append(total)
    best = int(np.argmin(wrong))
    predict = _tree(inputs, losses, best)
    leaves = predict.leaf(inputs)
    by_leaf = {int(leaf): errors[leaves == leaf] for leaf in np.unique(leaves)}
    return LossModel(predict, losses - predict(inputs), best, by_leaf)


def open_features(features: Sequence[Feature]) -> list[Feature]:
    """The features that captures hold as they are: what an estimate may look at."""
    return [feature for feature in features if feature.pii == "none"]


def inputs_of(table: Columns, scores: FloatArray, features: Sequence[Feature]) -> FloatArray:
    """What the loss is learned from: the prediction and every one of ``features``, (rows, 1 + features); NaN where a
    value is missing, a category by its position."""
    columns = [scores[:, 0]]
    for feature in features:
        if feature.name not in table:
            columns.append(np.full(len(scores), np.nan))
            continue
        column = table[feature.name]
        if feature.type == "category":
            codes = column.recode(feature.categories).astype(np.float64)
            columns.append(np.where(column.missing(), np.nan, codes))
        else:
            columns.append(column.values)
    return np.column_stack(columns)


def expected_error(model: LossModel, inputs: FloatArray, metric: Metric, *, seed: int, draws: int = DRAWS) -> Interval:
    """The expected metric of a regression over ``inputs``, with the interval that the rows' own scatter and the size of
    the hold-out set leave open."""
    finish = _LOSSES[metric.name][1]
    losses = model.predict(inputs)
    generator = np.random.default_rng(seed)
    rows, known = min(len(losses), MAX_ROWS), len(model.left)
    values = np.empty(draws)
    for i in range(draws):
        mean = losses[generator.integers(0, len(losses), rows)].mean()
        level = model.left[generator.integers(0, known, known)].mean()
        scatter = model.left[generator.integers(0, known, rows)].mean()
        values[i] = finish(float(mean + level + scatter))
    return _interval(finish(float(losses.mean())), values)


def expected_of_draws(
    model: LossModel,
    inputs: FloatArray,
    scores: FloatArray,
    metric: Metric,
    task: Task,
    *,
    seed: int,
    draws: int = DRAWS,
) -> Interval:
    """The expected value of any metric of a regression, from truths that are drawn; with the interval that sampling of
    window and hold-out rows leaves open.

    The errors of a leaf are taken to be the same at every prediction in it.
    """
    generator = np.random.default_rng(seed)
    if len(scores) > MAX_ROWS:
        keep = np.sort(generator.permutation(len(scores))[:MAX_ROWS])
        inputs, scores = inputs[keep], scores[keep]
    leaves = model.predict.leaf(inputs)
    values = np.empty((draws, 2))
    for i in range(draws):
        values[i, 0] = metric.compute(scores[:, 0] + _drawn_errors(model.errors, leaves, generator), scores, task)
        index = generator.integers(0, len(scores), len(scores))
        again = {leaf: generator.choice(errors, len(errors)) for leaf, errors in model.errors.items()}
        actual = scores[index, 0] + _drawn_errors(again, leaves[index], generator)
        values[i, 1] = metric.compute(actual, scores[index], task)
    return _interval(_mean(values[:, 0]), values[:, 1])


def _drawn_errors(
    errors: Mapping[int, FloatArray], leaves: npt.NDArray[np.int64], generator: np.random.Generator
) -> FloatArray:
    drawn = np.empty(len(leaves))
    for leaf, known in errors.items():
        here = leaves == leaf
        drawn[here] = generator.choice(known, int(here.sum()))
    return drawn


def is_mean(metric: Metric) -> bool:
    """Whether :func:`expected_error` gives the metric: it is made of the mean loss of rows."""
    return metric.name in _LOSSES


def _tree(inputs: FloatArray, losses: FloatArray, depth: int) -> Node:
    """A regression tree of at most ``depth`` questions, each the best of a few cuts of every column."""
    mean = float(losses.mean())
    split = _best_split(inputs, losses) if depth else None
    if split is None:
        return Node(mean)
    column, cut = split
    is_low = ~(inputs[:, column] > cut)  # a missing value is low
    low, high = _tree(inputs[is_low], losses[is_low], depth - 1), _tree(inputs[~is_low], losses[~is_low], depth - 1)
    return Node(mean, column, cut, low, high)


def _best_split(inputs: FloatArray, losses: FloatArray) -> tuple[int, float] | None:
    least = max(LEAST_LEAF, len(losses) // 20)
    best, found = 0.0, None
    for column in range(inputs.shape[1]):
        values = inputs[:, column]
        known = values[np.isfinite(values)]
        if len(known) < 2 * least:
            continue
        for cut in np.unique(np.quantile(known, np.arange(1, _CUTS) / _CUTS, method="lower")).tolist():
            is_low = ~(values > cut)
            n = int(is_low.sum())
            if min(n, len(losses) - n) < least:
                continue
            gap = float(losses[is_low].mean() - losses[~is_low].mean())
            gain = gap**2 * n * (len(losses) - n) / len(losses)
            if gain > best:
                best, found = gain, (column, cut)
    return found


def _mean(values: FloatArray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _interval(value: float, drawn: npt.NDArray[Any]) -> Interval:
    finite = drawn[np.isfinite(drawn)]
    if len(finite) < len(drawn) / 2:
        return Interval(value, value, value, CONFIDENCE, len(finite))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return Interval(value, float(min(low, value)), float(max(high, value)), CONFIDENCE, len(finite))
