"""Whatever comes in: a defined outcome, and no number in a report that is none."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.contract import Drift
from mlops.drift import report, traffic
from mlops.drift.decision import decide
from mlops.drift.learning import learn
from mlops.drift.methods import METHODS
from mlops.features.columns import Column, Columns, category_column
from mlops.features.spec import Feature
from mlops.statistics import season as seasons
from mlops.statistics.baseline import Baseline, accumulate, build, merge

FEATURES = [Feature("n", "number"), Feature("m", "number"), Feature("d", "date"), Feature("c", "category")]
numbers = st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.0, 1.0, 1.0, 2.0, -3.5])
rows = st.tuples(numbers, numbers, numbers, st.sampled_from([None, "a", "a", "b", "", "é"]))


def table(data: list[tuple]) -> Columns:
    columns = [
        Column(f.name, f.type, np.array([row[i] for row in data], dtype=np.float64))
        for i, f in enumerate(FEATURES)
        if f.type != "category"
    ]
    return Columns((*columns, category_column("c", [row[3] for row in data])))


@settings(max_examples=60, deadline=None)
@given(
    train=st.lists(rows, max_size=12),
    now=st.lists(rows, max_size=12),
    repeat=st.sampled_from([1, 60]),
    method=st.sampled_from([None, *METHODS]),
    lost=st.sampled_from([(), ("n",), ("c", "d")]),
)
def test_no_number_in_a_report_is_nan(train, now, repeat, method, lost):
    old, new = table(train * repeat), table(now * repeat)
    new = new.select([n for n in new.names if n not in lost])
    scores = np.resize([0.5, math.nan, math.inf], (old.rows, 1))
    baseline = build(FEATURES, old, predictions=scores, pairs=True)
    counts = accumulate(baseline, new, np.resize([0.1, math.nan], (new.rows, 1)))
    policy = Drift(min_rows=2, methods={f.name: method for f in FEATURES} if method else {})
    verdict = decide(baseline, counts, policy)
    json.dumps([verdict.to_dict(), verdict.effects(10), counts.to_dict(), baseline.to_dict()], allow_nan=False)
    outcome = {"model": "m", "check_id": "c", "status": verdict.status, "share": verdict.share,
               "explanation": verdict.explanation, "effects": verdict.effects(10),
               "time": "2026-03-02T12:00:00+00:00"}  # fmt: skip
    page = report.page(outcome, verdict, baseline, counts, what="rows", history=[outcome])
    assert "nan" not in page.lower().replace("nannyml", "")
    assert (verdict.status == "insufficient") == (counts.rows < 2 or baseline.counts.rows < 2)
    assert verdict.explanation


moments = st.sampled_from([math.nan, math.inf, 20_000.3, 20_001.7, 20_400.5, -5.0, 1e9, 699_999.0])


@settings(max_examples=40, deadline=None)
@given(
    train=st.lists(rows, min_size=1, max_size=12),
    now=st.lists(rows, max_size=12),
    span=st.sampled_from([0.0, 3.0, 40.0, 900.0]),
    odd=st.lists(moments, max_size=8),
    window=st.sampled_from([0.04, 1.0, 30.0]),
)
def test_whatever_times_training_rows_have_no_number_is_nan(train, now, span, odd, window):
    """Seasons and unrest are learned from rows as odd as those above, at times that do not exist or lie far apart."""
    old, new = table(train * 60), table(now * 60)
    days = 20_000.0 + np.linspace(0, span, old.rows)
    days[: len(odd)] = odd
    baseline = learn(build(FEATURES, old, pairs=True), old, days, None, window_days=window, min_rows=2)
    baseline = Baseline.from_dict(json.loads(json.dumps(baseline.to_dict(), allow_nan=False)))
    slots = seasons.between(baseline.season.unit, 20_001.0, 20_001.0 + window) if baseline.season else None
    verdict = decide(baseline, accumulate(baseline, new), Drift(min_rows=2), slots)
    json.dumps([verdict.to_dict(), verdict.effects(10)], allow_nan=False)


def test_a_column_and_its_copy_go_together_without_any_variance_and_are_seen_to_part():
    """Real data has such columns: a weather's kind and its description, an amount in two units."""
    rng = np.random.default_rng(4)
    features = [
        Feature("n", "number"),
        Feature("copy", "number"),
        Feature("c", "category"),
        Feature("same", "category"),
    ]

    def drawn(n: int, *, parted: bool = False) -> Columns:
        number, level = rng.normal(size=n), rng.integers(0, 2, n)
        other, words = (rng.normal(size=n), rng.integers(0, 2, n)) if parted else (number, level)
        return Columns(
            (
                Column("n", "number", number),
                Column("copy", "number", other),
                category_column("c", [f"is {v}" for v in level]),
                category_column("same", [f"was {v}" for v in words]),
            )
        )

    old, days = drawn(2_000), 20_000 + np.arange(2_000) / 50
    baseline = learn(build(features, old, pairs=True), old, days, None, window_days=2, min_rows=100)
    assert 0.0 in baseline.relations.variance
    assert baseline.unrest is not None
    assert not decide(baseline, accumulate(baseline, drawn(400)), Drift()).drifted
    told = {f.feature for f in decide(baseline, accumulate(baseline, drawn(400, parted=True)), Drift()).drifted}
    assert told == {"n with copy", "c = is 0 with same = was 0"}


def test_ten_thousand_categories_are_counted_in_bounded_memory_and_compared():
    rng = np.random.default_rng(1)
    levels = tuple(f"level {i}" for i in range(10_000))
    feature = Feature("c", "category")

    def drawn(n: int, power: float, seed: int) -> Columns:
        weights = 1.0 / np.arange(1, 10_001) ** power
        codes = np.random.default_rng(seed).choice(10_000, n, p=weights / weights.sum()).astype(np.int32)
        return Columns((Column("c", "category", codes, levels),))

    baseline = build([feature], drawn(20_000, 1.0, 1))
    assert baseline.axes[0].cells == 200
    quiet = [decide(baseline, accumulate(baseline, drawn(3_000, 1.0, s)), Drift()).status for s in range(10, 16)]
    assert quiet == ["ok"] * 6
    assert decide(baseline, accumulate(baseline, drawn(3_000, 0.5, 9)), Drift()).status == "drift"
    unseen = category_column("c", [f"new {v}" for v in rng.integers(0, 10_000, 3_000)])
    verdict = decide(baseline, accumulate(baseline, Columns((unseen,))), Drift())
    assert "a level that training did not have in 100 % of rows" in verdict.drifted[0].message


def test_mixed_types_in_one_window_are_counted_as_what_they_are():
    """Requests of two clients: one sends numbers, the other the same as text. The texts are no numbers of the
    feature's type: they count as missing and are told of."""
    features = [Feature("n", "number"), Feature("c", "category")]
    sent = [{"n": 1.5 if i % 2 else "1.5", "c": i % 3 if i % 2 else "1"} for i in range(300)]
    batch = traffic.batch(features, sent, [None] * 300)
    assert batch.invalid == {"n": 150}
    assert int(np.isnan(batch.table["n"].values).sum()) == 150
    assert set(batch.table["c"].levels) == {"0", "1", "2"}


def test_a_column_whose_type_changes_within_a_window_differs_where_it_fits_no_more():
    features = [Feature("n", "number"), Feature("m", "number")]
    rng = np.random.default_rng(2)
    numbers = Columns(tuple(Column(f.name, "number", rng.normal(size=300)) for f in features))
    texts = Columns((category_column("n", ["x"] * 300), numbers["m"]))
    baseline = build(features, numbers, pairs=True)
    whole = decide(baseline, accumulate(baseline, texts), Drift())
    assert [(f.feature, f.method) for f in whole.drifted] == [("n", "type")]
    half = merge(accumulate(baseline, numbers), accumulate(baseline, texts))
    verdict = decide(baseline, half, Drift())
    assert verdict.rows == 600
    assert any("n was of another type, or not there, in 300 of 600 rows" in note for note in verdict.notes)


@pytest.mark.parametrize("name", ["past", "plan"])
def test_event_files_hold_times_with_a_zone(name):
    event = json.loads((Path(__file__).parents[3] / "events" / "drift_check" / f"{name}.json").read_text())
    assert datetime.fromisoformat(event["since"]).tzinfo == UTC
