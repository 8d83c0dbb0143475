"""The files of a part, written block by block from rows on disk: the same rows give the same bytes."""

from __future__ import annotations

import io
import itertools
import json
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.io.plugins import register_io_source

from mlops.data.digests import Digests
from mlops.data.levels import Texts
from mlops.data.store import AddressedRows, StoredColumn
from mlops.features.columns import MISSING, Column

_MICROSECONDS_A_DAY = 86_400_000_000
#: Values that decide whether a column is worth packing, and how small they must become.
_TRIED, _WORTH = 65_536, 0.6
_TYPES: dict[str, pl.DataType] = {
    "number": pl.Float64(),
    "integer": pl.Int64(),
    "boolean": pl.Boolean(),
    "category": pl.String(),
}


# Parquet ------------------------------------------------------------------------------------------


def _parquet(rows: AddressedRows, path: Path) -> None:
    days = {c.name for c in rows.columns if c.type == "date" and all(map(_whole_days, rows.blocks_of(c)))}
    schema: dict[str, pl.DataType] = {}
    for c in rows.columns:
        moment = pl.Date() if c.name in days else pl.Datetime("us", "UTC")
        schema[c.name] = moment if c.type == "date" else _TYPES[c.type]

    def source(*_: Any) -> Iterator[pl.DataFrame]:
        for block in rows.blocks():
            yield pl.DataFrame([_series(c, date=c.name in days) for c in block.columns])

    register_io_source(source, schema=schema).sink_parquet(path)


def _series(column: Column, *, date: bool) -> pl.Series:
    if column.type == "category":
        texts = pl.Series([*column.levels, None], dtype=pl.String)
        return texts.gather(pl.Series(np.where(column.values == MISSING, len(column.levels), column.values))).alias(
            column.name
        )
    values = pl.Series(column.name, column.values).fill_nan(None)
    if column.type == "date":
        if date:
            return values.cast(pl.Int32).cast(pl.Date)
        # Days and their fraction apart: microseconds since 1970 do not all fit the digits of a float.
        whole = values.floor()
        rest = ((values - whole) * _MICROSECONDS_A_DAY).round()
        moments = whole.cast(pl.Int64) * _MICROSECONDS_A_DAY + rest.cast(pl.Int64)
        return moments.cast(pl.Datetime("us", "UTC"))
    return values.cast(_TYPES[column.type])


def _whole_days(values: npt.NDArray[Any]) -> bool:
    known = values[~np.isnan(values)]
    return bool((known == np.floor(known)).all())


# Arrays -------------------------------------------------------------------------------------------


def _digests(rows: AddressedRows, path: Path) -> None:
    with path.open("wb") as file:
        _array_header(file, np.dtype(np.uint64), (rows.count, 2))
        for start in range(0, rows.count, _TRIED):
            file.write(rows.digests[start : start + _TRIED].tobytes())


@dataclass(frozen=True)
class _Levels:
    """Which levels of a category occur, and the codes of these; ``recoded`` has one more entry, for missing."""

    recoded: npt.NDArray[np.int32]
    levels: Texts

    def texts(self) -> Iterator[list[str]]:
        """Those that occur, piece by piece."""
        for start in range(0, len(self.levels), _TRIED):
            used = np.flatnonzero(self.recoded[start : min(start + _TRIED, len(self.levels))] != MISSING)
            if len(used):
                yield self.levels.take(used + start)


def _npz(rows: AddressedRows, path: Path) -> None:
    """The archive that ``Columns.save`` writes, one column at a time. A column is packed if that makes it smaller."""
    levels = {c.name: _used_levels(rows, c, c.levels) for c in rows.columns if c.levels is not None}
    with zipfile.ZipFile(path, "w", compresslevel=1) as archive:
        for i, column in enumerate(rows.columns):
            dtype = np.dtype(np.int32 if column.type == "category" else np.float64)
            blocks = _final(rows, column, levels.get(column.name))
            first = next(blocks, np.empty(0, dtype=dtype))
            sample = first[:_TRIED].tobytes()
            packed = len(zlib.compress(sample, 1)) < len(sample) * _WORTH
            archive.compression = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
            with archive.open(f"c{i}.npy", "w", force_zip64=True) as member:
                _array_header(member, dtype, (rows.count,))
                for block in itertools.chain([first], blocks):
                    member.write(block.tobytes())
        header = path.with_suffix(".header")
        with header.open("wb") as text:
            _write_header(text, rows, levels)
        archive.compression = zipfile.ZIP_DEFLATED
        with header.open("rb") as text, archive.open("header.npy", "w", force_zip64=True) as member:
            _array_header(member, np.dtype(np.uint8), (header.stat().st_size,))
            shutil.copyfileobj(text, member)
        header.unlink()


def _final(rows: AddressedRows, column: StoredColumn, levels: _Levels | None) -> Iterator[npt.NDArray[Any]]:
    for block in rows.blocks_of(column):
        yield block if levels is None else levels.recoded[column.positions(block)]


def _used_levels(rows: AddressedRows, column: StoredColumn, levels: Texts) -> _Levels:
    used = np.zeros(len(levels) + 1, dtype=bool)
    for block in rows.blocks_of(column):
        used[column.positions(block)] = True
    used[-1] = False  # missing
    recoded = np.cumsum(used, dtype=np.int32) - 1
    recoded[~used] = MISSING
    return _Levels(recoded, levels)


def _write_header(file: BinaryIO, rows: AddressedRows, levels: dict[str, _Levels]) -> None:
    """Names, types and levels as JSON, in pieces: an identifier has as many levels as there are rows."""
    for i, column in enumerate(rows.columns):
        named = json.dumps({"name": column.name, "type": column.type}, ensure_ascii=False)
        file.write(("[" if i == 0 else ", ").encode() + named[:-1].encode() + b', "levels": [')
        for number, texts in enumerate(levels[column.name].texts() if column.name in levels else ()):
            file.write((", " if number else "").encode() + json.dumps(texts, ensure_ascii=False)[1:-1].encode())
        file.write(b"]}")
    file.write(b"]" if rows.columns else b"[]")


def _array_header(file: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    file.write(head.getvalue())


# The sample ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """Numbers of the rows with the smallest digests, in their order.

    Attributes
    ----------
    names : columns of numbers.
    digests, values : uint64 of shape (rows, 2), and float64 of shape (rows, columns) with NaN for missing.
    """

    names: tuple[str, ...]
    digests: Digests
    values: npt.NDArray[np.float64]

    @classmethod
    def load(cls, body: bytes) -> Sample:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            return cls(tuple(json.loads(archive["names"].tobytes())), archive["digests"], archive["values"])

    def of(self, names: Sequence[str]) -> Sample:
        """Some columns of it, in the order named."""
        return Sample(tuple(names), self.digests, self.values[:, [self.names.index(n) for n in names]])

    def plus(self, other: Sample) -> Sample:
        """The sample of both together, of the same columns."""
        digests = np.concatenate([self.digests, other.digests])
        order = np.lexsort((digests[:, 1], digests[:, 0]))[: _sampled(len(self.names))]
        return Sample(self.names, digests[order], np.concatenate([self.values, other.values])[order])


def _sampled(columns: int) -> int:
    """Rows of a sample, so that it stays below 8 MB."""
    return min(10_000, 1_000_000 // max(columns, 1))


def _sample(rows: AddressedRows, path: Path) -> None:
    names = [c.name for c in rows.columns if c.type in ("number", "integer")]
    table = rows.first(_sampled(len(names)))
    values = np.empty((table.rows, len(names)))
    for i, name in enumerate(names):
        values[:, i] = table[name].values
    header = np.frombuffer(json.dumps(names, ensure_ascii=False).encode(), dtype=np.uint8)
    with path.open("wb") as file:
        np.savez_compressed(file, names=header, digests=rows.digests[: table.rows], values=values)


SAMPLE = "sample.npz"
#: ``data.parquet`` for people, ``columns.npz`` for our functions (:meth:`mlops.features.columns.Columns.load`),
#: ``digests.npy`` and :class:`Sample` for the next upload.
WRITERS: Mapping[str, Callable[[AddressedRows, Path], None]] = {
    "data.parquet": _parquet,
    "columns.npz": _npz,
    "digests.npy": _digests,
    SAMPLE: _sample,
}
