"""The report of one quality check, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops.evaluation.metrics import METRICS
from mlops.report import html, svg
from mlops.report.markup import Markup, number

if TYPE_CHECKING:
    from mlops.quality.outcome import Findings


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
            (f"{title}, realised", _or_dash(document["realised"]), _between(document["lower"], document["upper"])),
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
    series = [
        (name, [(float(i), c.get(key)) for i, c in enumerate(checks, 1)])
        for name, key in (("realised", "realised"), ("estimated", "estimated"))
    ]
    bound = checks[-1].get("bound")
    figure = svg.lines(
        series,
        title=METRICS[checks[-1]["metric"]].title,
        x_label="check, the newest last",
        y_label="value",
        thresholds=[("bound", bound)] if bound is not None else [],
    )
    return html.section("Over the checks so far", html.figures([figure]))


def _metrics(document: Mapping[str, Any]) -> Markup:
    rows: list[list[Any]] = [
        [METRICS[name].title, number(value), _or_dash(document["holdout"].get(name)),
         "higher is better" if METRICS[name].higher_is_better else "lower is better"]
        for name, value in document["metrics"].items()
    ]  # fmt: skip
    return html.section("All metrics", html.table(["metric", "live, labelled", "hold-out", "direction"], rows))


def _fairness(document: Mapping[str, Any]) -> Markup:
    rows: list[list[Any]] = [
        [f["attribute"], f["metric"].replace("_", " "), _or_dash(f["value"]), _between(f["low"], f["high"]),
         number(f["bound"]), f"{f['lowest']} and {f['highest']}" if f["highest"] else "too few rows"]
        for f in document["fairness"]
    ]  # fmt: skip
    heads = ["by", "what is compared", "value", "95% interval", "bound", "between"]
    empty = "The contract names no groups to compare (gates.fairness)."
    return html.section("Fairness", html.table(heads, rows, empty=empty))


def _groups(document: Mapping[str, Any]) -> Markup:
    rows: list[list[Any]] = [
        [f"{g['feature']} {g['group']}", g["rows"], number(g["value"]), _between(g["low"], g["high"])]
        for g in document["groups"]
    ]
    body = html.table(["group", "rows", _title(document), "95% interval"], rows, empty="No group has enough rows.")
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
    )
    rows = [[s["where"], s["rows"], number(s["loss"]), number(s["rest"]), number(s["effect"]), f"{s['q']:.2g}"]
            for s in found]  # fmt: skip
    heads = ["slice", "rows", unit, "elsewhere", "effect", "q"]
    return html.section(
        "Where the model is worst", html.join([html.figures([figure]), html.table(heads, rows)]), note=note
    )


def _overall(document: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> float:
    first, rows = found[0], document["labelled"]
    return float((first["loss"] * first["rows"] + first["rest"] * (rows - first["rows"])) / rows)


def _labels(document: Mapping[str, Any]) -> Markup:
    known = document["labels"]
    items = [
        ("rows of label files", known["rows"]),
        ("different labels", known["usable"]),
        ("found their prediction", known["matched"]),
        ("unknown here", known["unknown"]),
        ("came again, same value", known["repeated"]),
        ("came again, another value", known["conflicting"]),
        ("left out", sum(known["invalid"].values())),
    ]
    return html.section("Labels", html.definitions(items))


def _method(document: Mapping[str, Any]) -> Markup:
    text = (
        "Degraded: the whole 95% interval of the realised metric is worse than the bound; without enough labels, that "
        "of the estimated one. Realised: of predictions whose label has come, interval by bootstrap. Estimated: "
        f"{document['method'] or 'not available'}. A slice is worst when its loss is clearly larger than elsewhere, "
        "after control of false discoveries over all slices that were looked at."
    )
    return html.section("How this is decided", text)
