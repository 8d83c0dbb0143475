"""Metrics in numpy, each with the direction that is better.

Classification metrics take ``actual`` (int, shape (rows,), positions in the contract's classes) and
``scores`` (float64, (rows, classes), probabilities). With two classes they speak of the class ``positive``;
with more they are macro averages, one class against the rest, over the classes that occur. Regression
metrics take ``actual`` and ``scores`` of shape (rows,) and (rows, 1), in the target's unit.

A metric that is not defined on some rows (an AUC where only one class occurs) is NaN there.

References
----------
Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27 (2006): AUC by ranks.
Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015: calibration error.
Koenker & Bassett, "Regression quantiles", Econometrica 46 (1978): pinball loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.manifest import Interval

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CALIBRATION_BINS = 10
_SMALLEST = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Task:
    """What metrics must know of the task: how many classes, which is positive, from which probability, what a false
    alarm and a miss cost, and the interval around a predicted value."""

    classes: int = 0  # 0: regression
    positive: int = 1
    threshold: float = 0.5
    costs: tuple[float, float] | None = None
    interval: Interval | None = None

    @property
    def binary(self) -> bool:
        return self.classes == 2


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``scale``: ``unit`` lies within a fixed range (differences are absolute), ``target`` is an
    error without upper bound (differences are judged relative to the value compared with)."""

    name: str
    kind: str  # classification | regression
    higher_is_better: bool
    scale: str
    compute: Callable[[npt.NDArray[Any], FloatArray, Task], float]
    title: str

    def gain(self, new: float, old: float) -> float:
        """How much better ``new`` is than ``old``; negative when worse. In the metric's unit."""
        return new - old if self.higher_is_better else old - new


def roc_auc(actual: IntArray, scores: FloatArray, task: Task) -> float:
    """Area under the ROC curve: the chance that a positive row scores above a negative one, ties half."""
    return _one_against_rest(actual, scores, task, _binary_auc)


def pr_auc(actual: IntArray, scores: FloatArray, task: Task) -> float:
    """Average precision: precision summed over steps in recall, without interpolation."""
    return _one_against_rest(actual, scores, task, _average_precision)


def f1(actual: IntArray, scores: FloatArray, task: Task) -> float:
    """Harmonic mean of precision and recall of the answered labels."""
    predicted = labels(scores, task)

    def of(index: int) -> float:
        true = int(np.sum((predicted == index) & (actual == index)))
        false = int(np.sum((predicted == index) != (actual == index)))
        return 2 * true / (2 * true + false) if true or false else 0.0

    if task.binary:
        return of(task.positive)
    occurring = np.union1d(actual, predicted)
    return float(np.mean([of(int(c)) for c in occurring]))


def accuracy(actual: IntArray, scores: FloatArray, task: Task) -> float:
    """Share of rows answered with the right label."""
    return float(np.mean(labels(scores, task) == actual))


def balanced_accuracy(actual: IntArray, scores: FloatArray, task: Task) -> float:
    """Mean over the occurring classes of the share answered rightly."""
    right = labels(scores, task) == actual
    return float(np.mean([np.mean(right[actual == c]) for c in np.unique(actual)]))


def log_loss(actual: IntArray, scores: FloatArray, task: Task) -> float:
    """Mean negative log of the probability given to the true class, in nats; probabilities clipped at 2e-16."""
    clipped = np.clip(scores, _SMALLEST, 1.0 - _SMALLEST)
    chosen = clipped[np.arange(len(actual)), actual] / clipped.sum(axis=1)
    return float(-np.mean(np.log(chosen)))


def brier(actual: IntArray, scores: FloatArray, task: Task) -> float:
    """Mean squared difference of probability and outcome (binary: of the positive class; else summed over
    classes)."""
    if task.binary:
        return float(np.mean((scores[:, task.positive] - (actual == task.positive)) ** 2))
    outcome = np.zeros_like(scores)
    outcome[np.arange(len(actual)), actual] = 1.0
    return float(np.mean(np.sum((scores - outcome) ** 2, axis=1)))


def calibration_error(actual: IntArray, scores: FloatArray, task: Task) -> float:
    """Expected calibration error: mean |observed share - mean probability| over ten equal-width bins of the
    probability, weighted by rows. Binary: the positive class; else the answered class."""
    if task.binary:
        confidence, outcome = scores[:, task.positive], actual == task.positive
    else:
        answered = labels(scores, task)
        confidence, outcome = scores[np.arange(len(actual)), answered], answered == actual
    error = 0.0
    for _, mean, share, rows in reliability(confidence, outcome):
        error += rows / len(actual) * abs(share - mean)
    return error


def cost(actual: IntArray, scores: FloatArray, task: Task) -> float:
    """Mean cost of a row, in the contract's unit; NaN when it names no costs."""
    if task.costs is None or not task.binary:
        return float("nan")
    predicted = labels(scores, task)
    alarms = np.mean((predicted == task.positive) & (actual != task.positive))
    misses = np.mean((predicted != task.positive) & (actual == task.positive))
    return float(task.costs[0] * alarms + task.costs[1] * misses)


def mae(actual: FloatArray, scores: FloatArray, task: Task) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(actual - scores[:, 0])))


def rmse(actual: FloatArray, scores: FloatArray, task: Task) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(np.mean((actual - scores[:, 0]) ** 2)))


def median_ae(actual: FloatArray, scores: FloatArray, task: Task) -> float:
    """Median absolute error."""
    return float(np.median(np.abs(actual - scores[:, 0])))


def r2(actual: FloatArray, scores: FloatArray, task: Task) -> float:
    """Coefficient of determination; NaN when ``actual`` is constant."""
    total = float(np.sum((actual - np.mean(actual)) ** 2))
    if total == 0:
        return float("nan")
    return 1.0 - float(np.sum((actual - scores[:, 0]) ** 2)) / total


def pinball(actual: FloatArray, scores: FloatArray, task: Task) -> float:
    """Mean pinball loss of the two ends of the prediction interval, as quantiles; NaN without an interval."""
    if task.interval is None:
        return float("nan")
    low, high = interval_bounds(scores, task.interval)
    tail = (1 - task.interval.coverage) / 2
    below, above = actual - low, actual - high
    losses = np.maximum(tail * below, (tail - 1) * below) + np.maximum((1 - tail) * above, -tail * above)
    return float(np.mean(losses) / 2)


def interval_bounds(scores: FloatArray, interval: Interval) -> tuple[FloatArray, FloatArray]:
    """Lower and upper ends of the prediction intervals of (rows, 1) values; each of shape (rows,)."""
    value = scores[:, 0]
    half = np.interp(value, interval.values, interval.half_widths)
    return value - half, value + half


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("roc_auc", "classification", True, "unit", roc_auc, "ROC AUC"),
        Metric("pr_auc", "classification", True, "unit", pr_auc, "precision-recall AUC"),
        Metric("f1", "classification", True, "unit", f1, "F1"),
        Metric("accuracy", "classification", True, "unit", accuracy, "accuracy"),
        Metric("balanced_accuracy", "classification", True, "unit", balanced_accuracy, "balanced accuracy"),
        Metric("log_loss", "classification", False, "target", log_loss, "log loss"),
        Metric("brier", "classification", False, "unit", brier, "Brier score"),
        Metric("calibration_error", "classification", False, "unit", calibration_error, "calibration error"),
        Metric("cost", "classification", False, "target", cost, "mean cost of a row"),
        Metric("mae", "regression", False, "target", mae, "mean absolute error"),
        Metric("rmse", "regression", False, "target", rmse, "root mean squared error"),
        Metric("r2", "regression", True, "unit", r2, "R²"),
        Metric("median_ae", "regression", False, "target", median_ae, "median absolute error"),
        Metric("pinball", "regression", False, "target", pinball, "pinball loss of the interval"),
    )
}


#: Metrics of answered labels: they depend on the threshold.
LABEL_METRICS = ("f1", "accuracy", "balanced_accuracy", "cost")


def metric_for(name: str, kind: str) -> Metric:
    """The metric ``name`` of the task ``kind``.

    Raises
    ------
    KeyError
        for an unknown metric or one of the other task; the message lists those that exist.
    """
    metric = METRICS.get(name)
    if metric is None or metric.kind != kind:
        known = ", ".join(m.name for m in METRICS.values() if m.kind == kind)
        raise KeyError(f"'{name}' is not a {kind} metric; known are {known}")
    return metric


def compute_all(actual: npt.NDArray[Any], scores: FloatArray, task: Task) -> dict[str, float]:
    """Every metric of the task that is defined on these rows.

    Raises
    ------
    ValueError
        without rows.
    """
    if len(actual) == 0:
        raise ValueError("metrics need at least one row")
    kind = "classification" if task.classes else "regression"
    values = {m.name: m.compute(actual, scores, task) for m in METRICS.values() if m.kind == kind}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def labels(scores: FloatArray, task: Task) -> IntArray:
    """The answered class of each row: the threshold decides with two classes, else the largest probability."""
    if task.binary:
        return np.where(scores[:, task.positive] >= task.threshold, task.positive, 1 - task.positive).astype(np.int64)
    best: IntArray = np.argmax(scores, axis=1).astype(np.int64)
    return best


def reliability(
    confidence: FloatArray, outcome: npt.NDArray[np.bool_], bins: int = CALIBRATION_BINS
) -> list[tuple[float, float, float, int]]:
    """Bins of a reliability diagram that hold rows: (lower edge, mean probability, observed share, rows)."""
    index = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    result = []
    for i in range(bins):
        inside = index == i
        rows = int(inside.sum())
        if rows:
            result.append((i / bins, float(confidence[inside].mean()), float(outcome[inside].mean()), rows))
    return result


def roc_points(positive: npt.NDArray[np.bool_], score: FloatArray) -> tuple[FloatArray, FloatArray]:
    """False and true positive rates at every distinct score, from (0, 0) to (1, 1)."""
    order = np.argsort(-score, kind="stable")
    hits, sorted_score = positive[order], score[order]
    last = np.append(np.flatnonzero(np.diff(sorted_score)), len(score) - 1)
    true = np.cumsum(hits)[last]
    false = last + 1 - true
    return (
        np.concatenate([[0.0], false / max(1, int((~positive).sum()))]),
        np.concatenate([[0.0], true / max(1, int(positive.sum()))]),
    )


def _one_against_rest(
    actual: IntArray,
    scores: FloatArray,
    task: Task,
    of: Callable[[npt.NDArray[np.bool_], FloatArray], float],
) -> float:
    if task.binary:
        return of(actual == task.positive, scores[:, task.positive])
    present = np.unique(actual)
    if len(present) < 2:
        return float("nan")
    return float(np.mean([of(actual == c, scores[:, c]) for c in present]))


def _binary_auc(positive: npt.NDArray[np.bool_], score: FloatArray) -> float:
    wins = int(positive.sum())
    losses = len(positive) - wins
    if wins == 0 or losses == 0:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2.0)[inverse]
    return float((ranks[positive].sum() - wins * (wins + 1) / 2.0) / (wins * losses))


def _average_precision(positive: npt.NDArray[np.bool_], score: FloatArray) -> float:
    total = int(positive.sum())
    if total == 0:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    hits, sorted_score = positive[order], score[order]
    last = np.append(np.flatnonzero(np.diff(sorted_score)), len(score) - 1)
    true = np.cumsum(hits)[last].astype(np.float64)
    precision, recall = true / (last + 1), true / total
    return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * precision))
