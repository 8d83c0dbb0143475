"""A file with labels as a person has it, in the one form that the quality check reads."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from mlops.contract import Contract
from mlops.data import parsing
from mlops.data.outcome import UnreadableError
from mlops.data.reading import PROBLEM, Table, open_table, read_through
from mlops.errors import MlopsError
from mlops.quality.labels import INFERENCE_ID, TIME


def canonical(path: Path, contract: Contract) -> tuple[bytes, int]:
    """Labels of a CSV, JSON Lines or Parquet file, plain or packed, as gzipped JSON Lines, and how many there are.

    Only the columns that a label needs are kept: the target, ``inference_id`` or the entity key, and a time.

    Raises
    ------
    MlopsError
        when the file is no table, or lacks the target or anything that names a prediction.
    """
    wanted = [contract.target.name, INFERENCE_ID, *contract.key, contract.timestamp or TIME]
    with tempfile.TemporaryDirectory(prefix="labels-") as folder:
        try:
            limit = contract.checks.max_bytes
            table = open_table(path, contract.file, limit, Path(folder), expected=wanted, suspect=True)
            _require(table, contract)
            columns = [name for name in wanted if name in table.names]
            lines = read_through(table, lambda t: list(_lines(t, columns, contract)))
        except UnreadableError as error:
            raise MlopsError(f"{path.name}: {error.rejection.message}", code=error.rejection.code) from error
    return gzip.compress("".join(lines).encode(), mtime=0), len(lines)


def _require(table: Table, contract: Contract) -> None:
    if contract.target.name not in table.names:
        raise MlopsError(f"the file lacks the target '{contract.target.name}'", code="missing_columns")
    has_key = bool(contract.key) and all(name in table.names for name in contract.key)
    if INFERENCE_ID not in table.names and not has_key:
        names = f" or the entity key ({', '.join(contract.key)})" if contract.key else ""
        raise MlopsError(
            f"the file needs the column '{INFERENCE_ID}'{names}, to find predictions by", code="missing_columns"
        )


def _lines(table: Table, columns: list[str], contract: Contract) -> Iterator[str]:
    missing = contract.file.missing
    decimal = "."
    for batch in table.batches():
        good = batch.filter(pl.col(PROBLEM).is_null())
        target = good[contract.target.name]
        if contract.task == "regression":
            delimiter = table.dialect.delimiter if table.dialect else ","
            told = contract.file.decimal if table.kind == "csv" else "."
            decimal = parsing.decimal_sign([target], told, delimiter)
            good = good.with_columns(parsing.numbers(target, missing, decimal).values.alias(contract.target.name))
        for row in good.select(columns).to_dicts():
            kept: dict[str, Any] = {k: v for k, v in row.items() if v is not None and v not in missing}
            yield json.dumps(kept, ensure_ascii=False, default=str) + "\n"
