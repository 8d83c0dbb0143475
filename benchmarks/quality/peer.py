"""NannyML's estimates for windows of a classification and of a regression, as JSON on standard output.

Runs in an environment of its own.
"""

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

    def measured(n: int, shift: float) -> pd.DataFrame:
        """A regression whose errors grow with one feature, and fall a little with another."""
        a, b, noise = random.normal(shift, 1, n), random.normal(0, 1, n), random.normal(0, 1, n)
        predicted = 3 * a + random.normal(0, 1, n)
        return pd.DataFrame(
            {"a": a, "b": b, "y_pred": predicted, "y_true": predicted + noise * np.exp(0.6 * a - 0.2 * b)}
        )

    shifts = [0.0, 0.5, 1.0, -1.0]
    held_out, windows = measured(4000, 0.0), [measured(2000, shift) for shift in shifts]
    learner = nannyml.DLE(
        feature_column_names=["a", "b"], y_pred="y_pred", y_true="y_true", metrics=["mae", "rmse"], chunk_size=2000
    )
    learner.fit(held_out)
    errors = learner.estimate(pd.concat(windows, ignore_index=True).drop(columns="y_true"))
    errors = errors.filter(period="analysis").to_df()

names = {"roc_auc": "roc_auc", "f1": "f1", "accuracy": "accuracy", "average_precision": "pr_auc"}
json.dump(
    {
        "nannyml": nannyml.__version__,
        "estimated": {ours: round(float(found[theirs]["value"].iloc[0]), 6) for theirs, ours in names.items()},
        "y_pred_proba": window["y_pred_proba"].tolist(),
        "y_true": window["y_true"].tolist(),
        "regression": {
            "shifts": shifts,
            "estimated": {m: [round(float(v), 6) for v in errors[m]["value"]] for m in ("mae", "rmse")},
            "held_out": held_out.to_dict("list"),
            "windows": [w.to_dict("list") for w in windows],
        },
    },
    sys.stdout,
)
