"""How columns go together: sums over pairs of columns, whole numbers, so that they add up exactly.

Distributions of single columns do not show that two columns parted. So for every pair of the columns that matter
most the sums behind a correlation are kept: of rows, of both scores, of their squares and of their product. A score
is a whole number: a value's distance from the training mean in sixteenths of the training standard deviation, and
four standard deviations at most; for a level of a category whether the row has it. Sums of whole numbers do not
depend on the order of their terms, so parts merge to the same numbers as the whole, bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.features.columns import MISSING, Column, Columns
from mlops.statistics.axis import Axis, BaselineError
from mlops.statistics.tally import Tally, fits

#: Scores that take part, those of important features first: pairs grow with the square.
MAX_SCORES = 16
MAX_LEVELS = 3
#: A level that fewer, or all but fewer, rows have gives no correlation worth a name.
RARE_LEVEL = 0.05
#: Scores of a number: steps a standard deviation, and the furthest that counts.
STEPS = 16
FURTHEST = 64
#: Rows multiplied at a time: 2**12 rows of products below 2**12 add up to 2**24, which float32 holds exactly.
BLOCK = 4_096
#: Rows from which the variance of correlations is learned.
SAMPLE = 20_000

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """A column, or a level of one, as whole numbers.

    Attributes
    ----------
    axis : position of the column's axis in the baseline.
    centre, step : a number's score is ``rint((value - centre) / step)``, within ``FURTHEST``.
    level : of a category; the score is 1 where the row has it.
    """

    axis: int
    centre: float = 0.0
    step: float = 1.0
    level: str | None = None

    def to_dict(self) -> dict[str, Any]:
        if self.level is not None:
            return {"axis": self.axis, "level": self.level}
        return {"axis": self.axis, "centre": self.centre, "step": self.step}


@dataclass(frozen=True)
class Pairs:
    """Sums over rows that have both values, one entry a pair (in the order of :meth:`Relations.pairs`)."""

    rows: tuple[int, ...]
    first: tuple[int, ...]
    second: tuple[int, ...]
    first_square: tuple[int, ...]
    second_square: tuple[int, ...]
    product: tuple[int, ...]

    def correlation(self, pair: int) -> float | None:
        """Pearson's correlation of a pair; None when either score does not vary."""
        n, x, y = self.rows[pair], self.first[pair], self.second[pair]
        across = n * self.first_square[pair] - x * x
        down = n * self.second_square[pair] - y * y
        if across <= 0 or down <= 0:
            return None
        return max(-1.0, min(1.0, (n * self.product[pair] - x * y) / (math.sqrt(across) * math.sqrt(down))))

    def minus(self, part: Pairs) -> Pairs:
        """Without the rows of a part of it."""
        return Pairs(*(tuple(a - b for a, b in zip(x, y, strict=True)) for x, y in self._beside(part)))

    def plus(self, other: Pairs) -> Pairs:
        """Both together."""
        return Pairs(*(tuple(a + b for a, b in zip(x, y, strict=True)) for x, y in self._beside(other)))

    def _beside(self, other: Pairs) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        return [(getattr(self, name), getattr(other, name)) for name in _SUMS]

    def to_dict(self) -> dict[str, Any]:
        return {name: list(getattr(self, name)) for name in _SUMS}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Pairs:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        BaselineError
            for sums that are not whole numbers, or not of one length.
        """
        try:
            pairs = cls(*(tuple(int(v) for v in data[name]) for name in _SUMS))
        except (KeyError, TypeError, ValueError) as error:
            raise BaselineError(f"baseline: sums over pairs of columns cannot be read ({error})") from error
        if len({len(getattr(pairs, name)) for name in _SUMS}) > 1:
            raise BaselineError("baseline: sums over pairs of columns differ in length")
        return pairs


_SUMS = ("rows", "first", "second", "first_square", "second_square", "product")


@dataclass(frozen=True)
class Relations:
    """Which pairs are watched. ``variance``: one a pair, n times the variance of its correlation over n rows."""

    scores: tuple[Score, ...]
    variance: tuple[float, ...]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Positions of both scores of every pair; two levels of one category are none."""
        found = [(i, j) for i in range(len(self.scores)) for j in range(i + 1, len(self.scores))]
        return [(i, j) for i, j in found if self.scores[i].axis != self.scores[j].axis]

    def to_dict(self) -> dict[str, Any]:
        return {"scores": [s.to_dict() for s in self.scores], "variance": list(self.variance)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], axes: int) -> Relations:
        """The inverse of :meth:`to_dict`, for a baseline of so many axes.

        Raises
        ------
        BaselineError
            for a score of no axis, or variances that do not fit the pairs.
        """
        try:
            scores = tuple(
                Score(int(s["axis"]), float(s.get("centre", 0.0)), float(s.get("step", 1.0)), s.get("level"))
                for s in data["scores"]
            )
            relations = cls(scores, tuple(float(v) for v in data["variance"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BaselineError(f"baseline: pairs of columns cannot be read ({error})") from error
        if any(not 0 <= s.axis < axes or not s.step > 0 for s in scores):
            raise BaselineError("baseline: a pair names a column that is not there, or has no width")
        if len(relations.variance) != len(relations.pairs):
            raise BaselineError("baseline: variances do not fit the pairs of columns")
        return relations


def choose(
    axes: Sequence[Axis], tallies: Sequence[Tally], importance: Mapping[str, float], table: Columns
) -> Relations | None:
    """The scores of the columns that matter most, and how much their correlations vary by chance.

    None when fewer than two columns vary.
    """
    watched = [i for i, a in enumerate(axes) if a.kind != "private" and a.role in ("feature", "target")]
    watched.sort(key=lambda i: (axes[i].role != "target", -importance.get(axes[i].name, 0.0), i))
    scores: list[Score] = []
    for i in watched:
        found = _scores(i, axes[i], tallies[i])
        scores += found if len(scores) + len(found) <= MAX_SCORES else []
    relations = Relations(tuple(sorted(scores, key=lambda s: (s.axis, s.level or ""))), ())
    if not relations.pairs:
        return None
    return Relations(relations.scores, _variances(relations, axes, table))


def _scores(position: int, axis: Axis, tally: Tally) -> list[Score]:
    if axis.kind == "numeric":
        centre, deviation = tally.mean(axis), tally.deviation(axis)
        if centre is None or deviation is None or not 1e-30 < deviation < 1e30:  # float32 holds the rest
            return []
        if max(tally.counts, default=0) > (1 - RARE_LEVEL) * tally.present:  # nearly always the same
            return []
        return [Score(position, centre, deviation / STEPS)]
    least = RARE_LEVEL * tally.present
    common = [
        level for level, count in zip(axis.levels, tally.counts, strict=True) if least <= count <= tally.present - least
    ]
    return [Score(position, level=level) for level in common[: 1 if len(axis.levels) == 2 else MAX_LEVELS]]


def none(relations: Relations) -> Pairs:
    """Sums over no rows."""
    zeros = (0,) * len(relations.pairs)
    return Pairs(zeros, zeros, zeros, zeros, zeros, zeros)


def count(relations: Relations, axes: Sequence[Axis], table: Columns) -> Pairs:
    """Sums over the rows of ``table``; pairs with a column that it lacks, or has with another type, get no row."""
    matrix = np.empty((len(relations.scores), BLOCK), dtype=np.float32)
    columns = _columns(relations, axes, table)
    there = sorted(columns)
    sums = np.zeros((4, len(relations.scores), len(relations.scores)))
    for start in range(0, table.rows if len(there) > 1 else 0, BLOCK):
        part = matrix[: len(there), : min(BLOCK, table.rows - start)]
        for row, i in zip(part, there, strict=True):
            _score(relations.scores[i], columns[i], start, row)
        sums[np.ix_(range(4), there, there)] += _products(part)
    left, right = [p[0] for p in relations.pairs], [p[1] for p in relations.pairs]
    rows, plain, square, product = (s[left, right] for s in sums)
    _, other, other_square, _ = (s[right, left] for s in sums)
    found = (rows, plain, other, square, other_square, product)
    return Pairs(*(tuple(int(v) for v in values) for values in found))


def scored(relations: Relations, axes: Sequence[Axis], table: Columns) -> Matrix:
    """Scores of every row, float32 of shape (scores, rows), NaN where a value is missing."""
    columns = _columns(relations, axes, table)
    matrix = np.full((len(relations.scores), table.rows), np.nan, dtype=np.float32)
    for i, column in columns.items():
        _score(relations.scores[i], column, 0, matrix[i])
    return matrix


def _columns(relations: Relations, axes: Sequence[Axis], table: Columns) -> dict[int, Column]:
    """Position of a score -> its column, where the table has it."""
    by_name = {c.name: c for c in table.columns}
    found = {}
    for i, score in enumerate(relations.scores):
        column = by_name.get(axes[score.axis].name)
        if column is not None and fits(axes[score.axis], column):
            found[i] = column
    return found


def _score(score: Score, column: Column, start: int, row: npt.NDArray[np.float32]) -> None:
    """Write the scores of the rows from ``start`` into ``row``."""
    values = column.values[start : start + len(row)]
    if score.level is not None:
        position = column.levels.index(score.level) if score.level in column.levels else len(column.levels)
        row[:] = values == position
        row[values == MISSING] = np.nan
        return
    with np.errstate(over="ignore"):  # far beyond what counts
        np.subtract(values, score.centre, out=row, casting="same_kind")
        np.multiply(row, np.float32(1 / score.step), out=row)
    np.rint(row, out=row)
    np.clip(row, -FURTHEST, FURTHEST, out=row)


def _products(part: Matrix) -> npt.NDArray[np.float64]:
    """Of every pair of rows: how often both are present, and sums of the first, its square, and the product, over
    those; float64 of shape (4, scores, scores), whole numbers."""
    unknown = np.isnan(part)
    if not unknown.any():
        ones = np.ones((part.shape[1], part.shape[0]), dtype=np.float32)
        known = np.full((len(part), len(part)), part.shape[1], dtype=np.float32)
    else:
        part = np.where(unknown, np.float32(0), part)
        ones = np.ascontiguousarray((~unknown).T, dtype=np.float32)
        known = ones.T @ ones
    return np.stack([known, part @ ones, (part * part) @ ones, part @ part.T]).astype(np.float64)


def _variances(relations: Relations, axes: Sequence[Axis], table: Columns) -> tuple[float, ...]:
    """n times the variance of each pair's correlation over n rows: the mean square of its influence function
    (Devlin, Gnanadesikan and Kettenring, Biometrika 62, 1975), and not less than what normal columns have."""
    rows = np.arange(0, table.rows, max(1, -(-table.rows // SAMPLE)))
    matrix = scored(relations, axes, table.take(rows)).astype(np.float64)
    found = []
    for i, j in relations.pairs:
        both = np.isfinite(matrix[i]) & np.isfinite(matrix[j])
        x, y = matrix[i, both], matrix[j, both]
        if len(x) < 2 or x.std() == 0 or y.std() == 0:
            found.append(1.0)
            continue
        x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
        r = float(np.mean(x * y))
        influence = x * y - r / 2 * (x * x + y * y)
        found.append(round(max(float(np.mean(influence**2)), (1 - r * r) ** 2), 9))
    return tuple(found)
