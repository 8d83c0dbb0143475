"""Rows as ingestion keeps them on disk, and a file that has none, for tests."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from mlops.data import digests as dg
from mlops.data.store import Rows, RowWriter
from mlops.data.validation import Validated
from mlops.features.columns import Columns

#: A damaged file of 300 rows whose first page claims so many values that polars aborts the process.
FATAL_PARQUET = Path(__file__).parent / "fatal.parquet"


def stored(*batches: Columns, folder: Path | None = None, distinct: bool = True) -> Rows:
    """Batches of a file as accepted rows."""
    writer = RowWriter(folder or Path(tempfile.mkdtemp(prefix="rows-")))
    count = 0
    for batch in batches:
        writer.add(batch, dg.row_digests(batch), np.arange(count + 1, count + batch.rows + 1))
        count += batch.rows
    return writer.finish(distinct=distinct)[0]


def apart(checked: Validated) -> list[bytes]:
    """The lines of the rows that were kept apart."""
    return checked.quarantine.read_bytes().splitlines()
