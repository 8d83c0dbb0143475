"""Runs in a peer's own environment: compares windows with a reference, and says how long that took and what it found.

    run.py PEER FOLDER

FOLDER holds reference-<n>.npy and window-<n>.npy, float64 of shape (rows, columns); windows are shared out evenly over
the references, in order. Prints JSON: for every window whether
it was the first, the seconds of a processor (what else runs on the machine does not count), the columns that the peer
with its defaults calls drifted, and memory in MB: the process's peak while it compared, and by how much that is above
what it held before (interpreter, library, both tables). Memory is None where the system is not Linux.
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
    module = importlib.import_module(peer)
    windows, references = (len(list(folder.glob(f"{kind}-*.npy"))) for kind in ("window", "reference"))
    found, shown = [], -1
    for number in range(windows):
        if number * references // windows != shown:
            shown = number * references // windows
            reference = np.load(folder / f"reference-{shown}.npy")
            getattr(module, "ready", lambda _: None)(reference)  # what is stored with a model; not timed
        window = np.load(folder / f"window-{number}.npy")
        prepared = prepare(peer, reference, window)
        held = forget_peak()
        start = time.process_time()
        drifted = module.compare(*prepared)
        seconds, peak = time.process_time() - start, memory("VmHWM")
        above = None if peak is None or held is None else max(0.0, peak - held)
        found.append({"first": not found, "seconds": seconds, "drifted": sorted(drifted), "peak": peak, "above": above})
        del window, prepared
    print(json.dumps(found))


def forget_peak() -> float | None:
    """Let the peak start from what is held now, in MB; see proc(5), clear_refs."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return memory("VmRSS")


def memory(name: str) -> float | None:
    """A line of /proc/self/status in MB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), None)


def prepare(peer: str, *tables: np.ndarray) -> list:
    """Data in memory in the form that the peer takes; that is not timed."""
    if peer in ("scipy_ks", "alibi", "histogram", "ours"):
        return list(tables)
    pd = importlib.import_module("pandas")
    return [pd.DataFrame(t, columns=[f"c{i}" for i in range(t.shape[1])]) for t in tables]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
