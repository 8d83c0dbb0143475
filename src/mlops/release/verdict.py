"""From evidence to a decision.

Three kinds of rule:

- **Breach, at every check and any number of records:** the lower bound of a share is above what the contract
  allows. The bounds hold at all looks at once (:mod:`mlops.release.bounds`), so looking every minute does not roll
  back a good challenger by chance. A bound of zero is breached by the first error.
- **Enough, once:** at the first check with ``min_requests`` pairs of answers and ``min_seconds`` the estimates must be
  within the contract. That is one look at a planned size.
- **Later:** what was not within it then must show by its *upper* bound that it is; waiting for a lucky moment
  does not help. When ``max_seconds`` are over without that, the release goes back.

Prediction drift and the loss by labels are rules like the others, once there is evidence enough. What they allow is
generous: that answers are distributed elsewhere may be what a new version is for. The loss that the two expect of
themselves stops nothing unless the contract says so; what is above the contract's ``warn`` values is told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mlops.contract import Release
from mlops.release.bounds import mean_margin, share_bounds
from mlops.release.evidence import Evidence, median_us
from mlops.release.losses import Paired, increase
from mlops.release.shift import Cells, distance

Decision = Literal["continue", "advance", "rollback", "thin"]

#: Chance that one rule ever breaks wrongly during a step, in the worst case: when the truth is exactly what the
#: contract just allows. docs/release.md says how often it happens to good challengers.
ALPHA = 0.02

#: Requests that a challenger may be too slow to join.
MAX_LATE_SHARE = 0.05

#: A challenger is not slow while it costs less than this above the champion, whatever the ratio (microseconds).
HARMLESS_US = 1000.0

#: Fewer requests say nothing about latency.
MIN_LATENCIES = 20


@dataclass(frozen=True)
class Rule:
    """One criterion: ``value`` is the estimate, ``lower`` and ``upper`` its bounds, ``bound`` the contract's.

    Attributes
    ----------
    bound : None where nothing stops a release.
    warn : an estimate above it is told; None where there is nothing between good and too much.
    enough : whether there is evidence enough to judge by.
    at_fault : whether a breach is the version's own fault: it cannot be released another time.
    """

    name: str
    value: float
    lower: float
    upper: float
    bound: float | None
    text: str
    warn: float | None = None
    enough: bool = True
    at_fault: bool = True

    @property
    def breached(self) -> bool:
        return self.bound is not None and self.enough and self.lower > self.bound

    @property
    def warned(self) -> bool:
        return self.warn is not None and self.enough and self.value > self.warn

    @property
    def within(self) -> bool:
        return not self.enough or self.bound is None or self.value <= self.bound

    @property
    def shown(self) -> bool:
        return self.bound is None or self.upper <= self.bound

    def to_dict(self) -> dict[str, Any]:
        """For people and for the ledger: numbers of four digits, None for what is not finite. ``over``: the estimate is
        above what is allowed, and not surely so."""
        numbers = {name: _short(getattr(self, name)) for name in ("value", "lower", "upper", "bound", "warn")}
        results = {"breach": self.breached, "too few": not self.enough, "over": not self.within, "warning": self.warned}
        told = next((result for result, is_so in results.items() if is_so), "ok")
        return {"name": self.name, "result": told, **numbers, "text": self.text}


def _short(value: float | None) -> float | None:
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class Compared:
    """What evidence alone does not hold: by which cells drift was counted, and the losses that labels showed.

    ``floor``: see :func:`mlops.release.losses.floor_of`.
    """

    cells: Cells | None = None
    realised: Paired = field(default_factory=Paired)
    floor: float = 0.0


#: No labels, and nothing to count drift by.
NOTHING = Compared()


@dataclass(frozen=True)
class Verdict:
    """A decision in words and numbers. ``pending``: rules that were not within the contract at the planned look,
    None while there was none yet; give it back with the next evidence."""

    decision: Decision
    reasons: tuple[str, ...]
    rules: tuple[Rule, ...]
    pending: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def rules_of(evidence: Evidence, contract: Release, compared: Compared, *, regression: bool) -> list[Rule]:
    """Every criterion with its estimate and bounds."""
    found = [
        _share("errors", evidence.errors, evidence.requests, contract.max_error_share, "requests failed"),
        _share("late", evidence.late, evidence.requests, MAX_LATE_SHARE, "requests were answered too late"),
    ]
    if regression:
        found.append(_difference(evidence, contract))
        share, text = contract.max_out_of_range_share, "answers were outside the training target's range"
        found.append(_share("out_of_range", evidence.out_of_range, evidence.rows, share, text))
    else:
        share, text = contract.max_disagreement, "records got another label than from the champion"
        found.append(_share("disagreement", evidence.disagreements, evidence.rows, share, text))
    found.append(_latency(evidence, contract))
    if compared.cells is not None:
        found.append(_drift(evidence, contract, compared.cells))
    few = contract.min_requests
    limit, what = contract.max_expected_loss, "expected without labels"
    found += _loss("expected_loss", evidence.expected, contract, limit, few, compared.floor, what)
    few, limit, what = contract.min_labels, contract.max_realised_loss, "by labels that came since the release began"
    found += _loss("realised_loss", compared.realised, contract, limit, few, compared.floor, what)
    return found


def decide(
    evidence: Evidence,
    contract: Release,
    elapsed: float,
    *,
    regression: bool,
    compared: Compared = NOTHING,
    pending: tuple[str, ...] | None = None,
    last: bool = False,
) -> Verdict:
    """What to do now.

    Parameters
    ----------
    elapsed : seconds since the step began.
    compared : what belongs to the evidence.
    pending : of the verdict before.
    last : no more evidence will come (after a replay): advance or go back.
    """
    rules = tuple(rules_of(evidence, contract, compared, regression=regression))
    breached = [rule for rule in rules if rule.breached]
    if breached:
        return Verdict("rollback", tuple(f"{rule.text}, allowed are {_told(rule)}" for rule in breached), rules)
    enough = evidence.rows >= contract.min_requests
    over = elapsed >= contract.max_seconds
    if not enough:
        seen = f"{evidence.rows} of {contract.min_requests} answers to compare after {elapsed:.0f} s"
        return Verdict("thin" if over or last else "continue", (seen,), rules, pending)
    if elapsed < contract.min_seconds and not last:
        seen = f"{elapsed:.0f} of {contract.min_seconds} s"
        return Verdict("continue", (seen,), rules, pending)
    still = tuple(r.name for r in rules if _open(r, pending))
    if not still:
        return Verdict("advance", tuple(rule.text for rule in rules), rules, ())
    reasons = tuple(f"{r.text}, allowed are {_told(r)}: not shown to be within" for r in rules if r.name in still)
    return Verdict("rollback" if over or last else "continue", reasons, rules, still)


def _open(rule: Rule, pending: tuple[str, ...] | None) -> bool:
    if pending is None:
        return not rule.within
    return rule.name in pending and not rule.shown


def _told(rule: Rule) -> str:
    return "any" if rule.bound is None else f"{rule.bound:.3g}"


def _share(name: str, count: int, total: int, bound: float, text: str) -> Rule:
    lower, upper = share_bounds(count, total, ALPHA)
    if bound <= 0:  # none is allowed: one is too many, and none so far is all that can be shown
        lower, upper = (1.0, 1.0) if count else (0.0, 0.0)
    return Rule(name, count / total if total else 0.0, lower, upper, bound, f"{count} of {total} {text}")


def _difference(evidence: Evidence, contract: Release) -> Rule:
    """Relative mean absolute difference ``gap / size``, bounded through the mean of ``gap - bound * size``."""
    bound, n = contract.max_disagreement, evidence.rows
    if n == 0:
        return Rule("disagreement", 0.0, 0.0, float("inf"), bound, "no answers to compare")
    scale = evidence.size / n or 1e-12
    mean = evidence.excess / n
    variance = (evidence.excess_squared / n - mean * mean) * n / max(n - 1, 1)
    margin = mean_margin(n, variance, ALPHA, contract.min_requests)
    value = evidence.gap / n / scale
    text = f"answers differ by {value:.1%} of the champion's on average over {n} records"
    return Rule("disagreement", value, bound + (mean - margin) / scale, bound + (mean + margin) / scale, bound, text)


def _latency(evidence: Evidence, contract: Release) -> Rule:
    champion, challenger = median_us(evidence.champion_us), median_us(evidence.challenger_us)
    bound = contract.max_latency_ratio
    few = sum(evidence.challenger_us.values()) < MIN_LATENCIES
    if champion is None or challenger is None:
        return Rule("latency", 0.0, 0.0, 0.0, bound, "latency was not measured")
    ratio = challenger / champion
    text = f"median latency {challenger:.0f} µs against {champion:.0f} µs"
    if few or challenger - champion < HARMLESS_US:
        return Rule("latency", min(ratio, bound), 0.0, min(ratio, bound), bound, text)
    return Rule("latency", ratio, ratio, ratio, bound, text)


def _drift(evidence: Evidence, contract: Release, cells: Cells) -> Rule:
    found = distance(cells, evidence.up, evidence.down, evidence.rows, ALPHA)
    text = f"the answers' distribution is {found.value:.3f} away from the champion's over {evidence.rows} records"
    return Rule(
        "prediction_drift", found.value, found.lower, found.upper, contract.max_prediction_drift, text,
        warn=contract.warn_prediction_drift, enough=evidence.rows >= contract.min_requests, at_fault=False,
    )  # fmt: skip


def _loss(
    name: str, seen: Paired, contract: Release, limit: float | None, few: int, floor: float, what: str
) -> Sequence[Rule]:
    """The rule for a loss; none where there was nothing to see."""
    warn = contract.warn_loss
    found = increase(seen, warn if limit is None else limit, floor, ALPHA, few)
    if found is None:
        return ()
    way = "above" if found.value >= 0 else "below"
    text = (
        f"the loss is {abs(found.value):.1%} {way} the champion's, {found.challenger:.4g} against "
        f"{found.champion:.4g}, over {seen.rows} records {what}"
    )
    return (
        Rule(
            name, found.value, found.lower, found.upper, limit, text,
            warn=warn, enough=seen.rows >= few, at_fault=name == "realised_loss",
        ),
    )  # fmt: skip
