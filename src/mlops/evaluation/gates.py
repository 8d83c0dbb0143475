"""The gates that a candidate passes before it may be released, as checks with plain reasons.

Absolute gates (the contract's ``minimum`` and ``maximum``) hold on the hold-out set. A candidate must also
beat the trivial answer (the classes' shares, the mean) by more than chance explains, whatever the contract
says: a model trained on shuffled labels fails there. Against the champion it fails when it is worse by more
than the margin *and* the 95 % interval of the paired difference lies wholly on the worse side, so that a
small hold-out set does not decide by luck; the release looks again at live traffic.

The hold-out rows come from the candidate's own data set. If recent data is spoiled, so are they, and both
models look equally bad. So both are also compared on the *champion's* hold-out rows, which an earlier data set
vouched for. A candidate that lost there may be spoiled, or the world may have changed: a person decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.evaluation.compare import Interval, metric_interval, paired_gain, wilson
from mlops.evaluation.metrics import METRICS, Metric, Task, interval_bounds
from mlops.evaluation.parity import ParityResult
from mlops.evaluation.robustness import Finding, valid_answers

FloatArray = npt.NDArray[np.float64]
Status = Literal["accepted", "rejected", "needs_approval"]
Effect = Literal["reject", "ask", "report"]

#: Prediction intervals may cover so much less than they promise before a person is asked; and the 99 % quantile.
COVERAGE_SLACK = 0.03
Z_COVERAGE = 2.576

#: Rows that a refusal names.
NAMED = 3

#: Confidence with which a candidate must beat the trivial answer.
TRIVIAL_CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True)
class Check:
    """One gate. ``effect``: what a failure does: ``reject`` the version, ``ask`` a person, or only ``report``."""

    name: str
    passed: bool
    value: float | None
    bound: float | None
    message: str
    effect: Effect = "reject"

    @property
    def required(self) -> bool:
        """Whether a failure rejects the version."""
        return self.effect == "reject"

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "passed": self.passed,
            "effect": self.effect,
            "value": self.value,
            "bound": self.bound,
            "message": self.message,
        }


def parity_check(result: ParityResult) -> Check:
    """Invariant: no version serves unless ONNX and estimator agree."""
    value = result.largest if np.isfinite(result.largest) else None
    return Check("parity", result.passed, value, result.tolerance, result.message)


def size_check(contract: Contract, size: int) -> Check:
    """The model file's bytes against the contract's limit."""
    bound = contract.gates.max_model_bytes
    good = size <= bound
    text = f"model.onnx has {size} bytes; the contract allows {bound}"
    return Check("model_size", good, float(size), float(bound), text if good else text + "; ask for smaller trees")


def finite_check(held_out: FloatArray, edges: FloatArray, task: Task) -> Check:
    """Every answer is a finite number, every row of probabilities sums to 1."""
    named, bad = [], 0
    for kind, scores in (("held-out", held_out), ("edge", edges)):
        wrong = np.flatnonzero(~valid_answers(scores, task))
        bad += len(wrong)
        named += [f"{kind} row {i} is answered {_answer(scores[i], task)}" for i in wrong[:NAMED]]
    what, rows = "probabilities" if task.classes else "finite values", len(held_out) + len(edges)
    text = f"{rows - bad} of {rows} answers on {len(held_out)} held-out and {len(edges)} edge rows are valid {what}"
    text += "; " + "; ".join(named[:NAMED]) if named else ""
    return Check("valid_answers", bad == 0, float(bad), 0.0, text)


def _answer(scores: FloatArray, task: Task) -> str:
    text = "[" + ", ".join(f"{v:.6g}" for v in scores) + "]"
    return f"{text}, with the sum {scores.sum():.6g}" if task.classes and np.isfinite(scores).all() else text


def latency_check(contract: Contract, median_us: float) -> Check:
    """The median time of one row, where the contract bounds it."""
    bound = contract.gates.max_latency_ms
    text = f"one row takes {median_us:.0f} µs (median)"
    if bound is None:
        return Check("latency", True, round(median_us, 1), None, text, effect="report")
    return Check(
        "latency",
        median_us <= bound * 1000,
        round(median_us, 1),
        bound * 1000,
        f"{text}; allowed are {bound * 1000:.0f}",
    )


def change_checks(contract: Contract, findings: Sequence[Finding], task: Task) -> list[Check]:
    """How much noise and missing values may change the answers, where the contract bounds it."""
    what = "of the labels change" if task.classes else "of their spread is how far the values move"
    result = []
    for kind, bound in (("noise", contract.gates.max_noise_change), ("missing", contract.gates.max_missing_change)):
        cases = [f for f in findings if f.kind == kind]
        if bound is None or not cases:
            continue
        most = max(cases, key=lambda f: f.changed)
        text = f"{most.changed:.1%} {what} with {most.case}; the contract allows {bound:.1%}"
        result.append(Check(f"robustness:{kind}", most.changed <= bound, most.changed, bound, text))
    return result


def coverage_check(actual: npt.NDArray[Any], scores: FloatArray, task: Task) -> list[Check]:
    """Whether the prediction intervals hold what they promise; Wilson's 99 % interval of the share within."""
    if task.interval is None:
        return []
    low, high = interval_bounds(scores, task.interval)
    inside = float(np.mean((actual >= low) & (actual <= high)))
    _, most = wilson(inside, len(actual), Z_COVERAGE)
    promised = task.interval.coverage
    passed = most >= promised - COVERAGE_SLACK
    text = f"{inside:.1%} of the true values lie within the prediction intervals, which promise {promised:.0%}"
    return [Check("interval_coverage", passed, inside, promised, text, "ask")]


def robustness_check(findings: Sequence[Finding]) -> Check:
    """Valid requests with missing values and unknown levels get valid answers."""
    bad = [f for f in findings if not f.valid]
    if bad:
        text = "answers are not valid with " + ", ".join(f.case for f in bad[:5])
    elif findings:
        most = max(findings, key=lambda f: f.changed)
        text = (
            f"{len(findings)} kinds of change answered validly; the largest effect is {most.changed:.1%} ({most.case})"
        )
    else:
        text = "no feature may be missing or unknown"
    return Check("robustness", not bad, float(len(bad)), 0.0, text)


def bound_checks(contract: Contract, metrics: Mapping[str, float]) -> list[Check]:
    """The contract's absolute gates."""
    result = []
    for name, bound in contract.gates.minimum.items():
        result.append(_bound(contract, metrics, name, bound, "at least"))
    for name, bound in contract.gates.maximum.items():
        result.append(_bound(contract, metrics, name, bound, "at most"))
    return result


def _bound(contract: Contract, metrics: Mapping[str, float], name: str, bound: float, word: str) -> Check:
    label = f"{'minimum' if word == 'at least' else 'maximum'}:{name}"
    known = METRICS.get(name)
    if known is None or known.kind != contract.task:
        names = ", ".join(m.name for m in METRICS.values() if m.kind == contract.task)
        return Check(label, False, None, bound, f"the contract's gate '{name}' is no {contract.task} metric: {names}")
    value = metrics.get(name)
    if value is None:
        return Check(label, False, None, bound, f"{known.title} is not defined on the hold-out rows (one class only?)")
    passed = value >= bound if word == "at least" else value <= bound
    return Check(label, passed, value, bound, f"{known.title} is {value:.4g}; the contract asks for {word} {bound:.4g}")


def trivial_check(
    actual: npt.NDArray[Any], scores: FloatArray, trivial: Any, metric: Metric, task: Task, *, seed: int
) -> Check:
    """Better than always giving the same answer.

    Skill is asked for first, by more than chance explains: for classes the ROC AUC, which neither imbalance nor
    overconfidence hides, for values the contract's metric. Then the contract's metric must not be worse.

    Parameters
    ----------
    trivial : shares of the classes in training, or the mean of the target.
    """
    constant = np.tile(np.asarray(trivial, dtype=np.float64).reshape(1, -1), (len(actual), 1))
    skill = METRICS["roc_auc"] if task.classes else metric
    gain = paired_gain(actual, scores, constant, skill, task, seed=seed, confidence=TRIVIAL_CONFIDENCE)
    what = "always giving the classes' shares" if task.classes else "always giving the mean"
    text = (
        f"{skill.title} is better by {gain.value:.4g} than {what} "
        f"({TRIVIAL_CONFIDENCE:.0%} interval {gain.low:.4g} to {gain.high:.4g})"
    )
    if not gain.low > 0:
        text += ": no better than chance; look at the labels and the features of the training data"
        return Check("better_than_trivial", False, _finite(gain.value), 0.0, text)
    value, simple = metric.compute(actual, scores, task), metric.compute(actual, constant, task)
    passed = metric.name == "calibration_error" or not metric.gain(value, simple) < 0  # a constant is well calibrated
    if not passed:
        text += f"; but {metric.title} is {value:.4g}, and {what} has {simple:.4g}"
    return Check("better_than_trivial", passed, _finite(gain.value), 0.0, text)


def champion_check(
    actual: npt.NDArray[Any],
    challenger: FloatArray,
    champion: FloatArray,
    metric: Metric,
    task: Task,
    *,
    margin: float,
    seed: int,
    champion_task: Task | None = None,
    name: str = "no_worse_than_champion",
    where: str = "",
    effect: Effect = "reject",
) -> tuple[Check, Interval]:
    """No worse than the champion on the same rows.

    ``margin`` is in the metric's unit; for an error without upper bound (rmse, mae, log loss) it is a share of
    the champion's value, so that one default suits every target.
    """
    gain = paired_gain(actual, challenger, champion, metric, task, seed=seed, old_task=champion_task)
    allowed = margin
    if metric.scale == "target":
        allowed = margin * abs(metric.compute(actual, champion, champion_task or task))
    worse = gain.value < -allowed
    sure = gain.high < 0
    passed = not (worse and sure)
    direction = "better" if gain.value >= 0 else "worse"
    text = (
        f"{metric.title} is {abs(gain.value):.4g} {direction} than the champion's{where} "
        f"(95% interval of the gain {gain.low:.4g} to {gain.high:.4g}; {allowed:.4g} worse is accepted)"
    )
    if worse and not sure:
        text += "; worse than the margin, but these rows cannot tell it from chance"
    return Check(name, passed, _finite(gain.value), -allowed, text, effect), gain


def confidence_of(actual: npt.NDArray[Any], scores: FloatArray, metric: Metric, task: Task, seed: int) -> Interval:
    """The contract's metric with its 95 % interval."""
    return metric_interval(actual, scores, metric, task, seed=seed)


def decide(contract: Contract, checks: Sequence[Check]) -> tuple[Status, list[str]]:
    """The result and its reasons, in plain words."""
    failed = [c.message for c in checks if c.required and not c.passed]
    if failed:
        return "rejected", failed
    passed = [c.message for c in checks if c.required and c.name in ("better_than_trivial", "no_worse_than_champion")]
    asked = [c.message for c in checks if c.effect == "ask" and not c.passed]
    if contract.gates.approval:
        asked.append("the contract asks for a person's approval before a release")
    if asked:
        return "needs_approval", [*asked, *passed]
    return "accepted", passed


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
