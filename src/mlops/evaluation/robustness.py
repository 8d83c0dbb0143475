"""Whether a model answers sensibly where the hold-out rows do not go: missing values, unknown levels, noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlops.evaluation.metrics import Task, labels
from mlops.evaluation.scoring import OnnxScorer
from mlops.features.encoding import WIDTHS, Matrix, missing_code, offsets, other_code
from mlops.features.spec import Feature

FloatArray = npt.NDArray[np.float64]

ROWS = 200
#: Noise of the perturbation check, as a share of each number's standard deviation.
NOISE = 0.01
#: Probabilities of a row must sum to 1 within this.
SUM_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Finding:
    """``changed``: share of rows with another label (classification), or mean change relative to the spread of
    the answers (regression), against the unchanged rows."""

    case: str
    rows: int
    valid: bool
    changed: float
    kind: str = ""  # missing | unknown | noise


def valid_answers(scores: FloatArray, task: Task) -> npt.NDArray[np.bool_]:
    """Rows answered with finite numbers, and probabilities that are such; bool, shape (rows,)."""
    good: npt.NDArray[np.bool_] = np.asarray(np.isfinite(scores).all(axis=1))
    if task.classes:
        with np.errstate(invalid="ignore"):
            good &= (scores >= 0).all(axis=1) & (scores <= 1).all(axis=1)
            good &= np.abs(scores.sum(axis=1) - 1) <= SUM_TOLERANCE
    return good


def probe(scorer: OnnxScorer, features: Sequence[Feature], matrix: Matrix, task: Task, seed: int) -> list[Finding]:
    """Change hold-out rows in every way that a valid request may, and look at the answers."""
    rows = matrix[:ROWS]
    base = scorer(rows)
    result = []
    for kind, case, changed in _cases(features, rows, seed):
        scores = scorer(changed)
        valid = bool(valid_answers(scores, task).all())
        result.append(Finding(case, len(rows), valid, _change(base, scores, task), kind))
    return result


def _cases(features: Sequence[Feature], rows: Matrix, seed: int) -> Iterator[tuple[str, str, Matrix]]:
    starts = offsets(features)
    every = rows.copy()
    nullable = 0
    for feature, start in zip(features, starts, strict=True):
        block = slice(start, start + WIDTHS[feature.type])
        if feature.nullable:
            value = missing_code(feature) if feature.type == "category" else np.nan
            changed = rows.copy()
            changed[:, block] = value
            every[:, block] = value
            nullable += 1
            yield "missing", f"'{feature.name}' missing", changed
        if feature.type == "category" and (feature.on_unknown == "other" or feature.pooled):
            changed = rows.copy()
            changed[:, block] = other_code(feature)
            yield "unknown", f"'{feature.name}' an unknown or rare level", changed
    if nullable > 1:
        yield "", "every nullable feature missing", every
    numbers = [s for f, s in zip(features, starts, strict=True) if f.type == "number"]
    if numbers:
        spread = np.nan_to_num(np.nanstd(_known(rows[:, numbers]), axis=0))
        noise = np.random.default_rng(seed).normal(size=(len(rows), len(numbers))) * spread * NOISE
        changed = rows.copy()
        changed[:, numbers] += noise.astype(np.float32)
        yield "noise", f"numbers with noise of {NOISE:.0%} of their spread", changed


def _known(values: Matrix) -> FloatArray:
    """Columns without any value become 0, so that their spread is 0 and not undefined."""
    result = values.astype(np.float64)
    result[:, np.isnan(result).all(axis=0)] = 0.0
    return result


def _change(base: FloatArray, scores: FloatArray, task: Task) -> float:
    if task.classes:
        return float(np.mean(labels(base, task) != labels(np.nan_to_num(scores), task)))
    spread = float(np.std(base)) or 1.0
    gap = np.abs(scores - base)
    return float(np.mean(np.where(np.isfinite(gap), gap, 0.0)) / spread)
