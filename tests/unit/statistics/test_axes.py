"""Bins that suit constants, heavy ties, few values, nothing at all."""

from __future__ import annotations

import numpy as np
import pytest

from mlops.features.columns import Column, Columns, category_column
from mlops.features.spec import Feature
from mlops.statistics.axis import MAX_LEVELS, Axis, BaselineError, choose
from mlops.statistics.baseline import Baseline, accumulate, build


def number(values, type_="number") -> Column:
    return Column("x", type_, np.array(values, dtype=np.float64))


def test_a_continuous_column_gets_bins_of_equal_shares():
    values = np.random.default_rng(1).lognormal(size=10_000)
    axis = choose(number(values), role="feature")
    counts, _ = np.histogram(values, np.array(axis.edges))
    assert len(counts) == 20
    assert not axis.discrete
    assert counts.min() >= 480
    assert counts.max() <= 520


def test_few_rows_get_few_bins():
    values = np.random.default_rng(1).normal(size=90)
    assert choose(number(values), role="feature").cells == 4


def test_a_heavy_value_gets_a_bin_of_its_own():
    rng = np.random.default_rng(2)
    values = np.concatenate([np.zeros(6000), rng.exponential(size=4000)])
    axis = choose(number(values), role="feature")
    counts, _ = np.histogram(values, np.array(axis.edges))
    assert 6000 in counts.tolist()
    assert 7 <= len(counts) <= 22


def test_few_distinct_values_get_one_bin_each():
    axis = choose(number([3.0, 1.0, 1.0, 2.0] * 10, "integer"), role="feature")
    assert axis.edges == (0.5, 1.5, 2.5, 3.5)
    assert axis.discrete


def test_a_boolean_has_two_bins_even_when_one_value_never_came():
    assert choose(number([1.0] * 5, "boolean"), role="feature").edges == (-0.5, 0.5, 1.5)


@pytest.mark.parametrize("value", [0.0, 3.25, -1e300, 1.7976931348623157e308, 5e-324])
def test_a_constant_is_in_its_bin_and_anything_else_is_not(value):
    baseline = build([Feature("x", "number")], Columns((number([value] * 30),)))
    assert baseline.counts.tallies[0].counts == (30,)
    later = accumulate(baseline, Columns((number([value, 17.0, -17.0]),))).tallies[0]
    assert (later.counts, later.below + later.above) == ((1,), 2)


def test_a_column_that_is_all_missing_has_no_bins_and_later_values_are_new():
    baseline = build([Feature("x", "number")], Columns((number([np.nan] * 9),)))
    assert baseline.axes[0].edges == ()
    assert baseline.counts.tallies[0].missing == 9
    later = accumulate(baseline, Columns((number([np.nan, 1.0, np.inf]),))).tallies[0]
    assert (later.missing, later.above, later.infinite) == (1, 2, 1)
    assert later.mean(baseline.axes[0]) is None


def test_extreme_values_do_not_overflow():
    values = np.array([-1.7e308, 1.7e308] * 20 + [float(i) for i in range(60)])
    baseline = build([Feature("x", "number")], Columns((number(values),)))
    axis, tally = baseline.axes[0], baseline.counts.tallies[0]
    assert sum(tally.counts) == 100
    assert np.isfinite([tally.mean(axis), tally.deviation(axis)]).all()


def test_ten_thousand_categories_stay_bounded():
    names = [f"level {i}" for i in range(10_000)] + ["common"] * 5_000
    baseline = build([Feature("c", "category")], Columns((category_column("c", names),)))
    axis, tally = baseline.axes[0], baseline.counts.tallies[0]
    assert len(axis.levels) == MAX_LEVELS
    assert axis.levels[0] == "common"
    assert tally.other == 15_000 - sum(tally.counts)


def test_personal_data_leaves_no_value_in_the_baseline():
    features = [Feature("name", "category", pii="pseudonymise"), Feature("age", "integer", pii="drop")]
    table = Columns((category_column("name", ["Ada", None]), Column("age", "integer", np.array([36.0, np.nan]))))
    baseline = build(features, table)
    written = str(baseline.to_dict())
    assert "Ada" not in written
    assert "36" not in written
    assert [(t.present, t.missing) for t in baseline.counts.tallies] == [(1, 1), (1, 1)]


def test_columns_that_vanish_appear_or_change_their_type_are_told_apart():
    features = [Feature("a", "number"), Feature("b", "category"), Feature("c", "number")]
    train = Columns((Column("a", "number", np.arange(9.0)), category_column("b", list("xyzxyzxyz")),
                     Column("c", "number", np.arange(9.0))))  # fmt: skip
    baseline = build(features, train)
    later = Columns((Column("a", "number", np.arange(2.0)), Column("b", "number", np.arange(2.0)),
                     Column("new", "number", np.arange(2.0))))  # fmt: skip
    counts = accumulate(baseline, later)
    assert [t.absent for t in counts.tallies] == [0, 2, 2]
    assert counts.mistyped == ("b",)
    assert counts.unknown == ("new",)


def test_scores_of_two_classes_count_once_and_of_three_each():
    table = Columns((number(np.arange(4.0)),))
    two = build([Feature("x", "number")], table, predictions=np.array([[0.1, 0.9]] * 4), classes=("no", "yes"))
    three = build([Feature("x", "number")], table, predictions=np.full((4, 3), 1 / 3), classes=("a", "b", "c"))
    assert [a.name for a, _ in two.of("prediction")] == ["probability of yes"]
    assert [a.name for a, _ in three.of("prediction")] == [f"probability of {c}" for c in "abc"]


def test_predictions_of_another_length_are_refused():
    baseline = build([Feature("x", "number")], Columns((number(np.arange(4.0)),)), predictions=np.zeros((4, 1)))
    with pytest.raises(ValueError, match="3 predictions for 4 rows"):
        accumulate(baseline, Columns((number(np.arange(4.0)),)), np.zeros((3, 1)))


def test_the_target_is_found_by_its_name():
    target = category_column("y", ["a", "b", "a", "a"])
    baseline = build([Feature("x", "number")], Columns((number(np.arange(4.0)),)), target=target)
    later = accumulate(baseline, Columns((number(np.arange(2.0)), category_column("y", ["b", "b"]))))
    assert later.tallies[1].counts == (0, 2)
    assert later.unknown == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "mlops.baseline.v0"}, "schema"),
        ({"rows": None}, "malformed"),
        ({"reference": "0" * 16}, "changed after it was written"),
        ({"columns": [{"name": "x"}]}, "cannot be read"),
    ],
)
def test_a_baseline_that_cannot_be_used_says_why(change, message):
    baseline = build([Feature("x", "number")], Columns((number(np.arange(40.0)),)))
    with pytest.raises(BaselineError, match=message):
        Baseline.from_dict({**baseline.to_dict(), **change})


def test_edges_must_rise():
    with pytest.raises(BaselineError, match="strictly increasing"):
        Axis.from_dict({"name": "x", "type": "number", "role": "feature", "kind": "numeric", "edges": [1, 1]})
