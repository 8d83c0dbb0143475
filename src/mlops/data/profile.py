"""How the columns of a file are distributed, as far as a picture needs it: a few bins or the most frequent levels.

From a sample of accepted rows, without personal columns and keys. Statistics that are compared and merged are those of
:mod:`mlops.statistics`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlops.contract import Contract
from mlops.features.columns import Column, Columns
from mlops.features.parse import format_date

SAMPLE_ROWS = 20_000
BINS = 10
LEVELS = 8
#: Values outside these quantiles share the outermost bins, so that one far value does not hide the others.
_TAILS = (0.005, 0.995)


def profile(sample: Columns, contract: Contract) -> list[dict[str, Any]]:
    """``{name, type, missing, bins: [{label, count}]}`` of the target, and of every feature and
    attribute that is no personal data.

    ``missing`` is the share of the sample's rows without a value; ``bins`` is empty for a column without any.
    """
    shown = [contract.target.name, *(f.name for f in contract.described if f.pii == "none")]
    return [_column(sample[name]) for name in shown if name in sample]


def _column(column: Column) -> dict[str, Any]:
    present = ~column.missing()
    share = 1 - float(present.mean()) if len(present) else 0.0
    bins = _levels(column) if column.type == "category" else _numbers(column, column.values[present])
    return {"name": column.name, "type": column.type, "missing": share, "bins": bins}


def _levels(column: Column) -> list[dict[str, Any]]:
    counts = np.bincount(column.values[~column.missing()], minlength=len(column.levels))
    order = sorted(range(len(counts)), key=lambda i: (-counts[i], column.levels[i]))
    found = [{"label": column.levels[i][:40], "count": int(counts[i])} for i in order[:LEVELS]]
    rest = int(sum(counts[i] for i in order[LEVELS:]))
    return [*found, {"label": f"{len(order) - LEVELS} more", "count": rest}] if rest else found


def _numbers(column: Column, values: Any) -> list[dict[str, Any]]:
    if not len(values):
        return []
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= BINS:
        return [{"label": _said(column, v), "count": int(c)} for v, c in zip(distinct, counts, strict=True)]
    low, high = np.quantile(values, _TAILS)
    if low == high:
        low, high = distinct[0], distinct[-1]
    edges = np.linspace(low, high, BINS + 1)
    counts, _ = np.histogram(np.clip(values, low, high), edges)
    return [
        {"label": f"{_said(column, a)} to {_said(column, b)}", "count": int(c)}
        for a, b, c in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def _said(column: Column, value: float) -> str:
    if column.type == "date":
        return format_date(float(np.floor(value)))
    if column.type == "boolean":
        return "true" if value else "false"
    return f"{value:.4g}"
