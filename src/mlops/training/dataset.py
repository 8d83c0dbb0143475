"""What training sees: the encoded matrix, the target as numbers, and what a split needs to know of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.errors import MlopsError
from mlops.features.columns import Columns
from mlops.features.encoding import Matrix, encode
from mlops.features.hashing import feature_hash, mix
from mlops.features.spec import Feature


class NotTrainableError(MlopsError):
    """The rows cannot give a model; the message says why and what would help. Callers turn it into a result."""

    code = "not_trainable"


@dataclass(frozen=True)
class Dataset:
    """Rows with a usable target.

    Attributes
    ----------
    matrix : float32, shape (rows, width): the encoded features.
    target : int64 positions in ``contract.target.classes``, or float64 values; shape (rows,).
    table : the same rows as typed columns, for slices, golden records and statistics.
    entity : uint64, shape (rows,), a hash of the contract's key; None without a key.
    order : float64, shape (rows,), the contract's timestamp in days; None without one.
    dropped : rows left out because their target is missing, not finite or not one of the classes, or
        because a feature is beyond the range of float32.
    """

    matrix: Matrix
    target: npt.NDArray[Any]
    table: Columns
    entity: npt.NDArray[np.uint64] | None
    order: npt.NDArray[np.float64] | None
    dropped: int

    @property
    def rows(self) -> int:
        return len(self.target)

    def take(self, index: npt.NDArray[Any]) -> Dataset:
        """The rows that ``index`` (positions or a mask) selects."""
        return Dataset(
            self.matrix[index],
            self.target[index],
            self.table.take(index),
            None if self.entity is None else self.entity[index],
            None if self.order is None else self.order[index],
            self.dropped,
        )

    def encoded(self, features: Sequence[Feature]) -> Dataset:
        """The same rows encoded by other features, such as those with their rare levels pooled."""
        return replace(self, matrix=encode(features, self.table))


def prepare(contract: Contract, table: Columns) -> Dataset:
    """Encode a table for training.

    Raises
    ------
    NotTrainableError
        when a column is absent, rows are too few, or the target has a single value.
    """
    needed = [f.name for f in contract.described] + [contract.target.name]
    absent = [name for name in needed if name not in table]
    if absent:
        raise NotTrainableError(
            f"the data set lacks column '{absent[0]}', which contract '{contract.name}' names; "
            "upload data that has it, or take it out of the contract"
        )
    target, usable = _target(contract, table)
    with np.errstate(over="ignore"):
        matrix = encode(contract.features, table)
    usable &= ~np.isinf(matrix).any(axis=1)  # beyond float32, which no model can hold
    dropped = int((~usable).sum())
    table, target, matrix = table.take(usable), target[usable], matrix[usable]
    if table.rows < contract.training.min_rows:
        raise NotTrainableError(
            f"{table.rows} rows with a target, and training.min_rows of the contract asks for "
            f"{contract.training.min_rows}; upload more rows"
        )
    _check_target(contract, target)
    return Dataset(
        matrix=matrix,
        target=target,
        table=table,
        entity=_entity(contract, table),
        order=_order(contract, table),
        dropped=dropped,
    )


def _target(contract: Contract, table: Columns) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    column = table[contract.target.name]
    if contract.task == "regression":
        if column.type == "category":
            raise NotTrainableError(
                f"target '{column.name}' holds text, and the contract's task is regression; "
                "use task classification, or upload numbers"
            )
        values = column.values.astype(np.float64)
        return values, np.isfinite(values)
    classes = contract.target.classes
    if column.type != "category":
        raise NotTrainableError(f"target '{column.name}' holds numbers where class labels are expected")
    codes = column.recode(classes).astype(np.int64)
    return codes, (codes >= 0) & (codes < len(classes))


def _check_target(contract: Contract, target: npt.NDArray[Any]) -> None:
    if contract.task == "regression":
        if np.all(target == target[0]):
            raise NotTrainableError(f"target '{contract.target.name}' has the same value in every row")
        return
    counts = np.bincount(target, minlength=len(contract.target.classes))
    enough = [c for c, n in zip(contract.target.classes, counts, strict=True) if n >= 2]
    few = [c for c, n in zip(contract.target.classes, counts, strict=True) if n < 2]
    if len(enough) < 2:
        raise NotTrainableError(
            f"target '{contract.target.name}' needs at least two classes with two rows each; too few rows of "
            + ", ".join(f"'{c}'" for c in few)
        )


def _entity(contract: Contract, table: Columns) -> npt.NDArray[np.uint64] | None:
    if not contract.key or any(name not in table for name in contract.key):
        return None
    result = np.zeros(table.rows, dtype=np.uint64)
    for name in contract.key:
        column = table[name]
        if column.type == "category":
            levels = np.array([_text_hash(level) for level in column.levels] + [0], dtype=np.uint64)
            part = levels[column.values]
        else:
            part = np.ascontiguousarray(column.values, dtype=np.float64).view(np.uint64)
        result = mix(result ^ part)
    return result


def _order(contract: Contract, table: Columns) -> npt.NDArray[np.float64] | None:
    if contract.timestamp is None or contract.timestamp not in table:
        return None
    column = table[contract.timestamp]
    return None if column.type == "category" else column.values.astype(np.float64)


def row_hash(matrix: Matrix, target: npt.NDArray[Any], seed: int) -> npt.NDArray[np.uint64]:
    """A hash of each row's content; uint64, shape (rows,). Equal rows have equal hashes, in any data set."""
    return mix(feature_hash(matrix, seed) ^ np.ascontiguousarray(target.astype(np.float64)).view(np.uint64))


def _text_hash(text: str) -> int:
    value = 0xCBF29CE484222325  # FNV-1a, 64 bits
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
