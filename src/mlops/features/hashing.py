"""Hashes of encoded rows, for telling whether two tables hold the same one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlops.features.encoding import Matrix

HashArray = npt.NDArray[np.uint64]


def feature_hash(matrix: Matrix, seed: int = 0) -> HashArray:
    """A hash of each row's features; uint64, shape (rows,). Equal rows have equal hashes, in any table."""
    result = np.full(len(matrix), seed, dtype=np.uint64)
    bits = np.ascontiguousarray(matrix).view(np.uint32)
    bits = np.where(matrix == 0, np.uint32(0), bits)  # -0.0 is 0.0
    bits = np.where(np.isnan(matrix), np.uint32(0x7FC00000), bits)  # one pattern for every NaN
    for i in range(matrix.shape[1]):
        result = mix(result ^ bits[:, i].astype(np.uint64))
    return result


def mix(values: HashArray) -> HashArray:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), element by element."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: HashArray = z ^ (z >> np.uint64(31))
    return mixed
