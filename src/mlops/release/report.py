"""The report of one release, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlops.report import html, svg
from mlops.report.markup import Markup, number

_NAMES = {
    "errors": "failed requests",
    "late": "late answers",
    "disagreement": "disagreement",
    "out_of_range": "answers out of range",
    "latency": "latency ratio",
    "prediction_drift": "prediction drift",
    "expected_loss": "loss, expected",
    "realised_loss": "loss, by labels",
}


def told(state: Mapping[str, Any]) -> str:
    """How far a release is, in a line; ``state`` is the answer of its last action."""
    if not state.get("steps"):
        return "waits for its turn"
    step, seen = state["steps"][state["index"]], state["evidence"]
    text = f"{step['name']}: {seen['rows']} records compared, {seen['errors']} failed"
    labelled = state["realised"]["rows"]
    text += f", {labelled} labelled" if labelled else ""
    noted = [rule["text"] for rule in state["rules"] if rule["result"] in ("warning", "over", "breach")]
    return "; ".join([text, *noted])


def page(body: Mapping[str, Any]) -> str:
    """The page as HTML; ``body`` is the JSON report."""
    steps = [step for step in body["steps"] if step.get("step")]
    sections: list[Markup] = [_cards(body, steps)]
    if body["reasons"]:
        sections.append(html.section("Why", html.join([html.paragraph(reason) for reason in body["reasons"]])))
    warnings = list(dict.fromkeys(warning for step in steps for warning in step.get("warnings", ())))
    if warnings:
        sections.append(html.section("Worth a look", html.join([html.paragraph(text) for text in warnings])))
    if steps:
        sections.append(_figures(steps))
    sections += [_step(step) for step in steps if step.get("rules")]
    sections.append(_method())
    summary = html.join([html.badge(body["outcome"]), f" {body['actor']}: {body['reason']}"])
    return html.page(
        f"Release of {body['model']}/{body['version']}", summary, sections, footer=f"Release {body['release_id']}"
    )


def _cards(body: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> Markup:
    took = f"{_clock(body['started_at'])} to {_clock(body['ended_at'])} UTC"
    return html.cards(
        [
            ("champion before", body["champion"] or "none", ""),
            ("requests compared", sum(step["requests"] for step in steps), took),
            ("answers with a label", max((step.get("labelled", 0) for step in steps), default=0), ""),
        ]
    )


def _clock(time: str) -> str:
    return time[:19].replace("T", " ") or "-"


def _figures(steps: Sequence[Mapping[str, Any]]) -> Markup:
    rows: list[list[Any]] = [
        [s["step"], s["share"], s["requests"], s["compared"], s.get("replayed_records", 0), s["errors"], s["late"],
         s["champion_us"], s["challenger_us"], s["function_version"]]
        for s in steps
    ]  # fmt: skip
    heads = ["step", "share", "requests", "records", "of them replayed", "failed", "late", "champion, µs",
             "challenger, µs", "function version"]  # fmt: skip
    return html.section("Steps", html.table(heads, rows))


def _step(step: Mapping[str, Any]) -> Markup:
    rules = step["rules"]
    rows: list[list[Any]] = [
        [_NAMES.get(r["name"], r["name"]), html.badge(r["result"]), r["value"],
         f"{_or_dash(r['lower'])} to {_or_dash(r['upper'])}", _or_dash(r["bound"]), r["text"]]
        for r in rules
    ]  # fmt: skip
    drawn = [r for r in rules if r["bound"] and r["value"] is not None]
    figure = svg.bars(
        [_NAMES.get(r["name"], r["name"]) for r in drawn],
        [max(0.0, r["value"] / r["bound"]) for r in drawn],
        title="estimate as a share of what the contract allows",
        threshold=1.0,
    )
    table = html.table(["evidence", "", "estimate", "bounds at every look", "allowed", "in words"], rows)
    return html.section(f"Evidence of {step['step']}", html.join([html.figures([figure]), table] if drawn else [table]))


def _or_dash(value: float | None) -> str:
    return "-" if value is None else number(value)


def _method() -> Markup:
    text = (
        "Both versions answered every request. A breach: the lower bound is above what is allowed, and the release "
        "goes back. The bounds hold at all looks at once with 98%, so looking often fools nobody. Prediction drift is "
        "the distance between the two distributions of answers; a loss is the Brier score or the absolute error, told "
        "as an increase over the champion's. Over: the estimate is above what is allowed, and not surely so; the step "
        "waits for more. What has no limit is only told."
    )
    return html.section("How this is decided", text)
