"""The one encoding, in bulk, equals the rules of its table applied value by value."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.features.columns import MISSING, Column, Columns, category_column, float_column
from mlops.features.encoding import date_parts, encode, missing_code, offsets, other_code, width
from mlops.features.spec import Feature

FEATURES = (
    Feature("n", "number", nullable=True),
    Feature("d", "date", nullable=True),
    Feature("c", "category", nullable=True, categories=("b", "a", "ä"), on_unknown="other", pooled=("a",)),
    Feature("i", "integer", nullable=True),
    Feature("b", "boolean", nullable=True),
)

ROWS = st.lists(
    st.tuples(
        st.none() | st.floats(-3e38, 3e38),
        st.none() | st.floats(-700_000, 2_900_000),
        st.none() | st.sampled_from(["a", "b", "ä", "c", "", "zzz"]),
        st.none() | st.integers(-(2**53), 2**53),
        st.none() | st.sampled_from([0.0, 1.0]),
    ),
    max_size=30,
)


def table(rows: list[tuple[Any, ...]]) -> Columns:
    n, d, c, i, b = zip(*rows, strict=True) if rows else ((),) * 5
    return Columns(
        (
            float_column("b", "boolean", list(b)),
            category_column("c", list(c)),
            float_column("n", "number", list(n)),
            float_column("i", "integer", list(i)),
            float_column("d", "date", list(d)),
        )
    )


def by_hand(row: tuple[Any, ...]) -> list[float]:
    n, d, c, i, b = row
    encoded = [math.nan if n is None else float(np.float32(n))]
    if d is None:
        encoded += [math.nan] * 3
    else:
        day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=math.floor(d))
        encoded += [float(np.float32(d)), float(day.month), float(day.weekday())]
    categories = FEATURES[2].categories
    encoded.append(3.0 if c is None else float(categories.index(c)) if c in ("b", "ä") else 4.0)
    encoded += [math.nan if v is None else float(np.float32(v)) for v in (i, b)]
    return encoded


@given(ROWS)
@settings(deadline=None)
def test_in_bulk_as_row_by_row(rows: list[tuple[Any, ...]]) -> None:
    matrix = encode(FEATURES, table(rows))
    assert matrix.dtype == np.float32
    assert matrix.shape == (len(rows), width(FEATURES))
    assert matrix.flags.c_contiguous
    expected = np.array([by_hand(r) for r in rows], dtype=np.float64).reshape(len(rows), width(FEATURES))
    np.testing.assert_array_equal(matrix.astype(np.float64), expected)


@given(ROWS, st.integers(0, 30))
@settings(deadline=None)
def test_a_split_encodes_to_the_same_rows(rows: list[tuple[Any, ...]], cut: int) -> None:
    """Levels are coded per table; the codes in the matrix must not depend on which levels a table has."""
    whole = encode(FEATURES, table(rows))
    parts = np.concatenate([encode(FEATURES, table(rows[:cut])), encode(FEATURES, table(rows[cut:]))])
    np.testing.assert_array_equal(whole, parts)


def test_codes_of_missing_and_other() -> None:
    feature = FEATURES[2]
    assert (missing_code(feature), other_code(feature)) == (3, 4)
    assert offsets(FEATURES) == [0, 1, 4, 5, 6]
    assert width(()) == 0


def test_a_table_without_levels() -> None:
    empty = Column("c", "category", np.full(2, MISSING, dtype=np.int32))
    assert encode([FEATURES[2]], Columns((empty,))).tolist() == [[3.0], [3.0]]


def test_a_table_that_lacks_a_feature() -> None:
    with pytest.raises(KeyError):
        encode(FEATURES, Columns(()))


@pytest.mark.parametrize(
    ("day", "month", "weekday"),
    [(0.0, 1, 3), (-1.0, 12, 2), (-0.25, 12, 2), (31.5, 2, 6), (18321.0, 2, 5), (18322.0, 3, 6)],
)
def test_known_days(day: float, month: int, weekday: int) -> None:
    months, weekdays = date_parts(np.array([day, np.nan]))
    assert (months[0], weekdays[0]) == (month, weekday)
    assert np.isnan(months[1])
    assert np.isnan(weekdays[1])
