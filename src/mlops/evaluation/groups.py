"""Groups of rows by one feature, for slices and fairness: levels of a category, the values of a boolean, ranges of a
number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mlops.features.columns import Columns
from mlops.features.spec import Feature

#: Features with more levels are not sliced unless they are asked for.
MAX_LEVELS = 10


@dataclass(frozen=True)
class Group:
    """A named part of the rows; ``rows`` is a mask, bool, shape (rows,)."""

    name: str
    rows: npt.NDArray[np.bool_]


def sliceable(features: Sequence[Feature]) -> list[Feature]:
    """Features whose values are groups by themselves: booleans, and categories of few levels."""
    return [f for f in features if f.type == "boolean" or (f.type == "category" and len(f.categories) <= MAX_LEVELS)]


def groups_of(feature: Feature, table: Columns, edges: Sequence[float] = ()) -> list[Group]:
    """The groups that have rows.

    Parameters
    ----------
    edges : ascending; cut a number into ranges, each with its lower edge and without its upper one.
    """
    column = table[feature.name]
    missing = column.missing()
    found: list[Group] = []
    if feature.type == "category":
        codes = column.recode(feature.categories)
        found += [Group(level, codes == i) for i, level in enumerate(feature.categories)]
        found.append(Group("(other)", codes == len(feature.categories)))
    elif feature.type == "boolean":
        found += [Group("false", column.values == 0), Group("true", column.values == 1)]
    else:
        bounds = [-np.inf, *edges, np.inf]
        for low, high in pairwise(bounds):
            with np.errstate(invalid="ignore"):
                inside = (column.values >= low) & (column.values < high)
            found.append(Group(_range(low, high), inside))
    found.append(Group("(missing)", missing))
    return [group for group in found if group.rows.any()]


def _range(low: float, high: float) -> str:
    if np.isinf(low):
        return f"below {high:g}"
    return f"{low:g} and above" if np.isinf(high) else f"{low:g} to {high:g}"
