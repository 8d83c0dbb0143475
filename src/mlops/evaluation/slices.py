"""The contract's metric per slice: one row of the report for every group of every sliceable column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.evaluation.compare import metric_intervals
from mlops.evaluation.groups import groups_of, sliceable
from mlops.evaluation.metrics import Task
from mlops.features.columns import Columns

FloatArray = npt.NDArray[np.float64]

#: Groups with fewer rows have an interval too wide to say anything.
FEWEST = 30
MOST = 40


@dataclass(frozen=True, slots=True)
class Slice:
    """The contract's metric on the rows of one group, with its 95 % interval."""

    feature: str
    group: str
    rows: int
    value: float
    low: float
    high: float


def slices(
    contract: Contract, table: Columns, actual: npt.NDArray[Any], scores: FloatArray, task: Task, *, seed: int
) -> list[Slice]:
    """At most ``MOST`` slices, those of fairness rules first, then the contract's attributes, then its features. Groups
    where the metric is not defined (an AUC where one class occurs) are left out."""
    wanted = {rule.attribute: rule.edges for rule in contract.gates.fairness}
    features = [contract.feature(name) for name in wanted]
    features += [f for f in sliceable((*contract.attributes, *contract.features)) if f.name not in wanted]
    result: list[Slice] = []
    for feature in features:
        for group in groups_of(feature, table, wanted.get(feature.name, ())):
            rows = int(group.rows.sum())
            if rows < FEWEST or len(result) >= MOST:
                continue
            found = metric_intervals(
                actual[group.rows],
                scores[group.rows],
                task,
                [contract.metric],
                seed=seed,
                resamples=100,
                most_rows=2000,
            )[contract.metric]
            if np.isfinite(found.value):
                result.append(Slice(feature.name, group.name, rows, found.value, found.low, found.high))
    return result
