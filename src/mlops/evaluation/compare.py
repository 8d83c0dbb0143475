"""Differences of a metric between two sets of answers to the same rows, with an interval.

References
----------
Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 (percentile intervals) and 16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.evaluation.metrics import METRICS, Metric, Task

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


def metric_intervals(
    actual: npt.NDArray[Any],
    scores: FloatArray,
    task: Task,
    names: Sequence[str],
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 200,
    most_rows: int = 5_000,
) -> dict[str, Interval]:
    """Several metrics with their bootstrap intervals, on the same resamples of at most ``most_rows`` rows. The value
    is over all rows."""
    generator = np.random.default_rng(seed)
    rows = np.arange(len(actual))
    if len(rows) > most_rows:
        rows = np.sort(generator.permutation(len(actual))[:most_rows])
    drawn: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(resamples):
        index = rows[generator.integers(0, len(rows), len(rows))]
        for name in names:
            drawn[name].append(METRICS[name].compute(actual[index], scores[index], task))
    # fewer rows spread wider; what all of them would have spread is in proportion to the root of their number
    shrink = float(np.sqrt(len(rows) / len(actual)))
    tail = (1 - confidence) / 2
    result = {}
    for name in names:
        value = METRICS[name].compute(actual, scores, task)
        known = np.array([v for v in drawn[name] if np.isfinite(v)])
        low = high = value
        if len(known) >= resamples / 2:
            centre = METRICS[name].compute(actual[rows], scores[rows], task)
            low, high = (value + (float(q) - centre) * shrink for q in np.quantile(known, [tail, 1 - tail]))
        result[name] = Interval(value, low, high, confidence, len(known))
    return result


def wilson(share: float, count: int, z: float) -> tuple[float, float]:
    """Wilson's interval of a share.

    >>> low, high = wilson(0.5, 100, 1.96)
    >>> round(low, 3), round(high, 3)
    (0.404, 0.596)
    """
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


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
