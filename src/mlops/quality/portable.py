"""What estimates a version's loss on rows without a label, as a file that is read without numpy.

The quality check learns it anew from the hold-out rows each time. A release compares two versions every minute in a
function that has neither numpy nor the rows, so the evaluation writes it down once: :mod:`mlops.release.losses` reads
it.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.evaluation.metrics import metric_for
from mlops.features.columns import Columns
from mlops.manifest import Manifest
from mlops.quality.calibration import calibrate
from mlops.quality.estimate import FloatArray, Node, inputs_of, learn_loss, open_features

SCHEMA = "mlops.estimate.v1"

#: Hold-out rows that it is learned from: more make it no better, only slower.
MAX_ROWS = 20_000


def estimate_json(
    manifest: Manifest, table: Columns, actual: npt.NDArray[Any], scores: FloatArray, *, seed: int
) -> bytes:
    """``estimate.json`` of a version.

    Parameters
    ----------
    table, actual, scores : the hold-out rows, their truth, and what the version answers.
    """
    if len(actual) > MAX_ROWS:
        keep = np.sort(np.random.default_rng(seed).permutation(len(actual))[:MAX_ROWS])
        table, actual, scores = table.take(keep), actual[keep], scores[keep]
    body: dict[str, Any] = {"schema": SCHEMA, "version": manifest.version, "rows": len(actual)}
    if manifest.classes:
        found = calibrate(actual.astype(np.int64), scores, seed=seed)
        body |= {"calibration": found.name, "curves": [[curve.a, curve.b] for curve in found.curves]}
    else:
        features = open_features(manifest.features)
        inputs = inputs_of(table, scores, features)
        known = learn_loss(inputs, actual - scores[:, 0], metric_for("mae", "regression"), seed=seed)
        body |= {"features": [feature.name for feature in features], "tree": _told(known.predict)}
    return json.dumps(body, ensure_ascii=False, indent=1, allow_nan=False).encode()


def _told(node: Node) -> dict[str, Any]:
    if node.low is None or node.high is None:
        return {"mean": node.mean}
    return {
        "mean": node.mean, "column": node.column, "cut": node.cut, "low": _told(node.low), "high": _told(node.high),
    }  # fmt: skip
