"""What training rows' times teach: seasons, and how much is normal."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mlops.contract import Drift
from mlops.drift.decision import decide
from mlops.drift.learning import learn
from mlops.drift.methods import METHODS
from mlops.features.columns import Column, Columns
from mlops.features.spec import Feature
from mlops.statistics import season as seasons
from mlops.statistics.baseline import Baseline, BaselineError, Unrest, accumulate, build

FEATURES = [Feature("warm", "number"), Feature("still", "number")]
POLICY = Drift()
START = 20_000.0  # 2024-10-04, a Friday


def rows(days: np.ndarray, period: float, seed: int = 1, wander: float = 0.0) -> Columns:
    """A column that follows a period, and one that follows nothing; ``wander``: a slow walk beside it."""
    rng = np.random.default_rng(seed)
    slow = wander * np.sin(days / 11) + wander * np.sin(days / 4.7)
    warm = 2 * np.sin(2 * np.pi * days / period) + slow + rng.normal(size=len(days))
    return Columns((Column("warm", "number", warm), Column("still", "number", rng.normal(size=len(days)))))


def trained(days: np.ndarray, period: float, window: float = 1.0, **more: float) -> Baseline:
    table = rows(days, period, **more)
    return learn(build(FEATURES, table, pairs=True), table, days, None, window_days=window, min_rows=100)


def every(hours: float, days: float) -> np.ndarray:
    return START + np.arange(0, days, hours / 24)


@pytest.mark.parametrize(
    ("period", "hours", "days", "unit"),
    [(1.0, 0.2, 30, "hour"), (7.0, 1.0, 120, "weekday"), (365.25, 6.0, 1500, "month"), (3.3, 1.0, 120, None)],
)
def test_the_season_is_the_one_that_the_columns_follow(period, hours, days, unit):
    baseline = trained(every(hours, days), period)
    assert (baseline.season.unit if baseline.season else None) == unit
    assert Baseline.from_dict(json.loads(json.dumps(baseline.to_dict(), allow_nan=False))) == baseline


def test_a_night_is_compared_with_nights():
    days = every(0.2, 30)
    baseline = trained(days, 1.0)
    night = days[-1] // 1 + 1 + np.arange(0, 6 / 24, 0.01 / 24)
    counts = accumulate(baseline, rows(night, 1.0, seed=2))
    slots = seasons.between("hour", night[0], night[-1])
    assert decide(baseline, counts, POLICY).status == "drift"
    verdict = decide(baseline, counts, POLICY, slots)
    assert verdict.status == "ok"
    assert any("training rows of the same hours: 00:00" in note for note in verdict.notes)
    cold = accumulate(baseline, rows(night + 0.5, 1.0, seed=2))  # what afternoons are like
    assert decide(baseline, cold, POLICY, slots).status == "drift"


def test_too_short_a_history_has_no_season():
    assert trained(every(0.05, 5), 1.0).season is None  # less than a week
    assert trained(every(24, 500), 365.25).season is None  # less than two years


def test_slots_that_training_hardly_had_fall_back_to_all_of_it():
    days = every(0.2, 30)
    baseline = trained(days[(days % 1) < 0.5], 1.0)
    noon = 20_100.6 + np.arange(0, 2 / 24, 0.01 / 24)
    verdict = decide(
        baseline, accumulate(baseline, rows(noon, 1.0)), POLICY, seasons.between("hour", noon[0], noon[-1])
    )
    assert any("too few rows of the same hours" in note for note in verdict.notes)


def test_what_training_itself_shows_between_its_periods_is_no_drift():
    """A column that wanders from day to day, as most do: a day differs from all the days, and that is normal."""
    baseline = trained(every(0.1, 60), 1e9, wander=0.8)
    assert baseline.unrest is not None
    assert baseline.unrest.columns[0] > 0.4 > POLICY.threshold > baseline.unrest.columns[1]
    bare = Baseline.from_dict(baseline.to_dict() | {"unrest": None})
    quiet, loud = 0, 0
    for day in range(60, 90):
        counts = accumulate(baseline, rows(START + day + np.arange(0, 1, 1 / 240), 1e9, wander=0.8, seed=day))
        quiet += decide(baseline, counts, POLICY).status == "drift"
        loud += decide(bare, counts, POLICY).status == "drift"
    assert loud >= 10
    assert quiet <= 2
    moved = rows(START + 60 + np.arange(0, 1, 1 / 240), 1e9, seed=5)
    moved = Columns((Column("warm", "number", moved["warm"].values + 5), moved["still"]))
    verdict = decide(baseline, accumulate(baseline, moved), POLICY)
    assert [f.feature for f in verdict.drifted] == ["warm"]
    assert any("Thresholds are higher" in note and "warm" in note for note in verdict.notes)


def test_periods_are_as_long_as_a_window_however_long_the_history():
    """Longer ones would differ by less than a window does, and what they teach would raise alarms."""
    baseline = trained(every(1.2, 1500), 1e9, window=7.0, wander=0.8)  # 214 weeks
    assert (baseline.unrest.days, baseline.unrest.periods) == (7.0, 200)
    few = trained(every(24, 1500), 1e9, window=7.0)  # a row a day: a hundred days for a hundred rows
    assert few.unrest.days == pytest.approx(100, rel=0.01)


def learned(**unrest: float) -> Baseline:
    """A baseline whose periods showed so much, in every column and pair."""
    table = rows(every(1.2, 100), 1e9)
    baseline = build(FEATURES, table, pairs=True)
    size = {"columns": len(baseline.axes), "missing": len(baseline.axes), "pairs": len(baseline.relations.pairs)}
    showed = {name: (unrest.get(name, 0.0),) * n for name, n in size.items()}
    return replace(baseline, unrest=Unrest(**showed, days=1.0, periods=9))


def normal(n: int, warm: np.ndarray | None = None) -> Columns:
    rng = np.random.default_rng(3)
    values = rng.normal(size=n) if warm is None else warm
    return Columns((Column("warm", "number", values), Column("still", "number", rng.normal(size=n))))


@pytest.mark.parametrize("method", [None, *METHODS])
@pytest.mark.parametrize("n", [100, 200, 2_000])
def test_values_that_training_never_had_are_drift_whatever_it_learned(method, n):
    baseline, policy = learned(columns=1e6), Drift(methods={"warm": method} if method else {})
    mostly = np.where(np.arange(n) % 4 > 0, 99.0, 0.0)
    verdict = decide(baseline, accumulate(baseline, normal(n, mostly)), policy)
    assert [f.feature for f in verdict.drifted] == ["warm"]


@pytest.mark.parametrize("n", [100, 200, 2_000])
def test_a_learned_threshold_stays_in_reach(n):
    """All rows in one bin: as far as a column can move among the values that it had."""
    baseline = learned(columns=1e6)
    edge = (baseline.axes[0].edges[0] + baseline.axes[0].edges[1]) / 2
    verdict = decide(baseline, accumulate(baseline, normal(n, np.full(n, edge))), POLICY)
    assert [f.feature for f in verdict.drifted] == ["warm"]
    calm = decide(baseline, accumulate(baseline, normal(n, 0.3 * np.random.default_rng(5).normal(size=n))), POLICY)
    assert not calm.drifted


def test_a_column_that_goes_missing_is_drift_whatever_was_learned():
    baseline = learned(missing=1.0)
    gone = np.where(np.arange(400) % 10 < 6, np.nan, 0.1)
    verdict = decide(baseline, accumulate(baseline, normal(400, gone)), Drift(threshold=1e3))
    assert not verdict.drifted  # the contract asks for more than can be
    verdict = decide(baseline, accumulate(baseline, normal(400, gone)), POLICY)
    assert "missing_rate" in {f.method for f in verdict.drifted}


@pytest.mark.parametrize(
    "days",
    [np.full(500, np.nan), np.full(500, START), START + np.arange(500) / 1e6, np.full(500, 1e9), np.full(500, np.inf)],
)
def test_times_that_teach_nothing_teach_nothing(days):
    baseline = trained(days, 1.0) if np.isfinite(days).all() and days[0] < 1e6 else None
    if baseline is None:
        table = rows(np.arange(500.0), 1.0)
        baseline = learn(build(FEATURES, table), table, days, None, window_days=1, min_rows=100)
    assert (baseline.season, baseline.unrest) == (None, None)


@pytest.mark.parametrize(
    ("unit", "start", "end", "expected"),
    [
        ("hour", 20_000.0, 20_000 + 2 / 24, {0, 1}),
        ("hour", 20_000 + 23.5 / 24, 20_001 + 0.5 / 24, {23, 0}),
        ("weekday", 20_000.0, 20_002.0, {4, 5}),
        ("month", 20_000.0, 20_040.0, {9, 10}),
        ("month", 20_000.0, 20_600.0, set(range(12))),
    ],
)
def test_slots_of_a_window(unit, start, end, expected):
    slots = seasons.between(unit, start, end)
    assert slots.positions == expected
    assert slots.whole == (len(expected) == seasons.SLOTS[unit])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"season": {"unit": "eon", "slots": {}}}, "unknown unit"),
        ({"season": {"unit": "hour", "slots": {"0": {"reference": "x", "rows": 1, "tallies": []}}}}, "other bins"),
        ({"season": {"unit": "hour"}}, "cannot be read"),
        ({"unrest": {"columns": [1.0], "missing": [], "pairs": [], "days": 1, "periods": 9}}, "does not fit"),
        ({"unrest": {"columns": "x"}}, "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_refused(change, words):
    document = trained(every(0.2, 30), 1.0).to_dict()
    with pytest.raises(BaselineError, match=words):
        Baseline.from_dict(document | change)
