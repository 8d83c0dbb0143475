"""A model that was fitted elsewhere: its ONNX file and rows that it has not seen become a version's folder.

The gates are those of any other version. Two things are less than for a model of the bundle's own: there is no
estimator to compare the file with, so its parity set holds its own answers (and proves only that it gives them again,
on every edge), and the answers of golden rows where the author tells some; and what it was trained on, and whether the
rows were really unseen, is for its author to say. What can be seen of the answers themselves is looked at here already,
as the gates will.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.evaluation.answering import Given, answer_checks, order_check
from mlops.evaluation.metrics import Task, compute_all, metric_for
from mlops.evaluation.scoring import ModelRefusedError, OnnxScorer
from mlops.features.columns import Columns
from mlops.features.encoding import WIDTHS, Matrix, missing_code, offsets, other_code, width
from mlops.features.spec import Feature
from mlops.manifest import Manifest
from mlops.training import golden, parity
from mlops.training.baseline import baseline_json
from mlops.training.dataset import prepare
from mlops.training.fit import Trained, version_id
from mlops.training.importance import permutation_importance
from mlops.training.local import data_digest, write
from mlops.training.search import task_of

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OwnModel:
    """An ONNX file in the place of a fitted pipeline."""

    model: bytes
    scorer: OnnxScorer

    def scores(self, matrix: Matrix) -> FloatArray:
        """Probabilities (rows, classes) or values (rows, 1)."""
        return self.scorer(matrix)


def wrap_file(
    table: Columns,
    contract: Contract,
    model: bytes,
    out: Path,
    *,
    given: Given | None = None,
    lineage: Mapping[str, Any] | None = None,
    created: datetime | None = None,
) -> Trained:
    """Write ``out/<version>/`` from an ONNX file, ready for ``mlops models import``.

    Parameters
    ----------
    table : rows that the model has not seen, with the target.
    model : takes ``input`` float32 (rows, width) as :mod:`mlops.features.encoding` makes it, and gives
        ``probabilities`` (rows, classes) in the contract's order, or ``value`` (rows, 1).
    given : rows whose answers the author of the model tells.
    created : time of the manifest; now when not given.

    Raises
    ------
    mlops.evaluation.scoring.ModelRefusedError
        when the file is not such a model, or its answers are none to rely on.
    mlops.training.dataset.NotTrainableError
        when the rows cannot judge a model.
    """
    data = prepare(contract, table)
    task, metric = task_of(contract), metric_for(contract.metric, contract.task)
    own = OwnModel(model, OnnxScorer(model, width(contract.features), task.classes))
    scores = own.scores(data.matrix)
    threshold = _threshold(contract, task)
    task = replace(task, threshold=threshold)
    seed = contract.training.seed
    rows = parity.parity_rows(contract.features, [], data.matrix, seed)
    rows = rows[_possible(contract.features, rows)]
    _look(own, contract, task, (data.matrix, scores), rows, data.target, given)
    importance = permutation_importance(contract.features, own, data.matrix, data.target, metric, task=task, seed=seed)
    digest = hashlib.sha256(model).hexdigest()
    told = "" if given is None else f"-{given.digest()}"
    version = version_id(contract, f"{data_digest(table)}-{digest}{told}")
    classification = contract.task == "classification"
    manifest = Manifest(
        model=contract.name,
        version=version,
        task=contract.task,
        features=contract.features,
        target=contract.target.name,
        classes=contract.target.classes if classification else (),
        positive=contract.target.classes[task.positive] if task.binary else None,
        threshold=threshold,
        key=contract.key,
        created_at=(created or datetime.now(UTC)).isoformat(timespec="seconds"),
        onnx_sha256=digest,
        metrics=compute_all(data.target, scores, task),
        capture_rate=contract.capture.rate,
        lineage={
            "contract_digest": contract.digest(),
            "family": "own",
            "estimator": "an ONNX file of one's own",
            "dataset_version": f"local-{data_digest(table)}",
            "seed": seed,
            "rows": {"train": None, "holdout": data.rows, "dropped": data.dropped},
            "importance": importance,
            "parity": "against itself: there is no estimator to compare with"
            + ("" if given is None else f"; {len(given.rows)} golden rows within {given.tolerance:g}"),
            **(lineage or {}),
        },
    )
    judged_by = [*(f.name for f in contract.described), contract.target.name]
    report = {
        "schema": "mlops.training.v1",
        "model": manifest.model,
        "version": version,
        "metric": contract.metric,
        "holdout": dict(manifest.metrics),
        "lineage": dict(manifest.lineage),
        "created_at": manifest.created_at,
    }
    trained = Trained(
        manifest,
        {
            "model.onnx": model,
            "parity.npz": parity.pack(own, rows, **({} if given is None else given.arrays())),
            "golden.json": golden.pack(contract, own, golden.golden_table(contract, data.table, seed)),
            "holdout.npz": data.table.select(judged_by).save(),
            "baseline.json": baseline_json(contract, version, data, scores, importance),
            "training.json": _json(report),
            "manifest.json": _json(manifest.to_dict()),
        },
        f"an ONNX file of {len(model)} bytes, judged on {data.rows} rows",
    )
    write(trained, out)
    return trained


def _possible(features: Sequence[Feature], rows: Matrix) -> npt.NDArray[np.bool_]:
    """Rows that a request can be: nothing missing or unknown where the contract takes no such value. A file from
    elsewhere need not answer others; what the bundle trains does."""
    good = np.ones(len(rows), dtype=bool)
    for start, feature in zip(offsets(features), features, strict=True):
        if feature.type == "category":
            column = rows[:, start]
            good &= feature.nullable | (column != missing_code(feature))
            good &= (feature.on_unknown == "other") | (column != other_code(feature))
        else:
            block = rows[:, start : start + WIDTHS[feature.type]]
            good &= feature.nullable | ~np.isnan(block).any(axis=1)
    return good


def _look(
    own: OwnModel,
    contract: Contract,
    task: Task,
    held_out: tuple[Matrix, FloatArray],
    rows: Matrix,
    actual: npt.NDArray[Any],
    given: Given | None,
) -> None:
    """Refuse at once what the gates would refuse of the answers themselves."""
    edges = (rows, own.scores(rows))
    tolerance = contract.gates.parity_tolerance
    checks = answer_checks(own.scorer, held_out, edges, task, tolerance, given, contract)
    if task.classes and checks[0].passed:
        checks.append(order_check(own.model, actual, held_out[1], task, contract, contract.training.seed))
    failed = [f"{check.name}: {check.message}" for check in checks if not check.passed]
    if failed:
        raise ModelRefusedError("; ".join(failed))


def _threshold(contract: Contract, task: Task) -> float:
    """The contract's, or by its costs as for calibrated probabilities. The best for a metric of labels could only be
    chosen on the rows that judge, so it is not."""
    if contract.decision.threshold is not None or task.costs is None:
        return task.threshold
    return task.costs[0] / (task.costs[0] + task.costs[1])


def _json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, indent=1, allow_nan=False).encode()
