"""Invariant 10: merged statistics equal the statistics of the whole, for any split."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.features.columns import Column, Columns, category_column
from mlops.features.spec import Feature
from mlops.statistics import axis as axes_of
from mlops.statistics import tally as tallies
from mlops.statistics.baseline import Baseline, BaselineError, Counts, accumulate, build, empty, merge, merge_all

FEATURES = [
    Feature("n", "number"),
    Feature("i", "integer"),
    Feature("b", "boolean"),
    Feature("d", "date"),
    Feature("c", "category"),
]

numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.floats(-1000, 1000),
    st.sampled_from([0.0, -0.0, 1e-310, 1.7e308, -1.7e308, 0.1, 3.0]),
)
rows = st.tuples(
    numbers,
    st.one_of(st.just(math.nan), st.integers(-(2**53), 2**53).map(float), st.integers(0, 9).map(float)),
    st.sampled_from([0.0, 1.0, math.nan]),
    st.one_of(st.just(math.nan), st.floats(-1e5, 1e5)),
    st.one_of(st.none(), st.sampled_from(["red", "green", "blue", ""])),
)


def table(data: list[tuple]) -> Columns:
    columns = []
    for position, feature in enumerate(FEATURES):
        values = [row[position] for row in data]
        if feature.type == "category":
            columns.append(category_column(feature.name, values))
        else:
            columns.append(Column(feature.name, feature.type, np.array(values, dtype=np.float64)))
    return Columns(tuple(columns))


@settings(max_examples=150, deadline=None)
@given(
    train=st.lists(rows, max_size=40),
    data=st.lists(rows, max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    seed=st.integers(0, 2**31),
)
def test_any_split_in_any_order_gives_the_same_counts(train, data, cuts, seed):
    baseline = build(FEATURES, table(train))
    whole_table = table(data)
    scores = np.linspace(0.0, 1.0, len(data))[:, None]
    baseline_with_scores = build(FEATURES, table(train), predictions=np.zeros((len(train), 1)), pairs=True)
    order = np.random.default_rng(seed).permutation(len(data))
    pieces = np.split(order, sorted(min(c, len(data)) for c in cuts))

    whole = accumulate(baseline_with_scores, whole_table, scores)
    parts = [accumulate(baseline_with_scores, whole_table.take(piece), scores[piece]) for piece in pieces]

    assert merge_all(baseline_with_scores, parts) == whole
    assert merge_all(baseline_with_scores, reversed(parts)) == whole
    assert Counts.from_dict(json.loads(json.dumps(whole.to_dict(), allow_nan=False))) == whole
    for made in (baseline, baseline_with_scores):
        assert Baseline.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False))) == made


@settings(max_examples=60, deadline=None)
@given(train=st.lists(rows, max_size=30), data=st.lists(rows, max_size=30))
def test_every_row_is_counted_once(train, data):
    baseline = build(FEATURES, table(train))
    counts = accumulate(baseline, table(data))
    for tally in (*counts.tallies, *baseline.counts.tallies):
        assert tally.absent == 0
    for tally in counts.tallies:
        assert tally.present + tally.missing == len(data)
    for tally in baseline.counts.tallies:
        assert tally.present + tally.missing == len(train)
        assert tally.other == 0


def test_the_empty_counts_are_neutral():
    baseline = build(FEATURES, table([(1.0, 2.0, 1.0, 3.0, "red")] * 5))
    counts = accumulate(baseline, table([(1.5, 2.0, 0.0, 3.0, "blue")]))
    assert merge(counts, empty(baseline)) == counts == merge(empty(baseline), counts)


def test_counts_of_different_baselines_do_not_merge():
    first = build([Feature("n", "number")], table([(float(i), 0, 0, 0, "a") for i in range(50)]))
    second = build([Feature("n", "number")], table([(float(i * i), 0, 0, 0, "a") for i in range(50)]))
    with pytest.raises(BaselineError, match="different baselines"):
        merge(empty(first), empty(second))


def numbers(limit):
    """Floats whose squares do not underflow: the reference below would, the tally does not."""
    return st.floats(-limit, limit).map(lambda value: 0.0 if abs(value) < 1e-140 else value)


@settings(max_examples=60, deadline=None)
@given(st.lists(numbers(1e6), min_size=2, max_size=200), st.lists(numbers(1e9), min_size=1, max_size=50))
def test_moments_agree_with_exact_arithmetic(train, data):
    baseline = build([Feature("n", "number")], Columns((Column("n", "number", np.array(train)),)))
    counts = accumulate(baseline, Columns((Column("n", "number", np.array(data)),)))
    axis, tally = baseline.axes[0], counts.tallies[0]
    spread = (max(train) - min(train)) or max(abs(train[0]), 1e-290)
    mean = math.fsum(data) / len(data)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in data) / len(data))
    assert tally.mean(axis) == pytest.approx(mean, abs=spread * 2**-39 + abs(mean) * 1e-14)
    assert tally.deviation(axis) == pytest.approx(deviation, abs=spread * 2**-20 + deviation * 1e-6)
    assert (tally.minimum, tally.maximum) == (min(data), max(data))


def test_moments_of_whole_numbers_are_exact():
    values = np.arange(1000, dtype=np.float64)
    baseline = build([Feature("i", "integer")], Columns((Column("i", "integer", values),)))
    axis, tally = baseline.axes[0], baseline.counts.tallies[0]
    assert tally.mean(axis) == 499.5
    assert tally.deviation(axis) == math.sqrt((1000**2 - 1) / 12)


def test_values_a_million_times_the_range_stay_exact():
    """The sums use wider and wider arithmetic; all of it must agree with plain integers."""
    baseline = build([Feature("i", "integer")], Columns((Column("i", "integer", np.arange(10.0)),)))
    data = [7.0, 2.0**22, -(2.0**23), 2.0**40, -(2.0**44), 2.0**52, 3.0 * 2.0**70, -1.0]
    counts = accumulate(baseline, Columns((Column("i", "integer", np.array(data)),)))
    axis, tally = baseline.axes[0], counts.tallies[0]
    points = [int(v) - axis.origin for v in data]
    assert axis.exponent == 0
    assert axis.shift == 0
    assert tally.total == sum(points)
    assert tally.square == sum(p * p for p in points)


def test_several_blocks_equal_numpy_histogram():
    rng = np.random.default_rng(3)
    values = rng.gamma(2.0, 3.0, size=200_000)
    baseline = build([Feature("n", "number")], Columns((Column("n", "number", values[:5000]),)))
    axis = baseline.axes[0]
    tally = accumulate(baseline, Columns((Column("n", "number", values),))).tallies[0]
    expected, _ = np.histogram(values, np.array(axis.edges))
    assert tally.counts == tuple(expected.tolist())
    assert tally.below == int((values < axis.edges[0]).sum())
    assert tally.above == int((values > axis.edges[-1]).sum())
    assert tally.mean(axis) == pytest.approx(values.mean(), rel=1e-9)
    assert tally.deviation(axis) == pytest.approx(values.std(), rel=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.lists(numbers(1e6), min_size=2, max_size=60), st.lists(numbers(1e7), min_size=1, max_size=300))
def test_sums_in_floating_point_equal_those_in_whole_numbers(train, data):
    axis = axes_of.choose(Column("n", "number", np.array(train)), role="feature")
    finite = np.sort(np.array(data * 20))
    assert tallies._sums(axis, finite) == tallies._wide_sums(axis, finite)
