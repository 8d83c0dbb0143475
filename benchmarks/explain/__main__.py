"""Compare explanations with those of the shap package, and what they cost.

    python -m benchmarks.explain [--write]

Fits small models of every task and family here, lets shap explain the estimators in an environment of its own (made
below .cache/bench, pinned in benchmarks/explain/requirements), and compares. Then the time of one row, ours and shap's,
for models of real size. `--write` writes what shap gave to tests/unit/inference/explained.
"""

from __future__ import annotations

import argparse
import base64
import json
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.predict.environments import CACHE, install
from mlops.features.encoding import Matrix, encode, width
from mlops.features.spec import Feature
from mlops.inference.explainer import Explainer
from mlops.manifest import INPUT, Manifest
from mlops.training import families
from mlops.training.estimator import Fitted, fit_candidate
from mlops.training.export import to_onnx
from tests.unit.training.tables import CATEGORIES, CLASSES, DATES, contract, table

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "tests" / "unit" / "inference" / "explained"
FEATURES = (*CATEGORIES, *DATES[1:], Feature("n", "integer"))
CASES = (
    ("binary", "forest", {"max_depth": 4}),
    ("multiclass", "forest", {"max_depth": 4}),
    ("binary", "boosting", {"max_iter": 6, "max_leaf_nodes": 8}),
    ("multiclass", "boosting", {"max_iter": 4, "max_leaf_nodes": 8}),
    ("regression", "boosting", {"max_iter": 6, "max_leaf_nodes": 8}),
    ("binary", "linear", {}),
)
REAL: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("binary", "linear", {}),
    ("binary", "boosting", {}),
    ("binary", "forest", {"max_depth": 8}),
    ("regression", "forest", {}),
)


def fit(task: str, family: str, parameters: dict[str, Any], rows: int) -> tuple[Fitted, Matrix, Manifest, bytes]:
    data = table(task, FEATURES, rows)
    matrix = encode(FEATURES, data)
    fitted = fit_candidate(
        contract(task, FEATURES), families.Candidate(family, family, parameters), matrix, data["y"].values
    )
    classes = CLASSES[task]
    manifest = Manifest(
        model=f"{task}-{family}",
        version="0" * 12,
        task="classification" if classes else "regression",
        features=FEATURES,
        target="y",
        classes=classes,
        positive="yes" if task == "binary" else None,
    )
    return fitted, matrix, manifest, to_onnx(fitted, width(FEATURES))


def by_shap(fitted: Fitted, matrix: Matrix, rows: int, repeats: int) -> dict[str, Any]:
    """What shap says of the estimator for the first rows, and its milliseconds a row."""
    design = fitted.pipeline.named_steps["design"].transform(matrix)
    job = CACHE / "shap-job.pickle"
    job.write_bytes(pickle.dumps((fitted.model, design, rows, repeats)))
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(CACHE / "shap"), "HOME": str(CACHE)}
    command = [sys.executable, "-S", str(HERE / "by_shap.py"), str(job)]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def owners(fitted: Fitted) -> list[str]:
    """The feature of every design column."""
    sources = fitted.pipeline.named_steps["design"].columns
    if fitted.candidate.family != "linear":
        return [s.feature for s in sources]
    numbers = [s.feature for s in sources if s.level is None]
    step = fitted.pipeline.named_steps["design"]
    return [
        *numbers,
        *(numbers[i] for i in step.indicator_positions()),
        *(s.feature for s in sources if s.level is not None),
    ]


def added_up(values: Any, fitted: Fitted) -> Any:
    """(rows, design columns, scores) as (rows, features, scores)."""
    columns = np.array(owners(fitted))
    return np.stack([values[:, columns == f.name].sum(axis=1) for f in FEATURES], axis=1)


def explained(
    fitted: Fitted, matrix: Matrix, manifest: Manifest, body: bytes, rows: int
) -> tuple[Any, Any, float, float]:
    """Ours: contributions, answers, milliseconds to take the file apart and for a row."""
    session = onnxruntime.InferenceSession(body, providers=["CPUExecutionProvider"])
    answers = session.run(None, {INPUT: matrix[:rows]})[0].tolist()
    started = time.process_time()
    explainer = Explainer(manifest, body)
    opened = time.process_time()
    added = explainer.explain(matrix[:rows], answers)
    return added, answers, (opened - started) * 1e3, (time.process_time() - opened) * 1e3 / rows


def compare(*, write: bool) -> bool:
    """Small models: are the values those of shap? Writes the references when asked to."""
    trees, families.FOREST_TREES = families.FOREST_TREES, 4
    good = True
    for task, family, parameters in CASES:
        fitted, matrix, manifest, body = fit(task, family, parameters, 240)
        added, answers, _, _ = explained(fitted, matrix, manifest, body, 12)
        reference = by_shap(fitted, matrix, 12, 1)
        values = added_up(np.array(reference["values"]), fitted)
        base = np.array(reference["base"])
        if values.shape[2] == 2 and added.shape[2] == 1:  # a binary forest: shap explains both classes
            values, base = values[:, :, 1:], base[1:]
        difference = float(np.abs(added - values).max())
        good &= bool(np.allclose(added, values, rtol=1e-5, atol=2e-6))
        print(f"{manifest.model:22} largest difference {difference:.1e} of {np.abs(values).max():.3g}")
        if write:
            case = {
                "made_by": f"python -m benchmarks.explain --write, shap {reference['version']}",
                "manifest": manifest.to_dict(),
                "rows": [[round(float(v), 9) for v in row] for row in matrix[:12]],
                "answers": answers,
                "contributions": values.tolist(),
                "base": base.tolist(),
                "onnx": base64.b64encode(body).decode(),
            }
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / f"{manifest.model}.json").write_text(json.dumps(case) + "\n")
    families.FOREST_TREES = trees
    return good


def measure() -> None:
    """Models of real size: what an explanation costs."""
    print(f"\n{'of CPU':24}{'open, ms':>10}{'row, ms':>10}{'shap row, ms':>14}{'model.onnx':>12}")
    for task, family, parameters in REAL:
        fitted, matrix, manifest, body = fit(task, family, parameters, 4000)
        opened, row = np.median([explained(fitted, matrix, manifest, body, 20)[2:] for _ in range(5)], axis=0)
        theirs = by_shap(fitted, matrix, 20, 5)["milliseconds"]
        name = f"{manifest.model} {parameters or ''}".strip()
        print(f"{name:40.40}{opened:10.1f}{row:10.2f}{theirs:14.2f}{len(body) / 1e6:10.1f} MB")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.explain", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the references that unit tests compare with")
    options = parser.parse_args(arguments)
    CACHE.mkdir(parents=True, exist_ok=True)
    install(HERE / "requirements" / "shap.txt", CACHE / "shap")
    is_good = compare(write=options.write)
    measure()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
