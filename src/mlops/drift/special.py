"""Tail probabilities, without scipy: what a test of significance needs.

Sources: DLMF 8.11.4 (series of the lower incomplete gamma function) and 8.9.2 (its continued fraction, evaluated by
Lentz's method); Benjamini and Hochberg 1995. Compared with scipy in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_TINY = 1e-300
_STEPS = 10_000


def chi2_sf(statistic: float, freedom: int) -> float:
    """P(X >= statistic) for X chi-square distributed with ``freedom`` degrees of freedom.

    >>> round(chi2_sf(3.841458820694124, 1), 12)
    0.05
    """
    if freedom <= 0 or statistic <= 0:
        return 1.0
    if math.isinf(statistic):
        return 0.0
    return gamma_q(freedom / 2, statistic / 2)


def gamma_q(a: float, x: float) -> float:
    """The regularised upper incomplete gamma function Q(a, x), for a > 0 and x >= 0."""
    if x <= 0:
        return 1.0
    if x < a + 1:
        term = total = 1.0 / a
        n = a
        for _ in range(_STEPS):
            n += 1
            term *= x / n
            total += term
            if term < total * 1e-17:
                break
        return min(1.0, max(0.0, 1.0 - total * math.exp(a * math.log(x) - x - math.lgamma(a))))
    b = x + 1 - a
    c = 1 / _TINY
    d = 1 / b
    h = d
    for i in range(1, _STEPS):
        an = -i * (i - a)
        b += 2
        d = an * d + b
        d = _TINY if abs(d) < _TINY else d
        c = b + an / c
        c = _TINY if abs(c) < _TINY else c
        d = 1 / d
        step = d * c
        h *= step
        if abs(step - 1) < 1e-16:
            break
    return min(1.0, max(0.0, h * math.exp(a * math.log(x) - x - math.lgamma(a))))


def normal_two_sided(z: float) -> float:
    """P(|Z| >= |z|) for Z standard normal."""
    return math.erfc(abs(z) / math.sqrt(2))


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p-values, in the order given: those at most q are discoveries whose
    expected false share is at most q.

    >>> [round(p, 3) for p in adjusted([0.01, 0.04, 0.03, 0.5])]
    [0.04, 0.053, 0.053, 0.5]
    """
    m = len(p_values)
    result = [1.0] * m
    smallest = 1.0
    for rank, index in sorted(enumerate(sorted(range(m), key=lambda i: p_values[i]), start=1), reverse=True):
        smallest = min(smallest, p_values[index] * m / rank)
        result[index] = smallest
    return result
