"""How fast windows are compared, against bin counting alone and against other libraries; memory; cost."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.drift.environments import CACHE, FLOOR, OURS, PEERS, ROOT, run
from mlops.capture.reading import parse
from mlops.drift.traffic import batches
from mlops.features.columns import Column, Columns
from mlops.features.spec import Feature
from mlops.statistics.baseline import accumulate, build, empty, merge

#: (ratio, bound): of ours to the floor, and of Evidently to ours.
MOST_OF_FLOOR, LEAST_OF_EVIDENTLY = 2.0, 100.0
#: USD for a GB-second of Lambda on x86_64, list price; 1,769 MB of memory give a whole processor.
GB_SECOND, WHOLE = 0.0000166667, 1.769
COLUMNS = 35


def data(folder: Path, rows: int, rounds: int) -> None:
    """Reference and window of normal numbers; further windows are the same file."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in ("reference", "window-0"):
        # Column after column, as columns.npz and Parquet have them.
        np.save(folder / f"{name}.npy", np.asfortranarray(rng.normal(size=(rows, COLUMNS))))
    for old in folder.glob("window-*.npy"):
        if old.name != "window-0.npy":
            old.unlink()
    for i in range(1, rounds):
        (folder / f"window-{i}.npy").symlink_to(folder / "window-0.npy")


def measure(rows: int, rounds: int, seconds: float, names: Iterable[str]) -> dict[str, Any]:
    """Medians in seconds by peer, or why there is none. Fast peers several times, interleaved; slow ones once."""
    folder, found = CACHE / "data" / "speed", dict[str, list[float]]()
    failed: dict[str, str] = {}
    chosen = [p for p in PEERS if not names or p.name in names]
    fast = [p for p in chosen if p.name in (FLOOR, OURS)]
    data(folder, rows, 1 + 2)
    for _ in range(rounds):
        for peer in fast:
            found.setdefault(peer.name, []).extend(r["seconds"] for r in run(peer, folder, seconds)[1:])
    data(folder, rows, 1)
    for peer in [p for p in chosen if p not in fast]:
        print(f"{peer.name} …", file=sys.stderr, flush=True)
        try:
            found[peer.name] = [r["seconds"] for r in run(peer, folder, seconds)]
        except subprocess.TimeoutExpired:
            failed[peer.name] = f"more than {seconds:.0f} s"
        except subprocess.CalledProcessError as error:
            failed[peer.name] = (error.stderr or "cannot be installed").strip().splitlines()[-1][:120]
    return {"rows": rows, "seconds": {n: median(v) for n, v in found.items()}, "failed": failed}


def memory() -> dict[str, float]:
    """Highest memory in MB while rows are counted in batches, by millions of rows, each in a process of its own."""
    code = "import sys; from benchmarks.drift.speed import count; print(count(int(sys.argv[1])))"
    found = {}
    for parts in (10, 50, 250):
        done = subprocess.run(
            [sys.executable, "-c", code, str(parts)], capture_output=True, text=True, check=True, timeout=600, cwd=ROOT
        )
        found[f"{parts * 20_000 / 1e6:g}"] = float(done.stdout)
    return found


FEATURES = [Feature(f"c{i}", "number") for i in range(COLUMNS)]


def columns(table: Any) -> Columns:
    """A matrix as a table."""
    return Columns(tuple(Column(f.name, f.type, table[:, i]) for i, f in enumerate(FEATURES)))


def count(parts: int) -> float:
    """Count so many batches of 20,000 rows, as the function does; the process's highest memory in MB."""
    rng = np.random.default_rng(1)
    baseline = build(FEATURES, columns(rng.normal(size=(20_000, COLUMNS))), pairs=True)
    counts = empty(baseline)
    for _ in range(parts):
        counts = merge(counts, accumulate(baseline, columns(rng.normal(size=(20_000, COLUMNS)))))
    assert counts.rows == parts * 20_000
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def traffic() -> float:
    """Seconds to read and count a million captured rows of 35 features from JSON lines, from 40,000 of them."""
    rng, rows = np.random.default_rng(2), 40_000
    names = [f.name for f in FEATURES]
    table = rng.normal(size=(rows, COLUMNS)).round(4)
    baseline = build(FEATURES, columns(table), pairs=True)
    lines = []
    for start in range(0, rows, 20):
        many = [
            {"id": f"i{start}-{k}", "entity": None, "features": dict(zip(names, row, strict=True)),
             "answered": "champion", "champion": [0.4, 0.6], "challenger": None}
            for k, row in enumerate(table[start : start + 20].tolist())
        ]  # fmt: skip
        lines.append(
            {"kind": "mlops.capture.v1", "model": "m", "time": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
             "request_id": f"r{start}", "step": None, "release": None, "rows": many,
             "champion": {"version": "v", "us": 40, "error": None}, "challenger": None}
        )  # fmt: skip
    body = "\n".join(json.dumps(line) for line in lines).encode()
    begun, counts = time.process_time(), empty(baseline)
    for batch in batches(FEATURES, parse(body), "v"):
        counts = merge(counts, accumulate(baseline, batch.table))
    return (time.process_time() - begun) * 1e6 / rows


def cents(seconds: float) -> float:
    """What so many seconds of a whole processor cost in Lambda, in US cents."""
    return seconds * WHOLE * GB_SECOND * 100


def report(result: dict[str, Any]) -> list[str]:
    """The table and the goals, as Markdown."""
    seconds, rows = result["seconds"], result["rows"]
    lines = [f"| {rows:,} x {COLUMNS} | seconds | multiple of ours |", "|---|---|---|"]
    ours = seconds.get(OURS)
    for peer in PEERS:
        if peer.name in seconds:
            ratio = f"{seconds[peer.name] / ours:.1f}" if ours else ""
            lines.append(f"| {peer.name} | {seconds[peer.name]:.3f} | {ratio} |")
        elif peer.name in result["failed"]:
            lines.append(f"| {peer.name} | {result['failed'][peer.name]} | |")
    if ours and FLOOR in seconds:
        ratio = ours / seconds[FLOOR]
        lines.append(f"\n{ratio:.2f} times bin counting alone ({'met' if ratio <= MOST_OF_FLOOR else 'missed'}: 2)")
    if ours and "Evidently" in seconds:
        ratio = seconds["Evidently"] / ours
        met = "met" if ratio >= LEAST_OF_EVIDENTLY else "missed"
        lines.append(f"{ratio:.0f} times as fast as Evidently ({met}: 100)")
    return lines
