"""The floor: np.histogram of every column on stored edges, and nothing else."""

import numpy as np

_edges = []


def ready(reference):
    _edges[:] = [np.unique(np.quantile(column[:100_000], np.linspace(0, 1, 21))) for column in reference.T]


def compare(reference, window):
    for column, edges in zip(window.T, _edges, strict=True):
        np.histogram(column, edges)
    return set()
