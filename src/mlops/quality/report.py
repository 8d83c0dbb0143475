"""The report of one quality check, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlops.evaluation.metrics import METRICS
from mlops.report import html, svg
from mlops.report.markup import Markup, number

if TYPE_CHECKING:
    from mlops.quality.outcome import Findings

SECONDS_OF_DAY = 86_400
#: How a check's id writes the ends of its window.
STAMP = "%Y%m%dT%H%M%SZ"
#: Checks of fewer days are told apart by their hour.
DAYS_APART = 4.0


def page(document: Mapping[str, Any], findings: Findings, *, history: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page as HTML.

    Parameters
    ----------
    document : the JSON report.
    history : outcomes of earlier checks, oldest first.
    """
    sections: list[Markup] = [_cards(document)]
    over_time = [h for h in history if h.get("metric") == document["metric"]]
    sections.append(_over_time([*over_time, document]))
    if document["metrics"]:
        sections.append(_metrics(document))
        sections.append(_fairness(document))
        sections.append(_groups(document))
        sections.append(_worst(document))
    sections.append(_labels(document))
    if document["notes"]:
        sections.append(html.section("Notes", html.join([html.paragraph(n) for n in document["notes"]])))
    sections.append(_method(document))
    summary = html.join([html.badge(document["status"]), " ", str(document["explanation"])])
    foot = f"Check {document['check_id']} · predictions from {document['window']}"
    return html.page(f"Quality of {document['model']}", summary, sections, footer=foot)


def _title(document: Mapping[str, Any]) -> str:
    return METRICS[document["metric"]].title


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def _cards(document: Mapping[str, Any]) -> Markup:
    title = _title(document)
    better = "at least" if METRICS[document["metric"]].higher_is_better else "at most"
    return html.cards(
        [
            (
                f"{title}, realised",
                _or_dash(document["realised"]),
                _between(document["lower"], document["upper"]) or "too few labels yet",
            ),
            (
                f"{title}, estimated",
                _or_dash(document["estimated"]),
                _between(document["estimated_lower"], document["estimated_upper"]),
            ),
            ("bound", _or_dash(document["bound"]), f"{better}; hold-out {_or_dash(document['reference'])}"),
            ("predictions", document["rows"], f"{document['labelled']} labelled"),
        ]
    )


def _or_dash(value: float | None) -> str:
    return "-" if value is None else number(value)


def _over_time(checks: Sequence[Mapping[str, Any]]) -> Markup:
    """Each window by its end; of several checks of one window (more labels came) the last one."""
    windows = {end: c for c in checks if (end := _end(str(c["check_id"]))) is not None}
    times = sorted(windows)
    shown = [windows[t] for t in times]
    names = (("realised", "realised", "lower", "upper"),
             ("estimated", "estimated", "estimated_lower", "estimated_upper"))  # fmt: skip
    series = [(name, [(t, c.get(key)) for t, c in zip(times, shown, strict=True)]) for name, key, _, _ in names]
    bands = [[(t, c.get(low), c.get(high)) for t, c in zip(times, shown, strict=True)] for _, _, low, high in names]
    bound = checks[-1].get("bound")
    is_short = bool(times) and times[-1] - times[0] < DAYS_APART
    figure = svg.lines(
        series,
        title=METRICS[checks[-1]["metric"]].title,
        x_label="end of the window, UTC",
        thresholds=[("bound", bound)] if bound is not None else [],
        x_format=_hour if is_short else _day,
        bands=bands,
        note="Shaded: 95% intervals. A line stops where there were too few labels.",
    )
    return html.section("Over the checks so far", html.figures([figure]))


def _end(check_id: str) -> float | None:
    """The end of a check's window in days since 1970, from its id."""
    try:
        return datetime.strptime(check_id.split("-")[1], STAMP).replace(tzinfo=UTC).timestamp() / SECONDS_OF_DAY
    except (IndexError, ValueError):
        return None


def _day(days: float) -> str:
    return f"{datetime.fromtimestamp(days * SECONDS_OF_DAY, UTC):%Y-%m-%d}"


def _hour(days: float) -> str:
    return f"{datetime.fromtimestamp(days * SECONDS_OF_DAY, UTC):%m-%d %H:%M}"


def _metrics(document: Mapping[str, Any]) -> Markup:
    rows: list[list[Any]] = [
        [METRICS[name].title, number(value), _or_dash(document["holdout"].get(name)),
         "higher" if METRICS[name].higher_is_better else "lower"]
        for name, value in document["metrics"].items()
    ]  # fmt: skip
    return html.section("All metrics", html.table(["metric", "live", "hold-out", "better"], rows, numeric=[1, 2]))


def _fairness(document: Mapping[str, Any]) -> Markup:
    rows: list[list[Any]] = [
        [f["attribute"], f["metric"].replace("_", " "), _or_dash(f["value"]), _between(f["low"], f["high"]),
         number(f["bound"]), f"{f['lowest']} and {f['highest']}" if f["highest"] else "too few rows"]
        for f in document["fairness"]
    ]  # fmt: skip
    heads = ["by", "what is compared", "value", "95% interval", "bound", "between"]
    empty = "The contract names no groups to compare (gates.fairness)."
    return html.section("Fairness", html.table(heads, rows, numeric=[2, 4], empty=empty))


def _groups(document: Mapping[str, Any]) -> Markup:
    rows: list[list[Any]] = [
        [f"{g['feature']} {g['group']}", g["rows"], number(g["value"]), _between(g["low"], g["high"])]
        for g in document["groups"]
    ]
    heads = ["group", "rows", _title(document), "95% interval"]
    body = html.table(heads, rows, numeric=[1, 2], empty="No group has enough rows.")
    return html.section("By group", body)


def _worst(document: Mapping[str, Any]) -> Markup:
    found = document["worst"]
    note = f"{document['slices_looked_at']} slices of one or two groups were looked at."
    if not found:
        return html.section("Where the model is worst", "No slice is clearly worse than the rest.", note=note)
    unit = "share of wrong labels" if METRICS[document["metric"]].kind == "classification" else "mean absolute error"
    figure = svg.bars(
        [s["where"] for s in found],
        [s["loss"] for s in found],
        title=f"{unit}; the line is that of all labelled rows",
        threshold=_overall(document, found),
        threshold_label="all rows",
    )
    rows = [[s["where"], s["rows"], number(s["loss"]), number(s["rest"]), number(s["effect"]), f"{s['q']:.2g}"]
            for s in found]  # fmt: skip
    heads = ["slice", "rows", "loss", "elsewhere", "effect", "q"]
    table = html.table(heads, rows, numeric=[1, 2, 3, 4, 5], caption=f"Loss: {unit}")
    return html.section("Where the model is worst", html.join([html.figures([figure]), table]), note=note)


def _overall(document: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> float:
    first, rows = found[0], document["labelled"]
    return float((first["loss"] * first["rows"] + first["rest"] * (rows - first["rows"])) / rows)


def _labels(document: Mapping[str, Any]) -> Markup:
    known = document["labels"]
    if not known["rows"]:
        return html.section("Labels", "No label file arrived since this window began.")
    rows: list[list[Any]] = [
        ["rows of label files", known["rows"]],
        ["different labels", known["usable"]],
        ["found their prediction", known["matched"]],
        ["unknown here", known["unknown"]],
        ["came again, same value", known["repeated"]],
        ["came again, another value", known["conflicting"]],
        ["left out", sum(known["invalid"].values())],
    ]
    return html.section("Labels", html.table(["what came", "count"], rows))


def _method(document: Mapping[str, Any]) -> Markup:
    text = (
        "Degraded: the whole 95% interval of the realised metric is worse than the bound; without enough labels, that "
        "of the estimated one. Realised: of predictions whose label has come, interval by bootstrap. Estimated: "
        f"{document['method'] or 'not available'}. A slice is worst when its loss is clearly larger than elsewhere, "
        "after control of false discoveries over all slices that were looked at."
    )
    return html.section("How this is decided", text)
