"""How one column is counted: bin edges or category levels, and the grid on which its moments are summed.

An axis is chosen once, from the data that a model was trained on, and stored; all later data is counted on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mlops.errors import MlopsError
from mlops.features.columns import MISSING, Column

#: Bins of a numeric column with plenty of rows; fewer when rows are few (one bin for ``ROWS_PER_BIN`` rows).
BINS = 20
MIN_BINS = 4
ROWS_PER_BIN = 30
#: Levels of a category that are counted by name; the rest is ``other``.
MAX_LEVELS = 200
MAX_LEVEL_LENGTH = 200

#: The data's range spans 2**40 fine steps (sums) and 2**22 coarse ones (sums of squares).
FINE_BITS = 40
COARSE_BITS = 22

Role = Literal["feature", "prediction", "target"]
Kind = Literal["numeric", "category", "private"]


class BaselineError(MlopsError):
    """A baseline that cannot be used; the message says what is wrong with it."""

    code = "invalid_baseline"


@dataclass(frozen=True)
class Axis:
    """One column's bins.

    Attributes
    ----------
    name, type, role : which column; ``type`` as in :mod:`mlops.features.spec`.
    kind : ``numeric`` has ``edges``, ``category`` has ``levels``; ``private`` (personal data) has neither and only
        its missing values are counted, so that no value of a person reaches a baseline.
    edges : strictly increasing. Bin i is ``[edges[i], edges[i + 1])``, the last one includes its upper edge.
        Empty when every value was missing.
    discrete : every bin holds one distinct value of the training data; then values outside the edges are new
        values. Otherwise bins hold equal shares of the data and the outermost two are open-ended.
    exponent, shift, origin : a value ``v`` lies at the fine grid point ``rint(v / 2**exponent) - origin``, and at
        the coarse point of that shifted right by ``shift`` bits. See :mod:`mlops.statistics.tally`.
    levels : in order of frequency in the training data.
    """

    name: str
    type: str
    role: Role
    kind: Kind
    edges: tuple[float, ...] = ()
    discrete: bool = False
    exponent: int = 0
    shift: int = 0
    origin: int = 0
    levels: tuple[str, ...] = ()

    @property
    def cells(self) -> int:
        """How many bins or levels are counted."""
        if self.kind == "category":
            return len(self.levels)
        return max(0, len(self.edges) - 1)

    def to_dict(self) -> dict[str, Any]:
        result: dict[str, Any] = {"name": self.name, "type": self.type, "role": self.role, "kind": self.kind}
        if self.kind == "numeric":
            result |= {
                "edges": list(self.edges),
                "discrete": self.discrete,
                "exponent": self.exponent,
                "shift": self.shift,
                "origin": str(self.origin),
            }
        elif self.kind == "category":
            result["levels"] = list(self.levels)
        return result

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Axis:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        BaselineError
            for edges that do not increase, or a missing field.
        """
        try:
            axis = cls(
                name=str(data["name"]),
                type=str(data["type"]),
                role=data["role"],
                kind=data["kind"],
                edges=tuple(float(e) for e in data.get("edges", ())),
                discrete=bool(data.get("discrete", False)),
                exponent=int(data.get("exponent", 0)),
                shift=int(data.get("shift", 0)),
                origin=int(data.get("origin", 0)),
                levels=tuple(str(level) for level in data.get("levels", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BaselineError(f"baseline: a column's axis cannot be read ({error})") from error
        finite = all(math.isfinite(e) for e in axis.edges)
        rising = all(a < b for a, b in pairwise(axis.edges))
        if not finite or not rising or len(axis.edges) == 1:
            raise BaselineError(f"baseline: the edges of column '{axis.name}' must be finite and strictly increasing")
        if axis.kind not in ("numeric", "category", "private"):
            raise BaselineError(f"baseline: column '{axis.name}' has the unknown kind '{axis.kind}'")
        return axis


def choose(column: Column, *, role: Role, private: bool = False, bins: int = BINS) -> Axis:
    """The axis that suits ``column``.

    Numbers with at most ``bins`` distinct values get one bin per value, with edges half-way between them. Others
    get bins of equal shares; a single value that makes up a whole share or more gets a bin of its own, so that ties
    (a peak at zero) do not blur their neighbours. All edges lie between values that occur, not on them, so that a
    rounding in the last digit moves no row to another bin.
    """
    if private:
        return Axis(column.name, column.type, role, "private")
    if column.type == "category":
        return Axis(column.name, column.type, role, "category", levels=_levels(column))
    values = column.values[np.isfinite(column.values)].astype(np.float64)
    if not len(values):
        return Axis(column.name, column.type, role, "numeric", discrete=True)
    distinct, counts = np.unique(values, return_counts=True)
    limit = int(np.clip(len(values) // ROWS_PER_BIN, MIN_BINS, bins))
    whole = column.type in ("integer", "boolean")
    edges: tuple[float, ...] = (-0.5, 0.5, 1.5)
    discrete = True
    if len(distinct) > bins:
        edges, discrete = _edges_of_equal_shares(distinct, counts, limit), False
    elif column.type != "boolean":
        edges = _edges_around(distinct, whole)
    exponent, shift, origin = _grid(float(distinct[0]), float(distinct[-1]), whole)
    return Axis(column.name, column.type, role, "numeric", edges, discrete, exponent, shift, origin)


def widened(axis: Axis, low: float, high: float) -> Axis:
    """The same bins with the outermost edges moved out to ``low`` and ``high``; bins of single values stay."""
    if axis.kind != "numeric" or axis.discrete or not axis.edges:
        return axis
    return replace(axis, edges=(min(low, axis.edges[0]), *axis.edges[1:-1], max(high, axis.edges[-1])))


def _levels(column: Column) -> tuple[str, ...]:
    known = column.values[column.values != MISSING]
    counts = np.bincount(known, minlength=len(column.levels))
    order = sorted(range(len(column.levels)), key=lambda i: (-int(counts[i]), column.levels[i]))
    chosen = [column.levels[i] for i in order if counts[i] > 0 and len(column.levels[i]) <= MAX_LEVEL_LENGTH]
    return tuple(chosen[:MAX_LEVELS])


def _between(low: float, high: float) -> float:
    """A number above ``low`` and not above ``high``, half-way if there is one."""
    middle = low / 2 + high / 2
    return middle if low < middle <= high else high


def _edges_around(distinct: npt.NDArray[np.float64], whole: bool) -> tuple[float, ...]:
    values = [float(v) for v in distinct]
    inner = [_between(a, b) for a, b in pairwise(values)]
    if len(values) > 1:
        before, after = values[1] / 2 - values[0] / 2, values[-1] / 2 - values[-2] / 2
    else:
        before = after = 0.5 if whole else max(abs(values[0]) * 1e-6, 1e-12)
    return _rising([values[0] - before, *inner, values[-1] + after])


def _edges_of_equal_shares(
    distinct: npt.NDArray[np.float64], counts: npt.NDArray[np.intp], bins: int
) -> tuple[float, ...]:
    share = counts.sum() / bins
    cumulative = np.cumsum(counts)
    heavy = np.flatnonzero(counts >= share)
    cuts: set[int] = set()  # a cut i lies between distinct[i - 1] and distinct[i]
    start = 0
    for stop in [*heavy.tolist(), len(distinct)]:
        if stop > start:
            before = int(cumulative[start - 1]) if start else 0
            mass = int(cumulative[stop - 1]) - before
            parts = max(1, round(mass / share))
            wanted = before + mass * np.arange(1, parts) / parts
            inner = np.searchsorted(cumulative, wanted, side="left") + 1
            cuts.update(int(i) for i in inner if start < i < stop)
        cuts.update((stop, stop + 1))
        start = stop + 1
    inside = sorted(i for i in cuts if 0 < i < len(distinct))
    edges = [_between(float(distinct[i - 1]), float(distinct[i])) for i in inside]
    return _rising([float(distinct[0]), *edges, float(distinct[-1])])


def _rising(edges: Sequence[float]) -> tuple[float, ...]:
    """The finite ones, strictly increasing; at least two."""
    top = float(np.finfo(np.float64).max)
    result: list[float] = []
    for edge in edges:
        bounded = min(max(edge, -top), top)
        if not result or bounded > result[-1]:
            result.append(bounded)
    if len(result) == 1:
        result.append(math.nextafter(result[0], math.inf) if result[0] < top else result[0])
        if result[0] == result[1]:
            result[0] = math.nextafter(result[1], -math.inf)
    return tuple(result)


def _grid(low: float, high: float, whole: bool) -> tuple[int, int, int]:
    """Exponent of the fine step, bits from fine to coarse, and the fine grid point of the middle of the range."""
    half = high / 2 - low / 2
    _, width = math.frexp(half) if half > 0 else math.frexp(max(abs(low), 1e-300))
    exponent = max(width + 1 - FINE_BITS, -1000)
    shift = FINE_BITS - COARSE_BITS
    if whole and exponent < 0:  # whole numbers lie on the grid of step 1 exactly
        shift = max(0, exponent + shift)
        exponent = 0
    middle = low / 2 + high / 2
    return exponent, shift, round(_ratio(middle, exponent))


def _ratio(value: float, exponent: int) -> Fraction:
    """``value / 2**exponent`` as an exact fraction."""
    return Fraction(value) / (Fraction(2) ** exponent)
