"""The baseline of a version: what its features, its target and its answers looked like when it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.statistics.baseline import build
from mlops.training.dataset import Dataset

FloatArray = npt.NDArray[np.float64]


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
