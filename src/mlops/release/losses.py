"""How good champion and challenger are on the same rows: expected before labels come, realised when they have.

The loss of a row is half the squared distance between the answered probabilities and the truth (Brier score, 0 to 1)
for classification, and the absolute error for regression: means over rows, so that the difference of two versions is a
mean of differences row by row, which has a confidence sequence. An area under a curve has none.

Expected losses are those of :mod:`mlops.quality.estimate`, by the file that the evaluation wrote
(:mod:`mlops.quality.portable`). Standard library only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlops.errors import NotFoundError
from mlops.features.parse import category_text, parse_date
from mlops.features.spec import Feature
from mlops.manifest import Manifest
from mlops.objects import ESTIMATE, ObjectStore, version_prefix
from mlops.release.bounds import mean_margin

#: A loss below this counts as this when an increase is told as a share of it: twice nearly nothing is nothing. For
#: regression in widths of the training target's range.
FLOOR, FLOOR_OF_RANGE = 0.01, 0.001

_LEAST = 1e-6  # of mlops.quality.calibration
_MOST_MARGIN = 30.0


@dataclass(frozen=True)
class Paired:
    """Sums over rows of the losses of both versions.

    Attributes
    ----------
    champion, challenger : sums of the losses.
    champion2, challenger2, product : sums of their squares and of their product.
    """

    rows: int = 0
    champion: float = 0.0
    challenger: float = 0.0
    champion2: float = 0.0
    challenger2: float = 0.0
    product: float = 0.0

    @classmethod
    def of(cls, champion: float, challenger: float) -> Paired:
        """One row."""
        return cls(1, champion, challenger, champion * champion, challenger * challenger, champion * challenger)

    def __add__(self, other: Paired) -> Paired:
        mine, theirs = asdict(self), asdict(other)
        return Paired(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True)
class Increase:
    """By how much the challenger's mean loss is above the champion's, as a share of it, and its bounds."""

    value: float
    lower: float
    upper: float
    champion: float
    challenger: float


def increase(seen: Paired, allowed: float, floor: float, alpha: float, planned: int) -> Increase | None:
    """None without rows.

    The bounds are right about ``allowed``: the confidence sequence is that of the mean of ``challenger - (1 + allowed)
    * champion``, see :func:`mlops.release.bounds.mean_margin`.

    Parameters
    ----------
    floor : the champion's loss counts as this when it is less.
    planned : rows about which the bounds are tightest.
    """
    n = seen.rows
    if n == 0:
        return None
    mean, other = seen.champion / n, seen.challenger / n
    scale = max(mean, floor)
    factor, shift = (1 + allowed, 0.0) if mean >= floor else (1.0, allowed * floor)
    excess = other - factor * mean - shift
    square = (seen.challenger2 - 2 * factor * seen.product + factor * factor * seen.champion2) / n
    variance = (square - (other - factor * mean) ** 2) * n / max(n - 1, 1)
    margin = mean_margin(n, variance, alpha, planned)
    low, high = allowed + (excess - margin) / scale, allowed + (excess + margin) / scale
    return Increase((other - mean) / scale, low, high, mean, other)


def floor_of(manifest: Manifest) -> float:
    """The loss below which there is nothing to compare."""
    if manifest.classes:
        return FLOOR
    low, high = manifest.value_range or (0.0, 0.0)
    return max(FLOOR_OF_RANGE * (high - low), 1e-12)


def loss(manifest: Manifest, scores: Sequence[float], actual: float) -> float:
    """The loss of one answer; ``actual``: the position of the class, or the number."""
    if not manifest.classes:
        return abs(scores[0] - actual)
    return _brier(scores, int(actual))


def _brier(scores: Sequence[float], actual: int) -> float:
    return sum((score - (i == actual)) ** 2 for i, score in enumerate(scores)) / 2


# Expected -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expectation:
    """The loss that a version expects of its own answer, by ``estimate.json``."""

    manifest: Manifest
    body: Mapping[str, Any]

    @classmethod
    def load(cls, artifacts: ObjectStore, manifest: Manifest) -> Expectation | None:
        """None for a version without the file: it was evaluated before there was one."""
        try:
            body = json.loads(artifacts.get(version_prefix(manifest.model, manifest.version) + ESTIMATE))
        except NotFoundError:
            return None
        return cls(manifest, body)

    def loss(self, features: Mapping[str, Any], scores: Sequence[float]) -> float:
        """Of one record: what was sent, and what the version answered."""
        if self.manifest.classes:
            return sum(p * _brier(scores, i) for i, p in enumerate(self._probabilities(scores)))
        known = {feature.name: feature for feature in self.manifest.features}
        inputs = [scores[0], *(_number(known[n], features.get(n)) for n in self.body["features"])]
        node = self.body["tree"]
        while "column" in node:
            node = node["high" if inputs[node["column"]] > node["cut"] else "low"]
        return float(node["mean"])

    def _probabilities(self, scores: Sequence[float]) -> Sequence[float]:
        if self.body["calibration"] == "none":
            return scores
        curves = self.body["curves"]
        if len(scores) == 2:
            second = _curve(curves[0], scores[1])
            return (1 - second, second)
        raw = [_curve(curve, score) for curve, score in zip(curves, scores, strict=True)]
        total = sum(raw)
        return [p / total for p in raw] if total > 0 else scores


def _curve(curve: Sequence[float], score: float) -> float:
    clipped = min(max(score, _LEAST), 1 - _LEAST)
    margin = curve[0] + curve[1] * math.log(clipped / (1 - clipped))
    return 1 / (1 + math.exp(-min(max(margin, -_MOST_MARGIN), _MOST_MARGIN)))


def _number(feature: Feature, value: Any) -> float:
    """A captured value as the estimate was taught; NaN where it is missing or no such value."""
    if value is None:
        return math.nan
    try:
        if feature.type == "category":
            text = category_text(value)
            levels = feature.categories
            return float(levels.index(text) if text in levels else len(levels))
        return parse_date(value) if feature.type == "date" else float(value)
    except (TypeError, ValueError):
        return math.nan
