"""``evaluation.html``: the result for a person."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlops.evaluation.evaluate import Evaluation, Judged
from mlops.evaluation.metrics import METRICS, reliability, roc_points
from mlops.report import html, svg
from mlops.report.markup import Markup

#: Points of a curve in a report.
MAX_POINTS = 200

_VERDICT = {
    "accepted": "may be released",
    "rejected": "is not released",
    "needs_approval": "waits for a person's approval",
}

_FAILED = {"reject": "failed", "ask": "needs_approval"}


def render(evaluation: Evaluation, *, time: str) -> str:
    """The page; ``time``: ISO 8601 UTC of the evaluation."""
    title = f"Evaluation of {evaluation.model} {evaluation.version}"
    summary = f"{evaluation.status.replace('_', ' ')}: this version {_VERDICT[evaluation.status]}. " + " ".join(
        f"{reason}." for reason in evaluation.reasons
    )
    return html.page(
        title, summary, result_sections(evaluation), footer=f"{evaluation.model} {evaluation.version}, {time}"
    )


def result_sections(evaluation: Evaluation) -> list[Markup]:
    """Checks, metrics, curves, slices, fairness and robustness, for this page and the model card."""
    sections: list[Markup] = [html.section("Checks", _checks(evaluation))]
    if evaluation.metrics:
        sections.append(html.section("Metrics", _metrics(evaluation), note=_metric_note(evaluation)))
    if evaluation.judged is not None and evaluation.metrics:
        sections.append(html.section("Curves", html.figures(_curves(evaluation.judged))))
    if evaluation.slices:
        sections.append(html.section("Slices", _slices(evaluation), note=_slice_note(evaluation)))
    if evaluation.fairness:
        sections.append(html.section("Fairness", _fairness(evaluation)))
    if evaluation.robustness:
        sections.append(html.section("Robustness", _robustness(evaluation)))
    if evaluation.parity is not None and not evaluation.parity.passed:
        rows = [[d["row"], str(d["expected"]), str(d["answered"])] for d in evaluation.parity.differing]
        sections.append(html.section("Rows that differ", html.table(["row", "estimator", "model.onnx"], rows)))
    if evaluation.notes:
        sections.append(html.section("Notes", " ".join(evaluation.notes)))
    return sections


def _slices(evaluation: Evaluation) -> Markup:
    rows = [
        [s.feature, s.group, s.rows, _number(s.value), f"{_number(s.low)} to {_number(s.high)}"]
        for s in evaluation.slices
    ]
    return html.table(["feature", "group", "rows", METRICS[evaluation.metric].title, "95% interval"], rows)


def _slice_note(evaluation: Evaluation) -> str:
    whole = evaluation.metrics.get(evaluation.metric)
    return f"{METRICS[evaluation.metric].title} on all rows: {_number(whole)}. Groups of few rows are left out."


def _fairness(evaluation: Evaluation) -> Markup:
    rows: list[list[Any]] = []
    for found in evaluation.fairness:
        for group in found.groups:
            rows.append(
                [
                    f"{found.rule.metric} of {found.rule.attribute}",
                    group.group,
                    group.rows,
                    _number(group.value),
                    f"{_number(group.low)} to {_number(group.high)}",
                ]
            )
    return html.table(["rule", "group", "rows", "rate or mean", "interval, all groups at once"], rows)


def _checks(evaluation: Evaluation) -> Markup:
    rows: list[list[Any]] = []
    for check in evaluation.checks:
        word = "reported" if check.effect == "report" else "passed" if check.passed else _FAILED[check.effect]
        name = check.name.replace("_", " ").replace(":", ": ")
        rows.append([name, html.badge(word), check.message])
    return html.table(["check", "result", "what was found"], rows, stacked=True)


def _metrics(evaluation: Evaluation) -> Markup:
    rows: list[list[Any]] = []
    for name, value in evaluation.metrics.items():
        metric = METRICS[name]
        known = evaluation.intervals.get(name)
        spread = f"{_number(known.low)} to {_number(known.high)}" if known else "-"
        row: list[Any] = [metric.title, _number(value), spread]
        if evaluation.champion_metrics:
            row.append(_number(evaluation.champion_metrics.get(name)))
        rows.append([*row, "higher is better" if metric.higher_is_better else "lower is better"])
    heads = ["metric", "this version", "95% interval"] + (
        [f"champion {evaluation.champion}"] if evaluation.champion_metrics else []
    )
    return html.table([*heads, "direction"], rows)


def _metric_note(evaluation: Evaluation) -> str:
    text = f"{evaluation.rows} held-out rows"
    if evaluation.interval is not None:
        known = evaluation.interval
        text += (
            f"; {METRICS[evaluation.metric].title} {_number(known.value)}, "
            f"95% interval {_number(known.low)} to {_number(known.high)}"
        )
    return text


def _curves(judged: Judged) -> list[Markup]:
    task = judged.task
    if not task.classes:
        return [_value_curve(judged)]
    if not task.binary:
        answered = np.argmax(judged.scores, axis=1)
        confidence = judged.scores[np.arange(len(answered)), answered]
        return [_reliability(confidence, answered == judged.actual, "the answered class")]
    positive = judged.actual == task.positive
    score = judged.scores[:, task.positive]
    series = [("this version", _points(*roc_points(positive, score)))]
    if judged.champion is not None:
        series.append(("champion", _points(*roc_points(positive, judged.champion[:, task.positive]))))
    roc = svg.lines(series, title="ROC", x_label="false positive rate", y_label="true positive rate")
    return [roc, _reliability(score, positive, "the positive class")]


def _reliability(confidence: Any, outcome: Any, what: str) -> Markup:
    points = [(mean, share) for _, mean, share, _ in reliability(confidence, outcome)]
    return svg.curve(
        points,
        title="Reliability",
        x_label=f"probability of {what}",
        y_label="observed share",
        diagonal=True,
    )


def _value_curve(judged: Judged) -> Markup:
    """Mean of the truth over ten groups of rows by predicted value: on the diagonal when unbiased."""
    predicted = judged.scores[:, 0]
    groups = [g for g in np.array_split(np.argsort(predicted, kind="stable"), 10) if len(g)]
    points = [(float(predicted[g].mean()), float(judged.actual[g].mean())) for g in groups]
    return svg.curve(
        points, title="Predicted and true values", x_label="predicted", y_label="true (mean of a tenth)", diagonal=True
    )


def _robustness(evaluation: Evaluation) -> Markup:
    rows: list[list[Any]] = [
        [f.case, html.badge("passed" if f.valid else "failed"), f"{f.changed:.1%}"] for f in evaluation.robustness
    ]
    what = "labels changed" if evaluation.judged and evaluation.judged.task.classes else "change against the spread"
    return html.table(["rows changed in", "valid answers", what], rows)


def _points(x: Any, y: Any) -> list[tuple[float, float]]:
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), MAX_POINTS)).round().astype(int))
    return [(float(x[i]), float(y[i])) for i in chosen]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
