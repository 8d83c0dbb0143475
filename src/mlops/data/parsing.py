"""Cells of a column to typed values, in bulk, with a mask for every way in which a cell can be wrong.

The rules are those of :mod:`mlops.features.parse`, so that a file and a request mean the same by the same text.
Beyond them, cells of files may have blanks around them, numbers may be written as text, and whole numbers
stand for a level such as ``"2"`` when a tool wrote ``2.0``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl

from mlops.features.parse import category_text, parse_date

#: Largest float32: the encoding rounds to float32, and beyond this it would be infinite.
FLOAT32_MAX = float(np.finfo(np.float32).max)
#: Largest whole number that float64 holds exactly.
EXACT = float(2**53)

BOOLEANS = {
    **dict.fromkeys(("true", "t", "yes", "y", "1", "1.0", "on"), 1.0),
    **dict.fromkeys(("false", "f", "no", "n", "0", "0.0", "off"), 0.0),
}
#: A day, or a day and a time in UTC, of years whose microseconds since 1970 a float64 holds exactly.
_USUAL_DATE = (
    r"^(?:1[7-9]|2[01])[0-9]{2}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-2][0-9]:[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?Z?)?$"
)
_PLAIN_DAY = len("2026-03-01")

V = TypeVar("V")


@dataclass(slots=True)
class Parsed:
    """A column's values.

    Attributes
    ----------
    values : float64 (null is missing) for all types but category, else String.
    missing : bool; no value was given.
    wrong : code -> bool mask; a value was given and is unusable. ``values`` is null there.
    """

    values: pl.Series
    missing: pl.Series
    wrong: dict[str, pl.Series] = field(default_factory=dict)


def numbers(cells: pl.Series, missing: Sequence[str], decimal: str, *, whole: bool = False) -> Parsed:
    """Numbers; ``whole`` for integers. Codes: ``wrong_type``, ``not_finite``."""
    given = given_cells(cells, missing)
    if given.dtype == pl.String:
        text = given
        if decimal == ",":
            text = text.set(text.str.contains(".", literal=True).fill_null(value=False), "x")
            text = text.str.replace(",", ".", literal=True)
        values = text.cast(pl.Float64, strict=False)
    elif given.dtype.is_numeric():
        values = given.cast(pl.Float64, strict=False)
    else:
        values = pl.Series(given.name, [None] * len(given), dtype=pl.Float64)
    wrong_type = given.is_not_null() & values.is_null()
    not_finite = (values.is_nan() | values.is_infinite() | (values.abs() > FLOAT32_MAX)).fill_null(value=False)
    if whole:
        broken = (values != values.floor()) | (values.abs() > EXACT)
        wrong_type |= broken.fill_null(value=False) & ~not_finite
    return _parsed(given, values, {"wrong_type": wrong_type, "not_finite": not_finite})


def booleans(cells: pl.Series, missing: Sequence[str]) -> Parsed:
    """Booleans as 1.0 and 0.0. Code: ``wrong_type``."""
    given = given_cells(cells, missing)
    if given.dtype == pl.Boolean:
        values = given.cast(pl.Float64)
    elif given.dtype == pl.String:
        values = given.str.to_lowercase().replace_strict(BOOLEANS, default=None, return_dtype=pl.Float64)
    elif given.dtype.is_numeric():
        values = given.cast(pl.Float64, strict=False)
        values = values.set(~values.is_in([0.0, 1.0]), None)
    else:
        values = pl.Series(given.name, [None] * len(given), dtype=pl.Float64)
    return _parsed(given, values, {"wrong_type": given.is_not_null() & values.is_null()})


def dates(cells: pl.Series, missing: Sequence[str]) -> Parsed:
    """Dates as days since 1970-01-01T00:00Z. Code: ``bad_date``."""
    given = given_cells(cells, missing)
    if given.dtype == pl.Date:
        values = given.to_physical().cast(pl.Float64)
    elif isinstance(given.dtype, pl.Datetime):
        moments = given.cast(pl.Datetime("us")) if given.dtype.time_zone is None else given.dt.convert_time_zone("UTC")
        values = _days_of(moments.dt.timestamp("us"))
    elif given.dtype == pl.String:
        values = _text_dates(given)
    else:
        values = pl.Series(given.name, [None] * len(given), dtype=pl.Float64)
    return _parsed(given, values, {"bad_date": given.is_not_null() & values.is_null()})


def _days_of(microseconds: pl.Series) -> pl.Series:
    """Microseconds since 1970 as days, divided in two steps as parse_date does it, so that a file of either kind gives
    the same number. By numpy: polars multiplies by a reciprocal, which is another number in the last digit."""
    days = microseconds.cast(pl.Float64).to_numpy() / 1e6 / 86400.0
    return pl.Series(microseconds.name, days).fill_nan(None)


def _text_dates(given: pl.Series) -> pl.Series:
    """Texts to days as :func:`mlops.features.parse.parse_date` reads them: the usual forms in bulk, others singly."""
    usual = given.str.contains(_USUAL_DATE)
    text = given.set(~usual, None).str.strip_suffix("Z").str.replace(" ", "T", literal=True)
    text = text.set((text.str.len_bytes() == _PLAIN_DAY).fill_null(value=False), None)
    moments = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False).dt.timestamp("us")
    days = given.set(~usual, None).str.to_date("%Y-%m-%d", strict=False, exact=True).to_physical().cast(pl.Float64)
    found = _days_of(moments).fill_null(days)
    rest = given.is_not_null() & found.is_null()
    return found.zip_with(~rest, _mapped(given.set(~rest, None), parse_date, pl.Float64())) if rest.any() else found


def categories(cells: pl.Series, missing: Sequence[str], levels: Sequence[str] = ()) -> Parsed:
    """Levels as text; ``2.0`` becomes ``2`` when only that is one of ``levels``. Code: ``wrong_type``."""
    given = given_cells(cells, missing)
    if given.dtype == pl.String:
        values = _without_fraction(given, levels)
    elif given.dtype in (pl.Categorical, pl.Enum) or given.dtype.is_integer():
        values = given.cast(pl.String)
    elif given.dtype in (pl.Date, pl.Datetime):
        values = _mapped(given, lambda v: v.isoformat(), pl.String())
    elif given.dtype.is_float() or given.dtype == pl.Boolean:
        values = _mapped(given, category_text, pl.String())
    else:
        values = pl.Series(given.name, [None] * len(given), dtype=pl.String)
    return _parsed(given, values, {"wrong_type": given.is_not_null() & values.is_null()})


def given_cells(cells: pl.Series, missing: Sequence[str]) -> pl.Series:
    """The cells with every missing value as null, texts without blanks around them."""
    if cells.dtype in (pl.Categorical, pl.Enum):
        cells = cells.cast(pl.String)
    if cells.dtype == pl.String:
        text = cells.str.strip_chars()
        return text.set(text.is_in(["", *missing]).fill_null(value=False), None)
    if cells.dtype.is_float():
        return cells.fill_nan(None)
    return cells


def decimal_sign(cells: Iterable[pl.Series], told: Literal[".", ","] | None, delimiter: str | None) -> str:
    """The decimal sign of numeric columns: as told, else a comma when numbers have commas and none has a point."""
    if told:
        return told
    if delimiter == ",":
        return "."
    commas = points = 0
    for series in cells:
        if series.dtype == pl.String:
            text = series.str.strip_chars()
            commas += int(text.str.contains(r"^[+-]?[0-9]*,[0-9]+$").sum())
            points += int(text.str.contains(r"^[+-]?[0-9]*\.[0-9]+([eE][+-]?[0-9]+)?$").sum())
    return "," if commas > points else "."


def _parsed(given: pl.Series, values: pl.Series, wrong: dict[str, pl.Series]) -> Parsed:
    found = {code: mask for code, mask in wrong.items() if mask.any()}
    for mask in found.values():
        values = values.set(mask, None)
    return Parsed(values, given.is_null(), found)


def _without_fraction(text: pl.Series, levels: Sequence[str]) -> pl.Series:
    odd = text.str.contains(r"^-?[0-9]+\.0+$").fill_null(value=False)
    if not levels or not odd.any():
        return text
    whole = text.str.replace(r"\.0+$", "")
    return text.zip_with(~(odd & whole.is_in(list(levels)) & ~text.is_in(list(levels))), whole)


def _mapped(cells: pl.Series, function: Callable[[Any], V], dtype: pl.DataType) -> pl.Series:
    """``function`` of every distinct value; null where it raises ValueError."""
    distinct = cells.drop_nulls().unique()
    results: list[V | None] = []
    for value in distinct.to_list():
        try:
            results.append(function(value))
        except (ValueError, OverflowError):
            results.append(None)
    if not results:
        return pl.Series(cells.name, [None] * len(cells), dtype=dtype)
    return cells.replace_strict(distinct, pl.Series(results, dtype=dtype), default=None, return_dtype=dtype)
