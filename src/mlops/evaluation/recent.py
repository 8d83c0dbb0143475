"""Recent live predictions whose truth is known: how they are handed on, and which of them a version has seen.

The quality check joins labels with captured predictions and stores the rows; the gate compares candidate and champion
on them. Rows that one of the two was trained on flatter it, so each version keeps hashes of its training rows.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mlops.errors import NotFoundError
from mlops.evaluation.parity import UNREADABLE
from mlops.evaluation.scoring import ModelRefusedError
from mlops.features.columns import MISSING, Columns
from mlops.features.encoding import Matrix, encode
from mlops.features.hashing import feature_hash
from mlops.manifest import Manifest
from mlops.objects import ObjectStore, labelled_key

#: In a version's folder.
TRAINED_ON = "trained_on.npy"


class RecentLabels(Protocol):
    """Labels come late; whoever joins them with captured predictions has rows that no upload has."""

    def rows(self, model: str) -> Columns:
        """Features and target of recent live predictions, and as the last column, whatever its name, the time of
        capture (``date``). No rows when there are none.

        Raises
        ------
        ModelRefusedError
            when they cannot be read.
        """
        ...


@dataclass(frozen=True)
class StoredLabels:
    """What the last quality check left in the data bucket."""

    data: ObjectStore

    def rows(self, model: str) -> Columns:
        try:
            return load(self.data.get(labelled_key(model)))
        except NotFoundError:
            return Columns(())


def load(body: bytes) -> Columns:
    """The rows of a stored file.

    Raises
    ------
    ModelRefusedError
        when it is damaged in any way.
    """
    try:
        table = Columns.load(body)
        for column in table.columns:
            values, levels = column.values, len(column.levels)
            is_codes = values.dtype == np.int32 and bool(((values >= MISSING) & (values < levels)).all())
            if values.ndim != 1 or not (is_codes if column.type == "category" else values.dtype == np.float64):
                raise ValueError(f"column {column.name}")
        if not table.columns or table.columns[-1].type != "date" or not np.isfinite(table.columns[-1].values).all():
            raise ValueError("no time of capture")
    except (*UNREADABLE, TypeError, AttributeError, NotImplementedError, OverflowError, zlib.error) as error:
        raise ModelRefusedError("the stored predictions with known truth are damaged") from error
    return table


def trained_on(matrix: Matrix) -> bytes:
    """``trained_on.npy``: the hashes of the encoded rows that a version was fitted on, uint64, ascending."""
    buffer = io.BytesIO()
    np.save(buffer, np.unique(feature_hash(matrix)))
    return buffer.getvalue()


def learned(manifest: Manifest, files: Mapping[str, bytes], table: Columns) -> npt.NDArray[np.bool_]:
    """Which rows the version was fitted on; none where its folder does not tell.

    By the features alone: a rule that looked at the truth as well would leave of the rows that are alike those with
    the unusual truth, and so make every model look bad.

    Raises
    ------
    ModelRefusedError
        when the file is not readable.
    """
    body = files.get(TRAINED_ON)
    if body is None:
        return np.zeros(table.rows, dtype=bool)
    try:
        known = np.load(io.BytesIO(body), allow_pickle=False)
    except UNREADABLE as error:
        raise ModelRefusedError(f"{TRAINED_ON} of version {manifest.version} is not readable") from error
    return np.isin(feature_hash(encode(manifest.features, table)), known)
