"""cost-report: what the stack cost. Daily on a schedule, or on demand: ``{"task": "report", "hours": 24}``."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from mlops.aws.billing import CostExplorer
from mlops.aws.ledger import DynamoLedger
from mlops.aws.metering import CloudWatchMeter
from mlops.aws.objects import S3Objects
from mlops.aws.observe import observed
from mlops.aws.pricing import PriceListApi
from mlops.aws.registry import DynamoRegistry
from mlops.cost import budget
from mlops.cost.billing import BillSource, NoBilling
from mlops.cost.money import decimal
from mlops.cost.prices import Layered, PriceSource, snapshot
from mlops.cost.reporter import Reporter
from mlops.errors import MlopsError
from mlops.settings import Settings


@functools.cache
def reporter() -> Reporter:
    settings = Settings.from_env().require("stack", "data_bucket", "artifact_bucket", "table")
    local = settings.target == "local"
    prices: PriceSource = snapshot()
    bills: BillSource = NoBilling()
    notes = (
        f"prices come from the snapshot of {snapshot().read}; nothing is charged on the local engine, whose durations "
        "are its own, not Lambda's"
    )
    if not local:
        prices = Layered([PriceListApi(S3Objects(settings.artifact_bucket), _now), snapshot()])
        bills = CostExplorer(settings.stack)
        notes = ""
    return Reporter(
        stack=settings.stack,
        region=settings.region,
        meter=CloudWatchMeter(settings.stack, settings.region, local=local),
        prices=prices,
        free=snapshot().free,
        bills=bills,
        registry=DynamoRegistry(settings.table),
        ledger=DynamoLedger(settings.table, settings.stack),
        objects=S3Objects(settings.data_bucket),
        clock=_now,
        budget=budget.limit(settings.monthly_budget_usd),
        notes=(notes,) if notes else (),
    )


@observed("cost_report")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    task = event.get("task", "daily")
    if task == "daily":
        return reporter().daily()
    if task == "report":
        try:
            return reporter().on_demand(_hours(event), with_bill=event.get("bill") is True)
        except MlopsError as error:
            if error.code not in ("invalid_request", "invalid_amount"):
                raise
            return {"status": "invalid", "message": error.message}
    return {"status": "invalid", "message": f"task '{task}' is not known; use daily or report (estimates: mlops cost)"}


def _hours(event: dict[str, Any]) -> Decimal:
    return decimal(str(event.get("hours", 24)), "hours")


def _now() -> datetime:
    return datetime.now(UTC)
