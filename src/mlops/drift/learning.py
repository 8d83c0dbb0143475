"""What the training data's own times tell: with what a window is to be compared, and how much is normal.

Two things are learned where the contract has a timestamp and the rows span enough time:

- the **season**: the one of hour, weekday and month that the columns follow most, if they follow any;
- the **unrest**: the furthest that a period as long as a window lies from the rest of the training data (of the same
  season). A threshold below that would raise alarms over what the model has learned from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mlops.drift import cells as cells_of
from mlops.drift import methods
from mlops.drift import relations as relations_of
from mlops.features.columns import Columns
from mlops.statistics import season as seasons
from mlops.statistics.baseline import Baseline, Counts, Scores, Season, Unrest, accumulate, merge_all, without
from mlops.statistics.season import HISTORY, SLOTS, Days, Unit

#: Rows that every slot of a season must have.
SLOT_ROWS = 100
#: Population stability index between a slot and the rest, averaged over slots, from which a column follows a season.
SEASONAL = 0.1
#: Periods from which something can be learned, and at most counted.
LEAST_PERIODS, MOST_PERIODS = 8, 200

Index = npt.NDArray[np.intp]


def learn(
    baseline: Baseline, table: Columns, days: Days, scores: Scores | None, *, window_days: float, min_rows: int
) -> Baseline:
    """``baseline`` with its season and unrest, as far as its rows' times allow.

    Parameters
    ----------
    table, scores : what the baseline was built from.
    days : time of each row in days since 1970, NaN where unknown; float64, shape (rows,).
    window_days : length of the windows to come.
    min_rows : fewest rows of a window.
    """
    timed = np.flatnonzero(np.isfinite(days) & (np.abs(days) < 700_000))
    if len(timed) < max(2, len(days) // 2):
        return baseline

    def count(rows: Index) -> Counts:
        return accumulate(baseline, table.take(rows), None if scores is None else scores[rows])

    span = float(days[timed].max() - days[timed].min())
    candidates = [_season(baseline, unit, days, timed, count) for unit in SLOTS if span >= HISTORY[unit]]
    strongest = max((c for c in candidates if c), key=lambda c: c[0], default=None)
    if strongest:
        baseline = replace(baseline, season=strongest[1])
    return replace(baseline, unrest=_unrest(baseline, days, timed, count, window_days=window_days, min_rows=min_rows))


def _season(
    baseline: Baseline, unit: Unit, days: Days, timed: Index, count: Callable[[Index], Counts]
) -> tuple[float, Season] | None:
    """How strongly the columns follow a unit, and their counts by it; None when they do not, or rows are too few."""
    positions = seasons.slots(unit, days[timed])
    sizes = np.bincount(positions, minlength=SLOTS[unit])
    used = np.flatnonzero(sizes)
    if len(used) < 2 or sizes[used].min() < SLOT_ROWS:
        return None
    slots = {int(s): count(timed[positions == s]) for s in used}
    whole = merge_all(baseline, slots.values())
    rest = {s: without(whole, counts) for s, counts in slots.items()}
    effects = np.array([_effects(baseline, rest[s], slots[s]) for s in slots])
    strength = np.average(effects, axis=0, weights=sizes[used])
    if float(strength.max(initial=0.0)) < SEASONAL:
        return None
    return float(strength.sum()), Season(unit, slots)


def _unrest(
    baseline: Baseline,
    days: Days,
    timed: Index,
    count: Callable[[Index], Counts],
    *,
    window_days: float,
    min_rows: int,
) -> Unrest | None:
    order = timed[np.argsort(days[timed], kind="stable")]
    periods, length = _periods(days[order], window_days, max(min_rows, 2))
    if len(periods) < LEAST_PERIODS:
        return None
    whole = count(timed)
    columns, missing, pairs = [], [], []
    for start, stop in periods:
        rows = order[start:stop]
        part, reference = count(rows), whole
        if baseline.season:
            reference = baseline.during(seasons.of_rows(baseline.season.unit, days[rows])).counts
            reference = _without_own(baseline, reference, part, days[rows])
        else:
            reference = without(whole, part)
        columns.append(_effects(baseline, reference, part))
        missing.append(_missing(reference, part))
        pairs.append(_pair_effects(baseline, reference, part))
    return Unrest(_largest(columns), _largest(missing), _largest(pairs), round(length, 6), len(periods))


def _without_own(baseline: Baseline, reference: Counts, part: Counts, days: Days) -> Counts:
    """The reference without the period's own rows. Rows in slots that the period hardly touches are not in it."""
    season = baseline.season
    if season is None or set(seasons.slots(season.unit, days).tolist()) - set(
        seasons.of_rows(season.unit, days).positions
    ):
        return reference
    return without(reference, part)


def _periods(days: Days, window_days: float, min_rows: int) -> tuple[list[tuple[int, int]], float]:
    """Stretches of rows in order of time, as long as a window, or longer where that is needed for enough rows; and
    their length in days."""
    span = float(days[-1] - days[0])
    length = max(window_days, span * min_rows / len(days))
    if length <= 0 or span / length < LEAST_PERIODS:
        return [], length
    edges = np.searchsorted(days, days[0] + length * np.arange(int(span / length) + 1), side="left").tolist()
    found, start = [], edges[0]
    for stop in edges[1:]:
        if stop - start >= min_rows:
            found.append((start, stop))
            start = stop
    # More than are needed: some of them, evenly over the time. Longer ones instead would differ by less than a window.
    chosen = np.linspace(0, len(found) - 1, min(len(found), MOST_PERIODS)).astype(int).tolist()
    return [found[i] for i in chosen], length


def _effects(baseline: Baseline, old: Counts, new: Counts) -> list[float]:
    found = []
    for axis, before, after in zip(baseline.axes, old.tallies, new.tallies, strict=True):
        if axis.kind == "private" or not before.present or after.present < 2:
            found.append(0.0)
            continue
        compared = cells_of.compared(axis, before, after)
        found.append(methods.measure(compared, threshold=1.0, method="psi").effect)
    return found


def _missing(old: Counts, new: Counts) -> list[float]:
    pairs = zip(old.tallies, new.tallies, strict=True)
    return [abs(b.missing / b.known - a.missing / a.known) if a.known and b.known else 0.0 for a, b in pairs]


def _pair_effects(baseline: Baseline, old: Counts, new: Counts) -> list[float]:
    if baseline.relations is None or old.pairs is None or new.pairs is None:
        return []
    found = dict.fromkeys(baseline.relations.pairs, 0.0)
    found.update({c.pair: c.effect for c in relations_of.compare(baseline.relations, old.pairs, new.pairs)})
    return list(found.values())


def _largest(effects: list[list[float]]) -> tuple[float, ...]:
    return tuple(round(float(v), 6) for v in np.max(np.array(effects), axis=0))
