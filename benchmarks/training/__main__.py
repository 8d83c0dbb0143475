"""Our training beside others, on the same rows: ``python -m benchmarks.training [TABLE …] [--budget 60]``.

Every contestant fits on the rows that our split gives to training, on one thread, and answers those held out. Ours is
the training of a stack, with the contract that ``mlops init`` infers; its answers are those of ``model.onnx``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.training.environments import CACHE, run_peer
from benchmarks.training.tables import TABLES, Table
from mlops.contract import Contract
from mlops.evaluation.metrics import metric_for
from mlops.evaluation.scoring import OnnxScorer
from mlops.features.columns import Columns
from mlops.features.encoding import encode, width
from mlops.training.dataset import Dataset, prepare
from mlops.training.fit import fit
from mlops.training.search import task_of
from mlops.training.split import holdout

PEERS = ("linear", "boosting", "flaml")
RESAMPLES = 500


def main() -> None:
    """Run the tables that are asked for, and print a table of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", help="all when none is named")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of search")
    parser.add_argument("--ours", action="store_true", help="only ours; the peers' answers are those of the last run")
    asked = parser.parse_args()
    for table in TABLES:
        if not asked.tables or table.name in asked.tables:
            print("\n".join(compare(table, asked.budget, peers=not asked.ours)), flush=True)


def compare(table: Table, budget: float, *, peers: bool) -> list[str]:
    """Lines of a table in Markdown: each contestant's metric, and how much better or worse than ours."""
    contract, columns = table.load()
    contract = replace(contract, training=replace(contract.training, time_budget_seconds=int(budget)))
    data = prepare(contract, columns)
    train, test, _ = holdout(contract, data)
    folder = CACHE / "runs" / table.name
    folder.mkdir(parents=True, exist_ok=True)
    _hand_over(contract, data, train, test, folder)
    _ours(contract, columns, data.take(test), folder)
    for peer in PEERS if peers else ():
        run_peer(peer, folder, budget)
    metric, task = metric_for(contract.metric, contract.task), task_of(contract)
    actual = data.target[test]
    answers = {name: np.load(folder / f"{name}.npz") for name in ("ours", *PEERS)}
    whole = {name: metric.compute(actual, found["scores"], task) for name, found in answers.items()}
    picks = [np.random.default_rng(i).integers(0, len(actual), len(actual)) for i in range(RESAMPLES)]
    lines = [f"{table.name}: {len(train)} + {len(test)} rows, {len(contract.features)} features, {contract.metric}"]
    for name, found in answers.items():
        sampled = [metric.compute(actual[p], found["scores"][p], task) for p in picks]
        gains = [
            metric.gain(metric.compute(actual[p], answers["ours"]["scores"][p], task), s)
            for p, s in zip(picks, sampled, strict=True)
        ]
        low, high = np.quantile(sampled, [0.025, 0.975])
        less, more = np.quantile(gains, [0.025, 0.975])
        lines.append(
            f"| {name} | {whole[name]:.4f} | {low:.4f} to {high:.4f} | {metric.gain(whole['ours'], whole[name]):+.4f} "
            f"({less:+.4f} to {more:+.4f}) | {float(found['seconds']):.0f} s | {found['best']} |"
        )
    return lines


def _hand_over(contract: Contract, data: Dataset, train: Any, test: Any, folder: Path) -> None:
    """The same rows as files, with what a peer must know of them."""
    kinds = {
        k: [f.name for f in contract.features if (f.type == "category") == (k == "category")]
        for k in ("number", "category")
    }
    for name, rows in (("train", train), ("test", test)):
        part = data.table.take(rows)
        frame = {}
        for feature in contract.features:
            column = part[feature.name]
            values = column.values
            frame[feature.name] = (
                [None if v < 0 else column.levels[v] for v in values] if feature.type == "category" else values
            )
        target = data.target[rows]
        frame[contract.target.name] = (
            [contract.target.classes[i] for i in target] if contract.target.classes else target
        )
        pl.DataFrame(frame).fill_nan(None).write_csv(folder / f"{name}.csv")
    told = {
        "kinds": kinds, "task": contract.task, "target": contract.target.name, "classes": contract.target.classes,
        "metric": contract.metric,
    }  # fmt: skip
    (folder / "table.json").write_text(json.dumps(told))


def _ours(contract: Contract, columns: Columns, test: Dataset, folder: Path) -> None:
    started = time.monotonic()
    trained = fit(columns, contract, dataset_version="bench")
    seconds = time.monotonic() - started
    manifest = trained.manifest
    scorer = OnnxScorer(trained.artifacts["model.onnx"], width(manifest.features), len(manifest.classes))
    scores = scorer(encode(manifest.features, test.table))
    best = json.loads(trained.artifacts["training.json"])["best"]["name"]
    best += f", {len(trained.artifacts['model.onnx']) / 1e6:.2f} MB"
    if manifest.interval is not None:
        half = np.array([manifest.interval.half_width(v) for v in scores[:, 0]])
        best += f", intervals hold {np.mean(np.abs(scores[:, 0] - test.target) <= half):.1%}"
    lines = manifest.lineage.get("calibration") or {}
    if lines.get("calibration_error_after") is not None:
        best += f", {lines['kind']}: {lines['calibration_error_before']:.3f} to {lines['calibration_error_after']:.3f}"
    np.savez(folder / "ours.npz", scores=scores, seconds=seconds, best=best)
    (folder / "training.json").write_bytes(trained.artifacts["training.json"])


if __name__ == "__main__":
    main()
