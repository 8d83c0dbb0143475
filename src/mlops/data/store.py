"""Accepted rows on disk, so that memory does not grow with a file.

While a file is read, each column goes to a file of its own, values of fixed width in the file's order, beside one
digest a row. At the end the rows are put into the order of their digests, which is the same for the same rows in any
file: digests are sorted in runs that fit memory and merged by ranges (they are uniform, so all ranges are of about
one size), then each column follows. What stays in memory is one run of digests, and the distinct texts of a column.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl

from mlops.data import digests as dg
from mlops.data.digests import Digests
from mlops.features.columns import MISSING, Column, Columns

#: Digests sorted at a time, and rows handed out at a time.
RUN_ROWS = 2_000_000
BLOCK_ROWS = 131_072

Positions = npt.NDArray[np.int64]
Run = tuple[Digests, Positions]


@dataclass(frozen=True)
class StoredColumn:
    """One column's file: float64, or int32 codes into ``codes``, which gives positions in ``levels`` (sorted)."""

    name: str
    type: str
    path: Path
    codes: npt.NDArray[np.int32] | None = None
    levels: pl.Series | None = None

    @property
    def values(self) -> npt.NDArray[Any]:
        """All values as stored, mapped from the file."""
        return _mapped(self.path, np.float64 if self.codes is None else np.int32)

    def positions(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """Positions in ``levels`` of stored codes."""
        if self.codes is None:  # pragma: no cover - only categories are asked for
            raise TypeError(f"column '{self.name}' has no levels")
        found: npt.NDArray[np.int32] = self.codes[stored]
        return found


@dataclass(frozen=True)
class Rows:
    """Rows on disk, in the order of their digests.

    Attributes
    ----------
    digests : uint64, shape (rows, 2), ascending.
    numbers : the rows' numbers in their file, int64.
    columns : empty when only digests were kept.
    chosen : positions in the files of the rows that count, ascending; None for all.
    """

    folder: Path
    digests: Digests
    numbers: Positions
    columns: tuple[StoredColumn, ...]
    chosen: Positions | None = None

    @property
    def count(self) -> int:
        return len(self.digests)

    def choose(self, mask: npt.NDArray[np.bool_]) -> Rows:
        """The rows that ``mask`` selects; for rows that were not chosen before."""
        path = self.folder / "chosen"
        path.unlink(missing_ok=True)  # an earlier choice may still be mapped
        with path.open("wb") as file:
            for start in range(0, self.count, RUN_ROWS):
                file.write(_bytes(self.digests[start : start + RUN_ROWS][mask[start : start + RUN_ROWS]]))
        digests: Digests = _mapped(path, np.uint64, 2)
        return replace(self, digests=digests, numbers=self.numbers[mask], chosen=np.flatnonzero(mask))

    def blocks_of(self, column: StoredColumn) -> Iterator[npt.NDArray[Any]]:
        """One column's values block by block, as stored."""
        values = column.values
        for start in range(0, self.count, BLOCK_ROWS):
            if self.chosen is None:
                yield values[start : start + BLOCK_ROWS]
            else:
                yield values[self.chosen[start : start + BLOCK_ROWS]]

    def between(self, start: int, stop: int) -> Columns:
        """Some rows of all, by position; for rows that were not chosen."""
        return Columns(tuple(_column(c, c.values[start:stop]) for c in self.columns))

    def blocks(self) -> Iterator[Columns]:
        """All columns block by block; a category has the levels that occur in the block, sorted."""
        for parts in zip(*(self.blocks_of(c) for c in self.columns), strict=True):
            yield Columns(tuple(_column(c, values) for c, values in zip(self.columns, parts, strict=True)))

    def first(self, count: int) -> Columns:
        """Some rows: those with the smallest digests, which is a random sample, and the same one for the same rows."""
        found: list[Columns] = []
        for block in self.blocks():
            found.append(block.take(np.arange(min(block.rows, count))))
            count -= block.rows
            if count <= 0:
                break
        return Columns.concat(found) if found else self.table()

    def table(self) -> Columns:
        """All rows in memory, levels sorted."""
        everything = (np.concatenate([*self.blocks_of(c)]) if self.count else c.values[:0] for c in self.columns)
        return Columns(tuple(_column(c, values) for c, values in zip(self.columns, everything, strict=True)))


class RowWriter:
    """Takes accepted rows batch by batch.

    Parameters
    ----------
    folder : an empty folder; the caller deletes it.
    columns : whether the rows are kept, or their digests alone.
    """

    def __init__(self, folder: Path, *, columns: bool = True) -> None:
        self._folder = folder
        self._keeps = columns
        self._open = contextlib.ExitStack()
        self._digests = self._create("digests")
        self._numbers = self._create("numbers")
        self._columns: list[_ColumnWriter] = []

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _create(self, name: str) -> BinaryIO:
        return self._open.enter_context((self._folder / name).open("wb"))

    def add(self, table: Columns, digests: Digests, numbers: Positions) -> None:
        """Append rows; ``numbers`` are those that the rows have in their file, ascending."""
        self._digests.write(_bytes(digests))
        self._numbers.write(_bytes(numbers))
        if self._keeps and not self._columns:
            self._columns = [_ColumnWriter(c.name, c.type, self._create(f"c{i}")) for i, c in enumerate(table.columns)]
        for writer, column in zip(self._columns, table.columns if self._keeps else (), strict=True):
            writer.add(column)

    def finish(self, *, distinct: bool) -> tuple[Rows, Positions]:
        """The rows in the order of their digests, and the numbers of those left out.

        ``distinct``: of equal rows the first one counts and the others are left out.
        """
        self._open.close()
        numbers = _mapped(self._folder / "numbers", np.int64)
        order, left_out = self._sort(distinct=distinct)
        repeated = np.sort(numbers[left_out])
        with (self._folder / "sorted-numbers").open("wb") as file:
            for start in range(0, len(order), BLOCK_ROWS):
                file.write(_bytes(numbers[order[start : start + BLOCK_ROWS]]))
        columns = tuple(self._arranged(i, writer, order) for i, writer in enumerate(self._columns))
        digests = _mapped(self._folder / "sorted", np.uint64, 2)
        return Rows(self._folder, digests, _mapped(self._folder / "sorted-numbers", np.int64), columns), repeated

    def _sort(self, *, distinct: bool) -> tuple[Positions, Positions]:
        """Write the digests sorted; return where each row lies, and where the repeated ones lie."""
        runs = _sorted_runs(_mapped(self._folder / "digests", np.uint64, 2), self._folder)
        repeated = [np.empty(0, dtype=np.int64)]
        with (self._folder / "sorted").open("wb") as digests, (self._folder / "order").open("wb") as order:
            for block, positions in merged(runs):
                first = np.ones(len(block), dtype=bool)
                if distinct:
                    first[1:] = (block[1:] != block[:-1]).any(axis=1)
                    repeated.append(positions[~first])
                digests.write(_bytes(block[first]))
                order.write(_bytes(positions[first]))
        return _mapped(self._folder / "order", np.int64), np.concatenate(repeated)

    def _arranged(self, index: int, writer: _ColumnWriter, order: Positions) -> StoredColumn:
        """One column in the order of the digests; its first file goes, so that the disk need not hold both."""
        source, target = self._folder / f"c{index}", self._folder / f"s{index}"
        values = _mapped(source, writer.dtype)
        with target.open("wb") as file:
            for start in range(0, len(order), BLOCK_ROWS):
                file.write(_bytes(values[order[start : start + BLOCK_ROWS]]))
        del values
        source.unlink()
        return StoredColumn(writer.name, writer.type, target, *writer.levels())


class _ColumnWriter:
    """One column's file. Codes of a category count the levels of all batches, with repetitions, until the end."""

    def __init__(self, name: str, type_: str, file: BinaryIO) -> None:
        self.name, self.type = name, type_
        self.dtype = np.int32 if type_ == "category" else np.float64
        self._file = file
        self._levels: list[pl.Series] = []
        self._count = 0

    def add(self, column: Column) -> None:
        if self.type != "category":
            self._file.write(_bytes(column.values))
            return
        self._file.write(_bytes(np.where(column.values == MISSING, MISSING, column.values + np.int32(self._count))))
        self._levels.append(pl.Series(column.levels, dtype=pl.String))
        self._count += len(column.levels)

    def levels(self) -> tuple[npt.NDArray[np.int32] | None, pl.Series | None]:
        """Position of every code's level among the sorted levels (the last is for missing), and those levels."""
        if self.type != "category":
            return None, None
        listed = pl.concat(self._levels) if self._levels else pl.Series(dtype=pl.String)
        levels = listed.unique().sort()
        codes = np.full(len(listed) + 1, MISSING, dtype=np.int32)
        if len(levels):
            numbers = pl.int_range(len(levels), dtype=pl.Int32, eager=True)
            codes[:-1] = listed.replace_strict(levels, numbers, return_dtype=pl.Int32).to_numpy()
        return codes, levels


def merged(runs: Sequence[Run]) -> Iterator[Run]:
    """Sorted runs as one sorted sequence, range by range; of equal digests those of an earlier run come first."""
    total = sum(len(digests) for digests, _ in runs)
    count = max(1, -(-total // RUN_ROWS))
    halves = [digests[:, 0] for digests, _ in runs]
    starts = [0] * len(runs)
    for i in range(1, count + 1):
        # bisect reads a few digests only; numpy's search would copy the whole column of a mapped file.
        ends = [len(h) if i == count else bisect.bisect_left(h, (i << 64) // count) for h in halves]
        parts = [(d[a:b], p[a:b]) for (d, p), a, b in zip(runs, starts, ends, strict=True) if b > a]
        starts = ends
        if not parts:
            continue
        digests, positions = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = dg.order(digests) if len(parts) > 1 else slice(None)
        yield digests[order], positions[order]


def _sorted_runs(digests: Digests, folder: Path) -> list[Run]:
    runs: list[Run] = []
    for start in range(0, len(digests), RUN_ROWS):
        block = digests[start : start + RUN_ROWS]
        order = dg.order(block)
        run = (block[order], order + start)
        if len(digests) > RUN_ROWS:
            name = f"run-{start}"
            (folder / f"{name}-digests").write_bytes(_bytes(run[0]))
            (folder / f"{name}-positions").write_bytes(_bytes(run[1]))
            run = _mapped(folder / f"{name}-digests", np.uint64, 2), _mapped(folder / f"{name}-positions", np.int64)
        runs.append(run)
    return runs


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    """What a file is given: its own ``tofile`` would not say that the disk is full."""
    return np.ascontiguousarray(array).data


def _mapped(path: Path, dtype: type, width: int = 1) -> npt.NDArray[Any]:
    shape = (-1, width) if width > 1 else (-1,)
    if not path.stat().st_size:  # nothing can be mapped
        return np.empty(0, dtype=dtype).reshape(shape)
    return np.memmap(path, dtype=dtype, mode="r").reshape(shape)


def _column(column: StoredColumn, stored: npt.NDArray[Any]) -> Column:
    if column.levels is None:
        return Column(column.name, column.type, np.asarray(stored))
    positions = column.positions(stored)
    used, codes = np.unique(positions[positions != MISSING], return_inverse=True)
    values = np.full(len(positions), MISSING, dtype=np.int32)
    values[positions != MISSING] = codes
    return Column(column.name, column.type, values, tuple(column.levels.gather(used).to_list()))
