"""A cheap 64-bit number of each row: equal rows have equal ones, and others hardly ever do.

It finds the few rows that may be duplicates; whether they are is then decided by their digests
(:mod:`mlops.data.digests`). So it need not withstand somebody who makes rows collide on purpose: that costs time, the
digests of those rows, and never an answer. It depends on names and values alone, so it is the same on every machine
and for any order of rows; the rows with the smallest ones are a random sample that is the same for the same rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mlops.features.columns import Column, Columns

Fingerprints = npt.NDArray[np.uint64]

#: Odd, with bits spread evenly: 2**64 over the golden ratio.
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
#: Factors of a text's bytes by position; a longer text begins with the first again, multiplied anew.
_POSITIONS = 4_096
#: Rows at a time: what is made of them stays in the processor's cache, and its memory is not asked of the system anew.
_ROWS = 16_384


def row_fingerprints(columns: Columns) -> Fingerprints:
    """One number a row; uint64, shape (rows,)."""
    found = np.zeros(columns.rows, dtype=np.uint64)
    starts = [_start(c) for c in columns.columns]
    # MISSING is -1: the last.
    tables = [np.append(text_fingerprints(c.levels), np.uint64(0)) for c in columns.columns]
    number, shifted = np.empty(_ROWS), np.empty(_ROWS, dtype=np.uint64)
    for at in range(0, columns.rows, _ROWS):
        state = found[at : at + _ROWS]
        rest = shifted[: len(state)]
        for column, table, start in zip(columns.columns, tables, starts, strict=True):
            values = column.values[at : at + _ROWS]
            word = table[values] if column.type == "category" else _word(values, number[: len(state)])
            # Each step can be undone, so rows that differ in one column never meet.
            np.bitwise_xor(state, word, out=state)
            np.bitwise_xor(state, start, out=state)
            np.multiply(state, _FACTOR, out=state)
            np.right_shift(state, _HALF, out=rest)
            np.bitwise_xor(state, rest, out=state)
        np.multiply(state, _FACTOR, out=state)
        np.right_shift(state, _HALF, out=rest)
        np.bitwise_xor(state, rest, out=state)
    return found


def _start(column: Column) -> np.uint64:
    digest = hashlib.blake2b(f"{column.type} {column.name}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "big"))


def _word(values: npt.NDArray[np.float64], room: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """Numbers as 64-bit words, equal where the numbers are."""
    np.add(values, 0.0, out=room)  # -0.0 + 0.0 is 0.0
    if np.isnan(room.sum()):
        room[np.isnan(room)] = np.nan  # of the many NaNs, one
    words: npt.NDArray[np.uint64] = room.view(np.uint64)
    return words


def text_fingerprints(texts: Sequence[str]) -> Fingerprints:
    """One number a text; uint64, shape (texts,): the sum of its bytes, each times a factor of its position."""
    if not texts:
        return np.empty(0, dtype=np.uint64)
    joined = "".join(texts)
    data = joined.encode()
    ascii_only = len(data) == len(joined)
    sizes = np.array([len(t) if ascii_only else len(t.encode()) for t in texts], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    positions = np.arange(len(data), dtype=np.int64) - np.repeat(starts, sizes)
    products = (np.frombuffer(data, dtype=np.uint8) + np.uint64(1)) * _POWERS[positions % _POSITIONS]
    round_ = positions // _POSITIONS
    if round_.any():
        products *= _FACTOR ** round_.astype(np.uint64)
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(products, dtype=np.uint64)])
    found: Fingerprints = (sums[starts + sizes] - sums[starts] + sizes.astype(np.uint64)) * _FACTOR
    return found ^ (found >> _HALF)


_POWERS = np.frombuffer(hashlib.shake_256(b"positions").digest(8 * _POSITIONS), dtype=">u8").astype(
    np.uint64
) | np.uint64(1)
