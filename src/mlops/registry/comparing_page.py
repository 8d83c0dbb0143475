"""A comparison of two versions as one HTML document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mlops.registry.comparing import Comparison, Metric, Pair, paired_words
from mlops.report import html


def render(found: Comparison) -> str:
    """The page; ``found`` as :func:`mlops.registry.comparing.compare` gives it."""
    a, b = found.first, found.second
    metrics = [
        [m.name, m.first, _interval(m.first_interval), m.second, _interval(m.second_interval), m.difference, _apart(m)]
        for m in found.metrics
    ]
    data = [
        [s.column, s.first, s.second, s.moved, f"{s.first_missing:.1%}", f"{s.second_missing:.1%}"] for s in found.data
    ]
    sections = [
        html.section(
            "Metrics",
            html.table(["metric", a, "interval", b, "interval", "difference", "intervals"], metrics),
            "Intervals are of each version's own hold-out rows. Where they are apart, the difference is more than "
            "chance; where they overlap, it may be.",
        ),
        html.section("State, lineage, serving", _table(found, [found.states, *found.lineage, *found.serving])),
        html.section("Parameters", _table(found, found.parameters)),
        html.section("Features that differ", _table(found, found.features)),
        html.section(
            "Training data",
            html.table(
                ["column", a, b, "moved", f"missing in {a}", f"missing in {b}"], data, empty="It cannot be compared."
            ),
            "Moved: for numbers the difference of the means in standard deviations of the first version's data, for "
            "categories the share of rows that would have to change their level.",
        ),
    ]
    summary = paired_words(found.paired) if found.paired else "The two were never judged against each other."
    return html.page(f"{found.model}: {a} and {b}", summary, sections, footer="; ".join(found.notes))


def _table(found: Comparison, pairs: Sequence[Pair]) -> html.Markup:
    rows = [
        [p.name, _text(p.first), _text(p.second), html.badge("neutral", "same") if p.same else ""]
        for p in pairs
        if not (p.first is None and p.second is None)
    ]
    return html.table(["", found.first, found.second, ""], rows, empty="There are none.")


def _apart(metric: Metric) -> str | None:
    return None if metric.apart is None else "apart" if metric.apart else "overlap"


def _interval(found: tuple[float, float] | None) -> str | None:
    return f"{found[0]:.4g} to {found[1]:.4g}" if found else None


def _text(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
