"""The report of one drift check, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mlops.drift import cells
from mlops.drift.decision import Finding, Verdict
from mlops.report import html, svg
from mlops.report.markup import Markup
from mlops.statistics.axis import Axis
from mlops.statistics.baseline import Baseline, Counts
from mlops.statistics.tally import Tally

#: Figures of distributions on one page; a wide model's page stays readable and small.
MAX_FIGURES = 60
#: Columns in the table of colours, and of them those drawn as lines.
ROWS, LINES = 16, 6


def page(
    outcome: Mapping[str, Any],
    verdict: Verdict,
    baseline: Baseline,
    counts: Counts,
    *,
    what: str,
    notes: Sequence[str] = (),
    history: Sequence[Mapping[str, Any]] = (),
    feature_share: float = 0.3,
) -> str:
    """The page as HTML.

    Parameters
    ----------
    outcome : the check's outcome (status, share, rows, version, check_id, explanation), and its ``time``.
    what : which rows were checked.
    notes : to be added to the verdict's own.
    history : outcomes of earlier checks of the same task, with their ``time``, oldest first.
    feature_share : from which share on a check is drift.
    """
    columns: dict[tuple[str, str], tuple[Axis, Tally, Tally]] = {
        (a.role, a.name): (a, old, new)
        for a, old, new in zip(baseline.axes, baseline.counts.tallies, counts.tallies, strict=True)
    }
    first = [f for f in verdict.first() if (f.role, f.feature) in columns]
    sections: list[Markup] = [_cards(outcome, verdict, baseline)]
    if first:
        figures = [_distribution(*columns[(f.role, f.feature)], note=f.message) for f in first]
        sections.append(html.section("What matters first", html.figures(figures)))
    if verdict.findings:
        sections.append(_effects(verdict))
    if len(history) > 0:
        sections.append(_over_time([*history, outcome], feature_share))
    if verdict.findings:
        sections.append(html.section("Every comparison", _table(verdict.findings)))
    shown = {(f.role, f.feature) for f in first}
    rest = [c for key, c in _ordered(columns, verdict) if key not in shown and _comparable(*c)]
    if verdict.rows and rest:
        body = html.details(
            f"{min(len(rest), MAX_FIGURES)} distributions",
            html.figures([_distribution(*c) for c in rest[:MAX_FIGURES]]),
            opened=len(rest) <= 12,
        )
        sections.append(html.section("Distributions, training and now", body))
    said = [*verdict.notes, *notes]
    if len(rest) > MAX_FIGURES:
        said.append(f"{len(rest) - MAX_FIGURES} more distributions are in the JSON report.")
    if said:
        sections.append(html.section("Notes", html.join([html.paragraph(note) for note in said])))
    sections.append(_method())
    foot = f"Check {outcome['check_id']} · {what} · baseline of version {baseline.version or 'unknown'}"
    return html.page(f"Drift of {outcome['model']}", _summary(outcome), sections, footer=foot)


def _summary(outcome: Mapping[str, Any]) -> Markup:
    return html.join([html.badge(outcome["status"]), " ", str(outcome["explanation"])])


def _cards(outcome: Mapping[str, Any], verdict: Verdict, baseline: Baseline) -> Markup:
    predictions = [f for f in verdict.findings if f.role == "prediction"]
    answer = "not compared" if not predictions else ("differ" if any(f.drifted for f in predictions) else "as before")
    return html.cards(
        [
            ("Rows compared", verdict.rows, f"with {html.number(baseline.counts.rows)} in training"),
            ("Features that differ", f"{verdict.share * 100:.3g} %", "by weight"),
            ("Predictions", answer, ""),
            ("Counts as drift", bool(outcome.get("confirmed")), "after the contract's confirmations"),
        ]
    )


def _effects(verdict: Verdict) -> Markup:
    worst: dict[str, Finding] = {}
    for finding in sorted(verdict.findings, key=lambda f: -_ratio(f)):
        worst.setdefault(_name(finding), finding)
    chosen = list(worst.values())[:25]
    names = [_name(f) for f in chosen]
    drawing = svg.bars(
        names,
        [_ratio(f) for f in chosen],
        title="Effect of each column, as a multiple of its threshold",
        threshold=1.0,
        highlight=[_name(f) for f in chosen if f.drifted],
        note="Sampling noise is taken out. Red: at or above the threshold and significant.",
    )
    return html.section("How far each column moved", drawing)


def _over_time(checks: Sequence[Mapping[str, Any]], feature_share: float) -> Markup:
    times = [datetime.fromisoformat(c["time"]).timestamp() for c in checks]
    shares = svg.lines(
        [("share of features", [(x, float(c.get("share") or 0.0)) for x, c in zip(times, checks, strict=True)])],
        title="Share of features that differ, this check and those before",
        x_label="time of the check",
        thresholds=[("drift", feature_share)],
        x_format=_day,
        from_zero=True,
        note="Predictions that differ are drift whatever the share.",
    )
    names = list(checks[-1].get("effects", {}))
    # A check keeps its furthest columns only: one that is not among them moved less than those, and is left out.
    effects = [[dict(c.get("effects", {})).get(n) for c in checks] for n in names]
    lines = svg.lines(
        [(n, list(zip(times, row, strict=True))) for n, row in zip(names[:LINES], effects, strict=False)],
        title="Columns that moved furthest, as a multiple of their threshold",
        x_label="time of the check",
        thresholds=[("threshold", 1.0)],
        x_format=_day,
        from_zero=True,
        note="Sampling noise is taken out.",
    )
    cells = svg.heat(
        names[:ROWS],
        times,
        effects[:ROWS],
        title="How far each column lay from training, check by check",
        x_format=_day,
        note="Blue: below its threshold, the darker the nearer. Red: at or above it.",
    )
    return html.section("Over time", html.figures([shares, lines, cells] if names else [shares]))


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def _table(findings: Sequence[Finding]) -> Markup:
    rows = [
        [
            _name(f),
            html.badge("drift", "drift") if f.drifted else html.badge("ok", "ok"),
            f.message,
            f.method.replace("_", " "),
            f.value,
            f.noise,
            f.threshold,
            html.number(f.q_value, 2),
            f"{f.weight * 100:.3g} %" if f.features else None,
        ]
        for f in findings
    ]
    headers = ["column", "found", "what was seen", "method", "value", "noise", "threshold", "q", "weight"]
    return html.table(headers, rows, numeric=[4, 5, 6, 7, 8])


def _ordered(
    columns: Mapping[tuple[str, str], tuple[Axis, Tally, Tally]], verdict: Verdict
) -> list[tuple[tuple[str, str], tuple[Axis, Tally, Tally]]]:
    rank = {(f.role, f.feature): i for i, f in reversed(list(enumerate(verdict.findings)))}
    return sorted(columns.items(), key=lambda item: rank.get(item[0], len(rank)))


def _comparable(axis: Axis, old: Tally, new: Tally) -> bool:
    return axis.kind != "private" and old.known > 0 and new.known > 0


def _distribution(axis: Axis, old: Tally, new: Tally, note: str = "") -> Markup:
    before, after = cells.shown(axis, old), cells.shown(axis, new)
    keep = [
        i for i, (x, y) in enumerate(zip(before, after, strict=True)) if (x[1] or 0) + (y[1] or 0) > 0
    ] or [0]  # fmt: skip
    labels = [before[i][0] for i in keep]
    return svg.grouped_bars(
        labels,
        [("training", [before[i][1] for i in keep]), ("now", [after[i][1] for i in keep])],
        title=axis.name,
        x_label="" if axis.discrete or axis.kind == "category" else "from; each bar an equal share of training",
        y_label="share of rows",
        note=note,
    )


def _method() -> Markup:
    text = (
        "A column differs when its effect, with the noise of sampling taken out, reaches the threshold of the "
        "contract, and chance is ruled out at the contract's significance over all columns (Benjamini-Hochberg). "
        "Value: as measured. Noise: what two samples of this size show without any drift. q: the share of false "
        "alarms to expect among columns at least this significant."
    )
    return html.section("How this is decided", text)


def _ratio(finding: Finding) -> float:
    return finding.effect / finding.threshold if finding.threshold > 0 else 0.0


def _name(finding: Finding) -> str:
    suffix = {"missing_rate": " (missing)"}.get(finding.method, "")
    return f"{'label ' if finding.role == 'target' else ''}{finding.feature}{suffix}"
