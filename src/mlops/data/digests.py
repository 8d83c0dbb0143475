"""Content addresses of rows and of sets of rows.

A row's digest is BLAKE2b-128 (RFC 7693) over a record of fixed width: its columns sorted by name; for each
the eight bytes of the float64 (big-endian, -0.0 as 0.0, one NaN for missing), or the 16 bytes of the BLAKE2b
digest of a category's text. The columns' names and types are the hash's key. So a digest depends on the
values alone: not on the kind of file, the order of columns, or how some library writes a float as text.

A set of rows is addressed by SHA-256 over its sorted digests: the same rows have the same address in any
order and from any split into files. A sum of digests would be cheaper to extend, but it is forgeable (Wagner's
generalised birthday attack, 2002). Likewise a hash that numpy can take over whole columns is many times as fast, but
whoever may upload could then make a row that hides another one's; it serves to find candidates for duplicates only
(:mod:`mlops.data.fingerprints`).
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mlops.features.columns import Column, Columns

SIZE = 16
_WORDS = {"category": 2}

#: One digest a row: uint64, shape (rows, 2), big-endian halves of the 16 bytes.
Digests = npt.NDArray[np.uint64]


class Named(Protocol):
    """A column, wherever its values are."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> str: ...


def schema_digest(columns: Sequence[Named]) -> str:
    """Address of the columns' names and types (32 hexadecimal digits); parts that share it can be joined."""
    named = sorted((c.name, c.type) for c in columns)
    return hashlib.blake2b(json.dumps(named, ensure_ascii=False).encode(), digest_size=SIZE).hexdigest()


def row_digests(columns: Columns) -> Digests:
    """One digest a row; uint64, shape (rows, 2)."""
    ordered = sorted(columns.columns, key=lambda c: c.name)
    if not columns.rows or not ordered:
        return np.empty((columns.rows, 2), dtype=np.uint64)
    words = sum(_WORDS.get(c.type, 1) for c in ordered)
    record = np.empty((columns.rows, words), dtype=">u8")
    start = 0
    for column in ordered:
        found = _words(column)
        record[:, start : start + found.shape[1]] = found
        start += found.shape[1]
    width, data = words * 8, record.view(np.uint8).reshape(-1).data
    # A copy of one hash that has the key already takes a quarter less time than a new one a row.
    copy = hashlib.blake2b(digest_size=SIZE, key=bytes.fromhex(schema_digest(columns.columns))).copy
    digests = []
    for at in range(0, len(data), width):
        hasher = copy()
        hasher.update(data[at : at + width])
        digests.append(hasher.digest())
    return np.frombuffer(b"".join(digests), dtype=">u8").reshape(-1, 2).astype(np.uint64)


def set_digest(ordered: Iterable[Digests], schema: str) -> str:
    """Address of a multiset of rows, whose digests come in ascending order: 16 hexadecimal digits."""
    hasher = hashlib.sha256(bytes.fromhex(schema))
    for digests in ordered:
        hasher.update(digests.astype(">u8").tobytes())
    return hasher.hexdigest()[:16]


def order(digests: Digests) -> npt.NDArray[np.int64]:
    """The permutation that sorts digests, equal ones in their order; int64, shape (rows,)."""
    found: npt.NDArray[np.int64] = np.argsort(np.ascontiguousarray(digests[:, 0]))
    halves = digests[found, 0]
    if (halves[1:] == halves[:-1]).any():  # equal rows, or an accident: the second half and the position decide
        found = np.lexsort((digests[:, 1], digests[:, 0]))
    return found


def known(digests: Digests, others: Digests) -> npt.NDArray[np.bool_]:
    """Which of ``digests`` occur in ``others``, both in ascending order; bool, shape (rows,)."""
    result = np.zeros(len(digests), dtype=bool)
    if not len(digests) or not len(others):
        return result
    # Only the piece of the others that lies between the first and the last is read: they may be a mapped file.
    halves = others[:, 0]
    start = bisect.bisect_left(halves, int(digests[0, 0]))
    near = others[start : bisect.bisect_right(halves, int(digests[-1, 0]), lo=start)]
    # Few pairs share their first half by accident, so that half decides almost alone.
    candidates = np.isin(digests[:, 0], near[:, 0])
    pairs = set(map(tuple, near[np.isin(near[:, 0], digests[candidates, 0])].tolist()))
    result[candidates] = [tuple(pair) in pairs for pair in digests[candidates].tolist()]
    return result


def _words(column: Column) -> npt.NDArray[np.uint64]:
    """The column's words of eight bytes; uint64, shape (rows, 1 or 2)."""
    if column.type == "category":
        levels = [hashlib.blake2b(text.encode(), digest_size=SIZE).digest() for text in column.levels]
        # A level's digest is never all ones but by an accident of one in 2**128; that is "missing".
        table = np.frombuffer(b"".join(levels) + b"\xff" * SIZE, dtype=">u8").reshape(-1, 2).astype(np.uint64)
        picked: npt.NDArray[np.uint64] = table[column.values]  # MISSING is -1: the last
        return picked
    values = column.values + 0.0  # -0.0 + 0.0 is 0.0
    values[np.isnan(values)] = np.nan
    words: npt.NDArray[np.uint64] = values.view(np.uint64).reshape(-1, 1)
    return words
