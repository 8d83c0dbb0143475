"""NannyML's estimates of one window of rows, as JSON on standard output. Runs in an environment of its own."""

from __future__ import annotations

import contextlib
import io
import json
import sys

import numpy as np
import pandas as pd

with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    import nannyml

    random = np.random.default_rng(11)

    def rows(n: int, shift: float) -> pd.DataFrame:
        """Rows whose probabilities are true: the label is drawn from them."""
        logit = random.normal(shift, 1.5, n)
        probability = np.round(1 / (1 + np.exp(-logit)), 6)
        return pd.DataFrame(
            {
                "y_pred_proba": probability,
                "y_pred": (probability >= 0.5).astype(int),
                "y_true": (random.random(n) < probability).astype(int),
            }
        )

    reference, window = rows(6000, -0.5), rows(400, 0.5)
    estimator = nannyml.CBPE(
        y_pred_proba="y_pred_proba",
        y_pred="y_pred",
        y_true="y_true",
        problem_type="classification_binary",
        metrics=["roc_auc", "f1", "accuracy", "average_precision"],
        chunk_size=400,
    )
    estimator.fit(reference)
    # The reference's probabilities are true, so no correction is needed: the formula alone is compared.
    estimator.needs_calibration = False
    found = estimator.estimate(window.drop(columns="y_true")).filter(period="analysis").to_df()

names = {"roc_auc": "roc_auc", "f1": "f1", "accuracy": "accuracy", "average_precision": "pr_auc"}
json.dump(
    {
        "nannyml": nannyml.__version__,
        "estimated": {ours: round(float(found[theirs]["value"].iloc[0]), 6) for theirs, ours in names.items()},
        "y_pred_proba": window["y_pred_proba"].tolist(),
    },
    sys.stdout,
)
