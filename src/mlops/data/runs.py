"""Sorting more rows than memory should hold: sorted runs on disk, merged range by range."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mlops.data import digests as dg
from mlops.data.digests import Digests

#: Digests sorted at a time.
RUN_ROWS = 2_000_000

Positions = npt.NDArray[np.int64]
#: Digests in ascending order, and where each of them was.
Run = tuple[Digests, Positions]


def sorted_runs(digests: Digests, folder: Path) -> list[Run]:
    """Digests in ascending order, run by run; more than one run go to files of the folder."""
    runs: list[Run] = []
    for start in range(0, len(digests), RUN_ROWS):
        block = digests[start : start + RUN_ROWS]
        order = dg.order(block)
        run = (block[order], order + start)
        if len(digests) > RUN_ROWS:
            names = folder / f"run-{start}-digests", folder / f"run-{start}-positions"
            for name, values in zip(names, run, strict=True):
                with create(name) as file:
                    file.write(np.ascontiguousarray(values).data)
            run = mapped(names[0], np.uint64, 2), mapped(names[1], np.int64)
        runs.append(run)
    return runs


def merged(runs: Sequence[Run]) -> Iterator[Run]:
    """Sorted runs as one sorted sequence, range by range; of equal digests those of an earlier run come first."""
    total = sum(len(digests) for digests, _ in runs)
    count = max(1, -(-total // RUN_ROWS))
    halves = [digests[:, 0] for digests, _ in runs]
    starts = [0] * len(runs)
    for i in range(1, count + 1):
        # bisect reads a few digests only; numpy's search would copy the whole column of a mapped file.
        ends = [len(h) if i == count else bisect.bisect_left(h, (i << 64) // count) for h in halves]
        parts = [(d[a:b], p[a:b]) for (d, p), a, b in zip(runs, starts, ends, strict=True) if b > a]
        starts = ends
        if not parts:
            continue
        digests, positions = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = dg.order(digests) if len(parts) > 1 else slice(None)
        yield digests[order], positions[order]


def create(path: Path) -> BinaryIO:
    """A new file; numpy's own ``tofile`` would not say that the disk is full."""
    return path.open("wb")


def mapped(path: Path, dtype: Any, width: int = 1) -> npt.NDArray[Any]:
    """A file's values without reading them into memory."""
    shape = (-1, width) if width > 1 else (-1,)
    if not path.stat().st_size:  # nothing can be mapped
        return np.empty(0, dtype=dtype).reshape(shape)
    return np.memmap(path, dtype=dtype, mode="r").reshape(shape)
