"""Fairness gates: how differently a model treats the groups of an attribute, with an interval.

Every rule compares one rate or mean between the two groups that differ most. Rates have Wilson's interval, means the
normal one, each at a confidence that holds for all groups at once (Bonferroni); the interval of the difference or
ratio is made of those of the two groups (MOVER). So a group of few rows does not decide by luck: a violation that the
interval leaves open is for a person to decide.

References
----------
Feldman et al., "Certifying and removing disparate impact", KDD 2015: the ratio of selection rates (four fifths).
Hardt, Price & Srebro, "Equality of opportunity in supervised learning", NeurIPS 2016.
Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine 17 (1998).
Donner & Zou, "Closed-form confidence intervals for functions of the normal mean and standard deviation", Statistical
Methods in Medical Research 21 (2012): MOVER for differences and ratios.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract, Fairness
from mlops.evaluation.compare import wilson
from mlops.evaluation.gates import Check
from mlops.evaluation.groups import groups_of
from mlops.evaluation.metrics import Task, labels
from mlops.features.columns import Columns

FloatArray = npt.NDArray[np.float64]

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Measured:
    """One group: the rows that the rate or mean is over, its value, and its interval."""

    group: str
    rows: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Finding:
    """One rule judged. ``value`` with its interval compares the two groups that differ most, ``lowest`` and
    ``highest``; None where fewer than two groups have enough rows."""

    rule: Fairness
    groups: tuple[Measured, ...]
    left_out: tuple[str, ...] = ()
    value: float | None = None
    low: float | None = None
    high: float | None = None
    lowest: str = ""
    highest: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            **asdict(self.rule),
            "groups": [asdict(g) for g in self.groups],
            "left_out": list(self.left_out),
            "value": self.value,
            "low": self.low,
            "high": _plain(self.high),
            "lowest": self.lowest,
            "highest": self.highest,
        }


@dataclass(frozen=True, slots=True)
class _Measure:
    """What a rule compares. ``of``: per row, whether it counts and its value (0 or 1 for rates)."""

    of: Callable[[npt.NDArray[Any], FloatArray, Task], tuple[npt.NDArray[np.bool_], FloatArray]]
    what: str
    ratio: bool = False
    rate: bool = True


def _selected(actual: Any, scores: FloatArray, task: Task) -> tuple[Any, FloatArray]:
    return np.ones(len(actual), dtype=bool), (labels(scores, task) == task.positive).astype(np.float64)


def _true_positive(actual: Any, scores: FloatArray, task: Task) -> tuple[Any, FloatArray]:
    return actual == task.positive, (labels(scores, task) == task.positive).astype(np.float64)


def _false_positive(actual: Any, scores: FloatArray, task: Task) -> tuple[Any, FloatArray]:
    return actual != task.positive, (labels(scores, task) == task.positive).astype(np.float64)


def _right(actual: Any, scores: FloatArray, task: Task) -> tuple[Any, FloatArray]:
    return np.ones(len(actual), dtype=bool), (labels(scores, task) == actual).astype(np.float64)


def _absolute_error(actual: Any, scores: FloatArray, task: Task) -> tuple[Any, FloatArray]:
    return np.ones(len(actual), dtype=bool), np.abs(scores[:, 0] - actual)


def _error(actual: Any, scores: FloatArray, task: Task) -> tuple[Any, FloatArray]:
    return np.ones(len(actual), dtype=bool), scores[:, 0] - actual


MEASURES: Mapping[str, _Measure] = {
    "selection_rate_ratio": _Measure(_selected, "share answered positive", ratio=True),
    "selection_rate_difference": _Measure(_selected, "share answered positive"),
    "equal_opportunity_difference": _Measure(_true_positive, "share of the positive answered positive"),
    "false_positive_rate_difference": _Measure(_false_positive, "share of the negative answered positive"),
    "accuracy_difference": _Measure(_right, "share answered rightly"),
    "error_ratio": _Measure(_absolute_error, "mean absolute error", ratio=True, rate=False),
    "mean_error_difference": _Measure(_error, "mean error", rate=False),
}


def judge(
    contract: Contract, table: Columns, actual: npt.NDArray[Any], scores: FloatArray, task: Task
) -> list[Finding]:
    """Every fairness rule of the contract on the same rows."""
    return [_judge(contract, rule, table, actual, scores, task) for rule in contract.gates.fairness]


def fairness_check(finding: Finding) -> Check:
    """The gate: a violation that the interval confirms rejects; one that it leaves open, or that cannot be seen for
    lack of rows, is for a person."""
    rule = finding.rule
    name = f"fairness:{rule.attribute}:{rule.metric}"
    if finding.value is None or finding.low is None or finding.high is None:
        text = f"fewer than two groups of '{rule.attribute}' have {rule.min_rows} rows to compare {rule.metric} on"
        return Check(name, False, None, rule.bound, text, "ask")
    least = rule.metric == "selection_rate_ratio"
    kept = finding.value >= rule.bound if least else finding.value <= rule.bound
    sure = finding.high < rule.bound if least else finding.low > rule.bound
    text = (
        f"{rule.metric} of '{rule.attribute}' is {finding.value:.3g} between '{finding.lowest}' and "
        f"'{finding.highest}' (95% interval {finding.low:.3g} to {finding.high:.3g}); the contract asks for "
        f"{'at least' if least else 'at most'} {rule.bound:.3g}"
    )
    if not kept and not sure:
        text += "; these rows cannot tell it from chance"
    return Check(name, kept, finding.value, rule.bound, text, "reject" if sure else "ask")


def _judge(
    contract: Contract, rule: Fairness, table: Columns, actual: npt.NDArray[Any], scores: FloatArray, task: Task
) -> Finding:
    measure = MEASURES[rule.metric]
    counts, values = measure.of(actual, scores, task)
    every = groups_of(contract.feature(rule.attribute), table, rule.edges)
    enough = [g for g in every if int((g.rows & counts).sum()) >= rule.min_rows]
    left_out = tuple(g.name for g in every if g not in enough)
    z = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * max(1, len(enough))))
    measured = tuple(_measured(g.name, values[g.rows & counts], z, rate=measure.rate) for g in enough)
    if len(measured) < 2:
        return Finding(rule, measured, left_out)
    ordered = sorted(measured, key=lambda m: m.value)
    low, high = ordered[0], ordered[-1]
    if not measure.ratio:
        value, lower, upper = _difference(low, high)
    elif rule.metric == "selection_rate_ratio":
        value, lower, upper = _ratio(low, high)
    else:
        value, lower, upper = _ratio(high, low)
    return Finding(rule, measured, left_out, value, lower, upper, low.group, high.group)


def _measured(name: str, values: FloatArray, z: float, *, rate: bool) -> Measured:
    count, mean = len(values), float(values.mean())
    if rate:
        low, high = wilson(mean, count, z)
    else:
        half = z * float(values.std(ddof=1)) / math.sqrt(count)
        low, high = mean - half, mean + half
    return Measured(name, count, mean, low, high)


def _difference(low: Measured, high: Measured) -> tuple[float, float, float]:
    gap = high.value - low.value
    below = math.hypot(high.value - high.low, low.high - low.value)
    above = math.hypot(high.high - high.value, low.value - low.low)
    return gap, gap - below, gap + above


def _ratio(top: Measured, bottom: Measured) -> tuple[float, float, float]:
    """``top`` over ``bottom``. Where ``bottom`` may be zero there is no upper end."""
    product = top.value * bottom.value
    lower_top, upper_bottom = top.low * (2 * top.value - top.low), bottom.high * (2 * bottom.value - bottom.high)
    upper_top, lower_bottom = top.high * (2 * top.value - top.high), bottom.low * (2 * bottom.value - bottom.low)
    value = top.value / bottom.value if bottom.value else 1.0 if not top.value else math.inf
    low = _root(product, lower_top, upper_bottom, -1) if upper_bottom > 0 else 0.0
    high = _root(product, upper_top, lower_bottom, 1) if bottom.low > 0 and lower_bottom > 0 else math.inf
    return value, max(0.0, low), max(value, high)


def _root(product: float, over: float, under: float, sign: int) -> float:
    return (product + sign * math.sqrt(max(0.0, product * product - over * under))) / under


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
