"""The cost report of a running stack: metered use at list price, the bill beside it, and what follows from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from mlops.cost.advice import Advice, advise
from mlops.cost.billing import Bill, NoBill, differences
from mlops.cost.budget import Budget
from mlops.cost.catalogue import ITEMS
from mlops.cost.history import Anomaly, Forecast
from mlops.cost.lines import Line, Sum, add, after_free_tier, group, price_lines
from mlops.cost.predictions import Predictions
from mlops.cost.prices import CONFIDENCE, Allowance, Price, PriceSource
from mlops.cost.unit_costs import UnitCosts, unit_costs
from mlops.cost.usage import HOURS_PER_MONTH, Usage, Window

SCHEMA = "mlops.cost-report.v1"


@dataclass(frozen=True)
class CostReport:
    """Everything a report shows; amounts in USD.

    ``idle_month``: what merely existing costs a month of 730 hours; ``free_tier``: ``total`` if no other stack in
    the account used the free tier; ``notes``: what the reader must know to judge the figures.
    """

    stack: str
    region: str
    task: str
    made_at: datetime
    usage: Usage
    lines: tuple[Line, ...]
    total: Sum
    free_tier: Sum
    idle_month: Sum
    units: UnitCosts
    bill: Bill | NoBill
    differences: tuple[str, ...]
    advice: tuple[Advice, ...]
    forecast: Forecast | None = None
    anomalies: tuple[Anomaly, ...] = ()
    budget: Budget | None = None
    notes: tuple[str, ...] = ()

    @property
    def window(self) -> Window:
        return self.usage.window

    def by_service(self) -> dict[str, Sum]:
        return group(self.lines, lambda x: x.service)

    def by_function(self) -> dict[str, Sum]:
        """Functions by name; what no function alone causes is ``(shared)``."""
        names = {f.name for f in self.usage.functions}
        return group(self.lines, lambda x: x.resource if x.resource in names else "(shared)")

    def prices(self) -> list[Price]:
        """Each price used, once."""
        return sorted({x.price.key: x.price for x in self.lines if isinstance(x.price, Price)}.values(),
                      key=lambda p: p.key)  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; money as decimal text."""
        return {
            "schema": SCHEMA,
            "stack": self.stack,
            "region": self.region,
            "task": self.task,
            "made_at": self.made_at.isoformat(),
            "currency": "USD",
            "window": self.window.to_dict(),
            "list_price": {
                "total": self.total.to_dict(),
                "with_free_tier": self.free_tier.to_dict(),
                "by_service": {k: v.to_dict() for k, v in self.by_service().items()},
                "by_function": {k: v.to_dict() for k, v in self.by_function().items()},
                "lines": [x.to_dict() for x in self.lines],
            },
            "idle_per_month": self.idle_month.to_dict(),
            "units": self.units.to_dict(),
            "functions": [f.to_dict() for f in self.usage.functions],
            "bill": self.bill.to_dict(),
            "differences": list(self.differences),
            "forecast": self.forecast.to_dict() if self.forecast else None,
            "anomalies": [a.to_dict() for a in self.anomalies],
            "budget": self.budget.to_dict() if self.budget else None,
            "advice": [a.to_dict() for a in self.advice],
            "not_metered": [{"what": n.what, "reason": n.reason} for n in self.usage.not_metered],
            "prices": [p.to_dict() for p in self.prices()],
            "confidence": dict(CONFIDENCE),
            "notes": list(self.notes),
        }


def build(
    *,
    task: str,
    made_at: datetime,
    usage: Usage,
    prices: PriceSource,
    free: Sequence[Allowance],
    bill: Bill | NoBill,
    predictions: Predictions,
    tunings: Mapping[str, Mapping[str, Any]] | None = None,
    notes: Sequence[str] = (),
) -> CostReport:
    """Price what was metered and put the rest beside it. Pure: the same input gives the same report.

    Forecast, anomalies and budget are added by who knows the month (:mod:`mlops.cost.reporter`).
    """
    lines = price_lines(usage.all_quantities(), prices, usage.region)
    standing = [x for x in price_lines(usage.standing, prices, usage.region) if ITEMS[x.key].kind == "standing"]
    free_total = after_free_tier(lines, free, usage.window.hours / HOURS_PER_MONTH)
    reasons: list[str] = []
    if isinstance(bill, Bill):
        reasons = differences(bill, _by_bill_name(lines), free_total)
    merged = [*usage.not_metered, *predictions.not_metered]
    whole = Usage(
        usage.stack, usage.region, usage.window, usage.functions, usage.quantities, usage.standing, tuple(merged)
    )
    return CostReport(
        stack=usage.stack,
        region=usage.region,
        task=task,
        made_at=made_at,
        usage=whole,
        lines=tuple(sorted(lines, key=lambda x: (-(x.amount or Decimal(0)), x.key, x.resource))),
        total=add(lines),
        free_tier=free_total,
        idle_month=add(standing),
        units=unit_costs(usage, lines, predictions, prices),
        bill=bill,
        differences=tuple(reasons),
        advice=tuple(advise(usage, lines, prices, predictions=predictions, tunings=tunings)),
        notes=tuple(notes),
    )


def _by_bill_name(lines: Sequence[Line]) -> Mapping[str, Sum]:
    """Totals under the names that Cost Explorer uses; data transfer is billed with the service that sent it."""
    return group(lines, lambda x: ITEMS[x.key].bill or "Amazon API Gateway")
