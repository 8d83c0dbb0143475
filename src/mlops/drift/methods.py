"""How far apart two distributions are, from their counts on the same cells.

Every method is a pure function of two count vectors, is finite for every input with at least one row on each side,
is zero for equal shares, and grows as distributions part: **larger is worse** for all of them.

Even without any drift two samples differ. So each method also states the value to expect from sampling alone, its
``noise``; :func:`measure` takes that out before the value meets a threshold. Without it, small windows would raise
false alarms and a threshold would mean something else for every window size.

Thresholds are stated for PSI. For another method the equivalent is used: the value that the same shift of a
normal distribution's mean gives (PSI 0.2 is a shift of 0.45 standard deviations).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """Two samples counted on the same cells.

    Attributes
    ----------
    old, new : rows per cell, float64 of shape (cells,), whole numbers. Cells in order of value when ``ordered``.
    ordered : whether the order of the cells means something (numbers), or not (categories).
    middles : a value that stands for each cell, float64 of shape (cells,), when ordered.
    scale : standard deviation of the old data, for normalising distances; positive.
    """

    old: Vector
    new: Vector
    ordered: bool = True
    middles: Vector | None = None
    scale: float = 1.0

    @property
    def spread(self) -> float:
        """1/n + 1/m: how noisy a comparison of n with m rows is."""
        return 1.0 / max(1.0, float(self.old.sum())) + 1.0 / max(1.0, float(self.new.sum()))

    @property
    def used(self) -> int:
        """Cells in which either sample has rows."""
        return int(((self.old + self.new) > 0).sum())


@dataclass(frozen=True)
class Method:
    """``value``: the measure; ``noise``: the size to expect without drift; ``threshold``: PSI threshold -> its own;
    ``squared``: whether noise adds to the value in squares (distances) or plainly (divergences)."""

    value: Callable[[Cells], float]
    noise: Callable[[Cells], float]
    threshold: Callable[[float], float]
    squared: bool
    ordered_only: bool = False


@dataclass(frozen=True)
class Measured:
    """``value`` as measured, ``noise`` expected of sampling, ``effect``: the value without the noise, from 0."""

    method: str
    value: float
    noise: float
    effect: float
    threshold: float


def shares(counts: Vector, *, smooth: float = 0.0) -> Vector:
    """Counts as shares that add up to 1, ``smooth`` rows added to each cell."""
    raised = counts + smooth
    total = raised.sum()
    return raised / total if total > 0 else np.full(len(counts), 1.0 / max(1, len(counts)))


def psi(cells: Cells) -> float:
    """Population stability index, sum of (q - p) ln(q / p), with half a row added to each used cell so that an
    empty one gives a finite value. Siddiqi, *Credit Risk Scorecards*, 2006."""
    keep = (cells.old + cells.new) > 0
    p, q = shares(cells.old[keep], smooth=0.5), shares(cells.new[keep], smooth=0.5)
    return float(((q - p) * np.log(q / p)).sum())


def jensen_shannon(cells: Cells) -> float:
    """Jensen-Shannon distance, base 2, in [0, 1]. Lin, IEEE Trans. Information Theory 37, 1991; Endres and
    Schindelin 2003 (the square root is a metric)."""
    p, q = shares(cells.old), shares(cells.new)
    m = (p + q) / 2
    return math.sqrt(max(0.0, (_kl(p, m) + _kl(q, m)) / 2))


def hellinger(cells: Cells) -> float:
    """Hellinger distance, in [0, 1]."""
    p, q = shares(cells.old), shares(cells.new)
    return math.sqrt(max(0.0, float(((np.sqrt(p) - np.sqrt(q)) ** 2).sum()) / 2))


def kolmogorov_smirnov(cells: Cells) -> float:
    """Largest difference of the cumulative shares at the cells' borders, in [0, 1]. It cannot see a change
    within a cell, so it is at most the statistic of the unbinned data."""
    return float(np.abs(np.cumsum(shares(cells.new) - shares(cells.old))).max(initial=0.0))


def wasserstein(cells: Cells) -> float:
    """Wasserstein-1 distance between the binned distributions, every cell at its middle, in units of the old
    standard deviation."""
    difference = np.abs(np.cumsum(shares(cells.new) - shares(cells.old)))[:-1]
    return float((difference * _gaps(cells)).sum())


def cramers_v(cells: Cells) -> float:
    """Cramer's V of the 2 x cells table, in [0, 1]: the chi-square statistic's effect size, taken at equal sample
    sizes so that it depends on the shares alone."""
    p, q = shares(cells.old), shares(cells.new)
    total = p + q
    keep = total > 0
    return math.sqrt(float((((p - q) ** 2)[keep] / total[keep]).sum()) / 2)


def total_variation(cells: Cells) -> float:
    """Half the summed difference of shares, in [0, 1]: the share of rows that would have to change cell."""
    return float(np.abs(shares(cells.new) - shares(cells.old)).sum() / 2)


def new_share(cells: Cells) -> float:
    """Share of new rows in cells where the old data has none, in [0, 1]."""
    return float(shares(cells.new)[cells.old == 0].sum()) if cells.new.sum() > 0 else 0.0


def _kl(p: Vector, m: Vector) -> float:
    keep = p > 0
    return float((p[keep] * np.log2(p[keep] / m[keep])).sum())


def _gaps(cells: Cells) -> Vector:
    if cells.middles is None:
        return np.ones(max(0, len(cells.old) - 1))
    return np.diff(cells.middles) / cells.scale


def _chi_noise(cells: Cells) -> float:
    """Expected PSI without drift: (cells - 1)(1/n + 1/m). Yurdakul and Naranjo, *Statistical properties of the
    population stability index*, 2020: PSI / (1/n + 1/m) is chi-square with cells - 1 degrees of freedom."""
    return max(0, cells.used - 1) * cells.spread


def _kolmogorov_noise(cells: Cells) -> float:
    """The mean square of the Kolmogorov distribution is pi**2 / 12. Seen at the cells' borders only, its root is
    smaller by 0.5826 times the root of a cell's share (the continuity correction of a discretely watched Brownian
    motion; Broadie, Glasserman and Kou 1997)."""
    share = float((shares(cells.old + cells.new) ** 2).sum())
    return max(0.0, math.pi / math.sqrt(12) - 0.5826 * math.sqrt(share)) * math.sqrt(cells.spread)


def _pooled_roughness(cells: Cells) -> Vector:
    f = np.cumsum(shares(cells.old + cells.new))[:-1]
    return np.sqrt(np.clip(f * (1 - f), 0.0, None))


def _wasserstein_noise(cells: Cells) -> float:
    """Mean of |F - G| without drift is sqrt(2/pi) sqrt(F(1-F)(1/n + 1/m)) at each border."""
    return float((_pooled_roughness(cells) * _gaps(cells)).sum() * math.sqrt(2 / math.pi * cells.spread))


def _total_variation_noise(cells: Cells) -> float:
    p = shares(cells.old + cells.new)
    return float(np.sqrt(p * (1 - p)).sum() / 2 * math.sqrt(2 / math.pi * cells.spread))


#: The method that asks which values training did not have.
NEW_SHARE = "new_share"

METHODS: Mapping[str, Method] = {
    "psi": Method(psi, _chi_noise, lambda t: t, squared=False),
    "jensen_shannon": Method(
        jensen_shannon,
        lambda c: math.sqrt(_chi_noise(c) / (8 * math.log(2))),
        lambda t: min(1.0, math.sqrt(t / (8 * math.log(2)))),
        squared=True,
    ),
    "hellinger": Method(
        hellinger, lambda c: math.sqrt(_chi_noise(c) / 8), lambda t: min(1.0, math.sqrt(t / 8)), squared=True
    ),
    "cramers_v": Method(
        cramers_v, lambda c: math.sqrt(_chi_noise(c) / 4), lambda t: min(1.0, math.sqrt(t / 4)), squared=True
    ),
    "ks": Method(
        kolmogorov_smirnov,
        _kolmogorov_noise,
        lambda t: math.erf(math.sqrt(t) / (2 * math.sqrt(2))),
        squared=True,
        ordered_only=True,
    ),
    "wasserstein": Method(wasserstein, _wasserstein_noise, math.sqrt, squared=True, ordered_only=True),
    "total_variation": Method(
        total_variation,
        _total_variation_noise,
        lambda t: math.erf(math.sqrt(t) / (2 * math.sqrt(2))),
        squared=True,
    ),
    NEW_SHARE: Method(new_share, lambda _: 0.0, lambda t: min(1.0, t / 2), squared=False),
}

#: PSI relies on several rows a cell; below this many rows a cell another method is chosen.
ROWS_PER_CELL = 10


def choose(cells: Cells) -> str:
    """The method for a column that nobody chose one for: ``psi`` with at least ``ROWS_PER_CELL`` rows a cell on
    each side, else ``ks`` for numbers and ``hellinger`` for categories, which need no ratio of small counts."""
    if min(cells.old.sum(), cells.new.sum()) >= ROWS_PER_CELL * cells.used:
        return "psi"
    return "ks" if cells.ordered else "hellinger"


def measure(cells: Cells, *, threshold: float, method: str | None = None) -> Measured:
    """Measure with ``method`` (None: :func:`choose`); ``threshold`` is stated for PSI.

    A method that needs an order falls back to ``total_variation`` for categories, which is the Wasserstein
    distance when all categories are equally far apart.

    Raises
    ------
    KeyError
        for an unknown method.
    """
    name = method or choose(cells)
    if METHODS[name].ordered_only and not cells.ordered:
        name = "total_variation"
    chosen = METHODS[name]
    value, noise = chosen.value(cells), chosen.noise(cells)
    effect = math.sqrt(max(0.0, value**2 - noise**2)) if chosen.squared else max(0.0, value - noise)
    return Measured(name, value, noise, effect, chosen.threshold(threshold))
