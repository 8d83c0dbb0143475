"""What fits of a candidate take, told by the trials that were made, and how many rows there is time for."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlops.training.checkpoint import Trial
from mlops.training.families import Candidate

#: Times the expected seconds that are kept free before a hard limit: estimates may be too low.
HEADROOM = 2.0


@dataclass(frozen=True)
class Costs:
    """``trials`` in the order they were made. ``rows`` and ``folds``: what a winner is fitted on, each fold and the
    whole once, if there is time."""

    trials: Sequence[Trial]
    rows: int
    folds: int

    def trial(self, candidate: Candidate, rows: int, folds: int) -> float:
        """Seconds of a trial: from the candidate's own trials, else from the slowest of its family so far."""
        own = [t for t in self.trials if t.candidate.name == candidate.name]
        like = [own] if own else [[t] for t in self.trials if t.candidate.family == candidate.family]
        return max((extrapolated(known, rows) * folds for known in like), default=0.0)

    def last_fits(self, candidate: Candidate, rows: int | None = None) -> float:
        """Seconds of the fits after the search, on all rows or on so many: one on every fold and one on the whole."""
        return self.trial(candidate, self.rows if rows is None else rows, self.folds + 1)

    def known(self, candidate: Candidate, rows: int | None = None) -> float:
        """The same, 0 while it is anybody's guess: a few rows take mostly what does not grow with them, and a hundred
        times that would rule out everything. From two sizes on, or once all rows were tried, it is known."""
        like = [t for t in self.trials if t.candidate.name == candidate.name]
        like = like or [t for t in self.trials if t.candidate.family == candidate.family]
        sizes = {t.rows for t in like}
        return self.last_fits(candidate, rows) if len(sizes) > 1 or self.rows in sizes else 0.0

    def most_rows(self, candidate: Candidate, seconds: float) -> int:
        """On how many rows the candidate's last fits take no more than ``seconds``; 0: on none."""
        sizes = range(1, self.rows + 1)
        return bisect.bisect_right(sizes, seconds, key=lambda rows: self.last_fits(candidate, rows))


def extrapolated(trials: Sequence[Trial], rows: int) -> float:
    """Seconds of one fit on ``rows`` rows: a line through the last two sizes that were tried, else in proportion."""
    last = trials[-1]
    each = last.seconds / last.folds
    smaller = [t for t in trials if t.rows < last.rows]
    if not smaller or rows <= last.rows:
        return each * rows / last.rows
    before = smaller[-1]
    slope = (each - before.seconds / before.folds) / (last.rows - before.rows)
    return min(max(each, each + slope * (rows - last.rows)), each * rows / last.rows)


@dataclass(frozen=True)
class Ended:
    """What is known of a candidate whose last fits were ended: it is ``slower`` than expected by so many times, and
    not to be tried again on more than ``at_most`` rows."""

    slower: float = 1.0
    at_most: float = math.inf

    def again(self, rows: int, took: float, expected: float) -> Ended:
        """The same after one more, ended on ``rows`` rows after ``took`` seconds: nobody knows how many it would have
        needed, so twice as many are expected, on a quarter of the rows at most."""
        slower = 2 * took / expected if expected > 0 else self.slower
        return Ended(max(self.slower, slower), rows // 4)


def choose(
    costs: Costs,
    ranked: Sequence[Trial],
    seconds: float,
    rank: Callable[[Trial], float],
    ended: Mapping[str, Ended],
) -> tuple[Trial, int] | None:
    """Which candidate to fit within ``seconds``, and on how many rows.

    The best of the search, if there is time for as many rows as it was judged on. Else each candidate is worth what it
    was on the most rows, of those that it was tried on, that there is time for: a large model on a part of the rows is
    often better than a small one on all of them.

    Parameters
    ----------
    ranked : the last trial of each candidate, best first.
    rank : of a trial's score, less is better.
    ended : what is known of candidates that were tried in vain, by name.

    Returns
    -------
    The trial that the candidate is judged by, and the rows; None when none can be fitted on rows that it was tried on.
    """
    found: list[tuple[Trial, int]] = []
    for last in ranked:
        name, known = last.candidate.name, ended.get(last.candidate.name, Ended())
        rows = int(min(costs.most_rows(last.candidate, seconds / HEADROOM / known.slower), known.at_most))
        tried = [t for t in costs.trials if t.candidate.name == name and t.rows <= rows]
        if tried:
            found.append((tried[-1], rows))
            if last is ranked[0] and rows >= last.rows:
                return found[0]
    return min(found, key=lambda f: rank(f[0]), default=None)
