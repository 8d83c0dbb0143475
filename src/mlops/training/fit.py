"""From a table and a contract to the artifacts of a model version. Pure: no files, no clock but the given ones."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn

from mlops.contract import Contract
from mlops.evaluation.metrics import Task, compute_all, metric_for
from mlops.evaluation.recent import TRAINED_ON, trained_on
from mlops.features.columns import Columns
from mlops.manifest import Interval, Manifest
from mlops.training import golden, parity
from mlops.training.baseline import baseline_json
from mlops.training.bounded import runner
from mlops.training.calibration import Calibration, calibrate
from mlops.training.checkpoint import NOTHING_KEPT, Checkpoint
from mlops.training.dataset import Dataset, NotTrainableError, prepare
from mlops.training.decision import Decided, decide
from mlops.training.estimator import Fitted
from mlops.training.export import thresholds, to_onnx
from mlops.training.families import candidates
from mlops.training.importance import permutation_importance
from mlops.training.intervals import fit_interval
from mlops.training.pooling import pool_rare
from mlops.training.progress import Listener, Progress, silent
from mlops.training.recipe import FILE as RECIPE_FILE
from mlops.training.recipe import candidate as from_recipe
from mlops.training.search import SearchResult, search, task_of, thin
from mlops.training.split import Index, folds, holdout
from mlops.training.unseen import Unseen
from mlops.training.winner import Split, fit_winner

FloatArray = npt.NDArray[np.float64]

#: Share of the contract's time budget that the search may use; the rest is for the last fit and the export.
SEARCH_SHARE = 0.7
#: Of a hard limit the search may use so much: the last fits are at least four times a trial on as many rows.
LIMIT_SHARE = 0.4
#: What follows the last fits (answers, statistics of pairs, parity set) takes so many times what preparing the rows
#: took: both grow with rows and with how slow the machine is.
DESCRIBING = 2.0
#: Times the budget that a winner's last fits may take: much accuracy is lost where the large models are ruled out.
LAST_FITS = 3.0

_TOO_RARE = (
    "no fold of the cross-validation has two classes both to learn from and to be judged on; "
    "upload more rows of the rarer class"
)


@dataclass(frozen=True)
class Trained:
    """A trained version: its manifest and every file of its folder, by name."""

    manifest: Manifest
    artifacts: Mapping[str, bytes] = field(repr=False)
    explanation: str = ""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Of the estimator on the hold-out set."""
        return self.manifest.metrics


def version_id(contract: Contract, dataset_version: str) -> str:
    """12 hexadecimal digits of SHA-256 over model, data set version and contract."""
    text = "\n".join((contract.name, dataset_version, contract.digest()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def no_price(seconds: float) -> None:
    """The price of a machine that nobody is billed for by the second."""


def fit(
    table: Columns,
    contract: Contract,
    *,
    dataset_version: str,
    lineage: Mapping[str, Any] | None = None,
    parent_version: str | None = None,
    recipe: bytes | None = None,
    limit: float | None = None,
    listen: Listener = silent,
    price: Callable[[float], str | None] = no_price,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    seconds: Callable[[], float] = time.monotonic,
    checkpoint: Checkpoint = NOTHING_KEPT,
) -> Trained:
    """Split, search, fit, export, and gather what proves and describes the result.

    Parameters
    ----------
    table : features, target, and key and timestamp where the contract has them.
    dataset_version : id of the rows, part of the version's id.
    lineage : what the caller knows of its origin (code version, digest of the lock file).
    recipe : the source that ``contract.training.recipe`` names.
    limit : seconds from now after which the process ends, whatever it does: the search ends in time for the rest.
    listen : receives progress; returning False ends the search with the best so far.
    price : US dollars of so many seconds on this machine, None when that is not known.
    now, seconds : wall clock and a monotonic clock, for the record and the time budget.
    checkpoint : what an interrupted training of the same version has done already.

    Raises
    ------
    NotTrainableError
        when the rows cannot give a model.
    """
    started = seconds()
    if contract.training.recipe is not None and recipe is None:
        raise NotTrainableError("the contract names a recipe, and its source was not given")
    deadline = started + SEARCH_SHARE * contract.training.time_budget_seconds
    data = prepare(contract, table)
    train, test, kind = holdout(contract, data)
    given = contract
    contract = _pooled(given, data, train)
    if contract.features != given.features:
        data = data.encoded(contract.features)
    part = data.take(train)
    parts = folds(contract, part, kind)
    if not parts:
        raise NotTrainableError(_TOO_RARE)
    options = [from_recipe(recipe, contract, part.rows)] if recipe is not None else candidates(contract)
    must_end, run = None, runner(limit)
    if limit is not None:
        prepared = seconds()
        must_end = started + limit - DESCRIBING * (prepared - started)
        deadline = min(deadline, prepared + LIMIT_SHARE * (must_end - prepared))
    found = search(
        contract, part, parts, options, deadline=deadline, must_end=must_end,
        longest=LAST_FITS * contract.training.time_budget_seconds, listen=listen, clock=seconds, checkpoint=checkpoint,
        run=run,
    )  # fmt: skip
    if not math.isfinite(found.score):
        raise NotTrainableError(_TOO_RARE)
    del part  # as large as the data; from here on it is the split's
    seen = Split(data, train, test, kind, parts)
    found, seen, fits = fit_winner(contract, found, seen, must_end=must_end, listen=listen, clock=seconds, run=run)
    model = _finish(contract, fits, seen.fitted_on)
    version = version_id(given, dataset_version)
    listen(Progress("exporting", 88, "writing ONNX, parity set and baseline", found.best.name, found.score))
    held = model.fitted.scores(seen.held_out.matrix)
    manifest, importance = _describe(contract, version, seen, model, found, held)
    artifacts = _artifacts(contract, manifest, seen, model, importance, held)
    took = round(seconds() - started, 3)
    manifest = replace(
        manifest,
        created_at=now().isoformat(timespec="seconds"),
        onnx_sha256=hashlib.sha256(artifacts["model.onnx"]).hexdigest(),
        lineage={
            **manifest.lineage,
            **(lineage or {}),
            "contract_digest": given.digest(),
            "dataset_version": dataset_version,
            "parent_version": parent_version,
            "duration_seconds": took,
            "list_usd": price(took),
        },
    )
    if recipe is not None:
        artifacts[RECIPE_FILE] = recipe
    artifacts["training.json"] = _json(_report(contract, manifest, seen, found, importance=importance, took=took))
    artifacts["manifest.json"] = _json(manifest.to_dict())
    explanation = _explain(contract, manifest, seen, found, model)
    listen(Progress("done", 100, explanation, found.best.name, found.score))
    return Trained(manifest, artifacts, explanation)


def _pooled(contract: Contract, data: Dataset, train: Index) -> Contract:
    """The contract with the features that the version will have."""
    rule = contract.training
    rows = data.table.take(train)
    pooled = pool_rare(contract.features, rows, min_rows=rule.min_level_rows, max_levels=rule.max_levels)
    return replace(contract, features=pooled)


@dataclass(frozen=True)
class _Model:
    """The fitted winner and what follows from its answers to rows that it had not seen."""

    fitted: Fitted
    unseen: Unseen
    calibration: Calibration
    decided: Decided
    interval: Interval | None
    task: Task


def _finish(contract: Contract, fits: tuple[Fitted, Unseen], part: Dataset) -> _Model:
    """Calibrate, decide, and measure the winner's errors on rows that it had not seen."""
    fitted, unseen = fits
    known, task = unseen.counts, task_of(contract)
    if not fitted.classes:
        interval = None
        if contract.training.interval is not None:
            interval = fit_interval(
                unseen.scores[known, 0], part.target[known], contract.training.interval, unseen.fold[known]
            )
        nothing = Calibration(None, "a regression has no probabilities")
        return _Model(fitted, unseen, nothing, Decided(0.5, ""), interval, replace(task, interval=interval))
    calibration = calibrate(
        unseen.margins[known],
        unseen.scores[known][:, list(fitted.present)],
        np.searchsorted(fitted.present, part.target[known]),
        unseen.fold[known],
        contract.training.calibration,
    )
    fitted = fitted.calibrated(calibration.calibrator)
    scores = unseen.answers(fitted)[known]
    decided = decide(contract, part.target[known], scores, task, calibrated=calibration.calibrator is not None)
    return _Model(fitted, unseen, calibration, decided, None, replace(task, threshold=decided.threshold))


def _describe(
    contract: Contract, version: str, seen: Split, model: _Model, found: SearchResult, held: FloatArray
) -> tuple[Manifest, dict[str, float]]:
    test, train, fitted = seen.held_out, seen.fitted_on, model.fitted
    task, metric = model.task, metric_for(contract.metric, contract.task)
    metrics = compute_all(test.target, held, task)
    importance = permutation_importance(
        contract.features, fitted, test.matrix, test.target, metric, task=task, seed=contract.training.seed
    )
    classification = contract.task == "classification"
    trivial: Any = float(np.mean(train.target))
    if classification:
        trivial = (np.bincount(train.target, minlength=task.classes) / train.rows).tolist()
    positive = contract.target.classes[task.positive] if task.binary else None
    manifest = Manifest(
        model=contract.name,
        version=version,
        task=contract.task,
        features=contract.features,
        target=contract.target.name,
        classes=contract.target.classes if classification else (),
        positive=positive,
        threshold=task.threshold,
        key=contract.key,
        metrics=metrics,
        capture_rate=contract.capture.rate,
        value_range=None if classification else (float(train.target.min()), float(train.target.max())),
        interval=model.interval,
        lineage={
            "family": found.best.family,
            "estimator": type(model.fitted.model).__name__,
            **({"recipe": contract.training.recipe} if contract.training.recipe else {}),
            "parameters": dict(found.best.parameters),
            "seed": contract.training.seed,
            "rows": {
                "train": train.rows,
                "holdout": test.rows,
                "dropped": seen.data.dropped,
                **({"left_out": seen.left_out} if seen.left_out else {}),
            },
            "split": seen.kind,
            "trivial": trivial,
            "importance": importance,
            **_choices(model),
            "libraries": {"scikit-learn": sklearn.__version__, "numpy": np.__version__},
        },
    )
    return manifest, importance


def _choices(model: _Model) -> dict[str, Any]:
    """What lineage keeps of calibration and threshold (classification)."""
    if not model.fitted.classes:
        return {}
    calibration = {k: v for k, v in model.calibration.to_dict().items() if k != "map"}
    return {"calibration": calibration, "threshold_reason": model.decided.reason}


def _artifacts(
    contract: Contract,
    manifest: Manifest,
    seen: Split,
    model: _Model,
    importance: Mapping[str, float],
    held: FloatArray,
) -> dict[str, bytes]:
    test, seed, fitted = seen.held_out, contract.training.seed, model.fitted
    judged_by = [*(f.name for f in contract.described), contract.target.name]  # no keys: they may name people
    splits = thresholds(fitted, parity.THRESHOLDS_PER_COLUMN)
    rows = parity.parity_rows(contract.features, splits, test.matrix, seed)
    answered, scores = _answered(seen, model, held)
    return {
        "model.onnx": to_onnx(fitted, test.matrix.shape[1], name=f"{contract.name}-{manifest.version}"),
        "parity.npz": parity.pack(fitted, rows),
        "golden.json": golden.pack(contract, fitted, golden.golden_table(contract, test.table, seed)),
        "holdout.npz": test.table.select(judged_by).save(),
        TRAINED_ON: trained_on(seen.fitted_on.matrix),
        "baseline.json": baseline_json(contract, manifest.version, answered, scores, importance),
    }


def _answered(seen: Split, model: _Model, held: FloatArray) -> tuple[Dataset, FloatArray]:
    """Rows with answers by models that had not seen them. Where there was time to fit a part of the rows, as large a
    part of the held-out ones, so that they are mixed as all rows are."""
    scores = np.empty((seen.data.rows, held.shape[1]))
    scores[seen.train], scores[seen.test] = model.unseen.answers(model.fitted), held
    if not seen.left_out:
        return seen.data, scores
    out = thin(seen.test, len(seen.train), len(seen.train) + seen.left_out)
    rows = np.sort(np.concatenate([seen.train, out]))
    return seen.data.take(rows), scores[rows]


def _report(
    contract: Contract,
    manifest: Manifest,
    seen: Split,
    found: SearchResult,
    *,
    importance: Mapping[str, float],
    took: float,
) -> dict[str, Any]:
    return {
        "schema": "mlops.training.v1",
        "model": manifest.model,
        "version": manifest.version,
        "metric": contract.metric,
        "best": {"name": found.best.name, "family": found.best.family, "parameters": dict(found.best.parameters)},
        "cross_validation": {"score": found.score, "folds": len(seen.folds), "split": seen.kind},
        "holdout": dict(manifest.metrics),
        "stopped": found.stopped,
        "rungs": [{"rows": rows, "folds": count} for rows, count in found.rungs],
        "leaderboard": [
            {
                "name": t.candidate.name,
                "family": t.candidate.family,
                "parameters": dict(t.candidate.parameters),
                "rung": t.rung,
                "rows": t.rows,
                "folds": t.folds,
                "score": t.score if np.isfinite(t.score) else None,
                "seconds": round(t.seconds, 3),
            }
            for t in found.leaderboard(metric_for(contract.metric, contract.task))
        ],
        "importance": dict(sorted(importance.items(), key=lambda item: -item[1])),
        "lineage": dict(manifest.lineage),
        "created_at": manifest.created_at,
        "duration_seconds": took,
    }


def _explain(contract: Contract, manifest: Manifest, seen: Split, found: SearchResult, model: _Model) -> str:
    text = (
        f"{found.best.family} chosen from {len(found.leaderboard(metric_for(contract.metric, contract.task)))} "
        f"candidates; {contract.metric} {found.score:.4g} in cross-validation, "
        f"{manifest.metrics.get(contract.metric, float('nan')):.4g} on {len(seen.test)} held-out rows"
    )
    if found.stopped:
        text += f"; the search ended early ({found.stopped})"
    if seen.left_out:
        text += f"; there was time to fit {len(seen.train)} of {len(seen.train) + seen.left_out} rows only"
    if model.calibration.calibrator is not None:
        text += f"; probabilities calibrated ({model.calibration.calibrator.kind})"
    if model.decided.threshold != 0.5:
        text += f"; '{manifest.positive}' is answered from {model.decided.threshold:.3g} on ({model.decided.reason})"
    pooled = {f.name: len(f.pooled) for f in manifest.features if f.pooled}
    if pooled:
        text += "; rare levels count as one: " + ", ".join(f"{n} of '{name}'" for name, n in pooled.items())
    if contract.task == "classification":
        counts = np.bincount(seen.fitted_on.target, minlength=len(contract.target.classes))
        never = [c for c, n in zip(contract.target.classes, counts, strict=True) if n == 0]
        if never:
            text += "; no training row has " + ", ".join(f"'{c}'" for c in never) + ", so it is never answered"
    return text


def _json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, indent=1, allow_nan=False).encode()
