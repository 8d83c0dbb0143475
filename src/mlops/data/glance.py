"""Whether a batch breaks no rule, found out by a few aggregates of each column, all columns in one query.

Most batches are clean. For those the smallest and the largest value, the sum and the number of nulls settle every
rule of a column; no mask is made and no cell is looked at twice. A glance never says that a cell is wrong: what it
cannot settle goes through :meth:`mlops.data.checks.ColumnCheck.parse`, which knows every rule. So a batch has the
same values and findings with glances and without them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mlops.data.checks import ColumnCheck
from mlops.data.parsing import BOOLEANS, EXACT, FLOAT32_MAX

#: Levels above which membership is left to the full check.
_MAX_LEVELS = 10_000


@dataclass(frozen=True, slots=True)
class Glance:
    """What settles one column.

    Attributes
    ----------
    sums : aggregates of the column, each giving one value.
    clean : whether those values mean that no rule is broken.
    values : the column's values, as the full check gives them for clean cells.
    """

    sums: tuple[pl.Expr, ...]
    clean: Callable[[Sequence[Any]], bool]
    values: Callable[[pl.Series], pl.Series]


def clean_columns(
    batch: pl.DataFrame, checks: Sequence[ColumnCheck], missing: Sequence[str], decimal: str
) -> Mapping[str, pl.Series]:
    """Values of the columns that a glance settles, by name; the others need the full check."""
    texts = _numbers_in_text(batch, checks, missing, decimal)
    looked = batch.with_columns(texts) if texts else batch
    types = looked.schema  # made anew each time that it is asked for
    glances = {c.name: g for c in checks if (g := _glance(c, types[c.name], missing))}
    aggregates = [e.alias(f"{i}.{j}") for i, g in enumerate(glances.values()) for j, e in enumerate(g.sums)]
    if not aggregates:
        return {}
    row = looked.select(aggregates).row(0)
    found, position = {}, 0
    for name, glance in glances.items():
        values = row[position : position + len(glance.sums)]
        position += len(glance.sums)
        if glance.clean(values):
            found[name] = glance.values(looked[name])
    return found


def readable_as_numbers(missing: Sequence[str]) -> bool:
    """Whether no text that means "missing" is a finite number, such as -999: then a number is never missing."""
    return not any(_finite(text) for text in missing)


def _numbers_in_text(
    batch: pl.DataFrame, checks: Sequence[ColumnCheck], missing: Sequence[str], decimal: str
) -> list[pl.Series]:
    """Text columns that hold nothing but numbers, as numbers."""
    if not readable_as_numbers(missing):
        return []
    types = batch.schema
    names = [c.name for c in checks if c.type in ("number", "integer") and types[c.name] == pl.String]
    if not names:
        return []
    written = pl.col(names)
    if decimal == ",":
        # A point is no part of such a number, so it must not become one.
        pointed = batch.select(pl.col(names).str.contains(".", literal=True).any()).row(0)
        names = [n for n, point in zip(names, pointed, strict=True) if not point]
        if not names:
            return []
        written = pl.col(names).str.replace(",", ".", literal=True)
    cast = batch.select(written.cast(pl.Float64, strict=False))
    return [cast[n] for n in names if cast[n].null_count() == batch[n].null_count()]


def _glance(check: ColumnCheck, dtype: pl.DataType, missing: Sequence[str]) -> Glance | None:
    match check.type:
        case "number" | "integer" if dtype.is_numeric():
            return _floats(check) if dtype.is_float() else _integers(check)
        case "boolean" if dtype == pl.Boolean:
            return _nothing_missing(check, lambda s: s.cast(pl.Float64))
        case "boolean" if dtype == pl.String:
            return _booleans(check, missing)
        case "category" if dtype == pl.String:
            return _levels(check, missing)
        case "date" if dtype == pl.Date:
            return _days(check)
    return None


def _floats(check: ColumnCheck) -> Glance:
    column = pl.col(check.name)
    sums = [column.null_count(), column.min(), column.max(), column.sum()]
    if check.type == "integer":
        sums.append((column == column.floor()).all(ignore_nulls=True))
    low, high = _bounds(check)

    def clean(found: Sequence[Any]) -> bool:
        nulls, least, most, total, *whole = found
        if nulls and not check.nullable:
            return False
        if least is None:
            return True
        # A NaN makes the sum one; it means "missing" in some files and a spoiled cell in others.
        return not math.isnan(total) and low <= least and most <= high and all(whole)

    return Glance(tuple(sums), clean, lambda s: s.cast(pl.Float64))


def _integers(check: ColumnCheck) -> Glance:
    column = pl.col(check.name)
    low, high = _bounds(check)

    def clean(found: Sequence[Any]) -> bool:
        nulls, least, most = found
        if nulls and not check.nullable:
            return False
        return least is None or (low <= least and most <= high)

    return Glance((column.null_count(), column.min(), column.max()), clean, lambda s: s.cast(pl.Float64))


def _bounds(check: ColumnCheck) -> tuple[float, float]:
    limit = EXACT if check.type == "integer" else FLOAT32_MAX
    low = -limit if check.minimum is None else max(-limit, check.minimum)
    high = limit if check.maximum is None else min(limit, check.maximum)
    return low, high


def _nothing_missing(check: ColumnCheck, values: Callable[[pl.Series], pl.Series]) -> Glance:
    return Glance((pl.col(check.name).null_count(),), lambda found: check.nullable or not found[0], values)


def _days(check: ColumnCheck) -> Glance:
    days = pl.col(check.name).to_physical()
    latest = math.inf if check.latest is None else check.latest

    def clean(found: Sequence[Any]) -> bool:
        return (check.nullable or not found[0]) and (found[1] is None or found[1] <= latest)

    return Glance((days.null_count(), days.max()), clean, lambda s: s.to_physical().cast(pl.Float64))


def _booleans(check: ColumnCheck, missing: Sequence[str]) -> Glance:
    words = [w for w in BOOLEANS if w not in missing]
    return _members(check, words, lambda s: s.is_in([w for w in words if BOOLEANS[w]]).cast(pl.Float64))


def _levels(check: ColumnCheck, missing: Sequence[str]) -> Glance | None:
    levels = [level for level in check.levels if level and level == level.strip() and level not in missing]
    return _members(check, levels, lambda s: s) if 0 < len(levels) <= _MAX_LEVELS else None


def _members(check: ColumnCheck, words: Sequence[str], values: Callable[[pl.Series], pl.Series]) -> Glance:
    column = pl.col(check.name)
    return Glance(
        (column.null_count(), column.is_in(list(words)).all(ignore_nulls=True)),
        lambda found: bool(found[1]) and (check.nullable or not found[0]),
        values,
    )


def _finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
