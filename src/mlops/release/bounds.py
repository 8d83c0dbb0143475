"""Bounds that hold at every look, so that checking each minute cannot fool a release.

A usual 95 % interval is right 95 times in 100 when it is looked at once. Looked at after every request until it
says what one hopes for, it is wrong far more often. These are *confidence sequences*: with probability
``1 - alpha`` the true value is inside at all times at once.
"""

from __future__ import annotations

import math

_STEPS = 60  # of bisection: to 2**-60


def share_bounds(count: int, total: int, alpha: float) -> tuple[float, float]:
    """Lower and upper bound of a share after ``count`` of ``total``, valid at every ``total`` at once.

    The beta-binomial mixture with a uniform prior: the ratio of the mixture to the likelihood of ``p`` is a
    martingale under ``p``, so by Ville's inequality it reaches ``1 / alpha`` with probability at most ``alpha``.
    Robbins (1970), "Statistical methods related to the law of the iterated logarithm"; Howard et al. (2021),
    "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49.

    Raises
    ------
    ValueError
        when ``count`` is not between 0 and ``total`` or ``alpha`` not between 0 and 1.

    Examples
    --------
    >>> low, high = share_bounds(2, 100, alpha=0.05)
    >>> round(low, 3), round(high, 3)
    (0.0, 0.113)
    """
    if not 0 <= count <= total or not 0 < alpha < 1:
        raise ValueError(f"a share of {count} in {total} at alpha {alpha}")
    if total == 0:
        return 0.0, 1.0
    rest = total - count
    # log of the mixture, Beta(count + 1, rest + 1), less the threshold
    ceiling = math.lgamma(count + 1) + math.lgamma(rest + 1) - math.lgamma(total + 2) + math.log(alpha)

    def inside(p: float) -> bool:
        likelihood = (count * math.log(p) if count else 0.0) + (rest * math.log1p(-p) if rest else 0.0)
        return ceiling < likelihood

    middle = count / total
    low, high = 0.0, 1.0
    if count:
        outer, inner = 0.0, middle
        for _ in range(_STEPS):
            p = (outer + inner) / 2
            outer, inner = (outer, p) if p > 0 and (p == 1 or inside(p)) else (p, inner)
        low = outer
    if rest:
        outer, inner = 1.0, middle
        for _ in range(_STEPS):
            p = (outer + inner) / 2
            outer, inner = (outer, p) if p < 1 and (p == 0 or inside(p)) else (p, inner)
        high = outer
    return low, high


def mean_margin(total: int, variance: float, alpha: float, planned: int) -> float:
    """Half the width of a confidence sequence for a mean, from the sample's variance.

    Asymptotic: right as the sample grows, without a bound on the values. Waudby-Smith, Arbour, Sinha, Kennedy and
    Ramdas (2024), "Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics
    52, theorem 2.2, tightest near ``planned`` values.

    Parameters
    ----------
    total : values seen.
    variance : of the values, in their unit squared.
    planned : how many values are expected when the decision is taken.
    """
    if total < 2:
        return math.inf
    logarithm = -2 * math.log(alpha)
    rho2 = (logarithm + math.log(logarithm + 1)) / max(planned, 1)
    spread = total * rho2 + 1
    return math.sqrt(max(variance, 0.0) * 2 * spread / (total**2 * rho2) * math.log(math.sqrt(spread) / alpha))
