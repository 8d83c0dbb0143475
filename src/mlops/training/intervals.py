"""Prediction intervals of a regression, from the errors on rows that the answering model had not seen.

Split conformal prediction on cross-validated errors: the half width is the quantile of the absolute errors that
covers new rows of the same kind with the contract's probability, whatever their distribution. Where large values
have larger errors, the width follows: errors are divided by their typical size around the predicted value first. That
size is learned from the errors of the other folds, as a size that knew the error would make it look small; the quantile
is that of all errors so divided (cross-conformal prediction).

References
----------
Lei, G'Sell, Rinaldo, Tibshirani & Wasserman, "Distribution-free predictive inference for regression", JASA 113
(2018), sections 2.2 and 5.2. Barber, Candès, Ramdas & Tibshirani, "Predictive inference with the jackknife+",
Annals of Statistics 49 (2021), for cross-validated errors. Vovk, "Cross-conformal predictors", Annals of Mathematics
and Artificial Intelligence 74 (2015).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from mlops.manifest import Interval

FloatArray = npt.NDArray[np.float64]

#: Rows from which the width may follow the predicted value, and rows of one bend of it.
FEWEST_SCALED = 200
ROWS_A_KNOT = 50
KNOTS = 12
#: The width is never below this share of the typical one.
FLOOR = 0.1


def fit_interval(
    predicted: FloatArray, actual: FloatArray, coverage: float, fold: npt.NDArray[np.int64]
) -> Interval | None:
    """The interval around a predicted value; None when the rows are too few for the coverage.

    Parameters
    ----------
    predicted : of rows that the predicting model had not seen; shape (rows,).
    coverage : share of new rows whose true value is to lie within, between 0 and 1.
    fold : which model predicted each row; shape (rows,).
    """
    errors = np.abs(actual - predicted)
    if _rank(len(errors), coverage) > len(errors):
        return None
    bends = min(KNOTS, len(errors) // ROWS_A_KNOT) if len(errors) >= FEWEST_SCALED else 1
    values, scale = _scale(predicted, errors, bends)
    share = errors / np.interp(predicted, values, scale)
    numbers = np.unique(fold)
    for number in numbers if bends > 1 and len(numbers) > 1 else ():
        inside = fold == number
        other = _scale(predicted[~inside], errors[~inside], bends)
        share[inside] = errors[inside] / np.interp(predicted[inside], *other)
    quantile = float(np.sort(share)[_rank(len(share), coverage) - 1])
    widths = [float(s * quantile) for s in scale]
    return Interval(coverage, tuple(float(v) for v in values), tuple(widths))


def _rank(rows: int, coverage: float) -> int:
    """Rank of the error that ``rows`` errors need for the coverage of the next one."""
    return math.ceil((rows + 1) * coverage - 1e-9)


def _scale(predicted: FloatArray, errors: FloatArray, bends: int) -> tuple[FloatArray, FloatArray]:
    """Typical error by predicted value, as points of a line with so many ``bends``; one is no line but a number."""
    typical = float(errors.mean())
    if bends == 1 or typical == 0:
        return np.array([float(np.median(predicted))]), np.array([typical or 1.0])
    order = np.argsort(predicted, kind="stable")
    groups = np.array_split(order, min(bends, len(order)))
    centres = np.array([predicted[g].mean() for g in groups])
    sizes = np.array([errors[g].mean() for g in groups])
    different = np.concatenate([[True], np.diff(centres) > 0])
    return centres[different], np.maximum(sizes, FLOOR * typical)[different]
