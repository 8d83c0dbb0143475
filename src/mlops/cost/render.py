"""A cost report as CSV and as a page."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

from mlops.cost.billing import Bill
from mlops.cost.lines import NOTHING, Sum
from mlops.cost.money import plain, show
from mlops.cost.prices import CONFIDENCE, Unknown
from mlops.cost.report import CostReport
from mlops.report import html, svg
from mlops.report.markup import Markup, join

_COLUMNS = (
    "service", "resource", "key", "what", "quantity", "unit", "price_usd", "amount_usd", "source", "as_of",
    "confidence", "basis", "unknown",
)  # fmt: skip


def to_json(report: CostReport) -> bytes:
    """The report for programs, UTF-8."""
    return json.dumps(report.to_dict(), indent=1, ensure_ascii=False).encode()


def to_csv(report: CostReport) -> bytes:
    """One row a line of the report, RFC 4180, UTF-8."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, _COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for line in report.lines:
        writer.writerow({k: _cell(v) for k, v in line.to_dict().items()})
    return out.getvalue().encode()


def _cell(value: object) -> str:
    """Text for a spreadsheet; a leading sign of a formula is defused."""
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and not _is_amount(text) else text


def _is_amount(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdigit()


def total_text(amount: Sum) -> str:
    """A total, as a lower bound where a price is unknown."""
    return show(amount.usd) if amount.complete else f"at least {show(amount.usd)}"


def to_html(report: CostReport) -> bytes:
    """A self-contained page."""
    page = html.page(
        f"What {report.stack} cost",
        _summary(report),
        [
            html.section("Key figures", _cards(report)),
            html.section("By service and function", _charts(report)),
            html.section("The bill", _bill(report)),
            html.section("Month", _month(report)),
            html.section("Per prediction and training", _units(report), report.units.basis),
            html.section("Advice", _advice(report), "At list price, for a month like this window."),
            html.section("Every line", _lines(report), "Quantity times list price; how each quantity came about."),
            html.section("Not measured", _missing(report)),
            html.section("Prices used", _prices(report), "; ".join(f"{k}: {v}" for k, v in CONFIDENCE.items())),
        ],
        footer=f"{report.stack}, {report.region}, {_span(report)}, made {report.made_at:%Y-%m-%d %H:%M} UTC. USD.",
    )
    return page.encode()


def _span(report: CostReport) -> str:
    return f"{report.window.start:%Y-%m-%d %H:%M} to {report.window.end:%Y-%m-%d %H:%M} UTC"


def _summary(report: CostReport) -> str:
    said = f"From {_span(report)} the metered use is worth {total_text(report.total)} at list price"
    if isinstance(report.bill, Bill):
        said += f"; AWS billed {show(report.bill.usd)}"
    said += f". Idle, the stack costs {total_text(report.idle_month)} a month."
    if not report.total.complete:
        said += f" No price is known for {', '.join(report.total.unknown)}."
    return said + "".join(f" {note}." for note in report.notes)


def _cards(report: CostReport) -> Markup:
    units = report.units
    items: list[tuple[object, object, object]] = [
        ("List price", total_text(report.total), f"{plain(report.window.hours.quantize(Decimal('0.01')))} hours"),
        ("With the free tier", total_text(report.free_tier), "if no other stack uses it"),
        ("Idle, a month", total_text(report.idle_month), "730 hours"),
        ("1,000 requests", show(units.per_1000_requests), f"{units.requests:,} requests"),
        ("A training", show(units.per_training), f"{units.trainings} trainings"),
    ]
    if report.budget and report.budget.limit is not None:
        items.append(("Budget", show(report.budget.limit), report.budget.state.replace("_", " ")))
    return html.cards(items)


def _charts(report: CostReport) -> Markup:
    services, functions = report.by_service(), report.by_function()
    shown = {k: v for k, v in functions.items() if v.usd}
    return html.figures(
        [
            svg.bars(list(services), [float(v.usd) for v in services.values()], title="By service", unit=" USD"),
            svg.bars(list(shown), [float(v.usd) for v in shown.values()], title="By function", unit=" USD"),
        ]
    )


def _bill(report: CostReport) -> Markup:
    if not isinstance(report.bill, Bill):
        return html.paragraph(f"No bill: {report.bill.message}.")
    rows = [[name, show(usd)] for name, usd in report.bill.by_service().items()]
    parts = [html.table(["Service", "Billed"], rows, numeric=[1], empty="Nothing was billed.")]
    if report.bill.functions:
        metered = report.by_function()
        functions = [
            [name or "(shared)", show(usd), total_text(metered.get(name or "(shared)", NOTHING))]
            for name, usd in report.bill.functions.items()
        ]
        parts.append(html.table(["Function", "Billed", "Metered at list price"], functions, numeric=[1, 2]))
    if report.bill.note:
        parts.append(html.paragraph(report.bill.note))
    parts.extend(html.paragraph(reason) for reason in report.differences)
    asked = report.bill.requests
    parts.append(html.paragraph(f"Asking took {asked} requests to Cost Explorer, {show(Decimal(asked) / 100)}."))
    return join(parts)


def _month(report: CostReport) -> Markup:
    parts: list[Markup] = []
    f = report.forecast
    if f:
        text = f"{f.month}: {show(f.spent)} so far, {show(f.expected)} expected"
        if f.low is not None and f.high is not None:
            text += f", between {show(f.low)} and {show(f.high)} with 80 % probability"
        parts.append(html.paragraph(f"{text}. From {f.basis}."))
    if report.budget:
        parts.append(html.paragraph(join(["Budget: ", html.badge(report.budget.state), f" {report.budget.basis}."])))
    for a in report.anomalies:
        parts.append(html.paragraph(f"{a.day}: {show(a.usd)} where {show(a.usual)} is usual for that weekday."))
    return join(parts) if parts else html.paragraph("Only the daily report looks at the month.")


def _units(report: CostReport) -> Markup:
    rows = [[v.model, v.version, v.rows, v.shadow_rows, show(v.usd), show(v.per_1000)] for v in report.units.versions]
    return html.table(
        ["Model", "Version", "Answered rows", "Shadow rows", "Cost", "Per 1,000 answered"],
        rows,
        numeric=[2, 3, 4, 5],
        empty="No captured predictions in this window.",
    )


def _advice(report: CostReport) -> Markup:
    rows = [[a.topic, a.change, show(a.saving), a.risk, a.basis] for a in report.advice]
    return html.table(
        ["Topic", "Change", "Saves a month", "Risk", "From"], rows, numeric=[2], empty="Nothing worth a cent a month."
    )


def _lines(report: CostReport) -> Markup:
    rows = [
        [
            x.service,
            x.resource,
            plain(x.quantity.quantize(Decimal("0.000001"))),
            x.unit,
            x.price.reason if isinstance(x.price, Unknown) else plain(x.price.first),
            show(x.amount),
            x.basis,
        ]
        for x in report.lines
    ]
    return html.table(["Service", "Of", "Quantity", "Unit", "Price", "Cost", "From"], rows, numeric=[2, 4, 5])


def _missing(report: CostReport) -> Markup:
    rows = [[n.what, n.reason] for n in report.usage.not_metered]
    return html.table(["What", "Why"], rows, empty="Everything was measured.")


def _prices(report: CostReport) -> Markup:
    rows = [
        [p.item.what, plain(p.first), p.item.unit, p.region, p.as_of or "no date", p.confidence, p.source]
        for p in report.prices()
    ]
    return html.table(["Price of", "USD", "Per", "Region", "As of", "Confidence", "Source"], rows, numeric=[1])
