"""Captured requests as typed columns, so that live traffic is counted exactly as files are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.capture.columns import Block
from mlops.features.columns import Column, Columns, category_column
from mlops.features.parse import category_text, parse_date
from mlops.features.spec import Feature
from mlops.statistics.baseline import MAX_NOTED, Scores

#: Rows turned into columns at a time; bounds memory whatever the window holds.
BATCH = 20_000


@dataclass(frozen=True)
class Batch:
    """Some captured rows.

    Attributes
    ----------
    table : a column for every feature that at least one row has.
    scores : the answers of the version that was asked for, float64 of shape (rows, width), NaN where another
        version answered or it failed; None when it answered no row.
    invalid : values that were not of their feature's type, by feature; they count as missing.
    """

    table: Columns
    scores: Scores | None
    invalid: Mapping[str, int]


def batches(features: Sequence[Feature], blocks: Iterable[Block], version: str) -> Iterator[Batch]:
    """Captured records in batches of about :data:`BATCH` rows, without those that a release replayed.

    ``version``: whose scores to take; during a release champion and challenger both score every request.
    """
    gathered = _Gathered()
    for block in blocks:
        if block.is_replay or not len(block):
            continue
        gathered.add(block, block.scores_of(version))
        if gathered.rows >= BATCH:
            yield gathered.batch(features)
            gathered = _Gathered()
    if gathered.rows:
        yield gathered.batch(features)


class _Gathered:
    """Columns of blocks, one below the other."""

    def __init__(self) -> None:
        self.rows = 0
        self._columns: dict[str, list[Any]] = {}
        self._scores: list[Sequence[float] | None] = []

    def add(self, block: Block, scores: Sequence[Sequence[float] | None] | None) -> None:
        for name, values in block.features.items():
            column = self._columns.setdefault(name, [])
            column += [None] * (self.rows - len(column))
            column += values
        self._scores += scores if scores is not None else [None] * len(block)
        self.rows += len(block)

    def batch(self, features: Sequence[Feature]) -> Batch:
        for column in self._columns.values():
            column.extend([None] * (self.rows - len(column)))
        return _batch(features, self._columns, self._scores, self.rows)


def batch(
    features: Sequence[Feature], rows: Sequence[Mapping[str, Any]], scores: Sequence[Sequence[float] | None]
) -> Batch:
    """Columns of some rows; ``rows`` are the captured ``features`` objects."""
    names = {name for row in rows for name in row}
    return _batch(features, {name: [row.get(name) for row in rows] for name in names}, scores, len(rows))


def _batch(
    features: Sequence[Feature], given: Mapping[str, list[Any]], scores: Sequence[Sequence[float] | None], rows: int
) -> Batch:
    columns, invalid = [], {}
    for feature in features:
        if feature.name not in given:
            continue
        column, bad = _column(feature, given[feature.name])
        columns.append(column)
        if bad:
            invalid[feature.name] = bad
    strangers = sorted(given.keys() - {f.name for f in features})[:MAX_NOTED]
    # A column without values: it only tells the counts that something of that name came along.
    columns += [Column(name, "number", np.full(rows, np.nan)) for name in strangers]
    return Batch(Columns(tuple(columns), rows=rows), _matrix(scores), invalid)


def _column(feature: Feature, values: Sequence[Any]) -> tuple[Column, int]:
    if feature.type == "category":
        return _categories(feature.name, values)
    numbers = None if feature.type == "date" else _plain(values, feature.type == "boolean")
    if numbers is not None:
        return Column(feature.name, feature.type, numbers), 0
    bad = 0
    numbers = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if value is None:
            continue
        try:
            numbers[i] = parse_date(value) if feature.type == "date" else _number(value, feature.type == "boolean")
        except (ValueError, OverflowError):
            bad += 1
    return Column(feature.name, feature.type, numbers), bad


def _categories(name: str, values: Sequence[Any]) -> tuple[Column, int]:
    if set(map(type, values)) <= {str, type(None)}:
        return category_column(name, values), 0
    texts: list[str | None] = []
    bad = 0
    for value in values:
        try:
            texts.append(None if value is None else category_text(value))
        except ValueError:
            texts.append(None)
            bad += 1
    return category_column(name, texts), bad


def _plain(values: Sequence[Any], boolean: bool) -> npt.NDArray[np.float64] | None:
    """Values that are all of the feature's type or missing, in one step; None where each has to be looked at."""
    if not set(map(type, values)) <= ({bool, type(None)} if boolean else {int, float, type(None)}):
        return None
    try:
        numbers = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    known = len(values) - values.count(None)
    return numbers if int(np.isfinite(numbers).sum()) == known else None


def _number(value: Any, boolean: bool) -> float:
    if isinstance(value, bool) != boolean and not (boolean and value in (0, 1)):
        raise ValueError("not of the feature's type")
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a finite number")
    return float(value)


def _matrix(scores: Sequence[Sequence[float] | None]) -> Scores | None:
    width = max((len(s) for s in scores if s), default=0)
    if not width:
        return None
    if set(map(_length, scores)) == {width}:
        return np.array(scores, dtype=np.float64)
    matrix = np.full((len(scores), width), np.nan)
    for i, score in enumerate(scores):
        if score and len(score) == width:
            matrix[i] = score
    return matrix


def _length(score: Sequence[float] | None) -> int:
    return len(score) if score else 0
