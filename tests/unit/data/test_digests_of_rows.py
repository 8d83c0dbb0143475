"""A row's digest follows from its values alone, and a set's address from its rows alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.data import digests as dg
from mlops.features.columns import Column, Columns, category_column, float_column

ROWS = st.lists(
    st.tuples(st.none() | st.floats(allow_nan=False), st.none() | st.text(max_size=3), st.sampled_from([0.0, 1.0])),
    min_size=1,
    max_size=25,
)


def columns(rows: list[tuple[float | None, str | None, float]]) -> Columns:
    return Columns(
        (
            float_column("n", "number", [r[0] for r in rows]),
            category_column("c", [r[1] for r in rows]),
            float_column("b", "boolean", [r[2] for r in rows]),
        )
    )


def address(digests: dg.Digests, schema: str) -> str:
    return dg.set_digest([digests[dg.order(digests)]], schema)


def pairs(digests: dg.Digests) -> list[tuple[int, int]]:
    return [tuple(p) for p in digests.tolist()]


@given(ROWS)
@settings(deadline=None)
def test_equal_rows_have_equal_digests_and_others_do_not(rows: list[tuple[float | None, str | None, float]]) -> None:
    found = pairs(dg.row_digests(columns(rows)))
    plain = [(None if r[0] is None else r[0] + 0.0, r[1], r[2]) for r in rows]
    for i in range(len(rows)):
        for j in range(i):
            assert (found[i] == found[j]) == (plain[i] == plain[j])


@given(ROWS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_of_rows_columns_and_levels_does_not_matter(
    rows: list[tuple[float | None, str | None, float]], random: object
) -> None:
    table = columns(rows)
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = columns([rows[i] for i in order]).select(["b", "n", "c"])
    one, other = dg.row_digests(table), dg.row_digests(shuffled)
    assert pairs(one[order]) == pairs(other)
    schema = dg.schema_digest(table.columns)
    assert schema == dg.schema_digest(shuffled.columns)
    assert address(one, schema) == address(other, schema)


@given(ROWS, st.integers(0, 25))
@settings(deadline=None)
def test_splits_have_the_same_address(rows: list[tuple[float | None, str | None, float]], cut: int) -> None:
    table = columns(rows)
    schema = dg.schema_digest(table.columns)
    whole = dg.row_digests(table)
    halves = [dg.row_digests(columns(part)) for part in (rows[:cut], rows[cut:]) if part]
    assert address(np.concatenate(halves[::-1]), schema) == address(whole, schema)


@given(ROWS, ROWS)
@settings(deadline=None)
def test_known(
    rows: list[tuple[float | None, str | None, float]], others: list[tuple[float | None, str | None, float]]
) -> None:
    mine, theirs = (d[dg.order(d)] for d in (dg.row_digests(columns(rows)), dg.row_digests(columns(others))))
    assert dg.known(mine, theirs).tolist() == [p in set(pairs(theirs)) for p in pairs(mine)]


def test_known_tells_digests_apart_that_share_a_half() -> None:
    mine = np.array([[1, 2], [1, 3], [4, 2]], dtype=np.uint64)
    theirs = np.array([[1, 3], [9, 9]], dtype=np.uint64)
    assert dg.known(mine, theirs).tolist() == [False, True, False]
    assert dg.known(mine, theirs[:0]).tolist() == [False, False, False]


def test_names_and_types_count() -> None:
    values = np.array([1.0])
    seen = {
        pairs(dg.row_digests(Columns((Column(name, kind, values),))))[0]
        for name, kind in (("a", "number"), ("a", "integer"), ("b", "number"))
    }
    assert len(seen) == 3


def test_missing_is_neither_zero_nor_empty_text() -> None:
    table = columns([(None, None, 0.0), (0.0, "", 0.0), (-0.0, "", 0.0), (None, "", 0.0)])
    found = pairs(dg.row_digests(table))
    assert found[1] == found[2]
    assert len(set(found)) == 3


def test_digests_are_what_they_were() -> None:
    """Stored digests must stay comparable: a change here would duplicate every row of every data set."""
    table = Columns((float_column("n", "number", [1.5, None]), category_column("c", ["ä", None])))
    assert dg.schema_digest(table.columns) == "a51f109c3ad906e765cc649295a4264c"
    assert [f"{a:016x}{b:016x}" for a, b in pairs(dg.row_digests(table))] == [
        "de0a17f135e4a83f221a77fcec956cdf",
        "29dc27ba88243cd38e5ff49375e96393",
    ]
    assert address(dg.row_digests(table), dg.schema_digest(table.columns)) == "c36adeb1a3f4cb54"


@pytest.mark.parametrize("rows", [0, 1])
def test_tables_without_rows(rows: int) -> None:
    empty = columns([(1.0, "a", 0.0)]).take(np.arange(rows))
    assert dg.row_digests(empty).shape == (rows, 2)
