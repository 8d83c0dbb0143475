"""How fast windows are compared, against bin counting alone and against other libraries; memory; cost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.drift.environments import CACHE, FLOOR, OURS, PEERS, ROOT, Peer, prepare, run
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
    for name in ("reference-0", "window-0"):
        # Column after column, as columns.npz and Parquet have them.
        np.save(folder / f"{name}.npy", np.asfortranarray(rng.normal(size=(rows, COLUMNS))))
    for old in folder.glob("window-*.npy"):
        if old.name != "window-0.npy":
            old.unlink()
    for i in range(1, rounds):
        (folder / f"window-{i}.npy").symlink_to(folder / "window-0.npy")


@dataclass(frozen=True)
class Measured:
    """One peer: seconds of a processor, the process's peak of memory in MB, and by how much that is above what it held
    before. ``rows``: of how many, where the whole took too long; ``why``: there is nothing, or less than was asked for,
    and the reason."""

    name: str
    rows: int = 0
    seconds: float | None = None
    peak: float | None = None
    above: float | None = None
    why: str = ""


def measure(rows: int, rounds: int, seconds: float, names: Collection[str]) -> list[Measured]:
    """The floor and drift-check several times, interleaved, and always; the other peers (or those of ``names``) once.

    A peer that takes longer than ``seconds``, data read and all, is measured on a tenth of the rows and says so.
    """
    folder, found = CACHE / "data" / "speed", list[Measured]()
    fast = [p for p in PEERS if p.name in (FLOOR, OURS)]
    data(folder, rows, 1 + 2)
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for peer in fast:
            runs.setdefault(peer.name, []).extend(run(peer, folder, seconds))
    found += [_measured(name, rows, each) for name, each in runs.items()]
    data(folder, rows, 1)
    slow = [p for p in PEERS if p not in fast and (not names or p.name in names)]
    late = []
    for peer in slow:
        print(f"{peer.name} …", file=sys.stderr, flush=True)
        measured = _once(peer, folder, rows, seconds)
        late += [peer] if measured is None else []
        found += [measured] if measured else []
    if late:
        data(folder, rows // 10, 1)
        for peer in late:
            why = f"more than {seconds:.0f} s with {rows:,} rows"
            measured = _once(peer, folder, rows // 10, seconds) or Measured(peer.name)
            found.append(replace(measured, why=why if measured.seconds else f"{why}, and with {rows // 10:,}"))
    return found


def _once(peer: Peer, folder: Path, rows: int, seconds: float) -> Measured | None:
    """One run of a peer; None when it takes too long."""
    try:
        prepare(peer)
    except subprocess.CalledProcessError as error:
        return Measured(peer.name, why=f"cannot be installed on this Python: {_last(error)}")
    try:
        return _measured(peer.name, rows, run(peer, folder, seconds))
    except subprocess.TimeoutExpired:
        return None
    except subprocess.CalledProcessError as error:
        return Measured(peer.name, why=f"ended with code {error.returncode}: {_last(error)}")


def _last(error: subprocess.CalledProcessError) -> str:
    said = (error.stderr or "").strip().splitlines()
    return said[-1][:160] if said else "it said nothing"


def _measured(name: str, rows: int, runs: Sequence[dict[str, Any]]) -> Measured:
    """The median of the time, without a process's first window where there are more; the most of the memory."""

    def most(key: str) -> float | None:
        return max((r[key] for r in runs if r[key] is not None), default=None)

    timed = [r["seconds"] for r in runs if not r["first"]] or [r["seconds"] for r in runs]
    return Measured(name, rows, median(timed), most("peak"), most("above"))


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
    lines = Path("/proc/self/status").read_text().splitlines()  # rusage would start from the parent's peak
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


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


def report(found: Sequence[Measured], rows: int) -> list[str]:
    """The table and the goals, as Markdown. Multiples are of the same number of rows; a peer that was measured on
    fewer has none."""
    by_name = {m.name: m for m in found}
    ours, floor = by_name[OURS].seconds, by_name[FLOOR].seconds
    lines = [
        f"| {rows:,} x {COLUMNS} | seconds | multiple of ours | peak MB | of that above the data | US cents |",
        "|---|---|---|---|---|---|",
    ]
    for m in sorted(found, key=lambda m: (m.rows != rows, m.seconds or 0.0)):
        if m.seconds is None:
            lines.append(f"| {m.name} | {m.why} | | | | |")
            continue
        whole = m.rows == rows
        ratio = f"{m.seconds / ours:.1f}" if ours and whole else ""
        took = f"{m.seconds:.3g}" if whole else f"{m.seconds:.3g} with {m.rows:,} rows ({m.why})"
        price = f"{cents(m.seconds) * 1e6 / rows:.2g}" if whole else ""
        lines.append(f"| {m.name} | {took} | {ratio} | {_mb(m.peak)} | {_mb(m.above)} | {price} |")
    if ours and floor:
        ratio_of = ours / floor
        lines.append(f"\n{ratio_of:.2f} times bin counting alone ({_met(ratio_of <= MOST_OF_FLOOR)}: 2)")
    evidently = by_name.get("Evidently")
    if ours and evidently and evidently.seconds and evidently.rows == rows:
        times = evidently.seconds / ours
        lines.append(f"{times:.0f} times as fast as Evidently ({_met(times >= LEAST_OF_EVIDENTLY)}: 100)")
    return lines


def _mb(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _met(holds: bool) -> str:
    return "met" if holds else "missed"
