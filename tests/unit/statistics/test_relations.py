"""Sums over pairs of columns: against numpy, with missing values, and what is chosen."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from mlops.features.columns import Column, Columns, category_column
from mlops.features.spec import Feature
from mlops.statistics.baseline import Baseline, BaselineError, accumulate, build, merge
from mlops.statistics.relations import MAX_SCORES

FEATURES = [Feature("a", "number"), Feature("b", "number"), Feature("c", "category")]


def table(n: int, r: float, seed: int = 1, missing: float = 0.0) -> Columns:
    rng = np.random.default_rng(seed)
    a = rng.normal(10, 3, n)
    b = r * (a - 10) / 3 + np.sqrt(1 - r * r) * rng.normal(size=n)
    c = np.where(b + rng.normal(size=n) > 0, "high", "low")
    b[rng.random(n) < missing] = np.nan
    return Columns((Column("a", "number", a), Column("b", "number", b), category_column("c", list(c))))


def pair(baseline: Baseline, first: str, second: str) -> int:
    relations = baseline.relations
    assert relations is not None
    names = [baseline.axes[s.axis].name for s in relations.scores]
    return relations.pairs.index((names.index(first), names.index(second)))


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_correlations_are_those_of_numpy_over_rows_that_have_both(missing):
    data = table(20_000, 0.7, missing=missing)
    baseline = build(FEATURES, data, pairs=True)
    pairs = accumulate(baseline, data).pairs
    a, b, high = data["a"].values, data["b"].values, data["c"].recode(["high"]) == 0
    both = np.isfinite(b)
    position = pair(baseline, "a", "b")
    assert pairs.rows[position] == both.sum()
    assert pairs.correlation(position) == pytest.approx(np.corrcoef(a[both], b[both])[0, 1], abs=2e-3)
    with_level = abs(pairs.correlation(pair(baseline, "a", "c")))
    assert with_level == pytest.approx(abs(np.corrcoef(a, high)[0, 1]), abs=2e-3)


def test_the_stated_variance_is_that_of_many_samples():
    """Skewed columns: the variance of normal ones, (1 - r²)², would be far off."""
    rng = np.random.default_rng(3)

    def skewed(n: int) -> Columns:
        common = rng.exponential(size=n)
        return Columns(
            tuple(Column(name, "number", np.minimum(common + rng.exponential(size=n), 6)) for name in ("a", "b"))
        )

    baseline = build(FEATURES[:2], skewed(20_000), pairs=True)
    seen = [accumulate(baseline, skewed(500)).pairs.correlation(0) for _ in range(400)]
    stated = baseline.relations.variance[0]
    assert 500 * np.var(seen) == pytest.approx(stated, rel=0.25)
    assert stated > 1.3 * (1 - np.mean(seen) ** 2) ** 2


def test_the_columns_that_matter_most_take_part():
    rng = np.random.default_rng(4)
    names = [f"n{i}" for i in range(MAX_SCORES + 4)]
    data = Columns(tuple(Column(n, "number", rng.normal(size=200)) for n in names))
    weights = {n: float(i) for i, n in enumerate(names)}
    baseline = build([Feature(n, "number") for n in names], data, importance=weights, pairs=True)
    assert [baseline.axes[s.axis].name for s in baseline.relations.scores] == names[4:]


def test_constants_rare_levels_personal_data_and_all_missing_take_no_part():
    n = 300
    data = Columns(
        (
            Column("constant", "number", np.ones(n)),
            Column("missing", "number", np.full(n, np.nan)),
            Column("rare", "boolean", (np.arange(n) < 3).astype(float)),
            category_column("level", ["x"] * (n - 4) + ["y"] * 4),
            Column("age", "number", np.arange(n, dtype=float)),
        )
    )
    features = [Feature(c.name, c.type, pii="drop" if c.name == "age" else "none") for c in data.columns]
    assert build(features, data, pairs=True).relations is None


def test_absent_and_mistyped_columns_give_their_pairs_no_rows():
    baseline = build(FEATURES, table(500, 0.5), pairs=True)
    left = table(200, 0.5).select(["a", "b"])
    odd = Columns((*left.columns, Column("c", "number", np.zeros(200))))
    for part in (left, odd):
        pairs = accumulate(baseline, part).pairs
        assert pairs.rows[pair(baseline, "a", "b")] == 200
        assert pairs.rows[pair(baseline, "a", "c")] == 0
        assert pairs.correlation(pair(baseline, "a", "c")) is None


def test_values_of_any_size_stay_whole_numbers():
    baseline = build(FEATURES, table(500, 0.5), pairs=True)
    wild = [np.inf, -np.inf, 1e308, -1e308, 0.0, np.nan] * 50
    data = Columns((Column("a", "number", np.array(wild)), Column("b", "number", np.array(wild[::-1]))))
    whole = accumulate(baseline, data)
    parts = [accumulate(baseline, data.take(np.arange(i, j))) for i, j in pairwise((0, 7, 100, 300))]
    assert merge(merge(parts[0], parts[1]), parts[2]) == whole


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scores": [{"axis": 9, "centre": 0, "step": 1}]}, "not there"),
        ({"scores": [{"axis": 0, "centre": 0, "step": 0}]}, "no width"),
        ({"variance": [1.0]}, "do not fit"),
        ({"scores": [{"centre": 1}]}, "cannot be read"),
        ({"sums": {}}, "cannot be read"),
    ],
)
def test_pairs_that_cannot_be_used_are_refused(change, words):
    document = json.loads(json.dumps(build(FEATURES, table(300, 0.5), pairs=True).to_dict()))
    document["relations"] |= change
    with pytest.raises(BaselineError, match=words):
        Baseline.from_dict(document)


def test_a_baseline_from_before_pairs_is_read_and_counts_without_them():
    document = build(FEATURES, table(300, 0.5)).to_dict()
    assert "relations" not in document
    baseline = Baseline.from_dict(document)
    assert accumulate(baseline, table(100, 0.5)).pairs is None


def test_scores_that_were_changed_are_seen_by_the_digest():
    document = json.loads(json.dumps(build(FEATURES, table(300, 0.5), pairs=True).to_dict()))
    document["relations"]["scores"][0]["centre"] += 1
    with pytest.raises(BaselineError, match="digest differs"):
        Baseline.from_dict(document)
