"""Decisions with known answers: no drift, injected drift, and all that data can lack."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mlops.contract import Drift
from mlops.drift.decision import confirmed, decide
from mlops.features.columns import Column, Columns, category_column
from mlops.features.spec import Feature
from mlops.statistics.baseline import Baseline, BaselineError, accumulate, build, empty

POLICY = Drift()
FEATURES = [
    *(Feature(f"n{i}", "number") for i in range(6)),
    Feature("zeros", "number"),
    Feature("count", "integer", nullable=True),
    Feature("level", "category"),
    Feature("flag", "boolean"),
]


def sample(rng: np.random.Generator, n: int, *, shift: float = 0.0, shifted: int = 0) -> Columns:
    numbers = [Column(f"n{i}", "number", rng.normal(shift if i < shifted else 0.0, 1.0, n)) for i in range(6)]
    zeros = Column("zeros", "number", np.where(rng.random(n) < 0.4, 0.0, rng.exponential(size=n)))
    count = rng.poisson(3, n).astype(float)
    count[rng.random(n) < 0.05] = np.nan
    weights = 1 / np.arange(1, 31)
    level = rng.choice(30, n, p=weights / weights.sum()).astype(np.int32)
    return Columns(
        (
            *numbers,
            zeros,
            Column("count", "integer", count),
            Column("level", "category", level, tuple(f"level {i}" for i in range(30))),
            Column("flag", "boolean", (rng.random(n) < 0.03).astype(float)),
        )
    )


def outcomes(n, m, windows, *, shift=0.0, shifted=0, seed=1):
    rng, found = np.random.default_rng(seed), []
    for i in range(windows):
        if i % 25 == 0:
            baseline = build(FEATURES, sample(rng, n), pairs=True)
        found.append(decide(baseline, accumulate(baseline, sample(rng, m, shift=shift, shifted=shifted)), POLICY))
    return found


@pytest.mark.parametrize(("n", "m"), [(300, 100), (4000, 200), (2000, 2000)])
def test_without_drift_false_alarms_stay_at_the_stated_rate(n, m):
    """Significance 0.01 bounds the windows in which any column is called significant, and those in which any pair is;
    both conditions together the windows with anything drifted; 400 windows allow three standard errors."""
    verdicts = outcomes(n, m, 400)
    for pairs in (False, True):
        told = [[f.q_value for f in v.findings if (f.role == "relation") is pairs] for v in verdicts]
        assert min(len(q) for q in told) > 10
        assert np.mean([min(q) <= POLICY.significance for q in told]) <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 400)
    assert np.mean([bool(v.drifted) for v in verdicts]) <= 0.02
    assert not [v for v in verdicts if v.status != "ok"]


@pytest.mark.parametrize(("m", "shift"), [(100, 0.8), (300, 0.7), (1000, 0.7)])
def test_injected_drift_is_detected(m, shift):
    verdicts = outcomes(2000, m, 60, shift=shift, shifted=4)
    assert np.mean([v.status == "drift" for v in verdicts]) >= 0.95
    named = [{f.feature for f in v.drifted} for v in verdicts]
    assert np.mean([not (names - {"n0", "n1", "n2", "n3"}) for names in named]) >= 0.95


def correlated(rng: np.random.Generator, n: int, r: float) -> Columns:
    common = rng.normal(size=(4, n))
    common[1] = r * common[0] + np.sqrt(1 - r * r) * common[1]
    return Columns(tuple(Column(f"n{i}", "number", values) for i, values in enumerate(common)))


@pytest.mark.parametrize(("was", "now", "rows", "power"), [(0.9, 0.0, 100, 1), (0.0, 0.7, 200, 1), (0.8, 0.4, 500, 1)])
def test_a_broken_correlation_is_seen_where_no_single_column_differs(was, now, rows, power):
    rng = np.random.default_rng(8)
    baseline = build(FEATURES[:4], correlated(rng, 2000, was), pairs=True)
    verdicts = [decide(baseline, accumulate(baseline, correlated(rng, rows, now)), POLICY) for _ in range(40)]
    assert [{f.feature for f in v.drifted} for v in verdicts] == [{"n0 with n1"}] * 40
    assert np.mean([v.status == "drift" for v in verdicts]) >= power
    assert verdicts[0].share == pytest.approx(0.5)
    assert "correlation" in verdicts[0].explanation
    assert f"was {was:.1f}"[:6] in verdicts[0].drifted[0].message


def test_correlation_takes_no_notice_of_what_columns_show_by_themselves():
    rng = np.random.default_rng(9)
    baseline = build(FEATURES[:4], correlated(rng, 2000, 0.8), pairs=True)
    moved = correlated(rng, 500, 0.0)
    moved = Columns((Column("n0", "number", moved["n0"].values + 3), *moved.columns[1:]))
    assert {f.feature for f in decide(baseline, accumulate(baseline, moved), POLICY).drifted} == {"n0"}
    wider = correlated(rng, 500, 0.8)
    wider = Columns(tuple(Column(c.name, "number", c.values * 1.3 + 0.2) for c in wider.columns))
    pairs = [f for f in decide(baseline, accumulate(baseline, wider), POLICY).findings if f.role == "relation"]
    assert pairs
    assert not any(f.drifted for f in pairs)


def test_a_baseline_from_before_pairs_says_that_they_were_not_compared():
    verdict = decide(small(), accumulate(small(), table(**same())), POLICY)
    assert any("keeps no pairs" in note for note in verdict.notes)


def test_a_shift_below_the_threshold_is_significant_but_no_drift():
    verdicts = outcomes(20_000, 20_000, 20, shift=0.2, shifted=4)
    assert all(any(f.q_value < 1e-10 for f in v.findings) for v in verdicts)
    assert all(v.status == "ok" and not v.drifted for v in verdicts)


def table(**columns: list) -> Columns:
    made = []
    for name, values in columns.items():
        if any(isinstance(v, str) for v in values):
            made.append(category_column(name, values))
        else:
            made.append(Column(name, "number", np.array([np.nan if v is None else v for v in values], dtype=float)))
    return Columns(tuple(made))


def small(**importance: float) -> Baseline:
    rng = np.random.default_rng(3)
    features = [Feature("a", "number"), Feature("b", "number"), Feature("c", "category")]
    data = table(a=list(rng.normal(size=500)), b=list(rng.normal(size=500)), c=["x", "y"] * 250)
    return build(features, data, importance=importance)


def same(n: int = 500) -> dict[str, list]:
    rng = np.random.default_rng(4)
    return {"a": list(rng.normal(size=n)), "b": list(rng.normal(size=n)), "c": ["x", "y"] * (n // 2)}


def test_importance_decides_whether_one_feature_is_enough():
    moved = table(**{**same(), "a": list(np.random.default_rng(5).normal(3, 1, 500))})
    policy = Drift(feature_share=0.5)
    heavy, light = small(a=8, b=1, c=1), small(a=1, b=8, c=1)
    assert decide(heavy, accumulate(heavy, moved), policy).status == "drift"
    calm = decide(light, accumulate(light, moved), policy)
    assert calm.status == "ok"
    assert calm.share == pytest.approx(0.1)
    assert calm.drifted[0].feature == "a"
    assert "below 50 %" in calm.explanation


def test_drifted_predictions_are_enough():
    rng = np.random.default_rng(6)
    data = table(**same())
    baseline = build([Feature("a", "number")], data, predictions=rng.beta(2, 5, (500, 1)))
    verdict = decide(baseline, accumulate(baseline, data, rng.beta(5, 2, (500, 1))), POLICY)
    assert verdict.status == "drift"
    assert verdict.share == 0
    assert "predictions" in verdict.explanation


def test_drifted_labels_are_enough_and_their_absence_is_not_held_against_traffic():
    data = table(**same())
    baseline = build([Feature("a", "number")], data, target=category_column("y", ["no"] * 450 + ["yes"] * 50))
    labelled = table(**same(), y=["no", "yes"] * 250)
    assert decide(baseline, accumulate(baseline, labelled), POLICY).status == "drift"
    assert decide(baseline, accumulate(baseline, data), POLICY).status == "ok"


def test_a_vanished_column_is_drift_of_that_column():
    baseline = small()
    left = {k: v for k, v in same().items() if k != "a"}
    verdict = decide(baseline, accumulate(baseline, table(**left)), POLICY)
    assert [(f.feature, f.method) for f in verdict.drifted] == [("a", "vanished")]
    assert verdict.status == "drift"
    assert verdict.share == pytest.approx(1 / 3)


def test_a_changed_type_is_drift_of_that_column():
    baseline = small()
    verdict = decide(baseline, accumulate(baseline, table(**{**same(), "c": [1.0, 2.0] * 250})), POLICY)
    assert [(f.feature, f.method) for f in verdict.drifted] == [("c", "type")]


def test_a_new_column_is_noted():
    baseline = small()
    verdict = decide(baseline, accumulate(baseline, table(**same(), extra=[1.0] * 500)), POLICY)
    assert verdict.status == "ok"
    assert any("extra" in note for note in verdict.notes)


def test_missing_values_that_come_up_are_seen():
    baseline = small()
    holes = [None if i % 4 == 0 else v for i, v in enumerate(same()["a"])]
    verdict = decide(baseline, accumulate(baseline, table(**{**same(), "a": holes})), POLICY)
    assert [(f.feature, f.method) for f in verdict.drifted] == [("a", "missing_rate")]
    assert verdict.drifted[0].value == pytest.approx(0.25)
    assert "25 %" in verdict.drifted[0].message


def test_a_column_all_missing_now_is_seen():
    baseline = small()
    verdict = decide(baseline, accumulate(baseline, table(**{**same(), "a": [None] * 500})), POLICY)
    assert [(f.feature, f.method) for f in verdict.drifted] == [("a", "missing_rate")]
    assert any("not compared" in note for note in verdict.notes)


def test_a_column_all_missing_in_training_has_nothing_to_compare_with():
    baseline = build([Feature("a", "number")], table(a=[None] * 300))
    verdict = decide(baseline, accumulate(baseline, table(a=[1.0] * 300)), POLICY)
    assert [f.method for f in verdict.drifted] == ["missing_rate"]
    assert any("had none in training" in note for note in verdict.notes)


def test_a_constant_that_changes_is_drift_and_one_that_stays_is_not():
    baseline = build([Feature("a", "number")], table(a=[7.0] * 300))
    assert decide(baseline, accumulate(baseline, table(a=[7.0] * 200)), POLICY).status == "ok"
    assert decide(baseline, accumulate(baseline, table(a=[8.0] * 200)), POLICY).status == "drift"


def test_a_new_level_is_drift_when_it_is_frequent():
    baseline = small()
    verdict = decide(baseline, accumulate(baseline, table(**{**same(), "c": ["x", "y", "z", "z"] * 125})), POLICY)
    assert [f.feature for f in verdict.drifted] == ["c"]
    assert "a level that training did not have" in verdict.drifted[0].message


def test_dates_in_the_future_are_drift_like_any_other_value():
    days = Column("d", "date", np.arange(400.0))
    baseline = build([Feature("d", "date")], Columns((days,)))
    later = Columns((Column("d", "date", np.arange(400.0) + 80_000),))
    verdict = decide(baseline, accumulate(baseline, later), POLICY)
    assert verdict.status == "drift"
    assert "1970" in verdict.drifted[0].message


@pytest.mark.parametrize("rows", [0, 1, 99])
def test_too_few_rows_are_insufficient(rows):
    baseline = small()
    full = table(**same())
    verdict = decide(baseline, accumulate(baseline, full.take(np.arange(rows))), POLICY)
    assert (verdict.status, verdict.share, verdict.findings) == ("insufficient", 0.0, ())
    assert "at least 100" in verdict.explanation


def test_a_baseline_of_no_rows_is_insufficient():
    baseline = build([Feature("a", "number")], table(a=[]))
    assert decide(baseline, accumulate(baseline, table(a=[1.0] * 200)), POLICY).status == "insufficient"


def test_counts_of_another_baseline_are_refused():
    other = build([Feature("a", "number")], table(a=list(range(50))))
    with pytest.raises(BaselineError, match="cannot be compared"):
        decide(small(), empty(other), POLICY)


@pytest.mark.parametrize("rows", [100, 101, 500])
def test_no_number_in_a_verdict_is_nan(rows):
    strange = {
        "a": [float("inf"), -float("inf"), 1e308, -1e308, 0.0] * 100,
        "b": [None] * 500,
        "c": [f"new {i}" for i in range(500)],
    }
    baseline = small(a=float("1e-300"))
    verdict = decide(baseline, accumulate(baseline, table(**strange).take(np.arange(rows))), POLICY)
    json.dumps(verdict.to_dict(), allow_nan=False)
    assert verdict.status == "drift"


def test_a_method_per_column_can_be_chosen_and_an_unknown_one_is_named():
    baseline = small()
    policy = Drift(methods={"a": "wasserstein", "b": "magic", "gone": "psi"})
    verdict = decide(baseline, accumulate(baseline, table(**same())), policy)
    assert {f.feature: f.method for f in verdict.findings if f.role == "feature"}["a"] == "wasserstein"
    assert any("magic" in note for note in verdict.notes)
    assert any("gone" in note for note in verdict.notes)


def test_personal_data_is_compared_by_its_missing_values_only():
    features = [
        Feature("a", "number"),
        Feature("who", "category", pii="pseudonymise"),
        Feature("s", "category", pii="drop"),
    ]
    data = table(a=[float(i) for i in range(300)], who=["ada", "bob", "cy"] * 100, s=["1"] * 300)
    baseline = build(features, data)
    captured = table(a=[float(i) for i in range(300)], who=["h1", "h2", "h3"] * 100)
    verdict = decide(baseline, accumulate(baseline, captured), POLICY)
    assert verdict.status == "ok"
    assert {f.feature for f in verdict.findings} == {"a"}


@pytest.mark.parametrize(
    ("current", "earlier", "needed", "windows", "answer"),
    [
        (True, [], 1, 1, True),
        (False, [True, True], 1, 3, False),
        (True, [], 2, 3, False),
        (True, [False, True], 2, 3, True),
        (True, [False, False, True], 2, 3, False),
        (True, [True], 2, 1, False),
    ],
)
def test_debounce(current, earlier, needed, windows, answer):
    assert confirmed(current, earlier, needed=needed, windows=windows) is answer


SHARE = """
import numpy as np
from mlops.contract import Drift
from mlops.drift.decision import decide
from mlops.features.columns import Column, Columns
from mlops.features.spec import Feature
from mlops.statistics.baseline import accumulate, build

rng = np.random.default_rng(1)
names = [f"feature {i}" for i in range(12)]
table = lambda by: Columns(tuple(Column(n, "number", rng.normal(by, 1, 500)) for n in names))
importance = {n: 0.1 + i * 0.07 for i, n in enumerate(names)}
baseline = build([Feature(n, "number") for n in names[:]], table(0.0), importance=importance)
moved = table(2.0).columns[:9] + table(0.0).columns[9:]
print(repr(decide(baseline, accumulate(baseline, Columns(moved)), Drift()).share))
"""


def test_the_share_does_not_depend_on_the_order_of_a_set():
    """Texts hash differently in every process, so a sum over a set of them differed in its last digit."""
    printed = set()
    for seed in ("1", "2", "3", "4"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", SHARE], env=environment, capture_output=True, text=True, check=True
        )
        printed.add(done.stdout.strip())
    assert len(printed) == 1, printed
    assert 0.5 < float(printed.pop()) < 1
