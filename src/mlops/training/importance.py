"""How much each feature matters to a fitted model: what the metric loses when the feature is shuffled.

References
----------
Breiman, "Random forests", Machine Learning 45 (2001), section 10; Fisher, Rudin & Dominici, JMLR 20 (2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.evaluation.metrics import Metric, Task
from mlops.features.encoding import WIDTHS, Matrix, offsets
from mlops.features.spec import Feature
from mlops.training.estimator import Answering

MAX_ROWS = 1000
REPEATS = 3


def permutation_importance(
    features: Sequence[Feature],
    fitted: Answering,
    matrix: Matrix,
    target: npt.NDArray[Any],
    metric: Metric,
    *,
    task: Task,
    seed: int,
) -> dict[str, float]:
    """Feature -> share of the total loss, from 0; the shares sum to 1, or are equal when nothing matters."""
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.permutation(len(matrix))[:MAX_ROWS])
    matrix, target = matrix[chosen], target[chosen]
    whole = metric.compute(target, fitted.scores(matrix), task)
    losses = {}
    for feature, start in zip(features, offsets(features), strict=True):
        block = slice(start, start + WIDTHS[feature.type])
        lost = []
        for _ in range(REPEATS):
            shuffled = matrix.copy()
            shuffled[:, block] = matrix[generator.permutation(len(matrix)), block]
            lost.append(metric.gain(whole, metric.compute(target, fitted.scores(shuffled), task)))
        loss = float(np.mean(lost))
        losses[feature.name] = max(0.0, loss) if np.isfinite(loss) else 0.0
    total = sum(losses.values())
    if total <= 0:
        return dict.fromkeys(losses, 1.0 / len(losses))
    return {name: round(value / total, 6) for name, value in losses.items()}
