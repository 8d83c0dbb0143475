"""cost_report from event to files, record and ledger, with the ports in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from functions.cost_report import app
from mlops.contract import Contract, Target
from mlops.cost.billing import Bill, Charge, NoBill, NoBilling
from mlops.cost.money import show
from mlops.cost.prices import snapshot
from mlops.cost.reporter import STACK, Reporter
from mlops.cost.usage import FunctionUsage, NotMetered, Quantity, Usage, Window
from mlops.features.spec import Feature
from mlops.registry.entities import Record
from tests.fakes import Clock, MemoryLedger, MemoryObjects, MemoryRegistry

D = Decimal
EVENTS = Path(__file__).parents[3] / "events" / "cost_report"


class Meter:
    """Uses a thousand invocations an hour, and remembers what it was asked."""

    def __init__(self) -> None:
        self.windows: list[Window] = []

    def measure(self, window: Window) -> Usage:
        self.windows.append(window)
        n = int(1000 * window.hours)
        predict = FunctionUsage("predict", 1024, "x86_64", n, 0, 0, D(n), D(n * 2), "test")
        standing = (Quantity("cloudwatch.alarms", D(15), "alarms", "test"),)
        return Usage("demo", "us-east-1", window, (predict,), (), standing, (NotMetered("API requests", "local"),))


class Bills:
    def __init__(self, usd: str = "0.10") -> None:
        self.asked: list[tuple[date, date]] = []
        self.usd = D(usd)

    def bill(self, start: date, end: date) -> Bill | NoBill:
        self.asked.append((start, end))
        charges = tuple(
            Charge(date.fromordinal(d), "AWS Lambda", "Usage", self.usd)
            for d in range(start.toordinal(), end.toordinal())
        )
        return Bill(start, end, charges, True, 1)

    def by_function(self, bill: Bill) -> Bill:
        return replace(bill, requests=bill.requests + 1, functions={"predict": bill.usd / 2, "": bill.usd / 2})


@pytest.fixture
def reporter(monkeypatch: pytest.MonkeyPatch) -> Reporter:
    clock = Clock(datetime(2026, 11, 22, 6, tzinfo=UTC))
    made = Reporter(
        stack="demo", region="us-east-1", meter=Meter(), prices=snapshot(), free=snapshot().free, bills=NoBilling(),
        registry=MemoryRegistry(clock), ledger=MemoryLedger(clock), objects=MemoryObjects(), clock=clock,
        budget=D(5), notes=("prices come from a snapshot",),
    )  # fmt: skip
    monkeypatch.setattr(app, "reporter", lambda: made)
    return made


def use(monkeypatch: pytest.MonkeyPatch, made: Reporter, **changes: Any) -> Reporter:
    changed = replace(made, **changes)
    monkeypatch.setattr(app, "reporter", lambda: changed)
    return changed


@pytest.mark.parametrize("path", sorted(EVENTS.glob("*.json")), ids=lambda p: p.stem)
def test_every_event_file_is_handled(path: Path, reporter: Reporter) -> None:
    result = app.handler(json.loads(path.read_text("utf-8")), None)
    expected = "invalid" if path.stem in ("invalid-hours", "unknown-task") else "reported"
    assert result["status"] == expected
    json.dumps(result)


def test_daily_reports_on_yesterday_and_keeps_files_record_and_ledger_entry(reporter: Reporter) -> None:
    result = app.handler({"task": "daily"}, None)
    assert (result["start"], result["end"]) == ("2026-11-21T00:00:00+00:00", "2026-11-22T00:00:00+00:00")
    by_hand = 24_000 * D("0.0000002") + 48 * D("0.0000166667") + 15 * D("0.10") / 30
    assert D(result["list_usd"]) == by_hand
    assert result["report_key"] == "reports/cost/2026-11-21/daily.json"
    assert isinstance(reporter.objects, MemoryObjects)
    stored = reporter.objects.json(result["report_key"])
    assert stored["list_price"]["total"]["usd"] == result["list_usd"]
    assert reporter.objects.exists(result["html_key"])
    assert reporter.objects.exists(result["csv_key"])
    (record,) = reporter.registry.records(STACK, "cost", 1)
    assert record.id == "daily-2026-11-21"
    assert record.body["over_budget"] is False
    (entry,) = reporter.ledger.entries()
    assert entry.action == "cost.reported"
    assert f"{show(Decimal(result['list_usd']))} at list price" in entry.outcome


def test_daily_again_is_one_record_and_one_entry(reporter: Reporter) -> None:
    app.handler({"task": "daily"}, None)
    app.handler({"task": "daily"}, None)
    assert len(reporter.registry.records(STACK, "cost")) == 1
    assert len(list(reporter.ledger.entries())) == 1


def test_without_a_bill_the_budget_is_judged_by_list_price_of_the_month(reporter: Reporter) -> None:
    result = app.handler({"task": "daily"}, None)
    hours = D(21 * 24 + 6)
    spent = hours * (1000 * D("0.0000002") + 2 * D("0.0000166667")) + 15 * D("0.10") * hours / 720
    assert abs(D(result["month_spent_usd"]) - spent) < D("1e-12")
    assert result["budget_state"] == "ok"


def test_the_bill_decides_when_there_is_one_and_is_asked_for_once(
    reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    bills = Bills("0.30")
    made = use(monkeypatch, reporter, bills=bills)
    result = app.handler({"task": "daily"}, None)
    assert bills.asked == [(date(2026, 11, 1), date(2026, 11, 23))]
    assert D(result["billed_usd"]) == D("0.30"), "yesterday's part"
    assert D(result["month_spent_usd"]) == 22 * D("0.30")
    assert result["over_budget"] is True
    assert made.registry.records(STACK, "cost", 1)[0].body["budget_state"] == "over"


def test_on_the_first_of_a_month_yesterday_belongs_to_the_month_before(
    reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    bills = Bills()
    use(monkeypatch, reporter, bills=bills, clock=Clock(datetime(2026, 3, 1, 6, tzinfo=UTC)))
    result = app.handler({"task": "daily"}, None)
    assert bills.asked == [(date(2026, 2, 28), date(2026, 3, 2))]
    assert D(result["month_spent_usd"]) == D("0.10"), "only the first of March"
    assert result["day"] == "2026-02-28"


def test_at_midnight_of_the_first_there_is_no_month_to_measure(
    reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, reporter, clock=Clock(datetime(2026, 3, 1, 0, 0, 10, tzinfo=UTC)))
    assert app.handler({"task": "daily"}, None)["month_spent_usd"] == "0"


def test_on_demand_asks_for_the_bill_only_when_told(reporter: Reporter, monkeypatch: pytest.MonkeyPatch) -> None:
    bills = Bills()
    made = use(monkeypatch, reporter, bills=bills)
    result = app.handler({"task": "report", "hours": 3}, None)
    assert bills.asked == []
    assert result["billed_usd"] is None
    assert isinstance(made.objects, MemoryObjects)
    assert "costs a cent" in made.objects.json(result["report_key"])["bill"]["message"]
    result = app.handler({"task": "report", "hours": 24, "bill": True}, None)
    assert result["billed_usd"] is not None
    assert len(bills.asked) == 1
    billed = made.objects.json(result["report_key"])["bill"]
    assert set(billed["by_function"]) == {"predict", ""}
    assert billed["cost_explorer_requests"] == 2, "by function is asked for on demand only"
    assert "Metered at list price" in made.objects.get(result["html_key"]).decode()


def test_days_on_record_feed_the_forecast(reporter: Reporter) -> None:
    clock = reporter.clock
    assert isinstance(clock, Clock)
    for _ in range(4):
        result = app.handler({"task": "daily"}, None)
        clock.forward(days=1)
    assert isinstance(reporter.objects, MemoryObjects)
    forecast = reporter.objects.json(result["report_key"])["forecast"]
    assert forecast["days_seen"] == 4
    assert forecast["low_usd"] is not None


@pytest.mark.parametrize("hours", [0, -1, "x", 10_000, "NaN", True])
def test_hours_that_make_no_sense_are_an_answer_not_a_fault(hours: object, reporter: Reporter) -> None:
    result = app.handler({"task": "report", "hours": hours}, None)
    assert result["status"] == "invalid"
    assert "hours" in result["message"]


def test_training_jobs_are_charged_by_the_seconds_that_sagemaker_bills(reporter: Reporter) -> None:
    contract = Contract("m", "regression", Target("y"), (Feature("x", "number"),))
    reporter.registry.put_contract(contract)
    for day, instance, seconds in (("21", "ml.m5.large", 900), ("20", "ml.m5.large", 3600), ("21", "ml.x9.huge", 60)):
        body = {"instance": instance, "billable_seconds": seconds}
        reporter.registry.put_record(Record("m", "job_end", f"j{instance}{day}", f"2026-11-{day}T12:00:00+00:00", body))
    result = app.handler({"task": "daily"}, None)
    assert isinstance(reporter.objects, MemoryObjects)
    stored = reporter.objects.json(result["report_key"])
    (line,) = [x for x in stored["list_price"]["lines"] if x["key"].startswith("sagemaker.")]
    assert D(line["amount_usd"]) == D("0.25") * D("0.115"), "a quarter of an hour; the day before is another report's"
    assert any("ml.x9.huge is not in the catalogue" in n["reason"] for n in stored["not_metered"])


def test_what_could_not_be_measured_is_in_the_report(reporter: Reporter) -> None:
    result = app.handler({"task": "daily"}, None)
    assert isinstance(reporter.objects, MemoryObjects)
    stored = reporter.objects.json(result["report_key"])
    assert {"what": "API requests", "reason": "local"} in stored["not_metered"]
    assert stored["bill"] == {
        "available": False, "reason": "local", "cost_explorer_requests": 0,
        "message": "the local engine has no billing; nothing was charged",
    }  # fmt: skip
    assert stored["notes"] == ["prices come from a snapshot"]


def test_the_function_loads_nothing_that_its_layer_lacks() -> None:
    code = (
        "import sys; import functions.cost_report.app; "
        "print([m for m in ('numpy', 'yaml', 'polars', 'rich', 'typer', 'jsonschema') if m in sys.modules])"
    )
    root = EVENTS.parents[1]
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={"PYTHONPATH": f"{root}:{root / 'src'}"}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == "[]"
