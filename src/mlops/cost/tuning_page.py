"""A tuning as a page: the curve of time and price by memory."""

from __future__ import annotations

from mlops.cost.money import plain, show
from mlops.cost.tuning import Tuning
from mlops.report import html, svg
from mlops.report.markup import Markup


def summary(found: Tuning) -> str:
    """In one sentence: what it has, what would be cheapest, what fastest."""
    best, now, fastest = found.cheapest, found.now, found.fastest
    said = f"{found.subject.function} has {found.subject.memory_mb} MB"
    if best is None:
        return f"{said}; no price is known, {fastest.memory_mb} MB is fastest ({plain(fastest.median_ms)} ms)."
    said += f"; {best.memory_mb} MB is cheapest ({show(best.usd)} a million, {plain(best.median_ms)} ms)"
    if fastest.memory_mb != best.memory_mb:
        said += f", {fastest.memory_mb} MB fastest ({plain(fastest.median_ms)} ms, {show(fastest.usd)})"
    if now and now.usd and best.usd is not None and now.memory_mb != best.memory_mb:
        said += f"; against now it saves {(1 - best.usd / now.usd) * 100:.0f} % of its compute"
    return said + "."


def to_html(found: Tuning, note: str = "") -> bytes:
    """A self-contained page."""
    times = [(float(p.memory_mb), float(p.median_ms)) for p in found.points]
    costs = [(float(p.memory_mb), None if p.usd is None else float(p.usd)) for p in found.points]
    page = html.page(
        f"Memory of {found.subject.function}",
        f"{summary(found)} {note}".strip(),
        [
            html.section(
                "By memory",
                html.figures(
                    [
                        svg.lines([("median", times)], title="Time, ms", x_label="MB", y_label="ms", from_zero=True),
                        svg.lines(
                            [("compute", costs)], title="Price of a million invocations, USD", x_label="MB",
                            y_label="USD", from_zero=True,
                        ),
                    ]
                ),
            ),
            html.section("Figures", _table(found)),
        ],
        footer=f"{found.made_at:%Y-%m-%d %H:%M} UTC, {found.subject.architecture}"
        + (f", {plain(found.price.first)} USD a GB-second, {found.price.source}." if found.price else "."),
    )  # fmt: skip
    return page.encode()


def _table(found: Tuning) -> Markup:
    rows = [
        [p.memory_mb, plain(p.median_ms), plain(p.billed_ms), plain(p.cold_ms), p.used_mb, show(p.usd), p.invocations]
        for p in found.points
    ]
    headers = ["MB", "Median, ms", "Billed, ms", "First, ms", "Used, MB", "A million", "Invocations"]
    return html.table(headers, rows, numeric=range(7))
