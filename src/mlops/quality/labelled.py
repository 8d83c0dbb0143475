"""The labelled predictions of a window as rows to judge a new version on; see :mod:`mlops.evaluation.recent`."""

from __future__ import annotations

import numpy as np

from mlops.contract import Contract
from mlops.features.columns import Column, Columns
from mlops.manifest import Manifest
from mlops.quality.joining import Rows

#: Rows kept, the latest ones.
MOST = 20_000
SECONDS_OF_DAY = 86_400


def hidden(contract: Contract, manifest: Manifest) -> list[str]:
    """Features that captures do not hold as the model gets them; with any, captured rows cannot be scored again."""
    return sorted({f.name for f in (*manifest.features, *contract.features) if f.pii != "none"})


def table(manifest: Manifest, rows: Rows) -> Columns:
    """Features, target and time of capture of the latest :data:`MOST` rows, in the order of their capture."""
    latest = np.argsort(rows.times, kind="stable")[-MOST:]
    actual, when = rows.actual[latest], rows.times[latest] / SECONDS_OF_DAY
    if manifest.classes:
        target = Column(manifest.target, "category", actual.astype(np.int32), manifest.classes)
    else:
        target = Column(manifest.target, "number", actual)
    return Columns((*rows.table.take(latest).columns, target, Column("time", "date", when)))
