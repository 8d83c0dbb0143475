"""Accepted rows on disk, so that memory does not grow with a file.

While a file is read, each column goes to a file of its own, values of fixed width in the file's order, beside one
fingerprint a row that finds duplicates. What is kept for good is then put into the order of its digests
(:meth:`Rows.addressed`), which is the same for the same rows in any file: digests are sorted in runs that fit memory
and merged by ranges (they are uniform, so all ranges are of about one size), then each column follows. What stays in
memory is one run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mlops.data import digests as dg
from mlops.data.digests import Digests
from mlops.data.fingerprints import Fingerprints, row_fingerprints
from mlops.data.levels import LevelWriter, Texts
from mlops.data.packed import Form, PackedFile
from mlops.data.runs import create, mapped, merged, sorted_runs
from mlops.features.columns import MISSING, Column, Columns

#: Rows handed out at a time.
BLOCK_ROWS = 131_072

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StoredColumn:
    """One column's file: numbers, or codes into ``codes``, which gives positions in ``levels`` (sorted)."""

    name: str
    type: str
    path: Path
    form: Form
    codes: npt.NDArray[np.int32] | None = None
    levels: Texts | None = None

    def read(self, chosen: Positions | slice) -> npt.NDArray[Any]:
        """Values at some positions: float64, or codes."""
        stored = mapped(self.path, self.form.dtype)[chosen]
        return self.form.unpack(stored) if self.codes is None else stored.astype(np.int32)

    def column(self, chosen: Positions | slice) -> Column:
        """The column at some positions; a category has the levels that occur there, sorted."""
        return _column(self, self.read(chosen))

    def comparable(self, chosen: Positions | slice) -> npt.NDArray[Any]:
        """Values that are equal where the texts or numbers are."""
        stored = self.read(chosen)
        return stored if self.codes is None else self.positions(stored)

    def positions(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """Positions in ``levels`` of stored codes."""
        if self.codes is None:  # pragma: no cover - only categories are asked for
            raise TypeError(f"column '{self.name}' has no levels")
        found: npt.NDArray[np.int32] = self.codes[stored]
        return found


@dataclass(frozen=True)
class Rows:
    """Rows on disk.

    Attributes
    ----------
    count : how many.
    columns : empty when they are only counted.
    numbers : of each position in the files, the row's number in the upload, int64.
    chosen : positions of the rows that count, ascending; None for all.
    """

    folder: Path
    count: int
    columns: tuple[StoredColumn, ...]
    numbers: Positions
    chosen: Positions | None = None

    def positions(self) -> Iterator[slice | Positions]:
        """Where the rows lie in the files, block by block."""
        for start in range(0, self.count, BLOCK_ROWS):
            yield self._at(start, min(start + BLOCK_ROWS, self.count))

    def blocks_of(self, column: StoredColumn) -> Iterator[npt.NDArray[Any]]:
        """One column's values block by block, as stored."""
        return (column.read(at) for at in self.positions())

    def blocks(self) -> Iterator[Columns]:
        """All columns block by block; a category has the levels that occur in the block, sorted."""
        return (self.at(at) for at in self.positions())

    def table(self) -> Columns:
        """All rows in memory, levels sorted."""
        return self.at(self._at(0, self.count))

    def sample(self, count: int) -> tuple[Columns, Positions]:
        """Some rows and their numbers: those with the smallest fingerprints, which is a random sample, and the same
        one for the same rows."""
        fingerprints: Fingerprints = mapped(self.folder / "fingerprints", np.uint64)
        kept, places = np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
        for at in self.positions():
            found = fingerprints[at]
            near = np.flatnonzero(found < kept[-1]) if len(kept) == count else np.arange(len(found))
            positions = near + at.start if isinstance(at, slice) else at[near]
            found, positions = np.concatenate([kept, found[near]]), np.concatenate([places, positions])
            order = np.argsort(found, kind="stable")[:count]
            kept, places = found[order], positions[order]
        return self.at(places), self.numbers[places]

    def without(self, repeated: npt.NDArray[np.bool_]) -> Rows:
        """The rows that ``repeated`` does not mark; for rows that were not chosen before."""
        return replace(self, count=self.count - int(repeated.sum()), chosen=_unmarked(repeated, self.folder / "kept"))

    def addressed(self) -> AddressedRows:
        """The rows in the order of their digests. It takes the files with it: nothing else can be read after that."""
        with create(self.folder / "digests") as file:
            for block in self.blocks():
                file.write(dg.row_digests(block).data)
        runs = sorted_runs(mapped(self.folder / "digests", np.uint64, 2), self.folder)
        with create(self.folder / "sorted") as digests, create(self.folder / "order") as order:
            for block_, positions in merged(runs):
                digests.write(np.ascontiguousarray(block_).data)
                order.write(np.ascontiguousarray(positions if self.chosen is None else self.chosen[positions]).data)
        places: Positions = mapped(self.folder / "order", np.int64)
        with create(self.folder / "sorted-numbers") as file:
            for start in range(0, self.count, BLOCK_ROWS):
                file.write(self.numbers[places[start : start + BLOCK_ROWS]].data)
        columns = tuple(self._arranged(c, places) for c in self.columns)
        numbers: Positions = mapped(self.folder / "sorted-numbers", np.int64)
        return AddressedRows(
            self.folder, self.count, columns, numbers, None, digests=mapped(self.folder / "sorted", np.uint64, 2)
        )

    def _arranged(self, column: StoredColumn, places: Positions) -> StoredColumn:
        """One column in another order; its first file goes, so that the disk need not hold both."""
        target = column.path.with_name(column.path.name + "-sorted")
        values = mapped(column.path, column.form.dtype)
        with create(target) as file:
            for start in range(0, self.count, BLOCK_ROWS):
                file.write(values[places[start : start + BLOCK_ROWS]].data)
        del values
        column.path.unlink()
        return replace(column, path=target)

    def _at(self, start: int, end: int) -> slice | Positions:
        return slice(start, end) if self.chosen is None else self.chosen[start:end]

    def between(self, start: int, stop: int) -> Columns:
        """Some rows of all, by position; for rows that were not chosen."""
        return self.at(slice(start, stop))

    def at(self, chosen: slice | Positions) -> Columns:
        """Rows at some positions of the files; a category has the levels that occur in them, sorted."""
        return Columns(tuple(c.column(chosen) for c in self.columns))


@dataclass(frozen=True)
class AddressedRows(Rows):
    """Rows in the order of their digests.

    Attributes
    ----------
    digests : uint64, shape (rows, 2), ascending.
    """

    digests: Digests = field(default_factory=lambda: np.empty((0, 2), dtype=np.uint64))

    def choose(self, mask: npt.NDArray[np.bool_]) -> AddressedRows:
        """The rows that ``mask`` selects; for rows that were not chosen before."""
        chosen = _unmarked(~mask, self.folder / "chosen")
        with create(self.folder / "chosen-digests") as file:
            for start in range(0, len(chosen), BLOCK_ROWS):
                file.write(self.digests[chosen[start : start + BLOCK_ROWS]].data)
        digests: Digests = mapped(self.folder / "chosen-digests", np.uint64, 2)
        return replace(self, count=len(chosen), digests=digests, chosen=chosen)

    def first(self, count: int) -> Columns:
        """Some rows: those with the smallest digests, which is a random sample, and the same one for the same rows."""
        return self.at(self._at(0, min(count, self.count)))


class RowWriter:
    """Takes accepted rows batch by batch. ``folder``: an empty folder; the caller deletes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = contextlib.ExitStack()
        self._fingerprints = self._create("fingerprints")
        self._numbers = self._create("numbers")
        self._columns: list[_ColumnWriter] = []
        self._count = 0

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _create(self, name: str) -> BinaryIO:
        return self._open.enter_context(create(self._folder / name))

    def add(self, table: Columns, numbers: Positions) -> None:
        """Append rows; ``numbers`` are those that the rows have in their file, ascending."""
        if not self._columns:
            self._columns = [_ColumnWriter(c, self._folder / f"c{i}") for i, c in enumerate(table.columns)]
            for writer in self._columns:
                self._open.callback(writer.close)
        self._fingerprints.write(row_fingerprints(table).data)
        self._numbers.write(np.ascontiguousarray(numbers).data)
        for writer, column in zip(self._columns, table.columns, strict=True):
            writer.add(column)
        self._count += table.rows

    def finish(self) -> Rows:
        """The rows, in the file's order."""
        self._open.close()
        columns = tuple(c.stored() for c in self._columns)
        return Rows(self._folder, self._count, columns, mapped(self._folder / "numbers", np.int64))


class _ColumnWriter:
    """One column's file. Codes of a category count the levels of all batches, with repetitions, until the end."""

    def __init__(self, column: Column, path: Path) -> None:
        self._name, self._type = column.name, column.type
        self._path, self._file = path, PackedFile(path)
        self._levels = LevelWriter(path)

    def add(self, column: Column) -> None:
        if self._type != "category":
            self._file.add(column.values)
            return
        codes = np.where(column.values == MISSING, MISSING, column.values + np.int32(self._levels.count))
        self._file.add(codes.astype(np.float64))
        self._levels.add(column.levels)

    def close(self) -> None:
        self._file.close()

    def stored(self) -> StoredColumn:
        """The column; of a category the position of every code's level among the sorted levels (the last is for
        missing), and those levels."""
        if self._type != "category":
            return StoredColumn(self._name, self._type, self._path, self._file.form)
        codes, levels = self._levels.finish()
        return StoredColumn(self._name, self._type, self._path, self._file.form, codes, levels)


def _unmarked(marks: npt.NDArray[np.bool_], path: Path) -> Positions:
    """Positions that are not marked, mapped from a file."""
    path.unlink(missing_ok=True)  # an earlier one may still be mapped
    with create(path) as file:
        for start in range(0, len(marks), BLOCK_ROWS):
            file.write((np.flatnonzero(~marks[start : start + BLOCK_ROWS]) + start).data)
    found: Positions = mapped(path, np.int64)
    return found


def _column(column: StoredColumn, stored: npt.NDArray[Any]) -> Column:
    if column.levels is None:
        return Column(column.name, column.type, stored)
    positions = column.positions(stored)
    missing = positions == MISSING
    if len(column.levels) <= len(positions):
        occurs = np.zeros(len(column.levels) + 1, dtype=bool)
        occurs[positions] = True
        used = np.flatnonzero(occurs[:-1])
        codes = (np.cumsum(occurs, dtype=np.int32) - 1)[positions]
    else:
        used, inverse = np.unique(positions, return_inverse=True)
        lacking = int(missing.any())  # it is the smallest
        used, codes = used[lacking:], inverse.astype(np.int32) - np.int32(lacking)
    values = np.where(missing, np.int32(MISSING), codes)
    return Column(column.name, column.type, values, tuple(column.levels.take(used)))
