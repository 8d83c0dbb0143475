"""The one encoding from features to the matrix that a model sees.

A model version takes a single float32 matrix of shape (rows, width). Training, evaluation and serving build
it by these rules, and nothing else touches values before the ONNX graph does:

==========  ======  ===============================================================================
type        width   columns
==========  ======  ===============================================================================
number      1       the value rounded to float32, NaN when missing
integer     1       likewise
boolean     1       0, 1, NaN when missing
date        3       days since 1970-01-01 (fraction kept), month 1..12, weekday 0..6 (Monday 0)
category    1       position in ``categories``; ``len`` when missing, ``len + 1`` for any other level and for
                    levels in ``pooled``
==========  ======  ===============================================================================

Rounding to float32 happens *before* training, so an estimator and its ONNX form see the same numbers and no
row can fall on different sides of a tree's threshold for that reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mlops.features.columns import Columns, FloatArray
from mlops.features.layout import WIDTHS, level_codes, missing_code, offsets, other_code, width
from mlops.features.spec import Feature

Matrix = npt.NDArray[np.float32]

__all__ = ["WIDTHS", "Matrix", "date_parts", "encode", "level_codes", "missing_code", "offsets", "other_code", "width"]


def date_parts(days: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Month (1..12) and weekday (0 = Monday) of days since 1970-01-01; NaN stays NaN. float64, shape (rows,)."""
    known = np.isfinite(days)
    whole = np.floor(np.where(known, days, 0.0)).astype(np.int64)
    month = whole.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    weekday = (whole + 3) % 7  # 1970-01-01 was a Thursday
    return np.where(known, month, np.nan), np.where(known, weekday, np.nan)


def encode(features: Sequence[Feature], table: Columns) -> Matrix:
    """Encode a table; shape (rows, width(features)), float32, C order.

    Raises
    ------
    KeyError
        when ``table`` lacks a feature.
    """
    matrix = np.empty((table.rows, width(features)), dtype=np.float32)
    position = 0
    for feature in features:
        column = table[feature.name]
        if feature.type == "category":
            known, other = level_codes(feature), other_code(feature)
            codes = [known.get(level, other) for level in column.levels]
            matrix[:, position] = np.array([*codes, missing_code(feature)], dtype=np.float32)[column.values]
        elif feature.type == "date":
            month, weekday = date_parts(column.values)
            matrix[:, position] = column.values
            matrix[:, position + 1] = month
            matrix[:, position + 2] = weekday
        else:
            matrix[:, position] = column.values
        position += WIDTHS[feature.type]
    return matrix
