"""Do columns still go together as they did? Sees what no single column shows.

For every watched pair the correlation in training and now are compared (Pearson's, on scores that end four standard
deviations from the mean). Two answers, as for single columns:

- *How far*: the population stability index of two normal pairs with those correlations, so that the contract's one
  threshold means the same for columns and for pairs. Between columns that did not go together, 0.2 is a correlation
  of 0.41; between 0.8 and 0.6 it is 0.26.
- *Could it be chance*: Fisher's z (Biometrika 10, 1915) of both correlations, with the variance that the training
  data itself has (Devlin, Gnanadesikan and Kettenring, Biometrika 62, 1975), so that neither skewed columns nor
  categories raise false alarms.

Pearson's correlation ignores a change of the columns' means and spreads: those are the single columns' drift.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from mlops.drift.special import normal_two_sided
from mlops.statistics.axis import Axis
from mlops.statistics.relations import Pairs, Relations

#: Columns that say nearly the same: from here on correlations count as equal, the last percent is no drift.
CLOSE = 0.95
#: Correlations are told apart up to here, on Fisher's scale. A column and its copy have no variance at all: chance is
#: never taken to be less than what a pair of normal columns with this correlation has.
FURTHEST = 0.999
#: Rows that both sides need.
LEAST = 50


@dataclass(frozen=True)
class Change:
    """One pair's correlation, in training (``was``) and now; ``effect`` is ``value`` without the ``noise``."""

    pair: tuple[int, int]
    was: float
    now: float
    value: float
    noise: float
    effect: float
    p_value: float


def compare(relations: Relations, old: Pairs, new: Pairs) -> Iterator[Change]:
    """Every pair that both sides know well enough."""
    for position, pair in enumerate(relations.pairs):
        n, m = old.rows[position], new.rows[position]
        was, now = old.correlation(position), new.correlation(position)
        if min(n, m) < LEAST or was is None or now is None:
            continue
        chance = max(relations.variance[position], (1 - FURTHEST**2) ** 2) * (1 / n + 1 / m)
        value = normal_psi(was, now)
        noise = information(was) * chance
        spread = math.sqrt(chance) / (1 - min(abs(was), FURTHEST) ** 2)
        p_value = normal_two_sided((_z(now) - _z(was)) / spread)
        yield Change(pair, was, now, value, noise, max(0.0, value - noise), p_value)


def normal_psi(was: float, now: float) -> float:
    """Population stability index (the symmetrised Kullback-Leibler divergence) of two pairs of standard normal
    columns with these correlations. Kullback, *Information Theory and Statistics*, 1959, chapter 9.

    >>> round(normal_psi(0.0, 0.408), 2), round(normal_psi(0.8, 0.6), 2), normal_psi(0.96, 0.99)
    (0.2, 0.26, 0.0)
    """
    a, b = _bounded(was), _bounded(now)
    return max(0.0, (1 - a * b) * (1 / (1 - a * a) + 1 / (1 - b * b)) - 2)


def information(correlation: float) -> float:
    """What a small change of the correlation, squared, is multiplied with in :func:`normal_psi` (Fisher information).

    >>> round(normal_psi(0.5, 0.501) / 0.001**2, 1), round(information(0.5), 1)
    (2.2, 2.2)
    """
    square = _bounded(correlation) ** 2
    return (1 + square) / (1 - square) ** 2


def label(relations: Relations, axes: tuple[Axis, ...], position: int) -> str:
    """A score's name for people."""
    score = relations.scores[position]
    name = axes[score.axis].name
    return name if score.level is None else f"{name} = {score.level}"


def _bounded(correlation: float) -> float:
    return max(-CLOSE, min(CLOSE, correlation))


def _z(correlation: float) -> float:
    return math.atanh(max(-FURTHEST, min(FURTHEST, correlation)))
