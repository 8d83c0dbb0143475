"""Rows as ingestion keeps them on disk, and a file that has none, for tests."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from mlops.data.repeats import repeated
from mlops.data.store import AddressedRows, RowWriter
from mlops.data.validation import Validated
from mlops.features.columns import Columns

#: A damaged file of 300 rows whose first page claims so many values that polars aborts the process.
FATAL_PARQUET = Path(__file__).parent / "fatal.parquet"


def stored(*batches: Columns, folder: Path | None = None, distinct: bool = True) -> AddressedRows:
    """Batches of a file as accepted rows."""
    writer = RowWriter(folder or Path(tempfile.mkdtemp(prefix="rows-")))
    count = 0
    for batch in batches:
        writer.add(batch, np.arange(count + 1, count + batch.rows + 1))
        count += batch.rows
    rows = writer.finish()
    marks = repeated(rows) if distinct else None
    return (rows if marks is None else rows.without(marks)).addressed()


def apart(checked: Validated) -> list[bytes]:
    """The lines of the rows that were kept apart."""
    return checked.quarantine.read_bytes().splitlines()
