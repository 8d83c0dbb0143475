"""From a column's tallies to the cells that are compared, and to the labels that people read."""

from __future__ import annotations

import math

import numpy as np

from mlops.drift.methods import Cells, Vector
from mlops.features.parse import format_date
from mlops.report.markup import number
from mlops.statistics.axis import Axis
from mlops.statistics.tally import Tally

OTHER = "other"
MISSING = "missing"


def compared(axis: Axis, old: Tally, new: Tally, *, apart: bool = False) -> Cells:
    """The cells of present values.

    The outermost bins of a continuous column are open-ended, unless values outside its range are to be kept ``apart``;
    a discrete column gets a cell for values below and one for values above what it knew; a category one for levels
    that its axis does not name.
    """
    before = np.array(old.counts, dtype=np.float64)
    after = np.array(new.counts, dtype=np.float64)
    if axis.kind == "category":
        return Cells(np.append(before, old.other), np.append(after, new.other), ordered=False)
    if axis.discrete or apart or not len(before):
        before = np.concatenate([[old.below], before, [old.above]])
        after = np.concatenate([[new.below], after, [new.above]])
        return Cells(before, after, True, _outer_middles(axis), _scale(axis, old))
    before[0] += old.below
    before[-1] += old.above
    after[0] += new.below
    after[-1] += new.above
    return Cells(before, after, True, _middles(axis), _scale(axis, old))


def shown(axis: Axis, tally: Tally) -> list[tuple[str, float | None]]:
    """Label and share of all rows for each cell, for a figure; missing values included."""
    rows = tally.known
    counts: list[tuple[str, int]]
    if axis.kind == "category":
        counts = list(zip(axis.levels[:12], tally.counts[:12], strict=True))
        counts.append((OTHER, sum(tally.counts[12:]) + tally.other))
    elif axis.kind == "private":
        counts = [("present", tally.present)]
    else:
        counts = [("below", tally.below)]
        counts += list(zip(_bin_labels(axis), tally.counts, strict=True))
        counts.append(("above", tally.above))
    counts.append((MISSING, tally.missing))
    return [(label, count / rows if rows else None) for label, count in counts]


def _bin_labels(axis: Axis) -> list[str]:
    if not axis.discrete:
        return [write(axis, low) for low in axis.edges[:-1]]
    if axis.type == "boolean":
        return ["no", "yes"][: axis.cells]
    return [write(axis, value) for value in _values(axis)]


def _values(axis: Axis) -> list[float]:
    """The one value in each bin of a discrete axis: edges lie half-way between neighbours."""
    if not axis.edges:
        return []
    values = [axis.edges[0] / 2 + axis.edges[1] / 2]
    for edge in axis.edges[1:-1]:
        values.append(2 * edge - values[-1])
    return values


def write(axis: Axis, value: float) -> str:
    """A value of this column for people."""
    if axis.type == "date" and abs(value) < 700_000:
        return format_date(float(math.floor(value)))
    return number(value, 3)


def _middles(axis: Axis) -> Vector:
    edges = np.array(axis.edges, dtype=np.float64)
    return edges[:-1] / 2 + edges[1:] / 2


def _outer_middles(axis: Axis) -> Vector:
    if not axis.edges:
        return np.array([0.0, 1.0])
    return np.concatenate([[axis.edges[0]], _middles(axis), [axis.edges[-1]]])


def _scale(axis: Axis, old: Tally) -> float:
    """Standard deviation of the old data; for a constant the width of its bin."""
    deviation = old.deviation(axis)
    if deviation is not None and deviation > 0 and math.isfinite(deviation):
        return deviation
    width = (axis.edges[-1] - axis.edges[0]) if axis.edges else 1.0
    return width if width > 0 and math.isfinite(width) else 1.0
