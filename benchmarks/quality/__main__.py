"""Our estimates without labels beside NannyML's, on the same rows: ``python -m benchmarks.quality [--write]``.

NannyML runs in an environment of its own (some 1.5 GB, pinned in requirements.txt, made once below .cache). ``--write``
renews the known answers of tests/unit/quality.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from mlops.evaluation.metrics import Task, metric_for
from mlops.quality.estimate import expected

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
    scores = np.array(theirs["y_pred_proba"])
    both, worst = np.column_stack([1 - scores, scores]), 0.0
    print(f"{'metric':<12}{'NannyML ' + theirs['nannyml']:>18}{'ours':>12}")
    for name, value in theirs["estimated"].items():
        ours = expected(both, both, metric_for(name, "classification"), Task(2), seed=1).value
        worst = max(worst, abs(ours - value))
        print(f"{name:<12}{value:>18.5f}{ours:>12.5f}")
    if write:
        KNOWN.write_text(json.dumps(theirs) + "\n", encoding="utf-8")
    return int(worst > 0.004)


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:]))
