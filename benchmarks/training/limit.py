"""What a training gives that has a limit and more rows than it has time for.

    python -m benchmarks.training.limit                      # a million rows of 35 columns, two minutes
    python -m benchmarks.training.limit --rows 100000 --limit 30

Seconds are those of the processor, of this process and of the children that fit (Linux): on a machine that others use
as well they are what an idle one would take, as everything runs on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

from mlops.contract import Contract, Target
from mlops.features.columns import Column, Columns
from mlops.features.spec import Feature
from mlops.training.fit import fit
from mlops.training.service import STORING_SECONDS

TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds() -> float:
    """Of this process, of its children that have ended, and of those that run."""
    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        try:
            fields = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended just now
            continue
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def table(rows: int) -> tuple[Columns, Contract]:
    """27 numbers, some with gaps, 3 flags and 5 categories; the target depends on them by steps, waves and products."""
    rng = np.random.default_rng(11)
    features: list[Feature] = []
    columns: list[Column] = []
    x: list[np.ndarray] = []
    for i in range(27):
        values = rng.normal(0, 1, rows)
        x.append(values)
        gaps = i % 5 == 4
        features.append(Feature(f"n{i}", "number", nullable=gaps))
        columns.append(Column(f"n{i}", "number", np.where(rng.random(rows) < 0.1, np.nan, values) if gaps else values))
    for i in range(3):
        x.append(rng.integers(0, 2, rows).astype(float))
        features.append(Feature(f"b{i}", "boolean"))
        columns.append(Column(f"b{i}", "boolean", x[-1]))
    signal = 0.5 * x[0] - 0.3 * x[1] + 0.2 * x[2] + 0.1 * sum(x[12:20]) + 0.7 * x[3] * x[5] + 0.6 * np.abs(x[6])
    signal += 0.8 * (x[7] > 0) * (x[8] > 0) + 0.5 * np.sin(2 * x[10]) + 0.5 * x[27] * x[11]
    for i, count in enumerate((3, 5, 12, 40, 80)):
        codes, levels = rng.integers(0, count, rows).astype(np.int32), tuple(f"l{j}" for j in range(count))
        signal += rng.normal(0, 0.5, count)[codes]
        features.append(Feature(f"c{i}", "category", categories=levels))
        columns.append(Column(f"c{i}", "category", codes, levels))
    positive = rng.random(rows) < 1 / (1 + np.exp(np.median(signal) - signal))
    columns.append(Column("y", "category", positive.astype(np.int32), ("no", "yes")))
    target = Target("y", ("no", "yes"), "yes")
    return Columns(tuple(columns)), Contract("limit", "classification", target, tuple(features))


def main() -> None:
    """Train and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.limit")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--limit", type=float, default=120.0, help="seconds, as the function would have them")
    chosen = parser.parse_args()
    data, contract = table(chosen.rows)
    started = processor_seconds()
    limit = chosen.limit - STORING_SECONDS
    trained = fit(data, contract, dataset_version="d", limit=limit, seconds=processor_seconds)
    took = processor_seconds() - started
    print(trained.explanation)
    print(
        json.dumps({"seconds": round(took, 1), "rows": trained.manifest.lineage["rows"], **trained.metrics}, indent=1)
    )


if __name__ == "__main__":
    main()
