"""Probabilities that mean what they say: a map from an estimator's margins to calibrated probabilities.

The map is fitted on answers to rows that the answering model had not seen, and is part of the model: the
exporter writes it into the graph. *Sigmoid* is Platt's, on the decision values of models that have them and on
the probability of forests. *Isotonic* is centred isotonic regression: a monotone line through the centres of the
pooled blocks. Being continuous it cannot send a row to another side by a rounding, as a step function would.
With more than two classes each class has its map, and the results are divided by their sum.

References
----------
Platt, "Probabilistic outputs for support vector machines", 1999; Lin, Lin & Weng, Machine Learning 68 (2007).
Zadrozny & Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002.
Oron & Flournoy, "Centered isotonic regression", Statistics in Biopharmaceutical Research 9 (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import isotonic_regression

from mlops.evaluation.metrics import Task, calibration_error

FloatArray = npt.NDArray[np.float64]

KINDS = ("sigmoid", "isotonic")
#: Rows of each class without which no map is fitted, and without which a free-form one is not tried by itself.
FEWEST = 10
FEWEST_ISOTONIC = 200
#: Bends of an isotonic map lie at least this part of the range apart: closer, a rounding could become a difference.
KNOTS = 50
STEPS = 100


@dataclass(frozen=True)
class Curve:
    """One class's map. Sigmoid: ``1 / (1 + exp(-(slope x + offset)))``. Isotonic: the line through ``x`` and ``y``,
    level outside."""

    kind: str
    slope: float = 1.0
    offset: float = 0.0
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def __call__(self, margin: FloatArray) -> FloatArray:
        if self.kind == "isotonic":
            return np.interp(margin, self.x, self.y)
        with np.errstate(over="ignore"):
            result: FloatArray = 1.0 / (1.0 + np.exp(-(self.slope * margin + self.offset)))
        return result


@dataclass(frozen=True)
class Calibrator:
    """Maps of all present classes; a single one, of the second class, when there are two."""

    kind: str
    curves: tuple[Curve, ...]

    def __call__(self, margins: FloatArray) -> FloatArray:
        """Probabilities (rows, present classes) of margins (rows, curves)."""
        values = np.stack([curve(margins[:, i]) for i, curve in enumerate(self.curves)], axis=1)
        if len(self.curves) == 1:
            return np.hstack([1.0 - values, values])
        result: FloatArray = values / values.sum(axis=1, keepdims=True)
        return result

    def to_dict(self) -> dict[str, Any]:
        if self.kind == "sigmoid":
            return {"kind": self.kind, "curves": [{"slope": c.slope, "offset": c.offset} for c in self.curves]}
        return {"kind": self.kind, "curves": [{"x": list(c.x), "y": list(c.y)} for c in self.curves]}


@dataclass(frozen=True)
class Calibration:
    """What was decided. ``before`` and ``after``: Brier scores on rows that neither model nor map had seen;
    ``error_before`` and ``error_after``: expected calibration errors on the same rows."""

    calibrator: Calibrator | None
    reason: str
    before: float | None = None
    after: float | None = None
    error_before: float | None = None
    error_after: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.calibrator.kind if self.calibrator else "none",
            "reason": self.reason,
            "brier_before": self.before,
            "brier_after": self.after,
            "calibration_error_before": self.error_before,
            "calibration_error_after": self.error_after,
            **({"map": self.calibrator.to_dict()} if self.calibrator else {}),
        }


def calibrate(
    margins: FloatArray,
    probabilities: FloatArray,
    actual: npt.NDArray[np.int64],
    fold: npt.NDArray[np.int64],
    wanted: str,
) -> Calibration:
    """Fit a map, or none.

    Parameters
    ----------
    margins : (rows, curves), by models that had not seen the row.
    probabilities : (rows, present classes), the same models' own.
    actual : positions among the present classes.
    fold : which model answered each row.
    wanted : ``sigmoid``, ``isotonic``, ``none``, or ``auto``: the kind whose Brier score, itself measured on folds
        that it was not fitted on, is better than without by more than one standard error of the difference.
    """
    if wanted == "none":
        return Calibration(None, "the contract asks for none")
    counts = np.bincount(actual, minlength=probabilities.shape[1])
    if counts.min() < FEWEST or len(np.unique(fold)) < 2:
        return Calibration(None, f"a class has fewer than {FEWEST} rows to calibrate on")
    plain, error = _brier(probabilities, actual), _error(probabilities, actual)
    kinds = [wanted] if wanted != "auto" else [k for k in KINDS if k == "sigmoid" or counts.min() >= FEWEST_ISOTONIC]
    found: list[tuple[float, str, float]] = []
    for kind in kinds:
        mapped = _crossed(margins, actual, fold, kind)
        if mapped is None:
            continue
        gain = plain - _brier(mapped, actual)
        sure = float(gain.mean()) > float(gain.std() / np.sqrt(len(gain)))
        if sure or wanted != "auto":
            found.append((float(plain.mean() - gain.mean()), kind, _error(mapped, actual)))
    if not found:
        return Calibration(
            None, "no map is better than the model's own probabilities", float(plain.mean()), None, error
        )
    after, kind, error_after = min(found)
    calibrator = fit_map(margins, actual, kind)
    if calibrator is None:
        return Calibration(None, "the scores do not rise with the probability", float(plain.mean()), None, error)
    reason = "the contract asks for it" if wanted != "auto" else "better than the model's own probabilities"
    return Calibration(calibrator, reason, float(plain.mean()), after, error, error_after)


def fit_map(margins: FloatArray, actual: npt.NDArray[np.int64], kind: str) -> Calibrator | None:
    """A map of ``kind``; None when probabilities would not rise with the margin, or a class does not occur."""
    columns = margins.shape[1]
    curves = []
    for i in range(columns):
        positive = actual == (1 if columns == 1 else i)
        if positive.all() or not positive.any():
            return None
        curve = _sigmoid(margins[:, i], positive) if kind == "sigmoid" else _isotonic(margins[:, i], positive)
        if curve is None:
            return None
        curves.append(curve)
    return Calibrator(kind, tuple(curves))


def _crossed(
    margins: FloatArray, actual: npt.NDArray[np.int64], fold: npt.NDArray[np.int64], kind: str
) -> FloatArray | None:
    """Mapped probabilities of every row by maps fitted on the other folds."""
    result: FloatArray | None = None
    for number in np.unique(fold):
        inside = fold == number
        fitted = fit_map(margins[~inside], actual[~inside], kind)
        if fitted is None:
            return None
        mapped = fitted(margins[inside])
        result = np.zeros((len(actual), mapped.shape[1])) if result is None else result
        result[inside] = mapped
    return result


def _brier(probabilities: FloatArray, actual: npt.NDArray[np.int64]) -> FloatArray:
    outcome = np.zeros_like(probabilities)
    outcome[np.arange(len(actual)), actual] = 1.0
    result: FloatArray = ((probabilities - outcome) ** 2).sum(axis=1) / 2
    return result


def _error(probabilities: FloatArray, actual: npt.NDArray[np.int64]) -> float:
    return calibration_error(actual, probabilities, Task(probabilities.shape[1]))


def _sigmoid(margin: FloatArray, positive: npt.NDArray[np.bool_]) -> Curve | None:
    """Newton's method on Platt's likelihood with his smoothed targets, on the standardised margin."""
    centre, spread = float(margin.mean()), float(margin.std())
    if spread == 0:
        return None
    z = (margin - centre) / spread
    yes, no = int(positive.sum()), int((~positive).sum())
    target = np.where(positive, (yes + 1) / (yes + 2), 1 / (no + 2))
    design = np.stack([z, np.ones_like(z)], axis=1)
    weights = np.array([0.0, float(np.log((yes + 1) / (no + 1)))])
    loss = _loss(design @ weights, target)
    for _ in range(STEPS):
        p = 1.0 / (1.0 + np.exp(-(design @ weights)))
        gradient = design.T @ (p - target)
        curvature = (design * (p * (1 - p))[:, None]).T @ design + 1e-10 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-8 and _loss(design @ (weights - size * step), target) > loss:
            size /= 2
        weights = weights - size * step
        changed, loss = loss, _loss(design @ weights, target)
        if abs(changed - loss) <= 1e-12 * max(1.0, abs(loss)):
            break
    slope = float(weights[0] / spread)
    return Curve("sigmoid", slope, float(weights[1]) - slope * centre) if slope > 0 else None


def _loss(score: FloatArray, target: FloatArray) -> float:
    return float(np.sum(np.logaddexp(0.0, score) - target * score))


def _isotonic(margin: FloatArray, positive: npt.NDArray[np.bool_]) -> Curve | None:
    """Pooled blocks as points (mean margin, share), joined where they are many or close, kept off 0 and 1."""
    order = np.argsort(margin, kind="stable")
    x, outcome = margin[order], positive[order].astype(np.float64)
    values, start, counts = np.unique(x, return_index=True, return_counts=True)
    shares = np.add.reduceat(outcome, start) / counts
    level = isotonic_regression(shares, sample_weight=counts.astype(np.float64))
    edges = np.concatenate([[0], np.flatnonzero(np.diff(level)) + 1])
    weight = np.add.reduceat(counts.astype(np.float64), edges)
    centre = np.add.reduceat(values * counts, edges) / weight
    gap = float(values[-1] - values[0]) / KNOTS
    points: list[tuple[float, float, float]] = []
    for at, share, rows in zip(centre, level[edges], weight, strict=True):
        if points and at - points[-1][0] < gap:
            last, before, many = points[-1]
            total = many + rows
            points[-1] = ((last * many + at * rows) / total, (before * many + share * rows) / total, total)
        else:
            points.append((float(at), float(share), float(rows)))
    if len(points) < 2:
        return None
    least = 0.5 / len(margin)
    y = np.clip([p[1] for p in points], least, 1 - least)
    return Curve("isotonic", x=tuple(p[0] for p in points), y=tuple(float(v) for v in y))
