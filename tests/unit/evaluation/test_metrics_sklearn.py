"""Every metric against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.evaluation.metrics import METRICS, Task, compute_all, labels, metric_for, reliability, roc_points
from mlops.manifest import Interval

BINARY = Task(2, positive=1, threshold=0.5)


@st.composite
def binary_answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    rows = draw(st.integers(4, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    actual = rng.integers(0, 2, rows)
    actual[:2] = (0, 1)
    score = np.round(rng.random(rows), draw(st.integers(1, 8)))  # few digits: ties
    return actual, np.stack([1 - score, score], axis=1)


@settings(max_examples=60, deadline=None)
@given(binary_answers())
def test_binary_metrics(given_: tuple[np.ndarray, np.ndarray]) -> None:
    actual, scores = given_
    found = compute_all(actual, scores, BINARY)
    predicted = (scores[:, 1] >= 0.5).astype(int)
    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(actual, scores[:, 1]))
    assert found["pr_auc"] == pytest.approx(reference.average_precision_score(actual, scores[:, 1]))
    assert found["f1"] == pytest.approx(reference.f1_score(actual, predicted, zero_division=0))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(actual, predicted))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(actual, predicted))
    assert found["brier"] == pytest.approx(reference.brier_score_loss(actual, scores[:, 1]))
    assert found["log_loss"] == pytest.approx(reference.log_loss(actual, scores, labels=[0, 1]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 5))
def test_multiclass_metrics(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    actual = np.concatenate([np.arange(classes), rng.integers(0, classes, 60)])
    scores = rng.dirichlet(np.ones(classes), len(actual))
    found = compute_all(actual, scores, Task(classes))
    predicted = scores.argmax(axis=1)
    auc = reference.roc_auc_score(actual, scores, multi_class="ovr", average="macro")
    assert found["roc_auc"] == pytest.approx(auc)
    assert found["f1"] == pytest.approx(reference.f1_score(actual, predicted, average="macro", zero_division=0))
    assert found["log_loss"] == pytest.approx(reference.log_loss(actual, scores))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(actual, predicted))
    one_hot = np.eye(classes)[actual]
    assert found["brier"] == pytest.approx(((scores - one_hot) ** 2).sum(axis=1).mean())
    assert found["pr_auc"] == pytest.approx(reference.average_precision_score(one_hot, scores))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_regression_metrics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    actual, scores = rng.normal(size=50), rng.normal(size=(50, 1))
    found = compute_all(actual, scores, Task())
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(actual, scores))
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(actual, scores))
    assert found["median_ae"] == pytest.approx(reference.median_absolute_error(actual, scores[:, 0]))
    assert found["r2"] == pytest.approx(reference.r2_score(actual, scores))


def test_the_cost_of_mistakes_and_the_pinball_loss_of_an_interval() -> None:
    rng = np.random.default_rng(0)
    actual, positive = rng.integers(0, 2, 200), rng.random(200)
    task = Task(2, threshold=0.3, costs=(2.0, 7.0))
    (_, alarms), (misses, _) = reference.confusion_matrix(actual, positive >= 0.3)
    scores = np.stack([1 - positive, positive], axis=1)
    assert compute_all(actual, scores, task)["cost"] == pytest.approx((2 * alarms + 7 * misses) / 200)
    assert "cost" not in compute_all(actual, scores, BINARY)

    values, truth = rng.normal(size=(200, 1)), rng.normal(size=200)
    found = compute_all(truth, values, Task(interval=Interval(0.8, (0.0,), (1.5,))))["pinball"]
    ends = [reference.mean_pinball_loss(truth, values[:, 0] + s * 1.5, alpha=a) for s, a in ((-1, 0.1), (1, 0.9))]
    assert found == pytest.approx(np.mean(ends))


@pytest.mark.parametrize("name", METRICS)
def test_each_direction_is_the_one_that_a_better_model_takes(name: str) -> None:
    metric = METRICS[name]
    rng = np.random.default_rng(0)
    if metric.kind == "regression":
        actual = rng.normal(size=300)
        good, bad = (actual[:, None] + rng.normal(0, s, (300, 1)) for s in (0.1, 2.0))
        task = Task(interval=Interval(0.9, (0.0,), (0.5,)))
    else:
        true = rng.random(300)
        actual = (rng.random(300) < true).astype(int)
        good, bad = (np.stack([1 - p, p], axis=1) for p in (true, 1 - true))
        task = Task(2, costs=(1.0, 5.0))
    assert metric.gain(metric.compute(actual, good, task), metric.compute(actual, bad, task)) > 0


def test_calibration_error_of_a_known_case() -> None:
    scores = np.array([0.2] * 10 + [0.8] * 10)
    actual = np.array([1] * 4 + [0] * 6 + [1] * 6 + [0] * 4)
    found = METRICS["calibration_error"].compute(actual, np.stack([1 - scores, scores], axis=1), BINARY)
    assert found == pytest.approx(0.2)
    assert reliability(scores, actual == 1) == [
        (0.2, pytest.approx(0.2), 0.4, 10),
        (0.8, pytest.approx(0.8), 0.6, 10),
    ]


def test_an_auc_of_one_class_is_left_out() -> None:
    found = compute_all(np.zeros(5, dtype=int), np.tile([0.7, 0.3], (5, 1)), BINARY)
    assert "roc_auc" not in found
    assert found["accuracy"] == 1.0
    assert "r2" not in compute_all(np.zeros(5), np.ones((5, 1)), Task())


def test_the_positive_class_may_be_the_first() -> None:
    actual = np.array([0, 0, 1, 1])
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    task = Task(2, positive=0, threshold=0.7)
    assert METRICS["roc_auc"].compute(actual, scores, task) == 1.0
    assert labels(scores, task).tolist() == [0, 0, 1, 1]
    assert METRICS["f1"].compute(actual, scores, task) == 1.0


def test_roc_points_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    actual, score = rng.integers(0, 2, 80), np.round(rng.random(80), 1)
    false, true = roc_points(actual == 1, score)
    expected = reference.roc_curve(actual, score, drop_intermediate=False)
    assert np.allclose(false, expected[0])
    assert np.allclose(true, expected[1])


def test_metrics_need_rows_and_a_known_name() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        compute_all(np.array([]), np.empty((0, 1)), Task())
    with pytest.raises(KeyError, match="known are mae, rmse, r2, median_ae"):
        metric_for("roc_auc", "regression")
