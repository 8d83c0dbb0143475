"""The baseline of a version: what its features, its target and its answers looked like when it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.statistics.baseline import build
from mlops.training.dataset import Dataset
from mlops.training.estimator import Fitted, fit_candidate
from mlops.training.split import Index

FloatArray = npt.NDArray[np.float64]


def honest_scores(
    contract: Contract,
    fitted: Fitted,
    data: Dataset,
    train: Index,
    folds: Sequence[tuple[Index, Index]],
) -> FloatArray:
    """Scores of every row of ``data`` by a model that has not seen the row: hold-out rows by ``fitted``, rows
    of ``train`` by a refit on the other folds. (A forest's answers on its own training rows are far too sure;
    live traffic would look drifted beside them.) Rows that no fold tests, the oldest of a time split, get the
    answers of the first fold's model.

    Returns
    -------
    float64, shape (rows, classes) or (rows, 1).
    """
    scores = fitted.scores(data.matrix)
    part = data.take(train)
    covered = np.zeros(part.rows, dtype=bool)
    for seen, unseen in folds:
        model = fit_candidate(contract, fitted.candidate, part.matrix[seen], part.target[seen])
        scores[train[unseen]] = model.scores(part.matrix[unseen])
        covered[unseen] = True
        if seen is folds[0][0] and not covered.all():
            rest = np.flatnonzero(~covered)
            scores[train[rest]] = model.scores(part.matrix[rest])
    return scores


def baseline_json(
    contract: Contract, version: str, data: Dataset, scores: FloatArray, importance: Mapping[str, float]
) -> bytes:
    """``baseline.json`` of a version over all its rows."""
    baseline = build(
        contract.features,
        data.table,
        predictions=scores,
        target=data.table[contract.target.name],
        classes=contract.target.classes if contract.task == "classification" else (),
        importance=importance,
        pairs=True,
    )
    return json.dumps(baseline.labelled(contract.name, version).to_dict(), ensure_ascii=False).encode()
