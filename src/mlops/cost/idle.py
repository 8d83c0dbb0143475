"""What a deployed stack costs a month when nobody uses it: standing charges and the schedules that fire anyway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mlops.cost.catalogue import compute_key
from mlops.cost.schedules import per_month
from mlops.cost.standing import CHARGED, function_name, known
from mlops.cost.template import Resource, Template
from mlops.cost.usage import HOURS_PER_MONTH, Quantity

_FUNCTIONS = ("AWS::Serverless::Function", "AWS::Lambda::Function")
_TABLES = ("AWS::DynamoDB::Table",)
_SCHEDULES = ("Schedule", "ScheduleV2")
#: Metrics of a scheduled run beside those that every function has: ModelsDrifted, and DriftShare of one model.
_MORE_METRICS = {"drift_check": 2}


@dataclass(frozen=True)
class Idle:
    """Assumptions for a stack at rest; each is named in the estimate.

    ``scheduled_seconds``: how long a scheduled run with nothing to do takes. ``metrics_per_function``: embedded
    metrics of a scheduled run; a custom metric is charged for the hours in which it has data.
    """

    stored_gb: Decimal = Decimal("0.5")
    table_gb: Decimal = Decimal("0.01")
    log_gb: Decimal = Decimal("0.05")
    scheduled_seconds: Decimal = Decimal(10)
    log_bytes_per_run: int = 4_000
    metrics_per_function: int = 1

    def describe(self) -> list[str]:
        return [
            f"at rest: {self.stored_gb} GB in buckets, {self.table_gb} GB in the table, {self.log_gb} GB of logs",
            f"a scheduled run takes {self.scheduled_seconds} s, writes {self.log_bytes_per_run} bytes of log and has "
            f"{self.metrics_per_function} metric with data in its hour; drift-check has one more, and one a model",
        ]


def functions(template: Template) -> dict[str, Mapping[str, Any]]:
    """Properties of the template's functions, by folder name."""
    return {function_name(r.name): r.properties for r in template.resources if r.kind in _FUNCTIONS}


def unknown_types(template: Template) -> list[str]:
    """Resource types of which it is not known whether they cost something for being there."""
    return sorted({r.kind for r in template.resources if not known(r.kind)})


def idle(template: Template, assume: Idle) -> list[Quantity]:
    """A month's quantities of the stack at rest."""
    found = _standing(template) + _storage(template, assume)
    for resource in template.resources:
        if resource.kind in _FUNCTIONS:
            found += _kept_warm(resource)
            for event in (resource.properties.get("Events") or {}).values():
                if event.get("Type") in _SCHEDULES:
                    found += _scheduled(template, resource, event["Properties"], assume)
    return found


def _standing(template: Template) -> list[Quantity]:
    found = []
    for kind, key in CHARGED.items():
        resources = template.of(kind)
        count = sum(_units(r) for r in resources)
        if count:
            found.append(Quantity(key, Decimal(count), kind, f"{len(resources)} in the template"))
    rules = sum(len(r.properties.get("Rules") or []) for r in template.of("AWS::WAFv2::WebACL"))
    if rules:
        found.append(Quantity("waf.rules", Decimal(rules), "AWS::WAFv2::WebACL", f"{rules} rules"))
    return found


def _units(resource: Resource) -> int:
    """An alarm on metric math is charged for each metric that it reads."""
    metrics = resource.properties.get("Metrics")
    if resource.kind == "AWS::CloudWatch::Alarm" and isinstance(metrics, list):
        return max(1, sum("MetricStat" in m for m in metrics if isinstance(m, dict)))
    return 1


def _storage(template: Template, assume: Idle) -> list[Quantity]:
    found = []
    if template.of("AWS::S3::Bucket"):
        found.append(Quantity("s3.storage_gb_month", assume.stored_gb, "buckets", "assumed"))
    for kind in _TABLES:
        for table in template.of(kind):
            found.append(Quantity("dynamodb.storage_gb_month", assume.table_gb, table.name, "assumed"))
            recovery = table.properties.get("PointInTimeRecoverySpecification") or {}
            if recovery.get("PointInTimeRecoveryEnabled"):
                found.append(Quantity("dynamodb.pitr_gb_month", assume.table_gb, table.name, "the table's size"))
    if template.of("AWS::Logs::LogGroup"):
        found.append(Quantity("logs.stored_gb_month", assume.log_gb, "log groups", "assumed"))
    return found


def _kept_warm(resource: Resource) -> list[Quantity]:
    properties, name = resource.properties, function_name(resource.name)
    size = Decimal(int(properties.get("MemorySize", 128))) / 1024
    found = []
    provisioned = (properties.get("ProvisionedConcurrencyConfig") or {}).get("ProvisionedConcurrentExecutions")
    if provisioned:
        amount = size * int(provisioned) * HOURS_PER_MONTH * 3600
        basis = f"{provisioned} x {size} GB x 730 h x 3600"
        found.append(Quantity("lambda.provisioned_gb_seconds", amount, name, basis))
    if (properties.get("SnapStart") or {}).get("ApplyOn") == "PublishedVersions":
        amount = size * HOURS_PER_MONTH * 3600
        basis = f"one published version: {size} GB x 730 h x 3600; more versions cost more"
        found.append(Quantity("lambda.snapstart_gb_seconds", amount, name, basis))
    return found


def _scheduled(template: Template, resource: Resource, event: Mapping[str, Any], assume: Idle) -> list[Quantity]:
    if event.get("State") == "DISABLED" or event.get("Enabled") is False:
        return []
    expression = str(event.get("ScheduleExpression") or event.get("Schedule"))
    runs = per_month(expression)
    name, properties = function_name(resource.name), resource.properties
    memory = int(properties.get("MemorySize", 128))
    gb_seconds = runs * Decimal(memory) / 1024 * assume.scheduled_seconds
    architecture = (properties.get("Architectures") or ["x86_64"])[0]
    basis = f"{expression}: {runs:.2f} runs a month"
    log_gb = runs * assume.log_bytes_per_run / Decimal(2**30)
    # A metric is charged by the hour with data: one run, one hour, but never more than the month has.
    metrics = assume.metrics_per_function + _MORE_METRICS.get(name, 0)
    metric_months = min(runs, HOURS_PER_MONTH) / HOURS_PER_MONTH * metrics
    found = [
        Quantity("lambda.requests", runs, name, basis),
        Quantity(compute_key(architecture), gb_seconds, name, f"{basis} x {memory} MB x {assume.scheduled_seconds} s"),
        Quantity("events.scheduler", runs, name, basis),
        Quantity("logs.ingested_gb", log_gb, name, f"{basis} x {assume.log_bytes_per_run} bytes"),
        Quantity("cloudwatch.metrics", metric_months, name, f"{basis} x {metrics} metric-hours"),
    ]
    if properties.get("Tracing") == "Active":
        found.append(Quantity("xray.traces", runs, name, basis))
    if name == "cost_report":
        found += _own_questions(template, runs, basis)
    return found


def _own_questions(template: Template, runs: Decimal, basis: str) -> list[Quantity]:
    """What the cost report costs by asking: see mlops.aws.metering (metrics) and mlops.aws.billing (the bill)."""
    per_function, others = 5, 6
    asked = 2 * (per_function * len(functions(template)) + others)  # for yesterday and for the month
    return [
        Quantity("costexplorer.requests", runs, "cost_report", f"{basis}, one request each"),
        Quantity("cloudwatch.get_metric_data", runs * asked, "cost_report", f"{basis} x {asked} metrics"),
    ]
