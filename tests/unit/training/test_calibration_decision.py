"""Calibration, threshold and prediction intervals: what they promise, on data whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.contract import Contract, Decision
from mlops.evaluation.metrics import METRICS, Task, calibration_error, labels
from mlops.manifest import Interval
from mlops.training.calibration import Calibrator, Curve, calibrate, fit_map
from mlops.training.decision import best_threshold, decide
from mlops.training.fit import fit
from mlops.training.intervals import fit_interval
from tests.unit.training import tables


def too_sure(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Margins three times as large as they should be, outcomes, and folds."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0.5, 1.2, rows)
    actual = (rng.random(rows) < 1 / (1 + np.exp(-truth))).astype(np.int64)
    return 3 * truth[:, None], actual, np.arange(rows) % 3


def probabilities(margins: np.ndarray) -> np.ndarray:
    positive = 1 / (1 + np.exp(-margins))
    return np.hstack([1 - positive, positive])


@pytest.mark.parametrize("wanted", ["auto", "sigmoid", "isotonic"])
def test_probabilities_that_are_too_sure_become_honest(wanted: str) -> None:
    margins, actual, fold = too_sure(3000)
    found = calibrate(margins, probabilities(margins), actual, fold, wanted)
    assert found.calibrator is not None
    fresh, outcome, _ = too_sure(6000, seed=1)
    before = calibration_error(outcome, probabilities(fresh), Task(2))
    after = calibration_error(outcome, found.calibrator(fresh), Task(2))
    assert before > 0.1
    assert after < 0.03
    assert found.after is not None
    assert found.before is not None
    assert found.after < found.before
    assert found.to_dict()["calibration_error_before"] == pytest.approx(before, abs=0.03)
    assert found.to_dict()["calibration_error_after"] == pytest.approx(after, abs=0.03)


def test_platts_map_finds_the_true_slope() -> None:
    margins, actual, _ = too_sure(20_000)
    (curve,) = fit_map(margins, actual, "sigmoid").curves  # type: ignore[union-attr]
    assert curve.slope == pytest.approx(1 / 3, abs=0.02)
    assert curve.offset == pytest.approx(0, abs=0.05)


def test_honest_probabilities_and_few_rows_are_left_alone() -> None:
    margins, actual, fold = too_sure(3000)
    honest = margins / 3
    assert calibrate(honest, probabilities(honest), actual, fold, "auto").calibrator is None
    few = calibrate(margins[:20], probabilities(margins[:20]), actual[:20], fold[:20], "sigmoid")
    assert (few.calibrator, few.reason) == (None, "a class has fewer than 10 rows to calibrate on")
    assert calibrate(margins, probabilities(margins), actual, fold, "none").reason == "the contract asks for none"


def test_scores_that_fall_where_probability_rises_are_not_turned_around() -> None:
    margins, actual, fold = too_sure(300)
    found = calibrate(-margins, probabilities(-margins), actual, fold, "sigmoid")
    assert found.calibrator is None


@given(st.lists(st.tuples(st.floats(-50, 50), st.booleans()), min_size=30, max_size=80))
@settings(max_examples=50, deadline=None)
def test_every_map_is_monotone_and_stays_between_zero_and_one(rows: list[tuple[float, bool]]) -> None:
    margins = np.array([[m] for m, _ in rows])
    actual = np.array([int(y) for _, y in rows])
    grid = np.linspace(-1e6, 1e6, 501)[:, None]
    for kind in ("sigmoid", "isotonic"):
        found = fit_map(margins, actual, kind)
        if found is not None:
            values = found(np.vstack([grid, np.sort(margins, axis=0)]))
            assert np.all((values >= 0) & (values <= 1))
            assert np.all(np.diff(values[:501, 1]) >= -1e-12)
            assert np.all(np.diff(values[501:, 1]) >= -1e-12)


def test_several_classes_sum_to_one() -> None:
    curves = tuple(Curve("isotonic", x=(0.0, 1.0), y=(low, 0.9)) for low in (0.1, 0.2, 0.3))
    values = Calibrator("isotonic", curves)(np.array([[0.0, 0.0, 0.0], [1.0, 0.5, -3.0]]))
    assert values.sum(axis=1) == pytest.approx([1, 1])
    assert values[0] == pytest.approx([1 / 6, 2 / 6, 3 / 6])


# Threshold ---------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=4, max_size=60),
    st.sampled_from(["f1", "accuracy", "balanced_accuracy", "cost"]),
)
@settings(max_examples=150, deadline=None)
def test_no_threshold_is_better_than_the_best(rows: list[tuple[bool, int]], goal: str) -> None:
    actual = np.array([int(y) for y, _ in rows])
    if len(np.unique(actual)) < 2:
        return
    positive = np.array([p / 20 for _, p in rows])
    scores = np.stack([1 - positive, positive], axis=1)
    task = Task(2, costs=(1.0, 7.0))
    metric = METRICS[goal]
    chosen = best_threshold(actual, scores, task, goal)
    value = metric.compute(actual, scores, replace(task, threshold=chosen))
    for other in np.linspace(0.001, 0.999, 43):
        assert metric.gain(value, metric.compute(actual, scores, replace(task, threshold=float(other)))) >= -1e-12


def rule(**values: float) -> Contract:
    return replace(tables.contract("binary", tables.NUMBERS), decision=Decision(**values))


def test_where_the_threshold_comes_from() -> None:
    actual, scores = np.array([0, 1, 0, 1]), probabilities(np.array([[-2.0], [1.0], [0.5], [2.0]]))
    costs = Task(2, costs=(1.0, 9.0))
    assert decide(rule(threshold=0.3), actual, scores, Task(2), calibrated=True).threshold == 0.3
    assert decide(rule(), actual, scores, Task(2), calibrated=True).threshold == 0.5
    assert decide(rule(), actual, scores, costs, calibrated=True).threshold == pytest.approx(0.1)
    found = decide(rule(), actual, scores, costs, calibrated=False)
    assert "best cost on rows that the model had not seen" in found.reason
    assert labels(scores, replace(costs, threshold=found.threshold)).tolist() == actual.tolist()
    assert decide(rule(threshold=0.3), actual, scores, Task(3), calibrated=True).threshold == 0.5


def test_a_costly_miss_moves_the_labels_of_a_trained_model() -> None:
    contract = replace(
        tables.contract("binary", tables.NUMBERS, families=("linear",), metric="cost"),
        decision=Decision(false_positive=1.0, false_negative=20.0),
    )
    rng = np.random.default_rng(3)
    table = tables.table("binary", contract.features, rows=600)
    noisy = table["y"].values ^ (rng.random(600) < 0.2)
    table = type(table)((*table.columns[:-1], replace(table["y"], values=noisy.astype(np.int32))))

    trained = fit(table, contract, dataset_version="d")
    dear = fit(table, replace(contract, decision=Decision(threshold=0.5, false_positive=1.0, false_negative=20.0)),
               dataset_version="d")  # fmt: skip

    assert trained.manifest.threshold < 0.35
    assert trained.metrics["cost"] < dear.metrics["cost"]
    assert "'yes' is answered from" in trained.explanation
    assert trained.manifest.lineage["threshold_reason"]


def test_a_rare_class_is_answered_when_the_metric_is_f1() -> None:
    rng = np.random.default_rng(0)
    table = tables.table("binary", tables.NUMBERS, rows=900)
    rare = ((table["y"].values == 1) & (rng.random(900) < 0.15)).astype(np.int32)
    table = type(table)((*table.columns[:-1], replace(table["y"], values=rare)))
    plain = fit(table, tables.contract("binary", tables.NUMBERS, families=("linear",)), dataset_version="d")
    tuned = fit(
        table, tables.contract("binary", tables.NUMBERS, families=("linear",), metric="f1"), dataset_version="d"
    )
    assert tuned.manifest.threshold < 0.4
    assert tuned.metrics["f1"] > plain.metrics["f1"] + 0.1


# Intervals ---------------------------------------------------------------------------------------


def folds_of(rows: int) -> np.ndarray:
    return np.arange(rows) % 3


@pytest.mark.parametrize("grows", [False, True])
def test_a_width_that_follows_the_value_keeps_the_promise_as_well(grows: bool) -> None:
    """With the size of errors learned from the very errors, 300 rows covered 89.6 % in the mean of such samples."""
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(300):
        predicted = rng.uniform(0, 10, 2300)
        actual = predicted + rng.standard_t(5, 2300) * (0.2 + 0.3 * predicted if grows else 1.0)
        interval = fit_interval(predicted[:300], actual[:300], 0.9, folds_of(300))
        assert interval is not None
        half = np.interp(predicted[300:], interval.values, interval.half_widths)
        inside.append(np.mean(np.abs(actual[300:] - predicted[300:]) <= half))
    assert np.mean(inside) > 0.9 - 2 * np.std(inside) / np.sqrt(len(inside))


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_intervals_hold_what_they_promise_and_follow_the_size_of_errors(coverage: float) -> None:
    rng = np.random.default_rng(1)
    predicted = rng.uniform(0, 100, 4000)
    actual = predicted + rng.normal(0, 1 + predicted / 10)
    interval = fit_interval(predicted[:2000], actual[:2000], coverage, folds_of(2000))
    assert interval is not None
    half = np.array([interval.half_width(v) for v in predicted[2000:]])
    inside = np.abs(actual[2000:] - predicted[2000:]) <= half
    assert inside.mean() == pytest.approx(coverage, abs=0.035)
    for low, high in ((0, 20), (80, 100)):
        part = (predicted[2000:] >= low) & (predicted[2000:] < high)
        assert inside[part].mean() == pytest.approx(coverage, abs=0.1)
    assert half[predicted[2000:] > 90].mean() > 3 * half[predicted[2000:] < 10].mean()


def test_the_mean_coverage_of_small_samples_is_not_below_the_promise() -> None:
    rng = np.random.default_rng(5)
    share = []
    for _ in range(400):
        errors = rng.standard_t(3, 40)
        interval = fit_interval(np.zeros(40), errors, 0.9, folds_of(40))
        assert interval is not None
        share.append(np.mean(np.abs(rng.standard_t(3, 200)) <= interval.half_width(0.0)))
    assert np.mean(share) > 0.895


def test_too_few_rows_give_no_interval_and_equal_errors_one_of_width_zero() -> None:
    assert fit_interval(np.arange(8.0), np.arange(8.0) + 1, 0.9, folds_of(8)) is None
    exact = fit_interval(np.arange(300.0), np.arange(300.0), 0.9, folds_of(300))
    assert exact is not None
    assert exact.half_width(5.0) == 0


@given(st.floats(-1e6, 1e6))
def test_the_half_width_is_a_line_through_its_points(value: float) -> None:
    interval = Interval(0.9, (-10.0, 0.0, 200.0), (1.0, 4.0, 2.0))
    assert interval.half_width(value) == pytest.approx(np.interp(value, interval.values, interval.half_widths))


def test_a_trained_regression_carries_an_interval_that_holds() -> None:
    contract = tables.contract("regression", tables.NUMBERS, families=("linear",), interval=0.8)
    trained = fit(tables.table("regression", contract.features, rows=1200), contract, dataset_version="d")
    interval = trained.manifest.interval
    assert interval is not None
    assert interval.coverage == 0.8
    assert type(trained.manifest).from_dict(trained.manifest.to_dict()) == trained.manifest
    assert trained.metrics["pinball"] > 0
    without = fit(
        tables.table("regression", contract.features),
        tables.contract("regression", tables.NUMBERS, families=("linear",), interval=None),
        dataset_version="d",
    )
    assert without.manifest.interval is None
    assert "pinball" not in without.metrics
