"""Runs in shap's environment: explains a pickled estimator and prints values, base and time as JSON."""

import json
import pickle
import sys
import time
from pathlib import Path

import numpy as np
import shap

model, design, rows, repeats = pickle.loads(Path(sys.argv[1]).read_bytes())
if hasattr(model, "coef_"):
    explainer = shap.LinearExplainer(model, shap.maskers.Independent(design, max_samples=len(design)))
else:
    explainer = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
values = np.asarray(explainer.shap_values(design[:rows]))
times = []
for _ in range(repeats):
    started = time.process_time()
    explainer.shap_values(design[:rows])
    times.append((time.process_time() - started) * 1e3 / rows)
if values.ndim == 2:
    values = values[:, :, None]
answer = {
    "version": shap.__version__,
    "values": values.tolist(),
    "base": np.atleast_1d(explainer.expected_value).tolist(),
    "milliseconds": float(np.median(times)),
}
print(json.dumps(answer))
