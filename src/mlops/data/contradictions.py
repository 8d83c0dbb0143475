"""Rows that agree in key and time and disagree in the target, however many rows there are.

Fingerprints of the keys tell which keys several rows have. Those rows are grouped block by block; what stays in memory
is the smallest and the largest target of each such key, for as many keys at a time as memory should hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from mlops.data import runs
from mlops.data.fingerprints import Fingerprints, row_fingerprints
from mlops.data.repeats import candidates, shared_ones
from mlops.data.runs import create, mapped
from mlops.data.store import Positions, Rows, StoredColumn
from mlops.features.columns import Columns


@dataclass(frozen=True, slots=True)
class Conflicts:
    """``keys`` with several targets, ``rows`` that have such a key, and the ``first`` of those rows' numbers."""

    keys: int
    rows: int
    first: tuple[int, ...]


def conflicts(rows: Rows, names: Sequence[str], target: str, first: int) -> Conflicts:
    """Compare the targets of rows that agree in the columns ``names``; ``first``: how many row numbers are wanted."""
    columns = {c.name: c for c in rows.columns}
    keys = [columns[n] for n in names]
    with create(rows.folder / "key-fingerprints") as file:
        for positions in rows.positions():
            table = Columns(tuple(c.column(positions) for c in keys))
            file.write(row_fingerprints(table).data)
    fingerprints: Fingerprints = mapped(rows.folder / "key-fingerprints", np.uint64)
    shared = shared_ones(fingerprints)
    if shared is not None and not len(shared):
        return Conflicts(0, 0, ())
    count = 1 if shared is not None else -(-len(fingerprints) // runs.RUN_ROWS)
    found = [_among(rows, [*keys, columns[target]], fingerprints, shared, (i, count)) for i in range(count)]
    wrong = pl.concat(found)
    # The first rows belong to the keys that come first.
    earliest = wrong.sort("row").head(first)
    numbers = _numbers(rows, keys, fingerprints, earliest, first)
    return Conflicts(wrong.height, int(wrong["rows"].sum()), tuple(numbers))


def _among(
    rows: Rows,
    columns: Sequence[StoredColumn],
    fingerprints: Fingerprints,
    shared: Fingerprints | None,
    part: tuple[int, int],
) -> pl.DataFrame:
    """Keys with several targets among the fingerprints of one of several equal ranges."""
    number, count = part
    low, high = np.uint64((number << 64) // count), np.uint64((((number + 1) << 64) // count) - 1)
    kept: list[pl.DataFrame] = []
    for at in candidates(fingerprints, shared):
        inside = at[(fingerprints[at] >= low) & (fingerprints[at] <= high)]
        frame = _frame(rows, columns, inside).rename({f"k{len(columns) - 1}": "low"})
        named = frame.with_columns(high="low", rows=pl.lit(1, dtype=pl.Int64), print=pl.Series(fingerprints[inside]))
        kept.append(_grouped(named))
        if sum(f.height for f in kept[1:]) > runs.RUN_ROWS:
            kept = [_grouped(pl.concat(kept))]
    return _grouped(pl.concat(kept)).filter(pl.col("low") != pl.col("high"))


def _grouped(frame: pl.DataFrame) -> pl.DataFrame:
    keys = [n for n in frame.columns if n.startswith("k")]
    return (
        frame.group_by(keys)
        .agg(pl.col("low", "row").min(), pl.col("high").max(), pl.col("rows").sum(), pl.col("print").first())
        .select(*keys, "row", "low", "high", "rows", "print")
    )


def _frame(rows: Rows, columns: Sequence[StoredColumn], among: Positions) -> pl.DataFrame:
    """Some rows as values that are equal where the texts or numbers are: columns ``k0``, … and ``row``."""
    at = among if rows.chosen is None else rows.chosen[among]
    found = {f"k{i}": c.comparable(at) for i, c in enumerate(columns)}
    return pl.DataFrame({**found, "row": rows.numbers[at]})


def _numbers(
    rows: Rows, keys: Sequence[StoredColumn], fingerprints: Fingerprints, wanted: pl.DataFrame, first: int
) -> list[int]:
    """Numbers of the first rows that have one of the wanted keys."""
    found: list[int] = []
    if wanted.is_empty():
        return found
    for at in candidates(fingerprints, np.sort(wanted["print"].to_numpy())):
        same = _frame(rows, keys, at).join(wanted, on=[f"k{i}" for i in range(len(keys))], how="semi")
        found += same["row"].sort().to_list()
        if len(found) >= first:
            break
    return found[:first]
