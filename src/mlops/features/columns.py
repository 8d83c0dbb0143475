"""Typed columns in memory: the form in which datasets and captured traffic reach statistics and training.

One numpy array per column, so that a function needs no data-frame library to train or to compare:

==========  =========================================================================
type        array
==========  =========================================================================
number      float64, NaN is missing
integer     float64, NaN is missing (exact up to 2**53)
boolean     float64 of 0.0 and 1.0, NaN is missing
date        float64, days since 1970-01-01T00:00Z with a fraction, NaN is missing
category    int32 codes into ``levels``; ``MISSING`` (-1) is missing
==========  =========================================================================

``levels`` holds every level that occurs, known to the contract or not: what to do with an unknown level is
for the encoding and for drift to decide.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

MISSING = -1

FloatArray = npt.NDArray[np.float64]
CodeArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Column:
    """One column; ``values`` has shape (rows,) and the dtype of its type."""

    name: str
    type: str
    values: npt.NDArray[Any]
    levels: tuple[str, ...] = ()

    def missing(self) -> npt.NDArray[np.bool_]:
        """Which rows have no value; bool, shape (rows,)."""
        mask: npt.NDArray[np.bool_] = self.values == MISSING if self.type == "category" else np.isnan(self.values)
        return mask

    def recode(self, levels: Sequence[str]) -> CodeArray:
        """Codes against another list of levels; a level outside it becomes ``len(levels)`` (int32, (rows,))."""
        position = {level: i for i, level in enumerate(levels)}
        table = np.array([position.get(level, len(levels)) for level in self.levels] + [MISSING], dtype=np.int32)
        codes: CodeArray = table[self.values]
        return codes


@dataclass(frozen=True)
class Columns:
    """A table of :class:`Column` with equal lengths, in a fixed order."""

    columns: tuple[Column, ...]
    rows: int = field(default=0)

    def __post_init__(self) -> None:
        lengths = {len(c.values) for c in self.columns}
        if len(lengths) > 1:
            raise ValueError(f"columns differ in length: {sorted(lengths)}")
        if lengths:
            object.__setattr__(self, "rows", lengths.pop())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def take(self, index: npt.NDArray[Any]) -> Columns:
        """The rows that ``index`` (positions or a mask) selects."""
        return Columns(tuple(Column(c.name, c.type, c.values[index], c.levels) for c in self.columns))

    def select(self, names: Sequence[str]) -> Columns:
        return Columns(tuple(self[name] for name in names))

    def save(self, *, packed: bool = True) -> bytes:
        """As an ``.npz`` archive without pickles; :meth:`load` reads it back."""
        header = [{"name": c.name, "type": c.type, "levels": list(c.levels)} for c in self.columns]
        arrays: dict[str, npt.NDArray[Any]] = {f"c{i}": c.values for i, c in enumerate(self.columns)}
        arrays["header"] = np.frombuffer(json.dumps(header, ensure_ascii=False).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        (np.savez_compressed if packed else np.savez)(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def load(cls, body: bytes) -> Columns:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes())
            return cls(
                tuple(Column(c["name"], c["type"], archive[f"c{i}"], tuple(c["levels"])) for i, c in enumerate(header))
            )

    @classmethod
    def concat(cls, tables: Sequence[Columns]) -> Columns:
        """Rows of ``tables`` one after another; columns of the first, levels merged."""
        if not tables:
            return cls(())
        return cls(tuple(_concat_column([t[name] for t in tables]) for name in tables[0].names))


def _concat_column(columns: Sequence[Column]) -> Column:
    first = columns[0]
    if first.type != "category":
        return Column(first.name, first.type, np.concatenate([c.values for c in columns]))
    levels: dict[str, int] = {}
    for column in columns:
        for level in column.levels:
            levels.setdefault(level, len(levels))
    values = np.concatenate([c.recode(tuple(levels)) for c in columns])
    return Column(first.name, "category", values.astype(np.int32), tuple(levels))


def category_column(name: str, values: Sequence[str | None]) -> Column:
    """A category column from strings; ``None`` is missing."""
    levels: dict[str, int] = {}
    codes = [MISSING if v is None else levels.setdefault(v, len(levels)) for v in values]
    return Column(name, "category", np.array(codes, dtype=np.int32), tuple(levels))


def float_column(name: str, type_: str, values: Sequence[float | None] | FloatArray) -> Column:
    """A float64 column of any type but category; ``None`` is missing."""
    array = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    return Column(name, type_, array)


def from_mapping(table: Mapping[str, Column]) -> Columns:
    """Columns in the order of the mapping."""
    return Columns(tuple(table.values()))
