"""Whether ``model.onnx`` answers as the estimator that was trained. No version serves without it.

Labels must be equal and scores must agree to the tolerance, on every row of the parity set. One exception is
named and counted: where the estimator's own two best answers lie within the tolerance of each other (a tie),
float32 cannot tell them apart and either label is right.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.evaluation.metrics import Task, labels
from mlops.evaluation.scoring import ModelRefusedError, OnnxScorer
from mlops.features.encoding import Matrix

FloatArray = npt.NDArray[np.float64]

#: What numpy raises for bytes that are not the archive they should be.
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)

#: Rows that a result names.
MAX_NAMED = 10


@dataclass(frozen=True, slots=True)
class ParityResult:
    """``largest``: the largest difference, absolute for probabilities, for values relative to the larger of
    the value and the spread of all values. ``differing``: positions in the parity set, worst first, at most
    ``MAX_NAMED``. ``ties``: rows whose label float32 cannot decide."""

    passed: bool
    rows: int
    largest: float
    tolerance: float
    differing_rows: int
    other_labels: int
    ties: int
    differing: tuple[dict[str, Any], ...]
    message: str


def load(body: bytes) -> tuple[Matrix, FloatArray]:
    """``inputs`` and ``expected`` of a ``parity.npz``.

    Raises
    ------
    ModelRefusedError
        when the file is not one: a version without parity set is refused.
    """
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            inputs, expected = archive["inputs"], archive["expected"]
    except UNREADABLE as error:
        raise ModelRefusedError("parity.npz is not readable or lacks 'inputs' or 'expected'") from error
    if inputs.ndim != 2 or expected.ndim != 2 or len(inputs) != len(expected) or not len(inputs):
        raise ModelRefusedError(
            f"parity.npz needs at least one row and as many inputs as expected answers; it has shapes "
            f"{inputs.shape} and {expected.shape}"
        )
    return inputs.astype(np.float32), expected.astype(np.float64)


def check(scorer: OnnxScorer, inputs: Matrix, expected: FloatArray, task: Task, tolerance: float) -> ParityResult:
    """Compare the ONNX model's answers with the estimator's on the parity set."""
    return compare(scorer(inputs), inputs, expected, task, tolerance)


def compare(answers: FloatArray, inputs: Matrix, expected: FloatArray, task: Task, tolerance: float) -> ParityResult:
    """:func:`check` on answers that are there already; shapes (rows, classes) or (rows, 1)."""
    if answers.shape != expected.shape:
        raise ModelRefusedError(f"the model answers shape {answers.shape}; the parity set expects {expected.shape}")
    size = np.ones(len(expected)) if task.classes else scale(expected[:, 0])
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.max(np.abs(answers - expected), axis=1) / size
    gap = np.where(np.isfinite(gap), gap, np.inf)
    other = np.zeros(len(expected), dtype=bool)
    tied = np.zeros(len(expected), dtype=bool)
    if task.classes:
        tied = _tied(expected, task, tolerance)
        other = labels(answers, task) != labels(expected, task)
    bad = (gap > tolerance) | (other & ~tied)
    worst = np.flatnonzero(bad)[np.argsort(-gap[bad], kind="stable")][:MAX_NAMED]
    named = tuple(_name(int(i), inputs, expected, answers) for i in worst)
    largest = float(gap.max())
    count, labelled = int(bad.sum()), int((other & ~tied).sum())
    if not count:
        message = f"{len(gap)} rows agree; the largest difference is {largest:.1e} (allowed {tolerance:.1e})"
        if tied.any():
            message += f"; {int(tied.sum())} rows are ties of the estimator itself"
    else:
        message = (
            f"{count} of {len(gap)} rows differ between the estimator and model.onnx ({labelled} in their label); "
            f"the largest difference is {largest:.1e}, allowed is {tolerance:.1e}; rows "
            + ", ".join(str(n["row"]) for n in named)
        )
    return ParityResult(count == 0, len(gap), largest, tolerance, count, labelled, int(tied.sum()), named, message)


def scale(expected: FloatArray) -> FloatArray:
    """What differences of values are relative to: the larger of each value and the spread of all."""
    spread = float(np.std(expected))
    result: FloatArray = np.maximum(np.maximum(np.abs(expected), spread), float(np.finfo(np.float32).tiny))
    return result


def _tied(expected: FloatArray, task: Task, tolerance: float) -> npt.NDArray[np.bool_]:
    if task.binary:
        tied: npt.NDArray[np.bool_] = np.abs(expected[:, task.positive] - task.threshold) <= tolerance
        return tied
    best = np.sort(expected, axis=1)
    tied = best[:, -1] - best[:, -2] <= tolerance
    return tied


def _name(row: int, inputs: Matrix, expected: FloatArray, answers: FloatArray) -> dict[str, Any]:
    """A differing row, JSON-ready; a float that JSON cannot hold is written as text."""
    return {
        "row": row,
        "inputs": [_plain(v) for v in inputs[row]],
        "expected": [_plain(v) for v in expected[row]],
        "answered": [_plain(v) for v in answers[row]],
    }


def _plain(value: Any) -> float | str:
    return float(value) if np.isfinite(value) else json.dumps(float(value))
