"""The parity set: rows on which the ONNX model must answer as the estimator, the awkward ones included.

Beside hold-out rows it holds every missing value that the encoding can carry, every level of every category
with *missing* and *other*, the limits of the contract, magnitudes up to the largest float32, and rows placed
exactly on tree thresholds and on the floats next to them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.features.encoding import WIDTHS, Matrix, level_codes, missing_code, offsets, other_code
from mlops.features.spec import Feature
from mlops.training.estimator import Answering

HOLDOUT_ROWS = 256
BASE_ROWS = 3
THRESHOLDS_PER_COLUMN = 40
MAX_ROWS = 20_000

#: Largest finite float32, and a subnormal number that a careless conversion flushes to zero.
_LIMIT = float(np.finfo(np.float32).max)
_EXTREMES = (0.0, -0.0, 1e-45, 1e-30, -1e-30, 1e6, -1e6, 16777217.0, 1e30, -1e30, _LIMIT, -_LIMIT)


def parity_rows(
    features: Sequence[Feature], splits: Sequence[tuple[int, Matrix]], holdout: Matrix, seed: int
) -> Matrix:
    """The rows; float32, shape (rows, width), without repeats, at most ``MAX_ROWS``.

    ``splits``: of a tree model, as :func:`mlops.training.export.thresholds` gives them; () for any other.
    """
    if not len(holdout):
        raise ValueError("a parity set starts from hold-out rows; there are none")
    generator = np.random.default_rng(seed)
    sample = holdout[np.sort(generator.permutation(len(holdout))[:HOLDOUT_ROWS])]
    bases = holdout[np.sort(generator.permutation(len(holdout))[:BASE_ROWS])]
    rows = [sample, *(_with(bases, column, value) for column, value in _edges(features))]
    starts = offsets(features)
    numeric = [(o, WIDTHS[f.type]) for o, f in zip(starts, features, strict=True) if f.type != "category"]
    everything = bases.copy()
    for start, count in numeric:
        block = bases.copy()
        block[:, start : start + count] = np.nan
        everything[:, start : start + count] = np.nan
        rows.append(block)
    for start, feature in zip(starts, features, strict=True):
        if feature.type == "category":
            everything[:, start] = missing_code(feature)
    rows.append(everything)
    for value in (_LIMIT, -_LIMIT, 0.0):
        block = bases.copy()
        for start, count in numeric:
            block[:, start : start + count] = value
        rows.append(block)
    for column, values in splits:
        for near in (values, _next(values, 1), _next(values, -1)):
            block = holdout[generator.integers(0, len(holdout), len(near))].copy()
            block[:, column] = near
            rows.append(block)
    result = np.unique(np.vstack(rows).astype(np.float32), axis=0)
    return np.ascontiguousarray(result[:MAX_ROWS])


def pack(fitted: Answering, rows: Matrix, **more: Any) -> bytes:
    """``parity.npz``: ``inputs`` float32 (n, width), ``expected`` float64, the estimator's own answers; ``more`` arrays
    beside them."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, inputs=rows, expected=fitted.scores(rows), **more)
    return buffer.getvalue()


def _edges(features: Sequence[Feature]) -> Iterator[tuple[int, float]]:
    for start, feature in zip(offsets(features), features, strict=True):
        if feature.type == "category":
            for code in sorted({*level_codes(feature).values(), missing_code(feature), other_code(feature)}):
                yield start, float(code)
            continue
        for column in range(start, start + WIDTHS[feature.type]):
            yield column, float("nan")
        if feature.type == "boolean":
            yield start, 0.0
            yield start, 1.0
            continue
        for bound in (feature.minimum, feature.maximum):
            if bound is not None:
                for near in (bound, *_next(np.array([bound], dtype=np.float32), 1)):
                    yield start, float(near)
        for value in _EXTREMES:
            yield start, value


def _with(rows: Matrix, column: int, value: float) -> Matrix:
    changed = rows.copy()
    changed[:, column] = np.float32(value)
    return changed


def _next(values: npt.NDArray[np.float32], direction: int) -> npt.NDArray[np.float32]:
    """The neighbouring floats, kept finite."""
    with np.errstate(over="ignore"):
        near = np.nextafter(values, np.float32(direction * np.inf))
    return np.clip(near, -np.float32(_LIMIT), np.float32(_LIMIT))
