"""An estimate as a page: what it costs, beside what else it could cost, with the break-even plot."""

from __future__ import annotations

import json
import math
from decimal import Decimal

from mlops.cost.estimate import Estimate
from mlops.cost.lines import Line, Sum
from mlops.cost.money import plain, show
from mlops.cost.prices import CONFIDENCE, Unknown
from mlops.report import html, svg
from mlops.report.markup import Markup, join


def to_json(found: Estimate) -> bytes:
    """The estimate for programs, UTF-8."""
    return json.dumps(found.to_dict(), indent=1, ensure_ascii=False).encode()


def to_html(found: Estimate) -> bytes:
    """A self-contained page."""
    w = found.load
    summary = (
        f"Idle, the stack costs {_amount(found.idle)} a month; with {w.requests:,} requests of {w.rows} rows "
        f"{_amount(found.total)}, {show(found.per_1000_requests)} for 1,000 requests. List prices in {found.region}."
    )
    page = html.page(
        "What the stack would cost",
        summary,
        [
            html.section("Key figures", _cards(found)),
            html.section("By service", _services(found)),
            html.section(
                "Serving alone, beside other ways",
                join([_plot(found), _offers(found)]),
                "API, token check, traces, scoring; capture, logs, alarms and retraining are left out on both sides.",
            ),
            html.section("At rest", _lines(found.idle_lines)),
            html.section("Under load", _lines(found.load_lines)),
            html.section("Assumed", join([html.paragraph(text) for text in found.assumptions])),
            html.section("Prices used", _prices(found), "; ".join(f"{k}: {v}" for k, v in CONFIDENCE.items())),
        ],
        footer=f"{found.region}, prices of {found.prices_read}, a month of 730 hours, USD.",
    )
    return page.encode()


def _amount(amount: Sum) -> str:
    return show(amount.usd) if amount.complete else f"at least {show(amount.usd)}"


def _cards(found: Estimate) -> Markup:
    missing = ", ".join(found.total.unknown)
    return html.cards(
        [
            ("Idle, a month", _amount(found.idle), "730 hours"),
            (f"{found.load.requests:,} requests", _amount(found.total), missing and f"without {missing}"),
            ("With the free tier", _amount(found.free_tier), "if nothing else in the account uses it"),
            ("1,000 requests", show(found.per_1000_requests), f"{found.load.rows} rows each"),
        ]
    )


def _services(found: Estimate) -> Markup:
    services = found.by_service()
    return svg.bars(list(services), [float(v.usd) for v in services.values()], title="A month by service", unit=" USD")


def _plot(found: Estimate) -> Markup:
    """Requests on a logarithmic axis, cost cut off where the load asked for would vanish at the bottom."""
    top = 3 * max([float(found.serving.usd), *(float(o.total.usd) for o in found.offers if o.total.complete), 1.0])
    series = [("this stack", found.curve), *((o.name, o.curve) for o in found.offers if o.curve)]
    return svg.lines(
        [
            (name, [(math.log10(n), float(usd) if float(usd) <= top else None) for n, usd in curve])
            for name, curve in series
        ],
        title="Cost a month by requests a month",
        x_label="requests a month",
        y_label="USD",
        x_format=lambda x: f"{10**x:,.0f}",
        from_zero=True,
    )


def _offers(found: Estimate) -> Markup:
    rows: list[list[object]] = [["this stack", _amount(found.serving), "", ""]]
    for o in found.offers:
        crossing: object = "unknown" if not o.total.complete else "never" if o.break_even is None else o.break_even
        rows.append([o.name, _amount(o.total), crossing, o.note])
    return html.table(["Way", "A month", "Cheaper from (requests a month)", "Note"], rows, numeric=[1, 2])


def _lines(lines: tuple[Line, ...]) -> Markup:
    rows = [
        [
            x.service,
            x.resource,
            plain(x.quantity.quantize(Decimal("0.0001"))),
            x.unit,
            x.price.reason if isinstance(x.price, Unknown) else plain(x.price.first),
            show(x.amount),
            x.basis,
        ]
        for x in sorted(lines, key=lambda x: -(x.amount or Decimal(0)))
    ]
    return html.table(["Service", "Of", "Quantity", "Unit", "Price", "Cost", "From"], rows, numeric=[2, 4, 5])


def _prices(found: Estimate) -> Markup:
    rows = [
        [p.item.what, plain(p.first), p.item.unit, p.region, p.as_of or "no date", p.confidence, p.source]
        for p in found.prices()
    ]
    return html.table(["Price of", "USD", "Per", "Region", "As of", "Confidence", "Source"], rows, numeric=[1])
