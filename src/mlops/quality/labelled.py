"""Labelled predictions as rows to judge a new version on, gathered over checks; see :mod:`mlops.evaluation.recent`."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from mlops.contract import Contract
from mlops.features.columns import MISSING, Column, Columns
from mlops.manifest import Manifest
from mlops.quality.joining import Rows

#: Rows kept, the latest ones, and for how long; never longer than captures.
MOST, DAYS = 20_000, 28
#: The column of 53 bits of the inference id's hash, as many as a float64 holds exactly: of 20,000 rows two are alike
#: once in fifty million times.
ID = "inference_id"
SECONDS_OF_DAY = 86_400


def hidden(contract: Contract, manifest: Manifest) -> list[str]:
    """Features that captures do not hold as the model gets them; with any, captured rows cannot be scored again."""
    return sorted({f.name for f in (*manifest.features, *contract.features) if f.pii != "none"})


def table(manifest: Manifest, rows: Rows) -> Columns:
    """Every feature (missing where none was captured), target, :data:`ID` and time of capture."""
    features = [
        rows.table[f.name] if f.name in rows.table else _missing(f.name, f.type, len(rows)) for f in manifest.features
    ]
    if manifest.classes:
        target = Column(manifest.target, "category", rows.actual.astype(np.int32), manifest.classes)
    else:
        target = Column(manifest.target, "number", rows.actual)
    when = Column("time", "date", rows.times / SECONDS_OF_DAY)
    return Columns((*features, target, Column(ID, "number", rows.ids), when))


def _missing(name: str, type_: str, rows: int) -> Column:
    if type_ == "category":
        return Column(name, type_, np.full(rows, MISSING, dtype=np.int32))
    return Column(name, type_, np.full(rows, np.nan))


def merged(kept: Columns | None, new: Columns, now: datetime, days: int) -> Columns:
    """What is handed on: rows kept so far and new ones, each prediction once, in the order of their capture.

    Of a prediction that is in both the new row counts: its label may have been corrected. Rows of another shape (the
    features or the type of the target changed) go; so does what is older than ``days``, or than :data:`DAYS`.
    """
    rows = new
    if kept is not None and _shape(kept) == _shape(new):
        rows = Columns.concat([kept.take(~np.isin(kept[ID].values, new[ID].values)), new])
    oldest = (now - timedelta(days=min(days, DAYS))).timestamp() / SECONDS_OF_DAY
    rows = rows.take(rows["time"].values >= oldest)
    return rows.take(np.argsort(rows["time"].values, kind="stable")[-MOST:])


def _shape(rows: Columns) -> list[tuple[str, str]]:
    return [(c.name, c.type) for c in rows.columns]
