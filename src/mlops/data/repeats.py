"""Which rows of a file equal an earlier one.

Equal rows have equal fingerprints, so rows whose fingerprint nobody shares are settled at once. The few others are
compared by their digests. Nothing depends on how good the fingerprints are but the time: if more rows share one than
memory should hold, as in a file that somebody made for that, all rows are compared by their digests.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mlops.data import digests as dg
from mlops.data import runs, store
from mlops.data.fingerprints import Fingerprints
from mlops.data.runs import create, mapped, merged, sorted_runs
from mlops.data.store import Positions, Rows

#: Rows whose fingerprints are sorted at a time may be this many times as many as digests.
_RATIO = 4


def repeated(rows: Rows) -> npt.NDArray[np.bool_] | None:
    """Marks of the rows that equal an earlier one, on disk; bool, shape (rows,). None when there are none."""
    fingerprints: Fingerprints = mapped(rows.folder / "fingerprints", np.uint64)
    shared = shared_ones(fingerprints)
    if shared is not None and not len(shared):
        return None
    with create(rows.folder / "candidates") as places, create(rows.folder / "candidate-digests") as digests:
        for positions in candidates(fingerprints, shared):
            places.write(positions.data)
            digests.write(dg.row_digests(rows.at(positions)).data)
    places_: Positions = mapped(rows.folder / "candidates", np.int64)
    found = sorted_runs(mapped(rows.folder / "candidate-digests", np.uint64, 2), rows.folder)
    with create(rows.folder / "repeated") as file:  # a full disk is an error here, and a signal in a mapped page
        for start in range(0, rows.count, store.BLOCK_ROWS):
            file.write(bytes(min(store.BLOCK_ROWS, rows.count - start)))
    marks: npt.NDArray[np.bool_] = np.memmap(rows.folder / "repeated", dtype=bool, mode="r+")
    count = 0
    for block, positions in merged(found):
        again = positions[1:][(block[1:] == block[:-1]).all(axis=1)]
        marks[places_[again]] = True
        count += len(again)
    return marks if count else None


def shared_ones(fingerprints: Fingerprints) -> Fingerprints | None:
    """The fingerprints that several rows have, ascending; None if there are too many to look for them one by one."""
    bound = _RATIO * runs.RUN_ROWS
    count = max(1, -(-len(fingerprints) // bound))
    found = []
    for i in range(count):
        low, high = (i << 64) // count, (((i + 1) << 64) // count) - 1
        block = np.concatenate([*_between(fingerprints, low, high, everything=count == 1)])
        if len(block) > 2 * bound:  # they are spread evenly, but for those of a file that was made not to
            return None
        block.sort()
        found.append(np.unique(block[1:][block[1:] == block[:-1]]))
    shared = np.concatenate(found)
    return shared if len(shared) <= runs.RUN_ROWS else None


def _between(fingerprints: Fingerprints, low: int, high: int, *, everything: bool) -> Iterator[Fingerprints]:
    """The fingerprints of a range, block by block."""
    yield np.empty(0, dtype=np.uint64)
    for start in range(0, len(fingerprints), store.BLOCK_ROWS):
        block = fingerprints[start : start + store.BLOCK_ROWS]
        yield block if everything else block[(block >= np.uint64(low)) & (block <= np.uint64(high))]


def candidates(fingerprints: Fingerprints, shared: Fingerprints | None) -> Iterator[Positions]:
    """Positions of the rows whose fingerprint is one of ``shared``, block by block; of all rows for None."""
    for start in range(0, len(fingerprints), store.BLOCK_ROWS):
        block = fingerprints[start : start + store.BLOCK_ROWS]
        if shared is None:
            yield np.arange(start, start + len(block))
            continue
        place = np.minimum(np.searchsorted(shared, block), len(shared) - 1)
        yield np.flatnonzero(shared[place] == block) + start
