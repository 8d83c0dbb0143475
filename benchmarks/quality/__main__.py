"""Our estimates without labels beside NannyML's, on the same rows: ``python -m benchmarks.quality [--write]``.

NannyML runs in an environment of its own (some 1.5 GB, pinned in requirements.txt, made once below .cache). ``--write``
renews the known answers of tests/unit/quality.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mlops.evaluation.metrics import Task, metric_for
from mlops.quality.estimate import FloatArray, expected, expected_error, expected_of_draws, is_mean, learn_loss

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDER = ROOT / ".cache" / "bench" / "nannyml"
KNOWN = ROOT / "tests" / "unit" / "quality" / "nannyml_cbpe.json"
UV = ROOT / ".cache" / "envs" / "uv" / "bin" / "uv"


def main(write: bool) -> int:
    """Print both answers; 1 when they differ by more than the test allows."""
    python = FOLDER / "bin" / "python"
    if not python.exists():
        subprocess.run([UV, "venv", "--quiet", "--python", "3.11", FOLDER], check=True)
    needs = ["--requirements", HERE / "requirements.txt"]
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, *needs], check=True)
    done = subprocess.run([python, HERE / "peer.py"], check=True, capture_output=True, text=True)
    theirs = json.loads(done.stdout)
    regression, actual = theirs.pop("regression"), np.array(theirs.pop("y_true"))
    scores = np.array(theirs["y_pred_proba"])
    both, worst = np.column_stack([1 - scores, scores]), 0.0
    print(f"{'metric':<12}{'realised':>12}{'NannyML ' + theirs['nannyml']:>18}{'ours':>12}")
    for name, value in theirs["estimated"].items():
        metric = metric_for(name, "classification")
        ours = expected(both, both, metric, Task(2), seed=1).value
        worst = max(worst, abs(ours - value))
        print(f"{name:<12}{metric.compute(actual, both, Task(2)):>12.5f}{value:>18.5f}{ours:>12.5f}")
    _errors(regression)
    if write:
        KNOWN.write_text(json.dumps(theirs) + "\n", encoding="utf-8")
    return int(worst > 0.004)


def _errors(known: dict[str, Any]) -> None:
    """Estimated errors of a regression beside the realised ones, by window."""
    print(f"{'':<12}{'shift':>6}{'realised':>12}{'NannyML':>12}{'off':>7}{'ours':>12}{'off':>7}  interval")
    inputs, _, errors = _columns(known["held_out"])
    for name in ("mae", "rmse", "r2", "median_ae"):
        metric = metric_for(name, "regression")
        model = learn_loss(inputs, errors, metric, seed=1)
        for i, window in enumerate(known["windows"]):
            rows, scores, wrong = _columns(window)
            truth = metric.compute(scores[:, 0] + wrong, scores, Task())
            if is_mean(metric):
                ours = expected_error(model, rows, metric, seed=1)
            else:
                ours = expected_of_draws(model, rows, scores, metric, Task(), seed=1)
            given = known["estimated"].get(name)
            theirs = f"{given[i]:>12.3f}{given[i] / truth - 1:>+7.0%}" if given else f"{'none':>12}{'':>7}"
            print(
                f"{name:<12}{known['shifts'][i]:>6}{truth:>12.3f}{theirs}{ours.value:>12.3f}"
                f"{ours.value / truth - 1:>+7.0%}  {ours.low:.3f} to {ours.high:.3f}"
            )


def _columns(table: dict[str, list[float]]) -> tuple[FloatArray, FloatArray, FloatArray]:
    predicted, actual = np.array(table["y_pred"]), np.array(table["y_true"])
    inputs = np.column_stack([predicted, np.array(table["a"]), np.array(table["b"])])
    return inputs, predicted[:, None], actual - predicted


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:]))
