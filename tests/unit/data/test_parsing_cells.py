"""Columns are parsed in bulk by the rules for single values."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.data.parsing import booleans, categories, dates, decimal_sign, given_cells, numbers
from mlops.features.parse import category_text, parse_date

MISSING = ("", "NA", "?")


def texts(*cells: str | None) -> pl.Series:
    return pl.Series("c", cells, dtype=pl.String)


def test_numbers_from_text() -> None:
    parsed = numbers(texts(" 1 ", "-2.5e3", "x", "", "NA", None, "1,5", "0x1", "1_000", ".5", "+3"), MISSING, ".")
    assert parsed.values.to_list() == [1.0, -2500.0, None, None, None, None, None, None, None, 0.5, 3.0]
    assert parsed.missing.arg_true().to_list() == [3, 4, 5]
    assert parsed.wrong["wrong_type"].arg_true().to_list() == [2, 6, 7, 8]


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e400", "1e39", "-3.5e38", "NAN"])
def test_numbers_that_no_model_can_take(cell: str) -> None:
    parsed = numbers(texts(cell, "1"), MISSING, ".")
    assert list(parsed.wrong) == ["not_finite"]
    assert parsed.values.to_list() == [None, 1.0]


def test_decimal_comma() -> None:
    parsed = numbers(texts("1,5", "2", "1.5", "1.234,5"), MISSING, ",")
    assert parsed.values.to_list() == [1.5, 2.0, None, None]
    assert decimal_sign([texts("1,5", "2")], None, ";") == ","
    assert decimal_sign([texts("1,5", "2")], None, ",") == "."
    assert decimal_sign([texts("1,5", "2.5", "3.5")], None, ";") == "."
    assert decimal_sign([texts("1.5")], ",", ";") == ","


def test_whole_numbers() -> None:
    parsed = numbers(
        texts("1", "1.0", "1e3", "1.5", "9007199254740993.0", "9007199254740992", "1e300"), MISSING, ".", whole=True
    )
    assert parsed.values.to_list()[:3] == [1.0, 1.0, 1000.0]
    assert parsed.wrong["wrong_type"].arg_true().to_list() == [3]
    assert parsed.wrong["not_finite"].arg_true().to_list() == [6]


def test_typed_numbers_keep_their_values_and_other_types_are_wrong() -> None:
    assert numbers(pl.Series([1, None]), (), ".").values.to_list() == [1.0, None]
    floats = numbers(pl.Series([1.5, float("nan"), float("inf")]), (), ".")
    assert floats.missing.to_list() == [False, True, False]
    assert floats.wrong["not_finite"].to_list() == [False, False, True]
    assert numbers(pl.Series([True, None]), (), ".").wrong["wrong_type"].to_list() == [True, False]
    assert numbers(pl.Series([[1], None]), (), ".").wrong["wrong_type"].to_list() == [True, False]


def test_booleans() -> None:
    parsed = booleans(texts("true", "YES", "1", "off", "F", "2", "NA"), MISSING)
    assert parsed.values.to_list() == [1.0, 1.0, 1.0, 0.0, 0.0, None, None]
    assert parsed.wrong["wrong_type"].arg_true().to_list() == [5]
    assert booleans(pl.Series([True, False, None]), ()).values.to_list() == [1.0, 0.0, None]
    assert booleans(pl.Series([1, 0, 2]), ()).wrong["wrong_type"].to_list() == [False, False, True]


def test_dates_of_every_kind_give_the_same_number() -> None:
    moment = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)
    expected = parse_date(moment.isoformat())
    as_text = dates(texts(moment.isoformat(), "2026-03-01T13:30:15.250000+01:00", "2026-03-01 12:30:15.25"), MISSING)
    assert as_text.values.to_list() == [expected] * 3
    typed = pl.Series([moment.replace(tzinfo=None)], dtype=pl.Datetime("us"))
    for series in (
        typed,
        typed.cast(pl.Datetime("ns")),
        typed.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
    ):
        assert dates(series, ()).values.to_list() == [expected]
    assert dates(pl.Series([date(2026, 3, 1)]), ()).values.to_list() == [parse_date("2026-03-01")]
    wrong = dates(texts("01.03.2026", "2026-02-30", "20", "tomorrow"), MISSING)
    assert wrong.wrong["bad_date"].to_list() == [True] * 4


def test_categories() -> None:
    assert categories(texts(" a ", "NA", "b"), MISSING).values.to_list() == ["a", None, "b"]
    assert categories(texts("1.0", "2.00", "3.5"), (), ("1", "2")).values.to_list() == ["1", "2", "3.5"]
    assert categories(texts("1.0", "2"), (), ("1.0", "1", "2")).values.to_list() == ["1.0", "2"]
    assert categories(pl.Series([1.0, 2.5]), ()).values.to_list() == ["1", "2.5"]
    assert categories(pl.Series([3, None]), ()).values.to_list() == ["3", None]
    assert categories(pl.Series([True]), ()).values.to_list() == ["true"]
    assert categories(pl.Series(["x", None]).cast(pl.Categorical), ()).values.to_list() == ["x", None]
    assert categories(pl.Series([[1]]), ()).wrong["wrong_type"].to_list() == [True]


def test_given_cells() -> None:
    assert given_cells(texts(" ", "?", " x", None), MISSING).to_list() == [None, None, "x", None]


# Properties: in bulk as one by one -----------------------------------------------------------------

WORDS = ["", "NA", "1", "1.0", "x", "-5", "1e400", "nan", "2026-03-01", "2026-13-01", "true", " no "]
cells = st.lists(st.sampled_from(WORDS) | st.text(max_size=6), min_size=1, max_size=20)


@given(st.lists(st.floats(allow_nan=False, width=32) | st.integers(-(10**15), 10**15), min_size=1))
@settings(deadline=None)
def test_any_number_that_is_written_as_text_comes_back(values: list[float]) -> None:
    parsed = numbers(texts(*(repr(v) for v in values)), MISSING, ".")
    for got, value in zip(parsed.values.to_list(), values, strict=True):
        assert got == (float(value) if math.isfinite(value) else None)


@given(cells)
@settings(deadline=None)
def test_dates_one_by_one(values: list[str]) -> None:
    parsed = dates(texts(*values), MISSING)
    for cell, got in zip(values, parsed.values.to_list(), strict=True):
        try:
            expected = None if cell.strip() in MISSING else parse_date(cell.strip())
        except ValueError:
            expected = None
        assert got == expected


@given(st.lists(st.booleans() | st.none(), min_size=1) | st.lists(st.floats(-1e9, 1e9) | st.none(), min_size=1))
@settings(deadline=None)
def test_categories_one_by_one(values: list[bool | float | None]) -> None:
    series = pl.Series("c", values, dtype=None if any(v is not None for v in values) else pl.Float64, strict=False)
    expected = [None if v is None else category_text(v) for v in series.to_list()]
    assert categories(series, ()).values.to_list() == expected


@given(cells)
@settings(deadline=None)
def test_a_cell_is_a_value_or_missing_or_wrong_and_only_one_of_them(values: list[str]) -> None:
    for parsed in (
        numbers(texts(*values), MISSING, "."),
        numbers(texts(*values), MISSING, ",", whole=True),
        booleans(texts(*values), MISSING),
        dates(texts(*values), MISSING),
        categories(texts(*values), MISSING),
    ):
        for i in range(len(values)):
            states = [parsed.values[i] is not None, parsed.missing[i], *(m[i] for m in parsed.wrong.values())]
            assert sum(map(bool, states)) == 1


DAYS = st.dates().map(str) | st.datetimes().map(str) | st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
SPOILED_DAYS = st.builds(
    lambda text, at, by: text[:at] + by + text[at + 1 :], DAYS, st.integers(0, 22), st.sampled_from("0159-:TZ .+x")
)


@given(st.lists(st.none() | DAYS | SPOILED_DAYS | st.sampled_from(["0000-01-01", "2026-03-01T10:00:00Z"]), max_size=6))
@settings(max_examples=200, deadline=None)
def test_dates_in_bulk_are_those_of_single_requests(texts: list[str | None]) -> None:
    def single(text: str | None) -> float | None:
        try:
            return None if text is None else parse_date(text.strip())
        except (ValueError, OverflowError):
            return None

    assert dates(pl.Series(texts, dtype=pl.String), ()).values.to_list() == [single(t) for t in texts]


EPOCH = datetime.fromisoformat("1970-01-01")
MOMENTS = st.integers(-8 * 10**15, 7 * 10**15).map(lambda us: EPOCH + timedelta(microseconds=us))


@given(st.lists(MOMENTS, min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_typed_moments_are_the_numbers_of_their_texts(moments: list[datetime]) -> None:
    assert dates(pl.Series(moments), ()).values.to_list() == [parse_date(m.isoformat()) for m in moments]
