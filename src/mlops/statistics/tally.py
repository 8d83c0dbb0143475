"""Counting one column on its axis, in one pass, so that tallies add up exactly.

Counts are integers. Moments are integers as well: every value is rounded to the nearest point of a grid stored
with the axis (a power of two, 2**-40 of the training data's range), and the sums of those integers are kept. A
floating-point sum depends on the order of its terms; a sum of integers does not. So for any split of the data

    merge(tally(first part), tally(second part)) == tally(all of it)

holds bit by bit (invariant 10), also across machines. The price is a mean that is off by at most 2**-41 of the
range and squares taken on a grid of 2**-22 of it. Whole numbers of ordinary size lie on the grid: their moments
are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.features.columns import MISSING, Column
from mlops.statistics.axis import COARSE_BITS, FINE_BITS, Axis, BaselineError

#: Rows sorted at a time: few enough for the processor's cache, and for sums of whole numbers below 2**46 to fit int64.
BLOCK = 32_768
_WIDE = float(2**61)  # fine grid points below this fit int64
_LIMB = 23  # coarse grid points below 2**23 have squares that int64 can sum over a block; others go in two limbs


@dataclass(frozen=True)
class Tally:
    """What was counted in one column.

    Attributes
    ----------
    counts : rows per bin or level of the axis.
    below, above : rows with a number under the first or over the last edge, infinities included.
    other : rows with a level that the axis does not name.
    missing : rows whose value is missing. ``absent``: rows of tables that lacked the column, or had it with
        another type.
    infinite : rows with an infinity; they are in ``below`` or ``above`` too and not in the moments.
    total, coarse, square : sums of fine grid points, coarse grid points, and squared coarse grid points.
    minimum, maximum : of the finite values; None without any.
    """

    counts: tuple[int, ...] = ()
    below: int = 0
    above: int = 0
    other: int = 0
    missing: int = 0
    absent: int = 0
    infinite: int = 0
    total: int = 0
    coarse: int = 0
    square: int = 0
    minimum: float | None = None
    maximum: float | None = None

    @property
    def present(self) -> int:
        """Rows with a value."""
        return sum(self.counts) + self.below + self.above + self.other

    @property
    def known(self) -> int:
        """Rows of tables that had the column, with a value or without."""
        return self.present + self.missing

    def mean(self, axis: Axis) -> float | None:
        """Mean of the finite values; None without any."""
        n = self.present - self.infinite
        if axis.kind != "numeric" or n == 0 or not axis.edges:
            return None
        return _float((Fraction(self.total, n) + axis.origin) * Fraction(2) ** axis.exponent)

    def deviation(self, axis: Axis) -> float | None:
        """Standard deviation (of the population, ddof 0) of the finite values; None without any."""
        n = self.present - self.infinite
        if axis.kind != "numeric" or n == 0 or not axis.edges:
            return None
        variance = Fraction(self.square, n) - Fraction(self.coarse, n) ** 2
        scale = Fraction(2) ** (axis.exponent + axis.shift)
        root = _root(variance)
        return _float(root * scale) if root is not None else None

    def to_dict(self) -> dict[str, Any]:
        result: dict[str, Any] = {"counts": list(self.counts)}
        for name in ("below", "above", "other", "missing", "absent", "infinite"):
            if getattr(self, name):
                result[name] = getattr(self, name)
        for name in ("total", "coarse", "square"):
            if getattr(self, name):
                result[name] = str(getattr(self, name))  # wider than JSON readers take as an integer
        if self.minimum is not None:
            result |= {"minimum": self.minimum, "maximum": self.maximum}
        return result

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Tally:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        BaselineError
            for counts that are not whole numbers from zero.
        """
        try:
            values = {n: int(data.get(n, 0)) for n in ("below", "above", "other", "missing", "absent", "infinite")}
            sums = {n: int(data.get(n, 0)) for n in ("total", "coarse", "square")}
            counts = tuple(int(c) for c in data["counts"])
            low, high = data.get("minimum"), data.get("maximum")
            tally = cls(
                counts=counts,
                minimum=None if low is None else float(low),
                maximum=None if high is None else float(high),
                **values,
                **sums,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BaselineError(f"baseline: a column's counts cannot be read ({error})") from error
        if min((*counts, *values.values(), tally.square), default=0) < 0:
            raise BaselineError("baseline: a count is negative")
        return tally


def count(axis: Axis, column: Column | None, rows: int) -> Tally:
    """Count one column of a table with ``rows`` rows; ``None`` when the table lacks it."""
    empty = (0,) * axis.cells
    if column is None or not fits(axis, column):
        return Tally(empty, absent=rows)
    if axis.kind == "private":
        missing = int(column.missing().sum())
        return Tally(empty, other=rows - missing, missing=missing)
    if axis.kind == "category":
        codes = column.recode(axis.levels)
        found = np.bincount(codes.astype(np.int64) - MISSING, minlength=axis.cells + 2).tolist()
        return Tally(tuple(found[1 : axis.cells + 1]), other=found[axis.cells + 1], missing=found[0])
    return count_numbers(axis, column.values)


def fits(axis: Axis, column: Column) -> bool:
    """Whether the column is of the sort that the axis counts: a category, or anything that is a number."""
    return axis.kind == "private" or (axis.kind == "category") == (column.type == "category")


def count_numbers(axis: Axis, values: npt.NDArray[Any]) -> Tally:
    """Count numbers, float of shape (rows,), NaN meaning missing."""
    edges = np.array(axis.edges, dtype=np.float64)
    counts = np.zeros(axis.cells, dtype=np.int64)
    below = above = missing = infinite = total = coarse = square = 0
    low, high = math.inf, -math.inf
    for start in range(0, len(values), BLOCK):
        block = np.sort(values[start : start + BLOCK].astype(np.float64, copy=False))
        # Sorted, -inf comes first and NaN last, so positions answer every question below.
        present = int(np.searchsorted(block, np.nan))
        first = int(np.searchsorted(block[:present], -np.inf, side="right"))
        last = int(np.searchsorted(block[:present], np.inf, side="left"))
        missing += len(block) - present
        infinite += present - (last - first)
        if len(edges):
            where = np.searchsorted(block[:present], edges[:-1], side="left")
            end = int(np.searchsorted(block[:present], edges[-1], side="right"))
            counts += np.diff(np.append(where, end))
            below += int(where[0])
            above += present - end
        else:
            above += present  # nothing was ever known of this column: every value is new
        finite = block[first:last]
        if len(finite):
            low, high = min(low, float(finite[0])), max(high, float(finite[-1]))
            if len(edges):
                sums = _sums(axis, finite)
                total, coarse, square = total + sums[0], coarse + sums[1], square + sums[2]
    return Tally(
        counts=tuple(int(c) for c in counts),
        below=below,
        above=above,
        missing=missing,
        infinite=infinite,
        total=total,
        coarse=coarse,
        square=square,
        minimum=low if low <= high else None,
        maximum=high if low <= high else None,
    )


def merge(a: Tally, b: Tally) -> Tally:
    """The tally of both parts together: integer sums, smallest minimum, largest maximum."""
    if len(a.counts) != len(b.counts):
        raise BaselineError("two tallies of different axes cannot be merged")
    lows = [v for v in (a.minimum, b.minimum) if v is not None]
    highs = [v for v in (a.maximum, b.maximum) if v is not None]
    return Tally(
        counts=tuple(x + y for x, y in zip(a.counts, b.counts, strict=True)),
        below=a.below + b.below,
        above=a.above + b.above,
        other=a.other + b.other,
        missing=a.missing + b.missing,
        absent=a.absent + b.absent,
        infinite=a.infinite + b.infinite,
        total=a.total + b.total,
        coarse=a.coarse + b.coarse,
        square=a.square + b.square,
        minimum=min(lows) if lows else None,
        maximum=max(highs) if highs else None,
    )


#: Float sums of whole numbers are exact below 2**53: so many fine points (below 2**41), or squares of coarse ones.
_FINE_ROWS, _COARSE_ROWS = 2**12, 2 ** (53 - 2 * _LIMB)


def without(whole: Tally, part: Tally) -> Tally:
    """The counts of ``whole`` without those of a part of it. Its range stays that of the whole."""
    if len(whole.counts) != len(part.counts):
        raise BaselineError("two tallies of different axes cannot be subtracted")
    return Tally(
        counts=tuple(x - y for x, y in zip(whole.counts, part.counts, strict=True)),
        minimum=whole.minimum,
        maximum=whole.maximum,
        **{name: getattr(whole, name) - getattr(part, name) for name in _ADDED},
    )


_ADDED = ("below", "above", "other", "missing", "absent", "infinite", "total", "coarse", "square")


def _sums(axis: Axis, finite: npt.NDArray[np.float64]) -> tuple[int, int, int]:
    """Sums of fine points, coarse points and squared coarse points of sorted finite values."""
    limit, scale = 2.0**52, math.ldexp(1.0, -axis.exponent) if abs(axis.exponent) <= 1000 else math.inf
    low, high = float(finite[0]) * scale, float(finite[-1]) * scale
    if -limit < low and high < limit and abs(axis.origin) < limit:
        points = finite * scale
        np.rint(points, out=points)
        points -= axis.origin
        if max(-points[0], points[-1]) < 2**41:
            return _fast_sums(axis, points)
    return _wide_sums(axis, finite)


def _fast_sums(axis: Axis, points: npt.NDArray[np.float64]) -> tuple[int, int, int]:
    """The same of fine points that are whole numbers below 2**41, in floating point without rounding."""
    total = _exact_sum(points, _FINE_ROWS)
    if axis.shift:
        points *= math.ldexp(1.0, -axis.shift)
        points += 0.5
        np.floor(points, out=points)
    if max(-points[0], points[-1]) >= 2**_LIMB:
        return total, _exact_sum(points, _FINE_ROWS), _square_limbs(points.astype(np.int64))
    whole = len(points) - len(points) % _COARSE_ROWS
    parts = points[:whole].reshape(-1, _COARSE_ROWS)
    square = int(np.einsum("ij,ij->i", parts, parts).astype(np.int64).sum()) + int(
        np.dot(points[whole:], points[whole:])
    )
    return total, _exact_sum(points, len(points)), square


def _exact_sum(points: npt.NDArray[np.float64], rows: int) -> int:
    """The sum, in parts of so many rows that floating point does not round."""
    whole = len(points) - len(points) % rows
    return int(points[:whole].reshape(-1, rows).sum(axis=1).astype(np.int64).sum()) + int(points[whole:].sum())


def _wide_sums(axis: Axis, finite: npt.NDArray[np.float64]) -> tuple[int, int, int]:
    """The same whatever the values are."""
    with np.errstate(over="ignore"):
        scaled = np.rint(np.ldexp(finite, -axis.exponent))
    if abs(axis.origin) < _WIDE:
        left = int(np.searchsorted(scaled, float(axis.origin) - _WIDE, side="right"))
        right = int(np.searchsorted(scaled, float(axis.origin) + _WIDE, side="left"))
        left, right = _bounded(scaled, left, right)
    else:
        left = right = 0
    total = coarse = square = 0
    if right > left:
        fine = scaled[left:right].astype(np.int64) - axis.origin
        points = (fine + _half(axis)) >> axis.shift
        if max(-int(points[0]), int(points[-1])) < 2**_LIMB and axis.shift <= FINE_BITS - COARSE_BITS:
            total, coarse, square = int(fine.sum()), int(points.sum()), int(np.dot(points, points))
        else:
            total, coarse, square = _limbs(fine), _limbs(points), _square_limbs(points)
    for value in (*finite[:left].tolist(), *finite[right:].tolist()):
        point = round(Fraction(value) / Fraction(2) ** axis.exponent) - axis.origin
        near = (point + _half(axis)) >> axis.shift
        total, coarse, square = total + point, coarse + near, square + near * near
    return total, coarse, square


def _bounded(scaled: npt.NDArray[np.float64], left: int, right: int) -> tuple[int, int]:
    """Narrow to what int64 holds before the origin is subtracted."""
    limit = float(2**62)
    low = int(np.searchsorted(scaled, -limit, side="right"))
    high = int(np.searchsorted(scaled, limit, side="left"))
    left = max(left, low)
    return left, max(left, min(right, high))


def _half(axis: Axis) -> int:
    return 1 << (axis.shift - 1) if axis.shift else 0


def _limbs(points: npt.NDArray[np.int64]) -> int:
    high, low = points >> 31, points & (2**31 - 1)
    return (int(high.sum()) << 31) + int(low.sum())


def _square_limbs(points: npt.NDArray[np.int64]) -> int:
    """Sum of squares of numbers below 2**62, by Python's integers where int64 would overflow."""
    if max(abs(int(points[0])), abs(int(points[-1]))) >= 2 ** (2 * _LIMB - 1):
        return sum(p * p for p in points.tolist())
    high, low = points >> _LIMB, points & (2**_LIMB - 1)
    return (int(np.dot(high, high)) << (2 * _LIMB)) + (int(np.dot(high, low)) << (_LIMB + 1)) + int(np.dot(low, low))


def _float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.copysign(float(np.finfo(np.float64).max), value)


def _root(value: Fraction) -> Fraction | None:
    """Square root of a fraction that may be far outside the range of floats, to 60 bits."""
    if value < 0:
        return None
    if value == 0:
        return Fraction(0)
    bits = max(0, 120 - (value.numerator.bit_length() - value.denominator.bit_length()))
    bits += bits % 2
    return Fraction(math.isqrt((value.numerator << bits) // value.denominator), 1 << (bits // 2))
