"""The baseline of a version: what its features, its target and its answers looked like when it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.drift.learning import learn
from mlops.statistics.baseline import build
from mlops.training.dataset import Dataset

FloatArray = npt.NDArray[np.float64]


def baseline_json(
    contract: Contract, version: str, data: Dataset, scores: FloatArray, importance: Mapping[str, float]
) -> bytes:
    """``baseline.json`` of a version over all its rows, with what their times tell where there are any."""
    baseline = build(
        contract.features,
        data.table,
        predictions=scores,
        target=data.table[contract.target.name],
        classes=contract.target.classes if contract.task == "classification" else (),
        importance=importance,
        pairs=True,
    )
    timed = contract.timestamp is not None and data.order is not None and data.table[contract.timestamp].type == "date"
    if timed and data.order is not None:
        baseline = learn(
            baseline,
            data.table,
            data.order,
            scores,
            window_days=contract.drift.window_hours / 24,
            min_rows=contract.drift.min_rows,
        )
    return json.dumps(baseline.labelled(contract.name, version).to_dict(), ensure_ascii=False).encode()
