"""Golden records: some requests as a caller would send them, with the answers that every release must repeat.

The model layer carries them to production, so features flagged as personal data are replaced by a typical
value of the hold-out set (median, most frequent level).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from mlops.contract import Contract
from mlops.features.columns import Column, Columns
from mlops.features.encoding import encode
from mlops.features.parse import format_date
from mlops.features.spec import Feature
from mlops.training.estimator import Answering

COUNT = 20


def golden_table(contract: Contract, holdout: Columns, seed: int) -> Columns:
    """Up to ``COUNT`` hold-out rows with the features only, personal data replaced, dates whole seconds; the
    last rows lack one nullable feature each where there is one."""
    order = np.random.default_rng(seed).permutation(holdout.rows)[:COUNT]
    index = np.sort(order)
    columns = []
    nullable = [f for f in contract.features if f.nullable]
    for feature in contract.features:
        whole = holdout[feature.name]
        column = _typical(whole, len(index)) if feature.pii != "none" else holdout.take(index)[feature.name]
        columns.append(_clean(feature, column))
    for row, feature in zip(range(len(index) - 1, 0, -1), nullable, strict=False):
        values = columns[contract.features.index(feature)].values
        values[row] = -1 if feature.type == "category" else np.nan
    return Columns(tuple(columns))


def records(contract: Contract, table: Columns) -> list[dict[str, Any]]:
    """The rows as JSON objects: what a caller sends to ``predict``."""
    return [{f.name: _json(f, table[f.name], i) for f in contract.features} for i in range(table.rows)]


def pack(contract: Contract, fitted: Answering, table: Columns) -> bytes:
    """``golden.json`` with the estimator's answers; ``evaluate`` puts the ONNX model's own in their place."""
    scores = fitted.scores(encode(contract.features, table))
    body = {"records": records(contract, table), "expected": scores.tolist()}
    return json.dumps(body, ensure_ascii=False, sort_keys=True, indent=1).encode()


def _typical(column: Column, rows: int) -> Column:
    known = column.values[~column.missing()]
    if column.type == "category":
        code = int(np.bincount(known).argmax()) if len(known) else -1
        return Column(column.name, column.type, np.full(rows, code, dtype=np.int32), column.levels)
    value = float(np.sort(known)[len(known) // 2]) if len(known) else np.nan
    return Column(column.name, column.type, np.full(rows, value), column.levels)


def _clean(feature: Feature, column: Column) -> Column:
    values = column.values.copy()
    if feature.type == "date":
        values = np.round(values * 86400) / 86400
    return Column(column.name, feature.type, values, column.levels)


def _json(feature: Feature, column: Column, row: int) -> Any:
    if column.missing()[row]:
        return None
    value = column.values[row]
    if feature.type == "category":
        return column.levels[int(value)]
    if feature.type == "date":
        return format_date(float(value))
    if feature.type == "boolean":
        return bool(value)
    if feature.type == "integer":
        return int(value)
    return float(value)
