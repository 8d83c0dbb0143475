"""From evidence to a decision.

Three kinds of rule:

- **Breach, at every check and any number of records:** the lower bound of a share is above what the contract
  allows. The bounds hold at all looks at once (:mod:`mlops.release.bounds`), so looking every minute does not roll
  back a good challenger by chance. A bound of zero is breached by the first error.
- **Enough, once:** at the first check with ``min_requests`` pairs of answers and ``min_seconds`` the estimates must be
  within the contract. That is one look at a planned size.
- **Later:** what was not within it then must show by its *upper* bound that it is; waiting for a lucky moment
  does not help. When ``max_seconds`` are over without that, the release goes back.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from mlops.contract import Release
from mlops.release.bounds import mean_margin, share_bounds
from mlops.release.evidence import Evidence, median_us

Decision = Literal["continue", "advance", "rollback", "thin"]

#: Chance that one rule ever breaks wrongly during a step; three rules, so at most 6 % of steps in the worst case.
ALPHA = 0.02

#: Requests that a challenger may be too slow to join.
MAX_LATE_SHARE = 0.05

#: A challenger is not slow while it costs less than this above the champion, whatever the ratio (microseconds).
HARMLESS_US = 1000.0

#: Fewer requests say nothing about latency.
MIN_LATENCIES = 20


@dataclass(frozen=True)
class Rule:
    """One criterion: ``value`` is the estimate, ``lower`` and ``upper`` its bounds, ``bound`` the contract's."""

    name: str
    value: float
    lower: float
    upper: float
    bound: float
    text: str

    @property
    def breached(self) -> bool:
        return self.lower > self.bound

    @property
    def within(self) -> bool:
        return self.value <= self.bound

    @property
    def shown(self) -> bool:
        return self.upper <= self.bound


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


def rules_of(evidence: Evidence, contract: Release, *, regression: bool) -> list[Rule]:
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
    return found


def decide(
    evidence: Evidence,
    contract: Release,
    elapsed: float,
    *,
    regression: bool,
    pending: tuple[str, ...] | None = None,
    last: bool = False,
) -> Verdict:
    """What to do now.

    Parameters
    ----------
    elapsed : seconds since the step began.
    pending : of the verdict before.
    last : no more evidence will come (after a replay): advance or go back.
    """
    rules = tuple(rules_of(evidence, contract, regression=regression))
    breached = [rule for rule in rules if rule.breached]
    if breached:
        return Verdict("rollback", tuple(f"{rule.text}, allowed are {rule.bound:.3g}" for rule in breached), rules)
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
    reasons = tuple(f"{r.text}, allowed are {r.bound:.3g}: not shown to be within" for r in rules if r.name in still)
    return Verdict("rollback" if over or last else "continue", reasons, rules, still)


def _open(rule: Rule, pending: tuple[str, ...] | None) -> bool:
    if pending is None:
        return not rule.within
    return rule.name in pending and not rule.shown


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
