"""The deployed stack's cost report against a calculation by hand from what was metered."""

from __future__ import annotations

import json
import re
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from mlops.aws.clients import client
from tests.e2e.conftest import Deployed

D = Decimal
#: us-east-1, written here by hand; the report takes its own from the snapshot.
BY_HAND = {
    "lambda.requests": D("0.0000002"), "lambda.gb_seconds": D("0.0000166667"),
    "lambda.ephemeral_gb_seconds": D("0.0000000309"), "logs.ingested_gb": D("0.50"),
    "logs.stored_gb_month": D("0.03"), "stepfunctions.transitions": D("0.000025"), "cloudwatch.alarms": D("0.10"),
    "dynamodb.storage_gb_month": D("0.25"), "s3.storage_gb_month": D("0.023"), "ssm.standard_parameters": D(0),
    "cloudwatch.get_metric_data": D("0.00001"),
}  # fmt: skip


def test_the_report_is_to_the_cent_what_its_metered_use_costs_by_hand(deployed: Deployed) -> None:
    bench = deployed.bench
    answer = bench.invoke("cost_report", {"task": "report", "hours": 1})
    report: dict[str, Any] = json.loads(bench.data.get(answer["report_key"]))
    assert report["region"] == "us-east-1"

    total = D(0)
    for function in report["functions"]:
        seconds = D(function["billed_ms"]) / 1000
        total += function["invocations"] * BY_HAND["lambda.requests"]
        total += D(function["memory_mb"]) / 1024 * seconds * BY_HAND["lambda.gb_seconds"]
        beyond_free = max(0, function["ephemeral_mb"] - 512)
        total += D(beyond_free) / 1024 * seconds * BY_HAND["lambda.ephemeral_gb_seconds"]
    others = [x for x in report["list_price"]["lines"] if not x["key"].startswith("lambda.")]
    assert {x["key"] for x in others} <= set(BY_HAND)
    total += sum(D(x["quantity"]) * BY_HAND[x["key"]] for x in others)
    assert abs(total - D(answer["list_usd"])) < D("1e-9")
    assert total.quantize(D("0.01"), ROUND_HALF_UP) == D(answer["list_usd"]).quantize(D("0.01"), ROUND_HALF_UP)

    # What was metered is what Lambda's own log says. The report's function is the one that runs meanwhile.
    start, end = report["window"]["start"], report["window"]["end"]
    for function in report["functions"]:
        if function["name"] in ("register", "evaluate", "train"):
            billed = reported(f"/aws/lambda/{bench.stack}-{function['name']}", start, end)
            assert (function["invocations"], D(function["billed_ms"])) == (len(billed), sum(billed, D(0)))


def reported(group: str, start: str, end: str) -> list[Decimal]:
    """Billed milliseconds of each invocation, from the log itself."""
    from datetime import datetime

    found = []
    pages = client("logs").get_paginator("filter_log_events")
    times = [int(datetime.fromisoformat(t).timestamp() * 1000) for t in (start, end)]
    for page in pages.paginate(logGroupName=group, startTime=times[0], endTime=times[1] - 1):
        for event in page["events"]:
            match = re.search(r"^REPORT .*Billed Duration: ([0-9.]+) ms", event["message"])
            if match:
                found.append(D(match[1]))
    return found
