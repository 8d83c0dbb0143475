"""The distinct texts of a column, sorted, however many there are.

A category has few; a key may have one a row. So texts are collected in memory up to a bound, then sorted and put on
disk, and at the end merged range by range. What callers get is the same either way: the sorted texts, and the place
among them of every text that was added; of many both are mapped from files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import polars as pl

from mlops.data.runs import create, mapped
from mlops.features.columns import MISSING

#: Texts sorted at a time.
IN_MEMORY = 1_000_000
#: Texts of a run between two that are candidates for the bounds of ranges.
_STEP = 1_000

Codes = npt.NDArray[np.int32]


class Texts(Sequence[str]):
    """Texts in UTF-8 one after another, in memory or mapped from files, and where each one ends."""

    def __init__(self, data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> None:
        self._data = data
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        places = np.arange(len(self))[at]
        return self.take(places) if isinstance(at, slice) else self.take(np.array([places]))[0]

    def take(self, places: npt.NDArray[np.integer]) -> list[str]:
        """The texts at some places."""
        ends = self._ends[places].tolist()
        starts = np.where(places > 0, self._ends[places - 1], 0).tolist()
        data = self._data
        return [data[a:b].tobytes().decode() for a, b in zip(starts, ends, strict=True)]


class LevelWriter:
    """Takes the texts of batch after batch. ``path``: what the names of files begin with."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[pl.Series] = []
        self._runs: list[Path] = []
        self._written = self.count = 0

    def add(self, texts: Sequence[str]) -> None:
        """Add texts; each gets the number of those before it."""
        self._waiting.append(pl.Series("text", texts, dtype=pl.String))
        self.count += len(texts)
        if self.count - self._written > IN_MEMORY:
            self._spill()

    def finish(self) -> tuple[Codes, Texts]:
        """Every text's place among the sorted distinct ones, with one more for missing, and those texts."""
        if self._runs:
            if self._waiting:
                self._spill()
            return self._merged()
        listed = pl.concat(self._waiting) if self._waiting else pl.Series("text", dtype=pl.String)
        levels = listed.unique().sort()
        codes = np.full(len(listed) + 1, MISSING, dtype=np.int32)
        if len(levels):
            numbers = pl.int_range(len(levels), dtype=pl.Int32, eager=True)
            codes[:-1] = listed.replace_strict(levels, numbers, return_dtype=pl.Int32).to_numpy()
        data, ends = _bytes(levels)
        return codes, Texts(np.frombuffer(data, dtype=np.uint8), ends)

    def _spill(self) -> None:
        listed = pl.concat(self._waiting).to_frame()
        numbered = listed.with_columns(code=pl.int_range(self._written, self.count, dtype=pl.Int32, eager=True))
        self._runs.append(_named(self._path, f"run-{len(self._runs)}"))
        numbered.sort("text").write_ipc(self._runs[-1], compression="uncompressed")
        self._waiting, self._written = [], self.count

    def _merged(self) -> tuple[Codes, Texts]:
        codes_, data, ends = (_named(self._path, name) for name in ("codes", "texts", "ends"))
        with create(codes_) as file:  # on a full disk writing is an error, and a mapped page a signal
            for start in range(0, self.count + 1, IN_MEMORY):
                file.write(np.full(min(IN_MEMORY, self.count + 1 - start), MISSING, dtype=np.int32).data)
        codes: Codes = np.memmap(codes_, dtype=np.int32, mode="r+")
        found, size = 0, 0
        with create(data) as texts, create(ends) as places:
            for inside in self._ranges():
                part = pl.concat([pl.scan_ipc(run).filter(inside).collect() for run in self._runs]).sort("text")
                first = (part["text"] != part["text"].shift(1)).fill_null(value=True)
                codes[part["code"].to_numpy()] = first.cum_sum().cast(pl.Int32).to_numpy() + np.int32(found - 1)
                written, stops = _bytes(part["text"].filter(first))
                texts.write(written)
                places.write((stops + size).data)
                found, size = found + len(stops), size + len(written)
        for run in self._runs:
            run.unlink()
        return codes, Texts(mapped(data, np.uint8), mapped(ends, np.int64))

    def _ranges(self) -> Iterator[pl.Expr]:
        """Conditions that each hold for about as many texts as fit memory, for all texts together once."""
        count = -(-self.count // IN_MEMORY)
        some = pl.concat([pl.scan_ipc(run).select("text").gather_every(_STEP).collect() for run in self._runs])
        candidates = some["text"].sort()
        bounds = sorted({candidates[len(candidates) * i // count] for i in range(1, count)}, key=str.encode)
        text = pl.col("text")
        for low, high in zip([None, *bounds], [*bounds, None], strict=True):
            above = pl.lit(True) if low is None else text >= low
            yield above & (pl.lit(True) if high is None else text < high)


def _bytes(texts: pl.Series) -> tuple[bytes, npt.NDArray[np.int64]]:
    """Texts one after another in UTF-8, and where each one ends."""
    sizes = texts.str.len_bytes().cast(pl.Int64)
    return "".join(texts.to_list()).encode(), sizes.cum_sum().to_numpy()


def _named(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name}-{what}")
