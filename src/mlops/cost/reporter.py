"""Makes a cost report and keeps it: files for people, a record for the retrain-launcher, a line in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from mlops.cost.billing import Bill, BillSource, NoBill
from mlops.cost.budget import Budget
from mlops.cost.catalogue import ITEMS
from mlops.cost.history import anomalies, forecast
from mlops.cost.lines import add, price_lines
from mlops.cost.money import decimal, plain, show
from mlops.cost.predictions import Predictions, count
from mlops.cost.prices import Allowance, PriceSource
from mlops.cost.render import to_csv, to_html, to_json
from mlops.cost.report import CostReport, build
from mlops.cost.usage import Meter, NotMetered, Quantity, Usage, Window
from mlops.errors import MlopsError
from mlops.objects import ObjectStore, report_prefix
from mlops.registry.entities import LedgerDraft, Record
from mlops.registry.ports import Ledger, Registry

#: The name under which the stack's own records stand in the registry; no model can have it.
STACK = "_stack"
_MAX_HOURS = Decimal(24 * 62)
_HISTORY = 120  # records looked through for whole days


@dataclass(frozen=True)
class Reporter:
    """Everything a report needs.

    ``budget``: USD a month, None for no budget. ``notes``: what this deployment cannot know, such as that prices
    come from the snapshot.
    """

    stack: str
    region: str
    meter: Meter
    prices: PriceSource
    free: Sequence[Allowance]
    bills: BillSource
    registry: Registry
    ledger: Ledger
    objects: ObjectStore
    clock: Callable[[], datetime]
    budget: Decimal | None = None
    notes: tuple[str, ...] = ()

    def daily(self) -> dict[str, Any]:
        """Report on yesterday (UTC), the month so far, and its end. Asks for the bill, in one request."""
        now = self.clock().astimezone(UTC)
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        yesterday = today - timedelta(days=1)
        month = today.replace(day=1)
        bill = self.bills.bill(min(month, yesterday).date(), (today + timedelta(days=1)).date())
        window = Window(yesterday, today)
        days = self._days()
        report = self._build("daily", now, window, _part(bill, yesterday.date(), today.date()))
        if isinstance(bill, Bill):
            days |= {d: usd for d, usd in bill.by_day().items() if d < today.date()}
        else:
            days[yesterday.date()] = report.total.usd
        report = self._with_month(report, now, bill, days)
        return self._keep(report, f"daily-{yesterday:%Y-%m-%d}", f"{yesterday:%Y-%m-%d}/daily")

    def on_demand(self, hours: Decimal, *, with_bill: bool = False) -> dict[str, Any]:
        """Report on the last ``hours``. The bill is asked for only ``with_bill``, by service and by function: each of
        the two requests costs a cent.

        Raises
        ------
        MlopsError
            when ``hours`` is not above 0 and at most two months.
        """
        if not 0 < hours <= _MAX_HOURS:
            raise MlopsError(f"hours: {hours} is not above 0 and at most {_MAX_HOURS}", code="invalid_request")
        now = self.clock().astimezone(UTC)
        window = Window(now - timedelta(seconds=float(hours * 3600)), now)
        bill: Bill | NoBill = NoBill("off", 'not asked for: a request to Cost Explorer costs a cent; add "bill": true')
        if with_bill:
            month = now.date().replace(day=1)
            bill = self.bills.bill(min(month, window.start.date()), now.date() + timedelta(days=1))
        part = _part(bill, window.start.date(), now.date() + timedelta(days=1))
        if isinstance(part, Bill):
            part = self.bills.by_function(part)
        report = self._build("report", now, window, part)
        report = self._with_month(report, now, bill, self._days())
        return self._keep(report, f"report-{now:%Y-%m-%dT%H:%M:%S}", f"{now:%Y-%m-%d}/report-{now:%H%M%S}")

    def _build(self, task: str, now: datetime, window: Window, bill: Bill | NoBill) -> CostReport:
        return build(
            task=task,
            made_at=now,
            usage=self._measured(window),
            prices=self.prices,
            free=self.free,
            bill=bill,
            predictions=self._predictions(window),
            tunings=self._tunings(),
            notes=self.notes,
        )

    def _predictions(self, window: Window) -> Predictions:
        rates = {}
        for model in self.registry.models():
            contract = self.registry.contract(model)
            if contract is not None:
                rates[model] = contract.capture.rate
        return count(self.objects, sorted(rates), window, rates)

    def _measured(self, window: Window) -> Usage:
        """What the meter says, and training jobs by the seconds that SageMaker bills (spot's share taken off)."""
        usage = self.meter.measure(window)
        jobs, missing = [], []
        for model in self.registry.models():
            for record in self.registry.records(model, "job_end", _HISTORY):
                if not window.start <= datetime.fromisoformat(record.time) < window.end:
                    continue
                seconds, key = int(record.body["billable_seconds"]), f"sagemaker.training.{record.body['instance']}"
                if key in ITEMS:
                    basis = f"{seconds} s billed / 3600; job {record.id}"
                    jobs.append(Quantity(key, Decimal(seconds) / 3600, "training jobs", basis))
                elif seconds:
                    missing.append(NotMetered(f"training job {record.id}", f"{key} is not in the catalogue"))
        return replace(usage, quantities=(*usage.quantities, *jobs), not_metered=(*usage.not_metered, *missing))

    def _tunings(self) -> dict[str, Mapping[str, Any]]:
        """The newest tuning of each function."""
        found: dict[str, Mapping[str, Any]] = {}
        for record in self.registry.records(STACK, "tuning", _HISTORY):
            found.setdefault(str(record.body.get("name")), record.body)
        return found

    def _with_month(
        self, report: CostReport, now: datetime, bill: Bill | NoBill, days: Mapping[date, Decimal]
    ) -> CostReport:
        """Add month to date, forecast, budget and days that stand out."""
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        month = today.replace(day=1)
        if isinstance(bill, Bill):
            spent, basis = bill.between(month.date(), now.date() + timedelta(days=1)).usd, "spent as billed"
        elif now - month < timedelta(minutes=1):
            spent, basis = Decimal(0), "the month has just begun"
        else:
            usage = self._measured(Window(month, now))
            spent = add(price_lines(usage.all_quantities(), self.prices, self.region)).usd
            basis = "spent at list price, because there is no bill"
        share = Decimal(int((now - today).total_seconds())) / 86_400
        expected = forecast(today.date(), spent, share, days)
        return replace(
            report,
            forecast=expected,
            anomalies=tuple(anomalies(days)),
            budget=Budget(self.budget, spent, expected.expected, basis),
        )

    def _days(self) -> dict[date, Decimal]:
        """Cost at list price of whole days on record."""
        found: dict[date, Decimal] = {}
        for record in self.registry.records(STACK, "cost", _HISTORY):
            day, usd = record.body.get("day"), record.body.get("list_usd")
            if day and usd is not None:
                found[date.fromisoformat(day)] = decimal(usd, f"cost record {record.id}")
        return found

    def _keep(self, report: CostReport, record_id: str, name: str) -> dict[str, Any]:
        prefix = report_prefix("cost") + name
        files = {
            "report_key": (f"{prefix}.json", to_json(report), "application/json"),
            "html_key": (f"{prefix}.html", to_html(report), "text/html; charset=utf-8"),
            "csv_key": (f"{prefix}.csv", to_csv(report), "text/csv; charset=utf-8"),
        }
        for key, content, content_type in files.values():
            self.objects.put(key, content, content_type=content_type)
        body = self._body(report) | {name: key for name, (key, _, _) in files.items()}
        self.registry.put_record(Record(STACK, "cost", record_id, report.made_at.isoformat(), body))
        total = f"{show(report.total.usd)} at list price"  # to the last digit in the report and the record
        self.ledger.append(
            LedgerDraft(
                actor="function:cost_report",
                action="cost.reported",
                subject=f"stack/{self.stack}",
                reason=report.task,
                outcome=total if report.total.complete else f"at least {total}",
                inputs={k: body[k] for k in ("start", "end", "budget_state", "report_key")},
                id=record_id,
            )
        )
        return {"status": "reported", **body}

    def _body(self, report: CostReport) -> dict[str, Any]:
        budget, month = report.budget, report.forecast
        body: dict[str, Any] = {
            "task": report.task,
            "start": report.window.start.isoformat(),
            "end": report.window.end.isoformat(),
            "list_usd": plain(report.total.usd),
            "complete": report.total.complete,
            "unknown": list(report.total.unknown),
            "free_tier_usd": plain(report.free_tier.usd),
            "idle_usd_per_month": plain(report.idle_month.usd),
            "billed_usd": plain(report.bill.usd) if isinstance(report.bill, Bill) else None,
            "usd_per_1000_requests": plain(report.units.per_1000_requests),
            "usd_per_training": plain(report.units.per_training),
            "month_spent_usd": plain(budget.spent) if budget else None,
            "month_expected_usd": plain(month.expected) if month else None,
            "budget_usd": plain(budget.limit) if budget else None,
            "budget_state": budget.state if budget else "none",
            "over_budget": bool(budget and budget.state == "over"),
            "anomalies": len(report.anomalies),
        }
        if report.task == "daily":
            body["day"] = report.window.start.date().isoformat()
        return body


def _part(bill: Bill | NoBill, start: date, end: date) -> Bill | NoBill:
    return bill.between(start, end) if isinstance(bill, Bill) else bill
