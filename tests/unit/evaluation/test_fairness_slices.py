"""Groups, slices, fairness gates and intervals of metrics, on rows whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.contract import Contract, Fairness, Gates
from mlops.contract.rules import BINARY_FAIRNESS, MULTICLASS_FAIRNESS, REGRESSION_FAIRNESS, broken_rules
from mlops.contract.source import dump, load_text
from mlops.evaluation.compare import metric_interval, metric_intervals, wilson
from mlops.evaluation.fairness import MEASURES, Measured, _difference, _ratio, fairness_check, judge
from mlops.evaluation.gates import change_checks, coverage_check, latency_check
from mlops.evaluation.groups import groups_of
from mlops.evaluation.metrics import METRICS, Task
from mlops.evaluation.robustness import Finding
from mlops.evaluation.slices import slices
from mlops.features.columns import Column, Columns, category_column, float_column
from mlops.features.spec import Feature
from mlops.manifest import Interval
from tests.unit.training import tables

FEATURES = (
    Feature("sex", "category", categories=("f", "m"), nullable=True, on_unknown="other"),
    Feature("age", "number"),
    Feature("member", "boolean"),
)
BINARY = Task(2)


def contract(*rules: Fairness, task: str = "binary") -> Contract:
    return replace(tables.contract(task, FEATURES), gates=Gates(fairness=rules))


def people(rows: int, seed: int = 0) -> Columns:
    rng = np.random.default_rng(seed)
    return Columns(
        (
            Column("sex", "category", rng.integers(0, 2, rows).astype(np.int32), ("f", "m")),
            float_column("age", "number", rng.uniform(18, 80, rows)),
            float_column("member", "boolean", rng.integers(0, 2, rows).astype(float)),
        )
    )


def answers(share: np.ndarray, seed: int = 1) -> np.ndarray:
    """Probabilities 0.9 or 0.1: positive with the given chance a row."""
    p = np.where(np.random.default_rng(seed).random(len(share)) < share, 0.9, 0.1)
    return np.stack([1 - p, p], axis=1)


def test_groups_hold_every_row_once() -> None:
    table = Columns(
        (
            category_column("sex", ["f", "m", None, "x", "f"]),
            float_column("age", "number", [10.0, 30.0, 60.0, None, 29.9]),
            float_column("member", "boolean", [1.0, 0.0, None, 1.0, 1.0]),
        )
    )
    for feature, edges, names in (
        (FEATURES[0], (), ["f", "m", "(other)", "(missing)"]),
        (FEATURES[1], (30.0, 60.0), ["below 30", "30 to 60", "60 and above", "(missing)"]),
        (FEATURES[2], (), ["false", "true", "(missing)"]),
    ):
        found = groups_of(feature, table, edges)
        assert [g.name for g in found] == names
        assert np.sum([g.rows for g in found], axis=0).tolist() == [1] * 5


def test_a_model_that_selects_one_group_half_as_often_is_rejected() -> None:
    table = people(2000)
    share = np.where(table["sex"].values == 0, 0.3, 0.6)
    rules = contract(Fairness("sex", "selection_rate_ratio", 0.8), Fairness("member", "selection_rate_ratio", 0.8))
    sex, member = judge(rules, table, np.zeros(2000, dtype=int), answers(share), BINARY)

    check = fairness_check(sex)
    assert (check.passed, check.effect, check.name) == (False, "reject", "fairness:sex:selection_rate_ratio")
    assert sex.value == pytest.approx(0.5, abs=0.05)
    assert sex.low < sex.value < sex.high < 0.8  # type: ignore[operator]
    assert fairness_check(member).passed
    assert [g.rows for g in sex.groups] == [int((table["sex"].values == i).sum()) for i in (0, 1)]


def test_a_violation_that_few_rows_cannot_confirm_is_for_a_person() -> None:
    table = people(90)
    share = np.where(table["sex"].values == 0, 0.45, 0.6)
    (found,) = judge(
        contract(Fairness("sex", "selection_rate_ratio", 0.9)), table, np.zeros(90, int), answers(share), BINARY
    )
    check = fairness_check(found)
    assert (check.passed, check.effect) == (False, "ask")
    assert "these rows cannot tell it from chance" in check.message


def test_groups_of_few_rows_are_left_out_and_none_to_compare_asks() -> None:
    table = people(60)
    (found,) = judge(
        contract(Fairness("age", "accuracy_difference", 0.1, (79.0,))),
        table,
        np.zeros(60, int),
        answers(np.full(60, 0.5)),
        BINARY,
    )
    assert found.value is None
    assert found.left_out == ("79 and above",)
    check = fairness_check(found)
    assert (check.passed, check.effect) == (False, "ask")
    assert "fewer than two groups of 'age' have 30 rows" in check.message


def test_equal_opportunity_looks_at_the_positive_rows_alone() -> None:
    table = people(3000)
    actual = (np.random.default_rng(2).random(3000) < 0.5).astype(int)
    women = table["sex"].values == 0
    share = np.where(actual == 1, np.where(women, 0.9, 0.6), 0.2)
    rules = contract(
        Fairness("sex", "equal_opportunity_difference", 0.1), Fairness("sex", "false_positive_rate_difference", 0.1)
    )
    missed, alarms = judge(rules, table, actual, answers(share), BINARY)
    assert missed.value == pytest.approx(0.3, abs=0.05)
    assert (missed.lowest, missed.highest) == ("m", "f")
    assert fairness_check(missed).effect == "reject"
    assert fairness_check(alarms).passed
    assert sum(g.rows for g in missed.groups) == actual.sum()


def test_regression_errors_are_compared() -> None:
    table = people(1200)
    rng = np.random.default_rng(3)
    women = table["sex"].values == 0
    actual = rng.normal(size=1200)
    scores = (actual + rng.normal(0, np.where(women, 3, 1)) + np.where(women, 0.5, 0))[:, None]
    rules = contract(
        Fairness("sex", "error_ratio", 1.5), Fairness("sex", "mean_error_difference", 2.0), task="regression"
    )
    ratio, bias = judge(rules, table, actual, scores, Task())
    assert ratio.value == pytest.approx(3, abs=0.4)
    assert fairness_check(ratio).effect == "reject"
    assert fairness_check(bias).passed


def test_the_intervals_of_differences_and_ratios_hold_their_confidence() -> None:
    rng = np.random.default_rng(7)
    hits = {"difference": 0, "ratio": 0}
    for _ in range(1500):
        measured = []
        for share, rows in ((0.3, 60), (0.55, 80)):
            mean = float((rng.random(rows) < share).mean())
            measured.append(Measured("", rows, mean, *wilson(mean, rows, 1.96)))
        _, low, high = _difference(*measured)
        hits["difference"] += low <= 0.25 <= high
        _, low, high = _ratio(*measured)
        hits["ratio"] += low <= 0.3 / 0.55 <= high
    assert hits["difference"] / 1500 == pytest.approx(0.95, abs=0.015)
    assert hits["ratio"] / 1500 == pytest.approx(0.95, abs=0.015)


@given(st.integers(0, 40), st.integers(1, 40), st.integers(0, 40), st.integers(1, 40))
def test_intervals_hold_the_value_and_are_numbers(a: int, n: int, b: int, m: int) -> None:
    measured = sorted(
        (
            Measured("", rows, share, *wilson(share, rows, 2.2))
            for share, rows in ((min(a, n) / n, n), (min(b, m) / m, m))
        ),
        key=lambda g: g.value,
    )
    for value, low, high in (_difference(*measured), _ratio(*measured)):
        assert low - 1e-12 <= value <= high + 1e-12
        assert not math.isnan(low + value)


def test_the_rules_know_every_measure() -> None:
    assert set(MEASURES) == {*BINARY_FAIRNESS, *MULTICLASS_FAIRNESS, *REGRESSION_FAIRNESS}


@pytest.mark.parametrize(
    ("rule", "field", "message"),
    [
        (Fairness("height", "accuracy_difference", 0.1), "attribute", "'height' is not a feature"),
        (Fairness("age", "accuracy_difference", 0.1), "edges", "are missing"),
        (Fairness("sex", "accuracy_difference", 0.1, (1.0,)), "edges", "are for numbers"),
        (Fairness("age", "accuracy_difference", 0.1, (2.0, 1.0)), "edges", "do not ascend"),
        (Fairness("sex", "error_ratio", 2.0), "metric", "allowed are selection_rate_ratio"),
        (Fairness("sex", "selection_rate_ratio", 1.25), "bound", "at most 1"),
    ],
)
def test_a_rule_that_cannot_be_judged_is_a_mistake_of_the_contract(rule: Fairness, field: str, message: str) -> None:
    ((path, text),) = broken_rules(contract(rule))
    assert path == ("gates", "fairness", 0, field)
    assert message in text


def test_rules_survive_being_written_and_read() -> None:
    rules = contract(
        Fairness("age", "accuracy_difference", 0.25, (30.5, 60.0), 50), Fairness("sex", "selection_rate_ratio", 0.8)
    )
    rules = replace(rules, decision=replace(rules.decision, threshold=0.25))
    assert load_text(dump(rules)) == rules
    assert Contract.from_dict(rules.to_dict()) == rules


# Slices and intervals ----------------------------------------------------------------------------


def test_a_slice_where_the_model_fails_stands_out() -> None:
    table = people(1500)
    rng = np.random.default_rng(4)
    actual = rng.integers(0, 2, 1500)
    old = table["age"].values >= 60
    p = np.where(old, rng.random(1500), np.clip(actual * 0.6 + rng.random(1500) * 0.4, 0, 1))
    table = Columns((*table.columns, Column("y", "category", actual.astype(np.int32), ("no", "yes"))))
    rules = contract(Fairness("age", "accuracy_difference", 0.9, (60.0,)))
    found = {f"{s.feature}={s.group}": s for s in slices(rules, table, actual, np.stack([1 - p, p], 1), BINARY, seed=1)}
    assert list(found)[:2] == ["age=below 60", "age=60 and above"]
    assert found["age=below 60"].low > 0.95
    assert found["age=60 and above"].high < 0.65
    assert {"sex=f", "sex=m", "member=true", "member=false"} <= set(found)


def test_every_metric_has_an_interval_like_that_of_its_own_bootstrap() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(400)
    actual = (rng.random(400) < p).astype(int)
    scores = np.stack([1 - p, p], axis=1)
    found = metric_intervals(actual, scores, BINARY, ["roc_auc", "brier"], seed=1, resamples=400)
    for name, interval in found.items():
        own = metric_interval(actual, scores, METRICS[name], BINARY, seed=2)
        assert interval.value == own.value
        assert interval.low == pytest.approx(own.low, abs=0.01)
        assert interval.high == pytest.approx(own.high, abs=0.01)


def test_thinned_rows_give_the_interval_of_all() -> None:
    rng = np.random.default_rng(0)
    actual, scores = rng.normal(size=6000), rng.normal(size=(6000, 1))
    whole = metric_intervals(actual, scores, Task(), ["mae"], seed=1, most_rows=6000)["mae"]
    thin = metric_intervals(actual, scores, Task(), ["mae"], seed=1, most_rows=1500)["mae"]
    assert thin.value == whole.value
    assert thin.high - thin.low == pytest.approx(whole.high - whole.low, rel=0.2)


# Other gates -------------------------------------------------------------------------------------


def test_latency_is_a_gate_when_the_contract_bounds_it() -> None:
    free = contract()
    bounded = replace(free, gates=Gates(max_latency_ms=0.05))
    assert latency_check(free, 900.0).effect == "report"
    assert latency_check(bounded, 49.0).passed
    slow = latency_check(bounded, 51.0)
    assert (slow.passed, slow.effect) == (False, "reject")


def test_how_much_answers_may_change() -> None:
    findings = [
        Finding("'a' missing", 100, True, 0.30, "missing"),
        Finding("'b' missing", 100, True, 0.10, "missing"),
        Finding("numbers with noise", 100, True, 0.02, "noise"),
    ]
    rules = replace(contract(), gates=Gates(max_noise_change=0.05, max_missing_change=0.2))
    noise, missing = change_checks(rules, findings, BINARY)
    assert noise.passed
    assert not missing.passed
    assert "30.0% of the labels change with 'a' missing; the contract allows 20.0%" in missing.message
    assert change_checks(contract(), findings, BINARY) == []


def test_intervals_that_do_not_hold_are_for_a_person() -> None:
    rng = np.random.default_rng(0)
    actual = rng.normal(size=500)
    honest, narrow = (Task(interval=Interval(0.9, (0.0,), (w,))) for w in (1.64, 1.0))
    (good,) = coverage_check(actual, np.zeros((500, 1)), honest)
    (bad,) = coverage_check(actual, np.zeros((500, 1)), narrow)
    assert good.passed
    assert (bad.passed, bad.effect) == (False, "ask")
    assert coverage_check(actual, np.zeros((500, 1)), Task()) == []
