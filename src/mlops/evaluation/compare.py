"""Differences of a metric between two sets of answers to the same rows, with an interval.

References
----------
Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 (percentile intervals) and 16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.evaluation.metrics import Metric, Task

FloatArray = npt.NDArray[np.float64]

RESAMPLES = 400
#: More rows than this are thinned for the interval alone; it is narrow by then.
MAX_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its percentile interval at ``confidence``. ``low`` and ``high`` equal the value when the
    metric is undefined on nearly every resample."""

    value: float
    low: float
    high: float
    confidence: float
    resamples: int


def metric_interval(
    actual: npt.NDArray[Any],
    scores: FloatArray,
    metric: Metric,
    task: Task,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """A metric with its bootstrap interval."""
    return _interval(
        actual,
        metric.compute(actual, scores, task),
        lambda index: metric.compute(actual[index], scores[index], task),
        seed=seed,
        confidence=confidence,
        resamples=resamples,
    )


def paired_gain(
    actual: npt.NDArray[Any],
    new: FloatArray,
    old: FloatArray,
    metric: Metric,
    task: Task,
    *,
    seed: int,
    old_task: Task | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """How much better ``new`` is than ``old`` on the same rows; the same resample serves both, so what is hard
    for both cancels. Positive is better, in the metric's unit. ``old_task``: of ``old``, when its threshold or
    interval is another."""
    before = old_task or task

    def gain(index: npt.NDArray[Any] | slice) -> float:
        return metric.gain(
            metric.compute(actual[index], new[index], task), metric.compute(actual[index], old[index], before)
        )

    return _interval(actual, gain(slice(None)), gain, seed=seed, confidence=confidence, resamples=resamples)


def _interval(
    actual: npt.NDArray[Any],
    value: float,
    of: Callable[[npt.NDArray[Any]], float],
    *,
    seed: int,
    confidence: float,
    resamples: int,
) -> Interval:
    generator = np.random.default_rng(seed)
    rows = np.arange(len(actual))
    if len(rows) > MAX_ROWS:
        rows = np.sort(generator.permutation(len(actual))[:MAX_ROWS])
    drawn = np.array([of(rows[generator.integers(0, len(rows), len(rows))]) for _ in range(resamples)])
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < resamples / 2:
        return Interval(value, value, value, confidence, len(drawn))
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value, float(low), float(high), confidence, len(drawn))
