"""Probabilities that mean what they say, for estimates: corrected on the version's hold-out rows, if that helps.

Training calibrates a model where it can (:mod:`mlops.training.calibration`), and that map is part of the model. This
one is for the estimate alone, for versions without: imported ones, and those whose contract asks for none.

References
----------
Platt, "Probabilistic outputs for support vector machines", 1999: a logistic curve over the score.
Zadrozny & Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002: one class
against the rest, normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

FOLDS = 5
_LEAST = 1e-6


@dataclass(frozen=True)
class Curve:
    """1 / (1 + exp(-(a + b * logit(score))))."""

    a: float
    b: float

    def __call__(self, scores: FloatArray) -> FloatArray:
        return _sigmoid(self.a + self.b * _logit(scores))


class Calibration:
    """One curve for each class, applied together; of two classes one curve, for the second. ``name``: ``none`` or
    ``logistic``."""

    def __init__(self, name: str, curves: Sequence[Curve]) -> None:
        self.name = name
        self.curves = tuple(curves)

    def __call__(self, scores: FloatArray) -> FloatArray:
        """Calibrated probabilities, float64, (rows, classes), each row adding up to 1."""
        if self.name == "none":
            return scores
        if scores.shape[1] == 2:
            second = self.curves[0](scores[:, 1])
            return np.column_stack([1.0 - second, second])
        raw = np.column_stack([curve(scores[:, i]) for i, curve in enumerate(self.curves)])
        total = raw.sum(axis=1, keepdims=True)
        result: FloatArray = np.where(total > 0, raw / np.where(total > 0, total, 1.0), scores)
        return result


def calibrate(actual: npt.NDArray[np.int64], scores: FloatArray, *, seed: int) -> Calibration:
    """The logistic correction when it lowers the log loss in cross-validation by more than a standard error; else none.

    Parameters
    ----------
    actual : positions of the classes, int64, (rows,).
    scores : the model's probabilities of rows that it was not trained on, (rows, classes).
    """
    if len(actual) < 2 * FOLDS or len(np.unique(actual)) < 2:
        return Calibration("none", ())
    order = np.random.default_rng(seed).permutation(len(actual))
    gains = []
    for fold in range(FOLDS):
        test = order[fold::FOLDS]
        train = np.setdiff1d(order, test)
        corrected = _fit(actual[train], scores[train])(scores[test])
        gains.append(_log(corrected, actual[test]) - _log(scores[test], actual[test]))
    gain = np.concatenate(gains)
    sure = float(gain.mean()) > float(gain.std() / np.sqrt(len(gain)))
    return _fit(actual, scores) if sure else Calibration("none", ())


def _log(probabilities: FloatArray, actual: npt.NDArray[np.int64]) -> FloatArray:
    result: FloatArray = np.log(np.clip(probabilities[np.arange(len(actual)), actual], _LEAST, 1.0))
    return result


def _fit(actual: npt.NDArray[np.int64], scores: FloatArray) -> Calibration:
    classes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    return Calibration("logistic", [logistic(scores[:, c], actual == c) for c in classes])


def _logit(score: FloatArray) -> FloatArray:
    clipped = np.clip(score, _LEAST, 1.0 - _LEAST)
    result: FloatArray = np.log(clipped / (1.0 - clipped))
    return result


def logistic(score: FloatArray, outcome: npt.NDArray[np.bool_], *, steps: int = 50) -> Curve:
    """The :class:`Curve` by Newton's method, each step halved until it is one forward. A little
    ridge towards no change keeps separable rows finite."""
    design = np.column_stack([np.ones(len(score)), _logit(score)])
    start, ridge = np.array([0.0, 1.0]), 1e-3

    def loss(weights: FloatArray) -> float:
        margin = design @ weights
        return float(
            np.logaddexp(0.0, np.where(outcome, -margin, margin)).sum() + ridge * ((weights - start) ** 2).sum()
        )

    weights, known = start, loss(start)
    for _ in range(steps):
        probability = _sigmoid(design @ weights)
        gradient = design.T @ (probability - outcome) + 2 * ridge * (weights - start)
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + 2 * ridge * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while (new := loss(weights - step)) > known and float(np.abs(step).max()) > 1e-9:
            step = step / 2
        weights, gained, known = weights - step, known - new, new
        if gained < 1e-9:
            break
    return Curve(float(weights[0]), float(weights[1]))


def _sigmoid(margin: FloatArray) -> FloatArray:
    result: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(margin, -30.0, 30.0)))
    return result
