"""Runs in a peer's own environment: compares windows with a reference, and says how long that took and what it found.

    run.py PEER FOLDER

FOLDER holds reference.npy and window-<n>.npy, float64 of shape (rows, columns). Prints JSON: for every window the
seconds of a processor (what else runs on the machine does not count), and the columns that the peer with its defaults
calls drifted.
"""

import importlib
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np


def main(peer: str, folder: Path) -> None:
    warnings.filterwarnings("ignore")
    reference = np.load(folder / "reference.npy")
    module = importlib.import_module(peer)
    getattr(module, "ready", lambda _: None)(reference)  # what is stored with a model; not timed
    found = []
    for number in range(len(list(folder.glob("window-*.npy")))):
        window = np.load(folder / f"window-{number}.npy")
        prepared = prepare(peer, reference, window)
        start = time.process_time()
        drifted = module.compare(*prepared)
        found.append({"seconds": time.process_time() - start, "drifted": sorted(drifted)})
    print(json.dumps(found))


def prepare(peer: str, *tables: np.ndarray) -> list:
    """Data in memory in the form that the peer takes; that is not timed."""
    if peer in ("scipy_ks", "alibi", "histogram", "ours"):
        return list(tables)
    pd = importlib.import_module("pandas")
    return [pd.DataFrame(t, columns=[f"c{i}" for i in range(t.shape[1])]) for t in tables]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
