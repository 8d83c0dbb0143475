"""Could sampling alone explain the difference? Tests on counts, valid for few rows and rare cells as well."""

from __future__ import annotations

import math

import numpy as np

from mlops.drift.methods import Cells, Vector
from mlops.drift.special import chi2_sf, normal_two_sided

#: A cell in which either sample expects fewer rows is too rare for the chi-square approximation (Cochran 1954).
LEAST = 5.0


def homogeneity(cells: Cells) -> float:
    """P-value of the hypothesis that both samples come from one distribution.

    Pearson's chi-square test on cells that are common enough, rare ones pooled with their neighbours (numbers) or
    with each other (categories). Pooling would hide a rare value that becomes frequent, so every rare cell is also
    tested by itself, exactly (Fisher 1934), with Bonferroni's correction over the rare cells; twice the smaller of
    the two p-values is returned. 1.0 when either side has no rows or there is nothing to compare.
    """
    n, m = float(cells.old.sum()), float(cells.new.sum())
    if n == 0 or m == 0:
        return 1.0
    common = _chi_square(*_pool(cells))
    total = cells.old + cells.new
    rare = np.flatnonzero((total > 0) & (total * min(n, m) / (n + m) < LEAST))
    if not len(rare):
        return common
    exact = min(exact_rate(int(cells.old[i]), int(n), int(cells.new[i]), int(m), prior=cells.old[i] == 0) for i in rare)
    return min(1.0, 2 * min(common, exact * len(rare)))


def change_of_rate(old: int, old_rows: int, new: int, new_rows: int) -> float:
    """P-value, two-sided, that a rate such as that of missing values did not change. 1.0 without rows.

    The two-proportion z test with pooled variance, or Fisher's exact test where fewer than five are expected.
    """
    if old_rows == 0 or new_rows == 0:
        return 1.0
    pooled = (old + new) / (old_rows + new_rows)
    if min(old_rows, new_rows) * min(pooled, 1 - pooled) < LEAST:
        if pooled > 0.5:
            old, new = old_rows - old, new_rows - new
        return exact_rate(old, old_rows, new, new_rows, prior=old == 0)
    variance = pooled * (1 - pooled) * (1 / old_rows + 1 / new_rows)
    return normal_two_sided((new / new_rows - old / old_rows) / math.sqrt(variance))


def exact_rate(old: int, old_rows: int, new: int, new_rows: int, *, prior: bool = False) -> float:
    """Fisher's exact test that ``old`` of ``old_rows`` and ``new`` of ``new_rows`` share one rate; two-sided by
    doubling the smaller tail.

    ``prior`` adds one such row to the old side. It is for cells that are empty by construction (outside the range
    that the old data itself defined): even without drift new data falls there now and then.
    """
    if prior:
        old, old_rows = old + 1, old_rows + 1
    upper = _hypergeometric_tail(new, old + new, new_rows, old_rows + new_rows)
    lower = _hypergeometric_tail(old, old + new, old_rows, old_rows + new_rows)
    return min(1.0, 2 * min(upper, lower))


def _hypergeometric_tail(hits: int, marked: int, drawn: int, rows: int) -> float:
    """P(X >= hits) where X of ``drawn`` rows, out of ``rows`` with ``marked`` marked ones, are marked."""
    total = 0.0
    for x in range(max(hits, drawn + marked - rows), min(marked, drawn) + 1):
        term = math.exp(
            _choose(marked, x) + _choose(rows - marked, drawn - x) - _choose(rows, drawn)
        )  # logarithms: the numbers themselves overflow
        total += term
        if x > hits and term < total * 1e-15:
            break
    return min(1.0, total)


def _choose(n: int, k: int) -> float:
    """Logarithm of the binomial coefficient."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _chi_square(old: Vector, new: Vector) -> float:
    n, m = float(old.sum()), float(new.sum())
    if len(old) < 2 or n == 0 or m == 0:
        return 1.0
    total = old + new
    expected_old, expected_new = total * n / (n + m), total * m / (n + m)
    statistic = float(((old - expected_old) ** 2 / expected_old + (new - expected_new) ** 2 / expected_new).sum())
    return chi2_sf(statistic, len(old) - 1)


def _pool(cells: Cells) -> tuple[Vector, Vector]:
    """Counts of both samples over groups of cells in which each expects at least ``LEAST`` rows."""
    total = cells.old + cells.new
    share = min(float(cells.old.sum()), float(cells.new.sum())) / float(total.sum())
    order = np.arange(len(total)) if cells.ordered else np.argsort(total, kind="stable")
    groups: list[list[int]] = []
    open_group: list[int] = []
    for index in order.tolist():
        open_group.append(index)
        if float(total[open_group].sum()) * share >= LEAST:
            groups.append(open_group)
            open_group = []
    if open_group and groups:
        groups[-1].extend(open_group)
    elif open_group:
        groups.append(open_group)
    return (
        np.array([float(cells.old[g].sum()) for g in groups]),
        np.array([float(cells.new[g].sum()) for g in groups]),
    )
