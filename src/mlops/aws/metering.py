"""Measures a stack's use: CloudWatch's metrics, and the services themselves where CloudWatch has none.

Whatever cannot be measured (no permission, a platform that does not publish the metric) becomes
:class:`mlops.cost.usage.NotMetered` with the reason. The stack's resources come from CloudFormation, so a new
function is metered without a change here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from mlops.aws.clients import client, error_code
from mlops.cost import lambda_logs
from mlops.cost.executions import transitions
from mlops.cost.standing import CHARGED, function_name, known
from mlops.cost.usage import GIB, FunctionUsage, NotMetered, Quantity, Usage, Window

Clients = Callable[[str], Any]

NAMESPACE = "ServerlessMLOps"  # of the functions' own metrics, see mlops.aws.observe
#: What CloudWatch Logs charges beside an event's own bytes (CloudWatch Logs pricing: 26 bytes of metadata).
_EVENT_OVERHEAD = 26
_MAX_LOG_PAGES = 20
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}


@dataclass
class _Book:
    """What one measurement has found so far."""

    window: Window
    functions: list[FunctionUsage] = field(default_factory=list)
    quantities: list[Quantity] = field(default_factory=list)
    standing: list[Quantity] = field(default_factory=list)
    missing: list[NotMetered] = field(default_factory=list)
    groups: set[str] = field(default_factory=set)
    apis: set[str] = field(default_factory=set)
    metrics_asked: int = 0


@dataclass(frozen=True)
class _Resource:
    logical: str
    physical: str
    kind: str


class CloudWatchMeter:
    """Meters one stack.

    Parameters
    ----------
    local : the platform is the local engine, which publishes AWS/Lambda metrics only; log sizes and report lines
        are then counted from the events, and bucket sizes from a listing.
    clients : service name -> boto3 client.
    sample : most REPORT lines read per function.
    histories : most execution histories read per state machine.
    """

    def __init__(
        self,
        stack: str,
        region: str,
        *,
        local: bool = False,
        clients: Clients = client,
        sample: int = 1000,
        histories: int = 100,
    ) -> None:
        self.stack = stack
        self.region = region
        self._local = local
        self._client = clients
        self._sample = sample
        self._histories = histories

    def measure(self, window: Window) -> Usage:
        """Everything used in ``window``. Times are cut to whole minutes, CloudWatch's finest grain."""
        window = Window(_minute(window.start), _minute(window.end + timedelta(seconds=59)))
        book = _Book(window)
        try:
            resources = list(self._resources())
        except ClientError as error:
            book.missing.append(NotMetered(f"the stack {self.stack}", _reason(error)))
            return self._usage(book)
        self._count_standing(book, resources)
        book.groups.update(r.physical for r in resources if r.kind == "AWS::Logs::LogGroup")
        steps: dict[str, tuple[str, Callable[[_Book, _Resource], None]]] = {
            "AWS::Lambda::Function": ("function", self._function),
            "AWS::ApiGateway::RestApi": ("requests of API", self._api),
            "AWS::DynamoDB::Table": ("table", self._table),
            "AWS::S3::Bucket": ("storage of bucket", self._bucket),
            "AWS::StepFunctions::StateMachine": ("state transitions of", self._machine),
        }
        for resource in resources:
            if resource.kind in steps:
                what, step = steps[resource.kind]
                self._guard(book, f"{what} {resource.logical}", partial(step, book, resource))
        for group in sorted(book.groups):
            self._guard(book, f"log storage of {group}", partial(self._log_storage, book, group))
        self._guard(book, "custom metrics", partial(self._custom_metrics, book))
        book.quantities.append(
            Quantity(
                "cloudwatch.get_metric_data",
                Decimal(0 if self._local else book.metrics_asked),
                "this report",
                f"{book.metrics_asked} metrics asked for",
            )
        )
        book.missing.extend(_NEVER)
        return self._usage(book)

    def _usage(self, book: _Book) -> Usage:
        return Usage(
            self.stack,
            self.region,
            book.window,
            tuple(sorted(book.functions, key=lambda f: f.name)),
            tuple(book.quantities),
            tuple(book.standing),
            tuple(book.missing),
        )

    def _guard(self, book: _Book, what: str, step: Callable[[], None]) -> None:
        """Run one step; what AWS refuses is not metered, everything else goes on."""
        try:
            step()
        except ClientError as error:
            book.missing.append(NotMetered(what, _reason(error)))

    # The stack ----------------------------------------------------------------------------------

    def _resources(self) -> Iterator[_Resource]:
        for page in self._client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=self.stack):
            for r in page["StackResourceSummaries"]:
                if r.get("PhysicalResourceId"):
                    yield _Resource(r["LogicalResourceId"], r["PhysicalResourceId"], r["ResourceType"])

    def _count_standing(self, book: _Book, resources: list[_Resource]) -> None:
        counts: dict[str, int] = {}
        for r in resources:
            counts[r.kind] = counts.get(r.kind, 0) + 1
        for kind, count in sorted(counts.items()):
            if kind in CHARGED:
                book.standing.append(Quantity(CHARGED[kind], Decimal(count), kind, f"{count} in the stack"))
            elif not known(kind):
                book.missing.append(NotMetered(f"{count} x {kind}", "whether it is charged is not in the catalogue"))

    # Lambda -------------------------------------------------------------------------------------

    def _function(self, book: _Book, resource: _Resource) -> None:
        config = self._client("lambda").get_function_configuration(FunctionName=resource.physical)
        group = str(config.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{resource.physical}")
        dimensions = {"FunctionName": resource.physical}
        names = ("Invocations", "Errors", "Throttles", "Duration")
        sums = self._sums(book, [("AWS/Lambda", name, dimensions) for name in names])
        invocations, errors, throttles, duration = (s or Decimal(0) for s in sums)
        name = function_name(resource.logical)
        log_bytes: int | None = None
        reports = lambda_logs.Sample(())
        try:
            reports, log_bytes = self._logs(book, group, bool(invocations))
        except ClientError as error:
            # The group of a function that never ran may not exist yet: then nothing was written.
            if error_code(error) == "ResourceNotFoundException" and not invocations:
                log_bytes = 0
            else:
                book.missing.append(NotMetered(f"logs of {name}", _reason(error)))
        if self._local and reports.size > invocations:
            # The engine's metrics miss invocations by state machines; its log has them all.
            invocations, duration = Decimal(reports.size), reports.duration_ms
        billed, basis = lambda_logs.billed(duration, int(invocations), reports)
        book.functions.append(
            FunctionUsage(
                name=name,
                memory_mb=int(config.get("MemorySize", 128)),
                architecture=(config.get("Architectures") or ["x86_64"])[0],
                invocations=int(invocations),
                errors=int(errors),
                throttles=int(throttles),
                duration_ms=duration,
                billed_ms=billed,
                billed_basis=basis,
                log_bytes=log_bytes,
                max_memory_mb=reports.max_memory_mb,
                cold_starts=reports.cold_starts,
                sampled=reports.size,
                ephemeral_mb=int(config.get("EphemeralStorage", {}).get("Size", 512)),
            )
        )
        if log_bytes is not None:
            source = "counted from the events" if self._local else "CloudWatch AWS/Logs IncomingBytes"
            book.quantities.append(
                Quantity("logs.ingested_gb", Decimal(log_bytes) / GIB, name, f"{log_bytes} bytes / 2^30; {source}")
            )
        book.groups.add(group)

    def _logs(self, book: _Book, group: str, ran: bool) -> tuple[lambda_logs.Sample, int | None]:
        """Sampled reports and bytes ingested. The engine has no IncomingBytes, so there the events are added up."""
        if self._local:
            size, lines = 0, []
            for event in self._events(book, group, None, _MAX_LOG_PAGES):
                size += len(event["message"].encode()) + _EVENT_OVERHEAD
                lines.append(event["message"])
            return lambda_logs.sample(lines), size
        (incoming,) = self._sums(book, [("AWS/Logs", "IncomingBytes", {"LogGroupName": group})])
        reports = lambda_logs.Sample(())
        if ran:
            lines = []
            for event in self._events(book, group, '?"REPORT RequestId" ?"platform.report"', 5):
                lines.append(event["message"])
                if len(lines) >= self._sample:
                    break
            reports = lambda_logs.sample(lines)
        return reports, int(incoming or 0)

    def _events(self, book: _Book, group: str, pattern: str | None, pages: int) -> Iterator[dict[str, Any]]:
        request: dict[str, Any] = {
            "logGroupName": group,
            "startTime": int(book.window.start.timestamp() * 1000),
            "endTime": int(book.window.end.timestamp() * 1000) - 1,
        }
        if pattern:
            request["filterPattern"] = pattern
        for _ in range(pages):
            page = self._client("logs").filter_log_events(**request)
            yield from page["events"]
            if not page.get("nextToken"):
                return
            request["nextToken"] = page["nextToken"]
        if pattern is None:
            book.missing.append(NotMetered(f"part of the logs of {group}", f"only {pages} pages of events were read"))

    def _log_storage(self, book: _Book, group: str) -> None:
        page = self._client("logs").describe_log_groups(logGroupNamePrefix=group, limit=50)
        for found in page["logGroups"]:
            if found["logGroupName"] == group and "storedBytes" in found:
                stored = int(found["storedBytes"])
                basis = f"{stored} bytes stored / 2^30 in {group}"
                book.standing.append(Quantity("logs.stored_gb_month", Decimal(stored) / GIB, group, basis))

    # Other services -----------------------------------------------------------------------------

    def _api(self, book: _Book, resource: _Resource) -> None:
        name = self._client("apigateway").get_rest_api(restApiId=resource.physical)["name"]
        book.apis.add(name)
        (requests,) = self._sums(book, [("AWS/ApiGateway", "Count", {"ApiName": name})])
        if requests is None:
            book.missing.append(NotMetered("API requests", _UNPUBLISHED.format("AWS/ApiGateway")))
            return
        book.quantities.append(
            Quantity("apigateway.rest_requests", requests, resource.logical, "CloudWatch AWS/ApiGateway Count")
        )

    def _table(self, book: _Book, resource: _Resource) -> None:
        table = self._client("dynamodb").describe_table(TableName=resource.physical)["Table"]
        size = int(table.get("TableSizeBytes", 0))
        basis = f"{size} bytes / 2^30; AWS refreshes the size about every six hours"
        book.standing.append(Quantity("dynamodb.storage_gb_month", Decimal(size) / GIB, resource.logical, basis))
        dimensions = {"TableName": resource.physical}
        for metric, key in (
            ("ConsumedWriteCapacityUnits", "dynamodb.write_units"),
            ("ConsumedReadCapacityUnits", "dynamodb.read_units"),
        ):
            (units,) = self._sums(book, [("AWS/DynamoDB", metric, dimensions)])
            if units is None:
                book.missing.append(NotMetered(f"DynamoDB {key.split('.')[1]}", _UNPUBLISHED.format("AWS/DynamoDB")))
            else:
                book.quantities.append(Quantity(key, units, resource.logical, f"CloudWatch AWS/DynamoDB {metric}"))

    def _bucket(self, book: _Book, resource: _Resource) -> None:
        size = None if self._local else self._bucket_metric(book, resource.physical)
        if size is not None:
            basis = f"{size} bytes / 2^30; CloudWatch AWS/S3 BucketSizeBytes, all versions"
        else:
            size, objects = 0, 0
            pages = self._client("s3").get_paginator("list_object_versions").paginate(Bucket=resource.physical)
            for number, page in enumerate(pages):
                if number == _MAX_LOG_PAGES:
                    book.missing.append(
                        NotMetered(f"part of bucket {resource.logical}", f"only {objects} object versions were listed")
                    )
                    break
                for item in page.get("Versions", []):
                    size += item["Size"]
                    objects += 1
            basis = f"{size} bytes / 2^30 in {objects} listed object versions"
        book.standing.append(Quantity("s3.storage_gb_month", Decimal(size) / GIB, resource.logical, basis))

    def _bucket_metric(self, book: _Book, bucket: str) -> int | None:
        """The newest daily size of the last three days, None when there is none yet."""
        dimensions = [{"Name": "BucketName", "Value": bucket}, {"Name": "StorageType", "Value": "StandardStorage"}]
        metric = {"Namespace": "AWS/S3", "MetricName": "BucketSizeBytes", "Dimensions": dimensions}
        query = {"Id": "size", "MetricStat": {"Metric": metric, "Period": 86_400, "Stat": "Average"}}
        book.metrics_asked += 1
        answer = self._client("cloudwatch").get_metric_data(
            MetricDataQueries=[query],
            StartTime=book.window.end - timedelta(days=3),
            EndTime=book.window.end,
            ScanBy="TimestampDescending",
        )
        values = answer["MetricDataResults"][0]["Values"]
        return int(values[0]) if values else None

    def _machine(self, book: _Book, resource: _Resource) -> None:
        states = self._client("stepfunctions")
        started = read = counted = 0
        items = False
        for page in states.get_paginator("list_executions").paginate(stateMachineArn=resource.physical):
            for execution in page["executions"]:
                if execution["startDate"] < book.window.start:
                    continue
                if execution["startDate"] < book.window.end:
                    started += 1
                    if read < self._histories:
                        read += 1
                        history = self._history(execution["executionArn"])
                        counted += transitions(history)
                        items |= "MapRunStarted" in history
            # Newest first: once a page ends before the window, the rest is older still.
            if page["executions"] and page["executions"][-1]["startDate"] < book.window.start:
                break
        amount = Decimal(counted) if read == started else Decimal(counted) * started / read
        basis = f"{counted} steps in the histories of {read} executions"
        if read < started:
            basis += f", scaled to {started}"
        book.quantities.append(Quantity("stepfunctions.transitions", amount, resource.logical, basis))
        if items:
            what = f"steps of {resource.logical}'s items"
            book.missing.append(
                NotMetered(what, "each item of a Distributed Map has a history of its own, not read here")
            )

    def _history(self, execution: str) -> list[str]:
        """Types of an execution's events."""
        pages = (
            self._client("stepfunctions")
            .get_paginator("get_execution_history")
            .paginate(executionArn=execution, includeExecutionData=False, PaginationConfig={"PageSize": 1000})
        )
        return [event["type"] for page in pages for event in page["events"]]

    def _custom_metrics(self, book: _Book) -> None:
        if self._local:
            book.missing.append(NotMetered("custom metrics", "the local engine makes no metrics from log lines"))
            return
        own = self._list_metrics(NAMESPACE)
        self._metric_hours(book, own, NAMESPACE, f"in namespace {NAMESPACE}, of every stack in this account and region")
        # Detailed API metrics have a method; those without one are free.
        detailed = [
            metric
            for metric in self._list_metrics("AWS/ApiGateway")
            if any(d["Name"] == "Method" for d in metric["Dimensions"])
            and any(d["Name"] == "ApiName" and d["Value"] in book.apis for d in metric["Dimensions"])
        ]
        self._metric_hours(book, detailed, "API", "of API methods (detailed metrics)")

    def _list_metrics(self, namespace: str) -> list[dict[str, Any]]:
        pages = self._client("cloudwatch").get_paginator("list_metrics").paginate(Namespace=namespace)
        return [metric for page in pages for metric in page["Metrics"]]

    def _metric_hours(self, book: _Book, metrics: list[dict[str, Any]], resource: str, what: str) -> None:
        """A custom metric is charged for each hour in which it has data."""
        hours = 0
        for start in range(0, len(metrics), 500):
            queries = [
                {"Id": f"m{i}", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": "SampleCount"}}
                for i, metric in enumerate(metrics[start : start + 500])
            ]
            book.metrics_asked += len(queries)
            hours += sum(len(result["Values"]) for result in self._data(queries, book.window))
        share = book.window.months / book.window.hours
        basis = f"{hours} metric-hours with data from {len(metrics)} metrics {what}"
        book.quantities.append(Quantity("cloudwatch.metrics", hours * share, resource, basis))

    # CloudWatch ---------------------------------------------------------------------------------

    def _sums(self, book: _Book, wanted: list[tuple[str, str, dict[str, str]]]) -> list[Decimal | None]:
        """Sums over the window; None where the platform does not publish the namespace, 0 where it had no data."""
        period = _period(book.window)
        queries = [
            {
                "Id": f"m{i}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": namespace,
                        "MetricName": name,
                        "Dimensions": [{"Name": k, "Value": v} for k, v in dimensions.items()],
                    },
                    "Period": period,
                    "Stat": "Sum",
                },
            }
            for i, (namespace, name, dimensions) in enumerate(wanted)
        ]
        book.metrics_asked += len(queries)
        totals: dict[str, Decimal] = {}
        for result in self._data(queries, book.window):
            found = sum((Decimal(str(v)) for v in result["Values"]), Decimal(0))
            if result["Values"]:
                totals[result["Id"]] = totals.get(result["Id"], Decimal(0)) + found
        published = {"AWS/Lambda"} if self._local else None
        return [
            totals.get(f"m{i}", Decimal(0) if published is None or namespace in published else None)
            for i, (namespace, _, _) in enumerate(wanted)
        ]

    def _data(self, queries: list[dict[str, Any]], window: Window) -> Iterator[dict[str, Any]]:
        pages = (
            self._client("cloudwatch")
            .get_paginator("get_metric_data")
            .paginate(MetricDataQueries=queries, StartTime=window.start, EndTime=window.end)
        )
        for page in pages:
            yield from page["MetricDataResults"]


_UNPUBLISHED = "the local engine does not publish {} metrics"

#: Charged, small for this stack, and not to be had from a metric that is on by default.
_NEVER = (
    NotMetered("S3 requests", "request metrics are off (each would be a paid metric)"),
    NotMetered("KMS requests", "only CloudTrail has them"),
    NotMetered("data transfer out", "API Gateway publishes no byte counts"),
    NotMetered("X-Ray traces", "no metric counts them; docs/cost.md says how many to expect"),
    NotMetered("SNS, SQS and EventBridge events", "not asked for"),
)


def _minute(time: Any) -> Any:
    return time.replace(second=0, microsecond=0)


def _period(window: Window) -> int:
    """The coarsest period whose grid both ends lie on: fewer points to fetch, the same sums."""
    for period in (86_400, 3_600, 300):
        if window.start.timestamp() % period == 0 and window.end.timestamp() % period == 0:
            return period
    return 60


def _reason(error: ClientError) -> str:
    code = error_code(error)
    if code in _DENIED:
        return f"no permission for {error.operation_name}"
    return f"{error.operation_name} answered {code}"
