"""Advice with numbers: what could cost less, how much less a month, at which risk, by which change.

Each rule is a pure function from what was measured to at most a few pieces of advice. Savings are at list price
and for a month like the window that was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mlops.cost.lines import Line
from mlops.cost.money import ZERO, plain
from mlops.cost.prices import Price, PriceSource
from mlops.cost.usage import HOURS_PER_MONTH, FunctionUsage, Usage

#: Lambda gives one full vCPU at this size (Lambda Developer Guide, "Configure memory"); below it CPU scales.
ONE_VCPU_MB = 1769
_SMALLEST_MB = 128
#: Room above the highest memory use seen, for inputs not seen.
_HEADROOM = Decimal("1.5")
_ENOUGH = 20  # invocations sampled before memory is judged
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Advice:
    """One piece of advice. ``saving``: USD a month; None when it depends on something not measured."""

    topic: str
    change: str
    saving: Decimal | None
    risk: str
    basis: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "change": self.change,
            "saving_usd_per_month": plain(self.saving),
            "risk": self.risk,
            "basis": self.basis,
        }


@dataclass(frozen=True)
class Facts:
    """What the rules look at. ``monthly``: factor from the window to a month of 730 hours."""

    usage: Usage
    lines: Sequence[Line]
    prices: PriceSource

    @property
    def monthly(self) -> Decimal:
        return HOURS_PER_MONTH / self.usage.window.hours

    def amount(self, key: str, resource: str | None = None) -> Decimal:
        """USD a month of the lines of one item; unknown prices count nothing, they cannot be saved on."""
        chosen = [x for x in self.lines if x.key == key and resource in (None, x.resource)]
        return sum((x.amount for x in chosen if x.amount is not None), ZERO) * self.monthly

    def first(self, key: str) -> Decimal | None:
        """The price of the first unit, in US dollars; None when it is not known."""
        price = self.prices.price(key, self.usage.region)
        return price.first if isinstance(price, Price) else None


def memory(facts: Facts) -> list[Advice]:
    """Functions that use far less memory than they have."""
    found = []
    for f in facts.usage.functions:
        if f.max_memory_mb is None or f.sampled < _ENOUGH:
            continue
        needed = max(_SMALLEST_MB, -(-int(f.max_memory_mb * _HEADROOM) // 64) * 64)
        if needed > f.memory_mb / 2:
            continue
        compute = _compute(facts, f)
        most = compute * (1 - Decimal(needed) / f.memory_mb)
        if most >= _CENT:
            found.append(
                Advice(
                    f"memory of {f.name}",
                    f"try {needed} MB instead of {f.memory_mb} MB",
                    most,
                    "CPU shrinks with memory: if the work is CPU-bound it takes longer in proportion and nothing is "
                    "saved. The saving shown is the most it can be; measure before changing it",
                    f"at most {f.max_memory_mb} MB used in {f.sampled} invocations; compute costs {plain(compute)} "
                    "USD a month",
                )
            )
    return found


def architecture(facts: Facts) -> list[Advice]:
    """The same compute on arm64."""
    x86, arm = facts.first("lambda.gb_seconds"), facts.first("lambda.gb_seconds_arm")
    if not x86 or not arm:
        return []
    compute = sum((_compute(facts, f) for f in facts.usage.functions if f.architecture == "x86_64"), ZERO)
    saving = compute * (1 - arm / x86)
    if saving < _CENT:
        return []
    return [
        Advice(
            "processor",
            "set the parameter Architecture to arm64 and build the layers for it",
            saving,
            "reports contradict each other on onnxruntime on arm64 Lambda: release to staging first and compare "
            "answers and durations",
            f"compute on x86_64 costs {plain(compute)} USD a month; arm64 is {plain(arm)} against {plain(x86)} USD a "
            "GB-second, equal durations assumed",
        )
    ]


def logs(facts: Facts) -> list[Advice]:
    """Log volume: the capture rate for predict, and the cheaper log class for others."""
    found = []
    captured = facts.amount("logs.ingested_gb", "predict")
    if captured >= _CENT:
        found.append(
            Advice(
                "capture rate",
                "set capture.rate to 0.1 in the contracts",
                captured * Decimal("0.9"),
                "drift checks see a tenth of the traffic, so small shifts are found later; releases still capture "
                "everything",
                f"log ingestion of predict costs {plain(captured)} USD a month, taken to be capture lines",
            )
        )
    standard, rare = facts.first("logs.ingested_gb"), facts.first("logs.ingested_gb_ia")
    other = facts.amount("logs.ingested_gb") - captured
    if standard and rare and (saving := other * (1 - rare / standard)) >= _CENT:
        found.append(
            Advice(
                "log class",
                "give the log groups of all functions but predict the class INFREQUENT_ACCESS",
                saving,
                "no metric filters, subscriptions or live tail on those groups, and embedded metrics stop; predict "
                "must keep STANDARD because capture reads it by subscription. The class of an existing group cannot "
                "be changed",
                f"their ingestion costs {plain(other)} USD a month at {plain(standard)} against {plain(rare)} USD a GB",
            )
        )
    stored = facts.amount("logs.stored_gb_month")
    if stored >= _CENT:
        found.append(
            Advice(
                "log retention",
                "halve the parameter LogRetentionDays",
                stored / 2,
                "older logs are gone when a question about them comes up; capture files and the ledger stay",
                f"log storage costs {plain(stored)} USD a month",
            )
        )
    return found


def standing(facts: Facts) -> list[Advice]:
    """Metrics and secrets, the standing charges one can choose."""
    found = []
    metrics = facts.amount("cloudwatch.metrics")
    if metrics >= _CENT:
        found.append(
            Advice(
                "custom metrics",
                "drop dimensions and metrics that no alarm and no person reads",
                metrics / 2,
                "what is not measured cannot be looked up afterwards",
                f"custom metrics cost {plain(metrics)} USD a month; half of them taken as an example",
            )
        )
    secrets = facts.amount("secrets.secrets")
    if secrets >= _CENT:
        found.append(
            Advice(
                "secrets",
                "keep what needs no rotation as a SecureString parameter, which is free",
                secrets,
                "no built-in rotation and no resource policy",
                f"secrets cost {plain(secrets)} USD a month",
            )
        )
    return found


def warm(facts: Facts) -> list[Advice]:
    """What keeping predict warm would cost: usually a reason not to."""
    predict, price = facts.usage.function("predict"), facts.first("lambda.provisioned_gb_seconds")
    if predict is None or price is None or not predict.sampled:
        return []
    cost = Decimal(predict.memory_mb) / 1024 * HOURS_PER_MONTH * 3600 * price
    share = Decimal(predict.cold_starts) / predict.sampled
    return [
        Advice(
            "provisioned concurrency",
            "keep none" if share < Decimal("0.05") else "weigh one provisioned instance of predict",
            ZERO,
            f"{share:.1%} of the sampled requests met a cold start",
            f"one instance of {predict.memory_mb} MB kept ready would cost {plain(cost.quantize(_CENT))} USD a month",
        )
    ]


RULES: tuple[Callable[[Facts], list[Advice]], ...] = (memory, architecture, logs, standing, warm)


def advise(usage: Usage, lines: Sequence[Line], prices: PriceSource) -> list[Advice]:
    """Everything the rules have to say, the largest saving first."""
    facts = Facts(usage, lines, prices)
    found = [advice for rule in RULES for advice in rule(facts)]
    return sorted(found, key=lambda a: (-(a.saving or ZERO), a.topic))


def _compute(facts: Facts, function: FunctionUsage) -> Decimal:
    return facts.amount("lambda.gb_seconds", function.name) + facts.amount("lambda.gb_seconds_arm", function.name)
