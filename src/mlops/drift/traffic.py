"""Captured requests as typed columns, so that live traffic is counted exactly as files are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlops.capture.reading import CaptureLine
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


def batches(features: Sequence[Feature], lines: Iterable[CaptureLine], version: str) -> Iterator[Batch]:
    """Captured lines in batches of about :data:`BATCH` rows, without those that a release replayed.

    ``version``: whose scores to take; during a release champion and challenger both score every request.
    """
    rows: list[Mapping[str, Any]] = []
    scores: list[Sequence[float] | None] = []
    for line in lines:
        if line.is_replay:
            continue
        champion = line.champion.version == version
        challenger = line.challenger is not None and line.challenger.version == version
        for row in line.rows:
            rows.append(row.features)
            scores.append(row.champion if champion else row.challenger if challenger else None)
        if len(rows) >= BATCH:
            yield batch(features, rows, scores)
            rows, scores = [], []
    if rows:
        yield batch(features, rows, scores)


def batch(
    features: Sequence[Feature], rows: Sequence[Mapping[str, Any]], scores: Sequence[Sequence[float] | None]
) -> Batch:
    """Columns of some rows; ``rows`` are the captured ``features`` objects."""
    columns, invalid = [], {}
    for feature in features:
        if not any(feature.name in row for row in rows):
            continue
        column, bad = _column(feature, [row.get(feature.name) for row in rows])
        columns.append(column)
        if bad:
            invalid[feature.name] = bad
    known = {f.name for f in features}
    strangers = sorted({name for row in rows for name in row if name not in known})[:MAX_NOTED]
    # A column without values: it only tells the counts that something of that name came along.
    columns += [Column(name, "number", np.full(len(rows), np.nan)) for name in strangers]
    return Batch(Columns(tuple(columns), rows=len(rows)), _matrix(scores), invalid)


def _column(feature: Feature, values: Sequence[Any]) -> tuple[Column, int]:
    bad = 0
    if feature.type == "category":
        texts: list[str | None] = []
        for value in values:
            try:
                texts.append(None if value is None else category_text(value))
            except ValueError:
                texts.append(None)
                bad += 1
        return category_column(feature.name, texts), bad
    numbers = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if value is None:
            continue
        try:
            numbers[i] = parse_date(value) if feature.type == "date" else _number(value, feature.type == "boolean")
        except (ValueError, OverflowError):
            bad += 1
    return Column(feature.name, feature.type, numbers), bad


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
    matrix = np.full((len(scores), width), np.nan)
    for i, score in enumerate(scores):
        if score and len(score) == width:
            matrix[i] = score
    return matrix
