"""What serving and retraining cost a month at a given load, on the stack of a template.

Every number that is not in the template is a field of :class:`Load` with a default, listed in the estimate.
Times are per invocation in ms; the scoring time comes from measurements of the warm handler (docs/cost.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from mlops.cost.catalogue import compute_key
from mlops.cost.idle import functions
from mlops.cost.template import Template
from mlops.cost.usage import GIB, HOURS_PER_MONTH, Quantity
from mlops.errors import MlopsError

ONE_VCPU_MB = 1769
_SECONDS = HOURS_PER_MONTH * 3600
_TOKEN_SECONDS = 300  # Authorizers' ReauthorizeEvery when the template says nothing
_PLATFORM_BYTES = 420  # START, END, REPORT and the trace id, with CloudWatch's 26 bytes for each line
_READ = 2  # GETs of a capture file; without folding 8: one daily drift window and seven daily quality windows
_READ_SECONDS = Decimal("0.003")  # of a function of 1 GB for a GET among 16 at once
_FOLDED_OBJECTS = HOURS_PER_MONTH + 100 * HOURS_PER_MONTH / 24
_METHOD_METRICS = 5  # Count, 4XXError, 5XXError, Latency, IntegrationLatency


@dataclass(frozen=True)
class Load:
    """A month's load and what is assumed about it.

    Attributes
    ----------
    rows, features : rows a request, features a row.
    duration_ms : billed milliseconds of a warm request; None: estimated from rows and memory.
    memory_mb, architecture : of predict, when not the template's.
    cold_share, cold_ms : share of requests that start an instance, and what that adds (billed since 2025-08).
    tokens : distinct tokens in use; the authorizer runs once a token and cache period.
    capture_rate, capture_days : share of requests captured and days they are kept.
    trace_rate : share of requests traced beyond a rule's reservoir, when not the template's.
    api_methods : methods in use; detailed API metrics are charged by method.
    trainings : retrainings that end in a release.
    """

    requests: int
    rows: int = 1
    features: int = 30
    duration_ms: Decimal | None = None
    memory_mb: int | None = None
    architecture: str | None = None
    cold_share: Decimal = Decimal("0.005")
    cold_ms: Decimal = Decimal(600)
    tokens: int = 10
    capture_rate: Decimal = Decimal(1)
    capture_days: int = 90
    trace_rate: Decimal | None = None
    api_methods: int = 1
    trainings: Decimal = Decimal(4)
    train_seconds: Decimal = Decimal(120)

    def __post_init__(self) -> None:
        checks = (
            ("requests", self.requests >= 0), ("rows", self.rows >= 1), ("features", self.features >= 1),
            ("duration_ms", self.duration_ms is None or self.duration_ms > 0),
            ("memory_mb", self.memory_mb is None or 128 <= self.memory_mb <= 10_240),
            ("architecture", self.architecture in (None, "x86_64", "arm64")),
            ("capture_rate", 0 <= self.capture_rate <= 1),
            ("trace_rate", self.trace_rate is None or 0 <= self.trace_rate <= 1),
            ("cold_share", 0 <= self.cold_share <= 1), ("tokens", self.tokens >= 1), ("trainings", self.trainings >= 0),
        )  # fmt: skip
        for name, good in checks:
            if not good:
                raise MlopsError(f"{name}: {getattr(self, name)} is out of range", code="invalid_load")

    @property
    def rate(self) -> Decimal:
        """Mean requests a second."""
        return self.requests / _SECONDS

    @property
    def response_bytes(self) -> int:
        """Headers and a small answer, and about 60 bytes a row."""
        return 500 + 60 * self.rows

    @property
    def request_bytes(self) -> int:
        """Names and values of the features as JSON, about 28 bytes each, beside headers and token."""
        return 1_200 + 28 * self.features * self.rows

    @property
    def capture_bytes(self) -> int:
        """One capture line: its frame, and each row's features and scores."""
        return 420 + (130 + 28 * self.features) * self.rows

    def handler_ms(self, memory_mb: int) -> Decimal:
        """Billed time of a warm request: 2 ms around the handler, and the handler's own 9 us and 4.8 us a row
        (measured on one full core, orjson and onnxruntime, 30 features), stretched where memory gives less than a
        core; rounded up to 1 ms."""
        if self.duration_ms is not None:
            return self.duration_ms
        slow = max(Decimal(1), Decimal(ONE_VCPU_MB) / memory_mb)
        own = (Decimal("0.009") + Decimal("0.0048") * self.rows) * slow
        return (2 + own).to_integral_value(ROUND_CEILING)

    def describe(self, memory_mb: int, sampling: tuple[int, Decimal]) -> list[str]:
        """The assumptions in words; ``sampling`` as :func:`trace_sampling` gives it."""
        reservoir, rate = sampling
        return [
            f"{self.rows} rows of {self.features} features a request, spread evenly over the month",
            f"a warm request of predict is billed {self.handler_ms(memory_mb)} ms at {memory_mb} MB"
            + (" (given)" if self.duration_ms is not None else " (2 ms around the handler plus measured scoring time)"),
            f"{self.cold_share:%} of requests start an instance, which adds {self.cold_ms} ms",
            f"{self.tokens} tokens in use; the authorizer's answer is cached",
            f"{self.capture_rate:%} of requests are captured ({self.capture_bytes} bytes each) and kept "
            f"{self.capture_days} days",
            f"X-Ray records the first {reservoir} requests of each second and {rate:%} of the others",
            f"{self.trainings} retrainings with release a month, each training {self.train_seconds} s",
        ]


def seconds_with(events: Decimal, slots: Decimal = _SECONDS) -> Decimal:
    """Expected number of ``slots`` with at least one of ``events`` spread at random: S (1 - exp(-n/S))."""
    return slots * (1 - (-events / slots).exp()) if slots else Decimal(0)


def load(template: Template, wanted: Load) -> list[Quantity]:
    """A month's quantities beyond those of the stack at rest."""
    known = functions(template)
    return [
        *front_door(template, wanted),
        *scoring(template, wanted),
        _log("predict", Decimal(wanted.requests), _PLATFORM_BYTES, "platform lines"),
        *_capture(known, wanted),
        *_trainings(known, wanted),
    ]


def front_door(template: Template, w: Load) -> list[Quantity]:
    """What lets callers in, whatever scores behind it: API, token check, traces, API metrics, answers going out."""
    known, n = functions(template), Decimal(w.requests)
    period = _cache_seconds(template)
    checks = min(n, w.tokens * seconds_with(n / w.tokens, _SECONDS / period)) if period else n
    memory, architecture = _size(known, "authorizer")
    found = [
        Quantity("apigateway.rest_requests", n, "API", f"{w.requests} requests"),
        Quantity("transfer.out_gb", n * w.response_bytes / GIB, "API", f"{n} x {w.response_bytes} bytes / 2^30"),
        *_invocations("authorizer", checks, Decimal(10), memory, architecture),
        _log("authorizer", checks, _PLATFORM_BYTES, "platform lines"),
    ]
    if _traced(template):
        reservoir, rate = trace_sampling(template, w)
        first = seconds_with(n) * reservoir
        traces = first + (n - first) * rate
        basis = f"{first:.0f} from the reservoir of {reservoir} a second, and {rate:%} of the other requests"
        found.append(Quantity("xray.traces", traces, "API", basis))
    if _detailed_metrics(template) and n:
        hours = seconds_with(n, HOURS_PER_MONTH)
        amount = _METHOD_METRICS * w.api_methods * hours / HOURS_PER_MONTH
        basis = f"detailed API metrics: {_METHOD_METRICS} x {w.api_methods} methods, {hours:.0f} hours with requests"
        found.append(Quantity("cloudwatch.metrics", amount, "API", basis))
    return found


def scoring(template: Template, w: Load) -> list[Quantity]:
    """The function predict's invocations and compute."""
    memory, architecture = _size(functions(template), "predict", w.memory_mb, w.architecture)
    billed = w.handler_ms(memory) + w.cold_share * w.cold_ms
    return _invocations("predict", Decimal(w.requests), billed, memory, architecture)


def _capture(known: Mapping[str, Mapping[str, Any]], w: Load) -> list[Quantity]:
    lines = w.requests * w.capture_rate
    if "capture_writer" not in known or not lines:
        return []
    batches = seconds_with(lines)  # CloudWatch Logs hands over what came together; taken as once a second
    memory, architecture = _size(known, "capture_writer")
    per_day = lines * w.capture_bytes / GIB / 10 / (HOURS_PER_MONTH / 24)  # gzip makes such lines a tenth
    return [
        _log("predict", lines, w.capture_bytes + 26, "capture lines"),
        *_invocations("capture_writer", batches, Decimal(80), memory, architecture),
        _log("capture_writer", batches, 700, "platform lines and one of its own"),
        Quantity("s3.put_requests", batches, "captures", "one file a batch"),
        Quantity("s3.put_requests", _FOLDED_OBJECTS, "folded captures", "730 folded hours, 100 listings a day"),
        Quantity(
            "s3.get_requests", batches * _READ, "captures",
            f"each file {_READ} times: when it is folded, and in half of all drift and quality checks before that",
        ),
        Quantity(
            compute_key(architecture), batches * _READ * _READ_SECONDS, "reading captures",
            f"{batches * _READ:.0f} files x {_READ_SECONDS * 1000:f} ms x 1024 MB",
        ),
        Quantity(
            "events.custom", batches * 3, "captures",
            "the data bucket tells EventBridge of every file made, hidden when it is folded, and removed",
        ),
        Quantity(
            "s3.storage_gb_month", per_day * w.capture_days, "captures",
            f"{per_day:.6f} GB a day after gzip (a tenth) x {w.capture_days} days",
        ),
    ]  # fmt: skip


def _trainings(known: Mapping[str, Mapping[str, Any]], w: Load) -> list[Quantity]:
    if not w.trainings:
        return []
    found: list[Quantity] = []
    seconds = {"train": w.train_seconds, "evaluate": Decimal(15), "ingest_validate": Decimal(5),
               "drift_check": Decimal(5), "retrain_launcher": Decimal(2), "register": Decimal(2)}  # fmt: skip
    for name, duration in seconds.items():
        if name in known:
            memory, architecture = _size(known, name)
            found += _invocations(name, w.trainings, duration * 1000, memory, architecture)
    if "release" in known:
        # Shadow and two canary steps of five minutes, looked at each minute, and what begins and ends them.
        looks = w.trainings * 25
        memory, architecture = _size(known, "release")
        found += _invocations("release", looks, Decimal(2000), memory, architecture)
        basis = f"{w.trainings} trainings x (20 steps of the pipeline and 75 of a release)"
        found.append(Quantity("stepfunctions.transitions", w.trainings * 95, "machines", basis))
    return found


def _invocations(name: str, count: Decimal, billed_ms: Decimal, memory: int, architecture: str) -> list[Quantity]:
    amount = count * billed_ms / 1000 * memory / 1024
    basis = f"{count:.0f} x {billed_ms.normalize():f} ms x {memory} MB"
    return [
        Quantity("lambda.requests", count, name, f"{count:.0f} invocations"),
        Quantity(compute_key(architecture), amount, name, basis),
    ]


def _log(name: str, count: Decimal, size: int, what: str) -> Quantity:
    return Quantity("logs.ingested_gb", count * size / GIB, name, f"{what}: {count:.0f} x {size} bytes / 2^30")


def _size(
    known: Mapping[str, Mapping[str, Any]], name: str, memory: int | None = None, architecture: str | None = None
) -> tuple[int, str]:
    properties = known.get(name, {})
    given = (properties.get("Architectures") or ["x86_64"])[0]
    return memory or int(properties.get("MemorySize", 128)), architecture or str(given)


def predict_memory(template: Template, wanted: Load) -> int:
    """Memory of predict in MB under this load's choice."""
    return _size(functions(template), "predict", wanted.memory_mb)[0]


def trace_sampling(template: Template, wanted: Load) -> tuple[int, Decimal]:
    """Requests a second that X-Ray always records, and the share of the others.

    Those of the template's sampling rule; without one X-Ray's default rule, 1 a second and 5 % (AWS X-Ray developer
    guide, "Configuring sampling rules"). A reservoir above 1 is counted as if every second used all of it.
    """
    reservoir, rate = 1, Decimal("0.05")
    for found in template.of("AWS::XRay::SamplingRule"):
        rule = found.properties["SamplingRule"]
        reservoir, rate = int(rule["ReservoirSize"]), Decimal(str(rule["FixedRate"]))
    return reservoir, rate if wanted.trace_rate is None else wanted.trace_rate


def _cache_seconds(template: Template) -> int:
    for api in template.of("AWS::Serverless::Api"):
        for authorizer in ((api.properties.get("Auth") or {}).get("Authorizers") or {}).values():
            return int((authorizer.get("Identity") or {}).get("ReauthorizeEvery", _TOKEN_SECONDS))
    return _TOKEN_SECONDS


def _traced(template: Template) -> bool:
    return any(api.properties.get("TracingEnabled") is True for api in template.of("AWS::Serverless::Api"))


def _detailed_metrics(template: Template) -> bool:
    settings = [s for api in template.of("AWS::Serverless::Api") for s in api.properties.get("MethodSettings") or []]
    return any(s.get("MetricsEnabled") is True for s in settings)
