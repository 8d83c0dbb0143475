"""From which probability the positive class is answered.

With the costs of both mistakes and calibrated probabilities the best threshold is a formula (Elkan, "The
foundations of cost-sensitive learning", IJCAI 2001): answer *positive* from cost of a false alarm over the sum of
both costs. With probabilities that are not calibrated, or a metric of labels (F1, accuracy), it is the threshold
that does best on rows that the answering model had not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.evaluation.metrics import LABEL_METRICS, Task

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Decided:
    """A threshold and why it is this one."""

    threshold: float
    reason: str


def decide(
    contract: Contract, actual: npt.NDArray[np.int64], scores: FloatArray, task: Task, *, calibrated: bool
) -> Decided:
    """The threshold of a binary classification; 0.5 for anything else.

    Parameters
    ----------
    actual, scores : rows that the answering model had not seen, their classes and probabilities.
    """
    rule = contract.decision
    if not task.binary:
        return Decided(0.5, "not a decision between two classes")
    if rule.threshold is not None:
        return Decided(rule.threshold, "the contract names it")
    if task.costs is not None and calibrated:
        false_alarm, miss = task.costs
        return Decided(false_alarm / (false_alarm + miss), "cost of a false alarm over the sum of both costs")
    goal = "cost" if task.costs is not None else contract.metric
    if goal in LABEL_METRICS and len(np.unique(actual)) == 2:
        return Decided(best_threshold(actual, scores, task, goal), f"best {goal} on rows that the model had not seen")
    return Decided(0.5, "the contract asks for no other")


def best_threshold(actual: npt.NDArray[np.int64], scores: FloatArray, task: Task, goal: str) -> float:
    """The threshold with the best ``goal`` (one of ``LABEL_METRICS``) among those between neighbouring scores; the
    one nearest to 0.5 of equally good ones."""
    positive, score = actual == task.positive, scores[:, task.positive]
    values, inverse = np.unique(score, return_inverse=True)
    yes = np.bincount(inverse, weights=positive)
    no = np.bincount(inverse, weights=~positive)
    # position i: values[i:] are answered positive; at the end none is
    hits = np.append(np.cumsum(yes[::-1])[::-1], 0.0)
    alarms = np.append(np.cumsum(no[::-1])[::-1], 0.0)
    last = (values[-1] + 1) / 2 if values[-1] < 1 else np.nextafter(1.0, 2.0)
    cuts = np.concatenate([[values[0] / 2], (values[1:] + values[:-1]) / 2, [last]])
    good = _goal(goal, hits, alarms, (float(positive.sum()), float((~positive).sum())), task.costs)
    best = np.flatnonzero(good >= good.max() - 1e-12)
    return float(cuts[best[np.argmin(np.abs(cuts[best] - 0.5))]])


def _goal(
    name: str, hits: FloatArray, alarms: FloatArray, totals: tuple[float, float], costs: tuple[float, float] | None
) -> Any:
    yes, no = totals
    if name == "f1":
        return 2 * hits / (hits + alarms + yes)
    if name == "balanced_accuracy":
        return (hits / yes + 1 - alarms / no) / 2
    if name == "cost" and costs is not None:
        return -(costs[0] * alarms + costs[1] * (yes - hits))
    return hits + no - alarms
