"""From the encoded matrix to what an estimator is fitted on.

Trees see values untouched (no arithmetic before a threshold, so a float32 comparison in ONNX decides as the
estimator does), small categories one-hot and large ones as their code; trees that take no missing values see the median
in their place, and a column that marks them. Linear models see values imputed, bounded and scaled in float64.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin

from mlops.features.encoding import WIDTHS, Matrix, level_codes, missing_code, other_code
from mlops.features.spec import Feature

FloatArray = npt.NDArray[np.float64]

#: Columns of a category up to which trees see them one by one.
MOST_ONE_HOT = 6


@dataclass(frozen=True, slots=True)
class Source:
    """Where a design column comes from: column ``encoded`` of the encoded matrix as it is; with a ``level``, 1
    where it equals that category code and 0 elsewhere; with ``marks``, 1 where it is missing and 0 elsewhere."""

    feature: str
    encoded: int
    level: int | None = None
    nullable: bool = False
    marks: bool = False


def sources(features: Sequence[Feature]) -> tuple[Source, ...]:
    """Design columns of the features, in their order. A category has one column a known level that is not pooled, one
    for missing where it is nullable, one for other where levels are pooled or the contract groups unknown ones."""
    result: list[Source] = []
    position = 0
    for feature in features:
        if feature.type == "category":
            other = other_code(feature)
            levels = [code for code in level_codes(feature).values() if code != other]
            levels += [missing_code(feature)] if feature.nullable else []
            levels += [other] if feature.on_unknown == "other" or feature.pooled else []
            result += [Source(feature.name, position, level) for level in levels]
        else:
            width = WIDTHS[feature.type]
            result += [Source(feature.name, position + i, None, feature.nullable) for i in range(width)]
        position += WIDTHS[feature.type]
    return tuple(result)


def tree_sources(features: Sequence[Feature]) -> tuple[Source, ...]:
    """The same for trees: a category of more than ``MOST_ONE_HOT`` columns is one column, its code, which trees split
    as they do a number. A few splits then say what many one-hot columns would, and a fit is many times faster."""
    plain = sources(features)
    columns = Counter(s.feature for s in plain if s.level is not None)
    wide = {name for name, count in columns.items() if count > MOST_ONE_HOT}
    result = [Source(s.feature, s.encoded) if s.feature in wide else s for s in plain]
    return tuple(dict.fromkeys(result))  # all columns of a wide category have become one


class TreeDesign(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Values as they are (NaN stays NaN: trees have a side for missing), categories one-hot or as their code.

    Parameters
    ----------
    columns : tuple of Source
    """

    def __init__(self, columns: tuple[Source, ...]) -> None:
        self.columns = columns

    def fit(self, X: Matrix, y: Any = None) -> Self:
        """Nothing is learned; scikit-learn asks for it."""
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: Matrix) -> Matrix:
        """float32, shape (rows, columns)."""
        design = np.empty((len(X), len(self.columns)), dtype=np.float32)
        for i, source in enumerate(self.columns):
            values = X[:, source.encoded]
            design[:, i] = values if source.level is None else values == source.level
        return design


class FilledDesign(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """As :class:`TreeDesign`, with the median in place of missing numbers, and a column that marks each nullable one.

    Parameters
    ----------
    columns : tuple of Source

    Attributes
    ----------
    fill_ : float32, shape (encoded columns,): the median of each column of the encoded matrix.
    columns_ : ``columns`` and those that mark.
    """

    def __init__(self, columns: tuple[Source, ...]) -> None:
        self.columns = columns

    def fit(self, X: Matrix, y: Any = None) -> Self:
        """Learn the medians from (rows, columns)."""
        self.n_features_in_ = X.shape[1]
        known = np.where(np.isnan(X).all(axis=0), np.float32(0), X)
        self.fill_ = np.nanmedian(known.astype(np.float64), axis=0).astype(np.float32)
        numbers = [s for s in self.columns if s.level is None and s.nullable]
        self.columns_ = (*self.columns, *(Source(s.feature, s.encoded, marks=True) for s in numbers))
        return self

    def transform(self, X: Matrix) -> Matrix:
        """float32, shape (rows, columns)."""
        missing = np.isnan(X)
        filled = np.where(missing, self.fill_, X)
        design = np.empty((len(X), len(self.columns_)), dtype=np.float32)
        for i, source in enumerate(self.columns_):
            values = filled[:, source.encoded]
            if source.marks:
                design[:, i] = missing[:, source.encoded]
            else:
                design[:, i] = values if source.level is None else values == source.level
        return design


class LinearDesign(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Numbers imputed by the median, bounded and standardised; a missing indicator for each nullable number;
    categories one-hot.

    The bounds are the training range widened by itself on both sides, so a linear model extrapolates at most
    one range and no magnitude overflows. Medians and bounds are float32 numbers: comparisons and
    replacements happen on the float32 input, in ONNX as here, and only the scaling needs float64.

    Parameters
    ----------
    columns : tuple of Source

    Attributes
    ----------
    median_, low_, high_ : float32, shape (numbers,)
    mean_, scale_ : float64, shape (numbers,)
    expected_ : float64, shape (columns of the result,): their means, what explanations compare with
    """

    def __init__(self, columns: tuple[Source, ...]) -> None:
        self.columns = columns

    def fit(self, X: Matrix, y: Any = None) -> Self:
        """Learn what fills missing numbers, and their scale, from (rows, columns)."""
        self.n_features_in_ = X.shape[1]
        numbers = X[:, self.number_columns()].astype(np.float64)
        known = np.isfinite(numbers)
        count = known.sum(axis=0)
        filled = np.where(known, numbers, np.nan)
        empty = count == 0
        filled[:, empty] = 0.0
        if not len(filled):
            raise ValueError("a design needs at least one row")
        self.median_ = np.nanmedian(filled, axis=0).astype(np.float32)
        low, high = np.nanmin(filled, axis=0), np.nanmax(filled, axis=0)
        limit = float(np.finfo(np.float32).max)
        self.low_ = np.clip(low - (high - low), -limit, limit).astype(np.float32)
        self.high_ = np.clip(high + (high - low), -limit, limit).astype(np.float32)
        replaced = np.where(np.isnan(filled), self.median_, filled)
        self.mean_ = replaced.mean(axis=0)
        spread = replaced.std(axis=0)
        self.scale_ = np.where(spread > 0, spread, 1.0)
        self.expected_ = self.transform(X).mean(axis=0)
        return self

    def transform(self, X: Matrix) -> FloatArray:
        """float64, shape (rows, numbers + indicators + one-hot columns)."""
        numbers = X[:, self.number_columns()]
        missing = np.isnan(numbers)
        filled = np.where(missing, self.median_, numbers)
        bounded = np.minimum(np.maximum(filled, self.low_), self.high_).astype(np.float64)
        scaled = (bounded - self.mean_) / self.scale_
        levels = [X[:, [s.encoded]] == s.level for s in self.columns if s.level is not None]
        return np.hstack([scaled, missing[:, self.indicator_positions()], *levels])

    def number_columns(self) -> list[int]:
        """Positions in the encoded matrix of what is treated as a number."""
        return [s.encoded for s in self.columns if s.level is None]

    def indicator_positions(self) -> list[int]:
        """Positions among the numbers that have a missing indicator."""
        return [i for i, s in enumerate(s for s in self.columns if s.level is None) if s.nullable]

    def one_hot(self) -> list[tuple[int, int]]:
        """(position in the encoded matrix, level) of each one-hot column."""
        return [(s.encoded, s.level) for s in self.columns if s.level is not None]
