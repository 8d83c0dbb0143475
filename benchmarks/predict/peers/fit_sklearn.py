"""Fit the scikit-learn twin of the model, in the peer's own environment: joblib always, mlflow where it is."""

import json
import os
import shutil
import sys
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

folder = Path(os.environ["BENCH_MODEL"])
data = json.loads((folder / "train.json").read_text())
frame = pd.DataFrame(data["records"])
texts = ["purpose", "region"]
numbers = [name for name in frame.columns if name not in texts]
design = ColumnTransformer([("number", StandardScaler(), numbers), ("text", OneHotEncoder(), texts)])
forest = RandomForestClassifier(n_estimators=100, max_depth=8, random_state=0, n_jobs=1)
pipeline = Pipeline([("design", design), ("model", forest)])
pipeline.fit(frame, ["yes" if t else "no" for t in data["target"]])
if sys.argv[1] == "mlflow":
    import mlflow.sklearn

    shutil.rmtree(folder / "mlflow", ignore_errors=True)
    # mlflow refuses to load trees of unknown origin; these were grown by the lines above
    trusted = ["sklearn.tree._tree.Tree"]
    mlflow.sklearn.save_model(
        pipeline, folder / "mlflow", pyfunc_predict_fn="predict_proba", skops_trusted_types=trusted
    )
else:
    joblib.dump(pipeline, folder / "model.joblib")
