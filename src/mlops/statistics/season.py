"""The training data by hour, weekday or month: what a window of that time is compared with.

A night differs from a whole day and a January from a whole year, without any drift. So the counts of the training
data are kept apart by the unit of time that its columns follow most, and a window meets the same hours, weekdays or
months of the training data. All times are UTC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Unit = Literal["hour", "weekday", "month"]

#: Unit -> its slots, and the days that a training set must span before the unit can be told from chance.
SLOTS: Mapping[Unit, int] = {"hour": 24, "weekday": 7, "month": 12}
HISTORY: Mapping[Unit, float] = {"hour": 7.0, "weekday": 28.0, "month": 700.0}
_NAMES = {
    "weekday": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "month": ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
              "November", "December"),
}  # fmt: skip

Days = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Slots:
    """Slots of a unit, from 0: hours of the day, weekdays from Monday, months from January."""

    unit: Unit
    positions: frozenset[int]

    @property
    def whole(self) -> bool:
        """Whether that is all there are, so that it makes no difference."""
        return len(self.positions) >= SLOTS[self.unit]

    def __str__(self) -> str:
        names = _NAMES.get(self.unit)
        shown = [names[p] if names else f"{p:02d}:00" for p in sorted(self.positions)]
        return ", ".join(shown) if len(shown) <= 6 else f"{shown[0]} to {shown[-1]} ({len(shown)})"


def slots(unit: Unit, days: Days) -> npt.NDArray[np.int64]:
    """The slot of each time; ``days`` since 1970-01-01T00:00Z, finite, float64 of shape (rows,).

    >>> slots("weekday", np.array([0.0, 4.5])).tolist()  # a Thursday and a Monday
    [3, 0]
    >>> slots("hour", np.array([0.99])).tolist(), slots("month", np.array([31.0])).tolist()
    ([23], [1])
    """
    whole = np.floor(days)
    if unit == "hour":
        return np.minimum(np.floor((days - whole) * 24).astype(np.int64), 23)
    if unit == "weekday":
        found: npt.NDArray[np.int64] = np.mod(whole + 3, 7).astype(np.int64)
        return found
    months = whole.astype(np.int64).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return np.mod(months, 12)


def between(unit: Unit, start: float, end: float) -> Slots:
    """Slots that a window from ``start`` to before ``end`` touches, in days since 1970."""
    step = {"hour": 1 / 24, "weekday": 1.0, "month": 1.0}[unit]
    span = {"hour": 1.0, "weekday": 7.0, "month": 366.0}[unit]
    last = min(end, start + span)
    times = [start + i * step for i in range(math.ceil((last - start) / step))] + [math.nextafter(last, start)]
    return Slots(unit, frozenset(slots(unit, np.array(times)).tolist()))


def of_rows(unit: Unit, days: Days) -> Slots:
    """Slots in which at least one row in a hundred lies; times that are missing or out of the calendar left out."""
    usable = days[np.isfinite(days) & (np.abs(days) < 700_000)]
    if not len(usable):
        return Slots(unit, frozenset(range(SLOTS[unit])))
    counts = np.bincount(slots(unit, usable), minlength=SLOTS[unit])
    return Slots(unit, frozenset(np.flatnonzero(counts * 100 >= len(usable)).tolist()))


def read_unit(data: Any) -> Unit:
    """A unit by its name.

    Raises
    ------
    ValueError
        for another name.
    """
    if data not in SLOTS:
        raise ValueError(f"unknown unit of time {data!r}")
    unit: Unit = data
    return unit
