"""What one column of a file is: a feature of some type, a key, a time, or of no use."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from mlops.data import parsing
from mlops.features.spec import Feature

#: More distinct texts than this are no category, unless the first hundred cover nearly all rows.
MAX_CATEGORIES = 100
_COVERED = 0.95
#: A level with fewer rows than this is grouped as "other"; in a small file every level is kept.
RARE_ROWS = 5
SMALL_FILE = 200
#: Share of cells that may be of another type: they are spoiled cells, which ingestion keeps apart.
SPOILED = 0.01
#: Ranges are widened by this share of their span on both sides.
TOLERANCE = 0.25

_ID_SUFFIX = re.compile(r"[a-z](Id|ID|UUID)$")
_ID_WORD = re.compile(r"(^|[_\-. ])(id|uuid|guid|identifier)$|^(id|uuid|guid)[_\-. ]", re.IGNORECASE)
_TIME_NAME = re.compile(r"(^|[_\-. ])(timestamp|time|datetime|date|day|created|updated)([_\-. ]at)?$", re.IGNORECASE)
_BOOLEAN_WORDS = ({"true", "false"}, {"t", "f"}, {"yes", "no"}, {"y", "n"}, {"0", "1"}, {"on", "off"})


#: Texts that a person reads as numbers or dates and a program does not, and what is said of a column of them.
_FORMATTED = (
    (
        r"^[+-]?[$€£¥]? ?[+-]?([0-9]{1,3}([., '\u{a0}\u{202f}][0-9]{3})+|[0-9]+)([.,][0-9]+)?"
        r" ?([%$€£¥]|EUR|USD|GBP|CHF)?$",
        "its texts are numbers with thousands separators, currency or percent signs; write them plainly, as 1234.5",
    ),
    (
        r"^([0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2,4}|[0-9]{4}[./-][0-9]{1,2}[./-][0-9]{1,2})([T ].*)?$",
        "its texts are dates in other forms than ISO 8601; write them as 2026-03-01",
    ),
)


@dataclass(frozen=True, slots=True)
class Guess:
    """What a column seems to be. ``feature`` is None when it should not be one; its name is that of the column.

    A ``key`` or ``timestamp`` keeps its feature, if it could be one, for the case that another column takes the role.
    """

    role: Literal["feature", "key", "timestamp", "ignore"]
    feature: Feature | None
    note: str = ""


def guess(cells: pl.Series, missing: Sequence[str], decimal: str) -> Guess:
    """Guess from all cells of a column."""
    given = parsing.given_cells(cells, missing)
    present = given.drop_nulls()
    nullable = given.null_count() > 0
    if present.is_empty():
        return Guess("ignore", None, "ignored: it has no values")
    if present.n_unique() == 1:
        return Guess("ignore", None, "ignored: it has the same value in every row")
    if present.dtype.is_nested() or present.dtype in (pl.Binary, pl.Object, pl.Time, pl.Duration):
        return Guess("ignore", None, f"ignored: it holds {present.dtype.base_type().__name__.lower()} values")
    found = (
        _boolean(present, nullable)
        or _date(cells.name, present, nullable)
        or _number(cells.name, present, nullable, decimal)
    )
    if found:
        return found
    text = _text(cells.name, present, nullable)
    formatted = _formatted(present) if text.role != "key" else ""
    if not formatted:
        return text
    return replace(
        text, note=f"ignored: {formatted}" if text.feature is None else "; ".join(filter(None, (text.note, formatted)))
    )


def _boolean(present: pl.Series, nullable: bool) -> Guess | None:
    if present.dtype == pl.Boolean:
        return Guess("feature", Feature(present.name, "boolean", nullable))
    if present.dtype == pl.String:
        words = set(present.str.to_lowercase().unique().to_list())
    elif present.dtype.is_integer():
        words = {str(v) for v in present.unique().to_list()}
    else:
        return None
    if words in _BOOLEAN_WORDS:
        return Guess("feature", Feature(present.name, "boolean", nullable))
    return None


def _date(name: str, present: pl.Series, nullable: bool) -> Guess | None:
    if present.dtype == pl.String:
        looks = present.str.contains(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?$")
        if looks.mean() is None or float(looks.sum()) / len(present) < 1 - SPOILED:
            return None
    elif present.dtype != pl.Date and not isinstance(present.dtype, pl.Datetime):
        return None
    parsed = parsing.dates(present, ())
    bad = _wrong(parsed)
    if bad > len(present) * SPOILED:
        return None
    feature = Feature(name, "date", nullable)
    values = parsed.values.drop_nulls()
    if not nullable and _TIME_NAME.search(name) and values.is_sorted() and values.n_unique() > 2:
        return Guess("timestamp", feature, "taken for the time of the row, as rows are in its order")
    return Guess("feature", feature, _spoiled(bad, "date"))


def _number(name: str, present: pl.Series, nullable: bool, decimal: str) -> Guess | None:
    if present.dtype == pl.String and float(present.str.contains(r"^[+-]?0[0-9]").sum()) > 0:
        return None  # leading zeros: a code, not a quantity
    parsed = parsing.numbers(present, (), decimal)
    bad = _wrong(parsed)
    if bad > len(present) * SPOILED:
        return None
    values = parsed.values.drop_nulls()
    whole = bool((values == values.floor()).all()) and float(values.abs().max() or 0.0) <= parsing.EXACT  # type: ignore[arg-type]
    if whole:
        role = _identifier(name, values)
        if role is not None:
            return role
    low, high = _widened(float(values.min()), float(values.max()), whole=whole)  # type: ignore[arg-type]
    feature = Feature(name, "integer" if whole else "number", nullable, low, high)
    return Guess("feature", feature, _spoiled(bad, "number") or _far_out(values))


def _identifier(name: str, values: pl.Series) -> Guess | None:
    unique = values.n_unique()
    counts_up = unique == len(values) and bool((values.diff().drop_nulls() == 1).all())
    if _is_id_name(name) and unique > 20:
        return Guess("key", None, "taken for the key: by its name and values it identifies an entity")
    if counts_up and len(values) > 20:
        return Guess("ignore", None, "ignored: it counts rows")
    return None


def _text(name: str, present: pl.Series, nullable: bool) -> Guess:
    values = parsing.categories(present, ()).values.drop_nulls()
    counts = values.value_counts(sort=True)
    levels, sizes = counts[values.name].to_list(), counts["count"].to_list()
    rows, distinct = len(values), len(levels)
    if _is_id_name(name) and distinct > 20:
        return Guess("key", None, "taken for the key: by its name and values it identifies an entity")
    if distinct > MAX_CATEGORIES:
        if sum(sizes[:MAX_CATEGORIES]) < rows * _COVERED:
            kind = "nearly every row has its own text" if distinct > rows * 0.5 else f"{distinct} different texts"
            return Guess("ignore", None, f"ignored: {kind}; free text or an identifier")
        levels = levels[:MAX_CATEGORIES]
        sizes = sizes[:MAX_CATEGORIES]
    kept = [v for v, n in zip(levels, sizes, strict=True) if n >= RARE_ROWS or rows < SMALL_FILE]
    if len(kept) < 2:
        return Guess("ignore", None, f"ignored: {distinct} different texts, none of them frequent")
    grouped = distinct - len(kept)
    rare = "1 rare level counts" if grouped == 1 else f"{grouped} rare levels count"
    note = f"{rare} as 'other' (on_unknown: other)" if grouped else ""
    feature = Feature(
        name, "category", nullable, categories=tuple(sorted(kept)), on_unknown="other" if grouped else "reject"
    )
    return Guess("feature", feature, note)


def _formatted(present: pl.Series) -> str:
    """What is wrong with texts that are numbers or dates for people."""
    if present.dtype != pl.String:
        return ""
    text = present.str.strip_chars()
    if text.str.contains(r"^[0-9]+$").all():  # a code
        return ""
    for forms, said in _FORMATTED:
        if float(text.str.contains(forms).sum()) >= len(present) * (1 - SPOILED):
            return said
    return ""


def _is_id_name(name: str) -> bool:
    return bool(_ID_WORD.search(name) or _ID_SUFFIX.search(name))


def _wrong(parsed: parsing.Parsed) -> int:
    return sum(int(mask.sum()) for mask in parsed.wrong.values())


def _spoiled(count: int, expected: str) -> str:
    if not count:
        return ""
    wrong = f"1 cell is no {expected}" if count == 1 else f"{count} cells are no {expected}s"
    return f"{wrong}; ingestion keeps such rows apart"


def _far_out(values: pl.Series) -> str:
    """A remark on extremes that lie many times farther out than nearly all values: perhaps spoiled cells."""
    low, high = values.quantile(0.005), values.quantile(0.995)
    if low is None or high is None or high <= low:
        return ""
    reach = 5 * (high - low)
    count = int(((values < low - reach) | (values > high + reach)).sum())
    if not count:
        return ""
    noun = "value lies" if count == 1 else "values lie"
    return f"{count} {noun} far outside {low:g} to {high:g}: spoiled? then tighten the range"


def _widened(low: float, high: float, *, whole: bool) -> tuple[float, float]:
    """The range with tolerance, rounded outwards to a hundredth of its span; not below zero unless it was."""
    span = high - low
    step = 10.0 ** math.floor(math.log10(span * TOLERANCE)) if span > 0 else 1.0
    if whole:
        step = max(step, 1.0)
    bottom = math.floor((low - span * TOLERANCE) / step) * step
    top = math.ceil((high + span * TOLERANCE) / step) * step
    if low >= 0:
        bottom = max(bottom, 0.0)
    return _plain(bottom), _plain(top)


def _plain(value: float) -> float:
    """Without the noise of binary fractions (0.30000000000000004)."""
    return float(f"{value:.12g}")
