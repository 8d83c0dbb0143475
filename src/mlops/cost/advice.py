"""Advice with numbers: what could cost less, how much less a month, at which risk, by which change.

Each rule is a pure function from what was measured to at most a few pieces of advice. Savings are at list price
and for a month like the window that was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from mlops.cost.lines import Line
from mlops.cost.money import ZERO, decimal, plain
from mlops.cost.predictions import Predictions
from mlops.cost.prices import Price, PriceSource
from mlops.cost.usage import HOURS_PER_MONTH, FunctionUsage, Usage

#: Lambda gives one full vCPU at this size (Lambda Developer Guide, "Configure memory"); below it CPU scales.
ONE_VCPU_MB = 1769
_SMALLEST_MB = 128
#: Room above the highest memory use seen, for inputs not seen.
_HEADROOM = Decimal("1.5")
_ENOUGH = 20  # invocations sampled before memory is judged
_CENT = Decimal("0.01")
_BATCH = 100  # records in a request, for comparison
#: Share of requests that meet a cold start below which nothing is worth keeping warm.
_FEW_COLD = Decimal("0.05")
#: Billed beside the training itself on a machine, and spot's share of the price: as in mlops.retrain.place.
_JOB_SECONDS, _SPOT = 60, Decimal("0.4")
_PLAN = Decimal("0.17")


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
    """What the rules look at. ``monthly``: factor from the window to a month of 730 hours. ``tunings``: the newest
    tuning of a function by its name (:mod:`mlops.cost.tuning`)."""

    usage: Usage
    lines: Sequence[Line]
    prices: PriceSource
    predictions: Predictions = field(default_factory=Predictions)
    tunings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

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
    """By its tuning where there is one, else functions that use far less memory than they have."""
    found = []
    for f in facts.usage.functions:
        if f.name in facts.tunings:
            found += _tuned(facts, f, facts.tunings[f.name])
            continue
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
                    "saved. The saving shown is the most it can be; measure before changing it: mlops cost tune",
                    f"at most {f.max_memory_mb} MB used in {f.sampled} invocations; compute costs {plain(compute)} "
                    "USD a month",
                )
            )
    return found


def _tuned(facts: Facts, function: FunctionUsage, tuning: Mapping[str, Any]) -> list[Advice]:
    """The cheapest size that was measured, against the size that the function has."""
    points = {int(p["memory_mb"]): p for p in tuning["points"] if p["usd_per_million"] is not None}
    now = points.get(function.memory_mb)
    if now is None:  # the tuning is of a size that the function does not have any more, or tried others only
        return []
    costs = {size: decimal(p["usd_per_million"], "a tuning") for size, p in points.items()}
    best = min(costs, key=lambda size: (costs[size], size))
    saving = _compute(facts, function) * (1 - costs[best] / costs[function.memory_mb]) if costs[best] else ZERO
    if best == function.memory_mb or saving < _CENT:
        return []
    return [
        Advice(
            f"memory of {function.name}",
            f"set its memory to {best} MB instead of {function.memory_mb} MB",
            saving,
            f"its median time becomes {points[best]['median_ms']} ms, now {now['median_ms']} ms; measured with one "
            "event, larger ones may need more",
            f"tuning of {str(tuning['made_at'])[:10]}: a million cost {plain(costs[best])} USD at {best} MB and "
            f"{plain(costs[function.memory_mb])} USD at {function.memory_mb} MB",
        )
    ]


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
    kept = _kept(facts, "lambda.provisioned_gb_seconds")
    if kept is None:
        return []
    return [
        Advice(
            "provisioned concurrency",
            "keep none" if kept.cold < _FEW_COLD else "weigh one provisioned instance of predict",
            ZERO,
            f"{kept.cold:.1%} of the sampled requests met a cold start",
            f"one instance of {kept.memory_mb} MB kept ready would cost {plain(kept.cost)} USD a month",
        )
    ]


def snapshots(facts: Facts) -> list[Advice]:
    """What SnapStart would cost: a snapshot is charged while its version exists, and every restore."""
    kept = _kept(facts, "lambda.snapstart_gb_seconds")
    if kept is None:
        return []
    return [
        Advice(
            "SnapStart",
            "leave PredictSnapStart at None" if kept.cold < _FEW_COLD else "weigh PredictSnapStart",
            ZERO,
            f"{kept.cold:.1%} of the sampled requests met a cold start; "
            "old versions keep their snapshots until deleted",
            f"one published version of {kept.memory_mb} MB would cost {plain(kept.cost)} USD a month to keep, "
            "and its restores more",
        )
    ]


class _Kept(NamedTuple):
    """predict's memory held for a month: MB, USD, and the share of sampled requests that met a cold start."""

    memory_mb: int
    cost: Decimal
    cold: Decimal


def _kept(facts: Facts, price: str) -> _Kept | None:
    """Nothing when predict was not sampled or the price is not known."""
    predict, rate = facts.usage.function("predict"), facts.first(price)
    if predict is None or rate is None or not predict.sampled:
        return None
    cost = Decimal(predict.memory_mb) / 1024 * HOURS_PER_MONTH * 3600 * rate
    return _Kept(predict.memory_mb, cost.quantize(_CENT), Decimal(predict.cold_starts) / predict.sampled)


def batching(facts: Facts) -> list[Advice]:
    """Many records in one request: the API and the invocation are charged by request."""
    rows, requests = facts.predictions.rows, sum(a.requests for a in facts.predictions.answered)
    by_request = facts.amount("apigateway.rest_requests") + facts.amount("lambda.requests", "predict")
    if not requests or rows >= requests * _BATCH:
        return []
    saving = by_request * (1 - Decimal(rows) / requests / _BATCH)
    if saving < _CENT:
        return []
    return [
        Advice(
            "batch or live",
            f"send {_BATCH} records in a request where nobody waits for the answer, or score files with mlops score",
            saving,
            "the saving is that of all callers changing; who needs an answer at once cannot wait for others",
            f"{rows} records in {requests} requests; what is charged by request costs {plain(by_request)} USD a month",
        )
    ]


def storage(facts: Facts) -> list[Advice]:
    """The storage class of the buckets."""
    standard, rare = facts.first("s3.storage_gb_month"), facts.first("s3.storage_ia_gb_month")
    stored = facts.amount("s3.storage_gb_month")
    if not standard or not rare or (saving := stored * (1 - rare / standard)) < _CENT:
        return []
    return [
        Advice(
            "S3 storage class",
            "move objects above 128 KB that nobody has read for a month to Standard-IA by a lifecycle rule",
            saving,
            "the saving is the most it can be: smaller objects, as capture files are, count as 128 KB there and get "
            "dearer; reading costs 0.01 USD a GB, and 30 days are charged at least",
            f"storage costs {plain(stored)} USD a month at {plain(standard)} against {plain(rare)} USD a GB",
        )
    ]


def training(facts: Facts) -> list[Advice]:
    """The same trainings on a spot machine, and a savings plan for what stays on Lambda."""
    found = []
    train, price = facts.usage.function("train"), facts.first("sagemaker.training.ml.m5.large")
    if train is not None and price is not None and train.invocations:
        now = _compute(facts, train)
        seconds = (train.billed_ms / 1000 + _JOB_SECONDS * train.invocations) * facts.monthly
        saving = now - seconds / 3600 * price * _SPOT
        if saving >= _CENT:
            found.append(
                Advice(
                    "place of training",
                    "train on managed spot: TrainingImage, and retrain.where: sagemaker (docs/retraining.md)",
                    saving,
                    f"a model is there some minutes later and may be interrupted; spot at {plain(_SPOT)} of the price "
                    "is assumed",
                    f"{train.invocations} trainings cost {plain(now)} USD a month in Lambda; on ml.m5.large at "
                    f"{plain(price)} USD an hour on demand, {_JOB_SECONDS} s more each",
                )
            )
    compute = sum((_compute(facts, f) for f in facts.usage.functions), ZERO)
    saving = compute * _PLAN
    if saving >= 1:  # below a dollar a month nobody should commit to a year
        found.append(
            Advice(
                "savings plan",
                "commit to a Compute Savings Plan of a year for what Lambda computes at least",
                saving,
                "what is committed to is paid also when it is not used; other load of the account may share it",
                f"compute costs {plain(compute)} USD a month; {plain(_PLAN)} is the most that AWS names, from memory",
            )
        )
    return found


RULES: tuple[Callable[[Facts], list[Advice]], ...] = (
    memory, architecture, logs, standing, warm, snapshots, batching, storage, training,
)  # fmt: skip


def advise(
    usage: Usage,
    lines: Sequence[Line],
    prices: PriceSource,
    *,
    predictions: Predictions | None = None,
    tunings: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Advice]:
    """Everything the rules have to say, the largest saving first."""
    facts = Facts(usage, lines, prices, predictions or Predictions(), tunings or {})
    found = [advice for rule in RULES for advice in rule(facts)]
    return sorted(found, key=lambda a: (-(a.saving or ZERO), a.topic))


def _compute(facts: Facts, function: FunctionUsage) -> Decimal:
    return facts.amount("lambda.gb_seconds", function.name) + facts.amount("lambda.gb_seconds_arm", function.name)
