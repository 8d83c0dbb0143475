"""drift-check: count the window on the stored baseline, and decide."""

from mlops.contract import Drift
from mlops.drift.decision import decide
from mlops.features.columns import Column, Columns
from mlops.features.spec import Feature
from mlops.statistics.baseline import accumulate, build

_stored = []


def columns(table):
    return Columns(tuple(Column(f"c{i}", "number", column) for i, column in enumerate(table.T)))


def ready(reference):
    features = [Feature(f"c{i}", "number") for i in range(reference.shape[1])]
    _stored[:] = [build(features, columns(reference[:100_000]), pairs=True)]


def compare(reference, window):
    verdict = decide(_stored[0], accumulate(_stored[0], columns(window)), Drift())
    return {"(multivariate)" if f.role == "relation" else f.feature for f in verdict.drifted}
