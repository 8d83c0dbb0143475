"""Estimates without labels: against every possible outcome, against NannyML, and where they are right or blind."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.evaluation.metrics import METRICS, Task, metric_for
from mlops.manifest import Interval as PredictionInterval
from mlops.quality.calibration import calibrate
from mlops.quality.estimate import can_estimate, expected, expected_error, expected_of_draws, is_mean, learn_loss

BINARY = Task(2, 1, 0.5, (1.0, 5.0))
KNOWN = json.loads((Path(__file__).parent / "nannyml_cbpe.json").read_text())


def two_columns(p: Any) -> np.ndarray:
    return np.column_stack([1 - np.asarray(p), p])


def by_enumeration(scores: np.ndarray, truth: np.ndarray, name: str, task: Task) -> float:
    """The expectation over all outcomes, each with its probability; those without a value left out."""
    total = weight = 0.0
    for outcome in itertools.product(range(truth.shape[1]), repeat=len(truth)):
        chance = float(np.prod(truth[np.arange(len(truth)), outcome]))
        value = METRICS[name].compute(np.array(outcome), scores, task)
        if np.isfinite(value):
            total, weight = total + chance * value, weight + chance
    return total / weight


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(0.02, 0.98), st.floats(0.02, 0.98)), min_size=2, max_size=6))
def test_means_over_rows_are_exact(rows: list[tuple[float, float]]) -> None:
    scores, truth = (two_columns([r[i] for r in rows]) for i in (0, 1))
    for name in ("accuracy", "log_loss", "brier"):
        found = expected(scores, truth, metric_for(name, "classification"), BINARY, seed=1, draws=2)
        assert found.value == pytest.approx(by_enumeration(scores, truth, name, BINARY), rel=1e-9), name


@pytest.mark.parametrize("name", ["roc_auc", "pr_auc", "f1", "balanced_accuracy", "cost", "calibration_error"])
def test_other_metrics_are_the_mean_over_drawn_outcomes(name: str) -> None:
    scores, truth = two_columns([0.1, 0.35, 0.4, 0.55, 0.7, 0.8, 0.9]), two_columns([0.2, 0.3, 0.5, 0.5, 0.6, 0.9, 0.8])
    found = expected(scores, truth, metric_for(name, "classification"), BINARY, seed=1, draws=1500)
    assert found.value == pytest.approx(by_enumeration(scores, truth, name, BINARY), abs=0.015)


def test_more_than_two_classes() -> None:
    truth = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.5, 0.25, 0.25]])
    task = Task(3)
    for name, close in (("accuracy", 1e-9), ("log_loss", 1e-9), ("brier", 1e-9), ("f1", 0.04)):
        found = expected(truth, truth, metric_for(name, "classification"), task, seed=1, draws=500)
        assert found.value == pytest.approx(by_enumeration(truth, truth, name, task), abs=close), name


def test_the_answers_are_those_of_nannyml() -> None:
    """On the same rows with the same probabilities. NannyML divides expectations where we take the expectation of the
    ratio: on a window of rows the two differ by less than the third digit."""
    scores = two_columns(KNOWN["y_pred_proba"])
    for name, theirs in KNOWN["estimated"].items():
        found = expected(scores, scores, metric_for(name, "classification"), BINARY, seed=1)
        assert found.value == pytest.approx(theirs, abs=0.004), name


def test_estimates_follow_a_shift_of_the_rows_and_their_interval_holds_the_truth() -> None:
    random = np.random.default_rng(3)
    metric, held = metric_for("accuracy", "classification"), 0
    for shift in (0.0, 0.5, 1.0, 1.5) * 5:
        x = random.normal(shift, 1.0, 600)
        truth = 1 / (1 + np.exp(-2 * x))
        actual = (random.random(600) < truth).astype(int)
        found = expected(two_columns(truth), two_columns(truth), metric, BINARY, seed=1)
        held += found.low <= metric.compute(actual, two_columns(truth), BINARY) <= found.high
    assert held >= 17  # 95 % of 20, less chance


def test_overconfident_probabilities_are_corrected_only_when_that_helps() -> None:
    random = np.random.default_rng(5)
    truth = random.beta(2, 2, 1500)
    actual = (random.random(1500) < truth).astype(np.int64)
    logit = np.log(truth / (1 - truth))
    loud = two_columns(1 / (1 + np.exp(-3 * logit)))
    found = calibrate(actual, loud, seed=1)
    assert found.name == "logistic"
    metric = metric_for("accuracy", "classification")
    estimated = expected(loud, found(loud), metric, BINARY, seed=1)
    assert estimated.value == pytest.approx(metric.compute(actual, loud, BINARY), abs=0.02)
    assert calibrate(actual, two_columns(truth), seed=1).name == "none"
    assert calibrate(np.zeros(50, dtype=np.int64), loud[:50], seed=1).name == "none"
    three = np.column_stack([loud * 0.9, np.full(1500, 0.1)])
    assert np.allclose(calibrate(actual, three, seed=1)(three).sum(axis=1), 1.0)


def test_the_error_of_a_regression_is_learned_where_it_depends_on_something() -> None:
    random = np.random.default_rng(7)
    x = random.uniform(0, 1, 1200)
    errors = random.normal(0, np.where(x > 0.5, 4.0, 1.0))
    inputs = np.column_stack([random.normal(size=1200), x])
    mae, rmse = metric_for("mae", "regression"), metric_for("rmse", "regression")
    known = learn_loss(inputs, errors, mae, seed=1)
    assert known.depth >= 1
    hard = inputs[x > 0.5]
    expected_mae = 4.0 * np.sqrt(2 / np.pi)
    found = expected_error(known, hard, mae, seed=1)
    assert found.low < expected_mae < found.high
    assert found.value == pytest.approx(expected_mae, rel=0.1)
    assert expected_error(known, inputs[x <= 0.5], mae, seed=1).value < found.value / 3
    assert expected_error(learn_loss(inputs, errors, rmse, seed=1), hard, rmse, seed=1).value == pytest.approx(
        4, rel=0.1
    )


def test_an_error_that_depends_on_nothing_gives_the_hold_out_error() -> None:
    random = np.random.default_rng(8)
    inputs, errors = random.normal(size=(300, 6)), random.normal(size=300)
    inputs[::7, 2] = np.nan
    known = learn_loss(inputs, errors, metric_for("mae", "regression"), seed=1)
    assert known.depth == 0
    assert known.predict(inputs[:5]).tolist() == pytest.approx([np.abs(errors).mean()] * 5)


@pytest.mark.parametrize("name", ["r2", "median_ae", "pinball", "mae", "rmse"])
@pytest.mark.parametrize("shift", [0.0, 0.3, -0.4])
def test_any_metric_of_a_regression_is_estimated_where_other_rows_come(name: str, shift: float) -> None:
    """Errors grow with x and lean to one side; windows with more rows of larger, or of smaller, x. Compared with what
    200,000 rows of such a window really give."""
    random = np.random.default_rng(5)
    metric, task = metric_for(name, "regression"), Task(interval=PredictionInterval(0.9, (0.0,), (2.0,)))

    def rows(n: int, shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = np.clip(random.uniform(0, 1, n) + shift, 0, 1)
        scores = np.column_stack([random.normal(10, 3, n)])
        errors = (random.gamma(2.0, 1.0, n) - 2.0) * np.where(x > 0.5, 2.0, 0.5)
        return np.column_stack([scores[:, 0], x]), scores, errors

    inputs, _, errors = rows(4000, 0.0)
    known = learn_loss(inputs, errors, metric, seed=1)
    window, scores, _ = rows(3000, shift)
    if is_mean(metric):
        found = expected_error(known, window, metric, seed=2)
        drawn = expected_of_draws(known, window, scores, metric, task, seed=2, draws=50)
        assert drawn.value == pytest.approx(found.value, rel=0.02), "both ways to the same"
    else:
        found = expected_of_draws(known, window, scores, metric, task, seed=2)
    _, many, wrong = rows(200_000, shift)
    truth = metric.compute(many[:, 0] + wrong, many, task)
    assert found.low < truth < found.high
    assert found.value == pytest.approx(truth, rel=0.08)


def test_what_has_no_estimate_says_so() -> None:
    without = [m.name for m in METRICS.values() if m.kind == "regression" and not can_estimate(m, Task())]
    assert without == ["pinball"]
    assert can_estimate(metric_for("pinball", "regression"), Task(interval=PredictionInterval(0.9, (0.0,), (2.0,))))
