"""The rows that a contract is inferred from, on disk: a column at a time is in memory, never the whole file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from mlops.data.reading import PROBLEM, Table


class StoredRows:
    """A table's rows, read once and kept batch by batch.

    Attributes
    ----------
    height : rows.
    broken : lines that are no rows, and are not among them.
    last : cells of the last row.
    """

    def __init__(self, table: Table, folder: Path) -> None:
        """``folder`` is for this alone; what an earlier reading left in it goes."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self._files: list[Path] = []
        self.height = self.broken = 0
        self.last: tuple[object, ...] = ()
        for batch in table.batches():
            rows = batch.filter(pl.col(PROBLEM).is_null()).select(table.names)
            self.broken += batch.height - rows.height
            if rows.height:
                self.height += rows.height
                self.last = rows.row(-1)
                self._files.append(folder / f"{len(self._files)}.arrow")
                rows.write_ipc(self._files[-1], compression="lz4")

    def column(self, name: str) -> pl.Series:
        """All cells of one column."""
        return pl.concat([batch[name] for batch in self._batches([name])])

    def distinct(self, names: Sequence[str]) -> int:
        """How many different rows some columns have, by 128 bits of hash a row."""
        hashes: list[npt.NDArray[np.uint64]] = []
        for batch in self._batches(names):
            found = [batch.hash_rows(seed=seed).to_numpy() for seed in (1, 2)]
            hashes.append(np.column_stack(found))
        both = np.concatenate(hashes).view(np.dtype([("a", np.uint64), ("b", np.uint64)])).ravel()
        both.sort(order=("a", "b"))
        return 1 + int(np.count_nonzero(both[1:] != both[:-1]))

    def _batches(self, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        return (pl.read_ipc(file, columns=list(names)) for file in self._files)
