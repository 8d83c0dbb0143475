"""One peer on one table: fits on train.csv, answers test.csv. Run by benchmarks/training/environments.py."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

#: HistGradientBoosting takes categories of at most 255 levels.
MAX_LEVELS = 254


def boosting(table, kinds, task):
    """scikit-learn's histogram gradient boosting as it comes, with its own handling of categories."""
    few = [n for n in kinds["category"] if table[n].nunique() <= MAX_LEVELS]
    many = [n for n in kinds["category"] if n not in few]
    encode = ColumnTransformer(
        [
            ("few", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan), few),
            ("many", OrdinalEncoder(
                handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=MAX_LEVELS), many),
        ],
        remainder="passthrough", verbose_feature_names_out=False,
    )  # fmt: skip
    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    return make_pipeline(encode, kind(categorical_features=list(range(len(few) + len(many))), random_state=7))


def linear(table, kinds, task):
    """The textbook's pipeline: medians, scaling, one-hot with rare levels pooled."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    levels = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=10)
    encode = ColumnTransformer([("n", numbers, kinds["number"]), ("c", levels, kinds["category"])])
    return make_pipeline(encode, Ridge() if task == "regression" else LogisticRegression(max_iter=1000))


def main(name: str, folder: Path, budget: float) -> None:
    told = json.loads((folder / "table.json").read_text())
    kinds, task, target = told["kinds"], told["task"], told["target"]
    text = dict.fromkeys((*kinds["category"], *([] if task == "regression" else [target])), "string")
    train, test = (
        pd.read_csv(folder / f"{p}.csv", dtype=text, keep_default_na=False, na_values=[""]) for p in ("train", "test")
    )
    for part in (train, test):
        part[kinds["category"]] = (
            part[kinds["category"]].astype(object).where(part[kinds["category"]].notna(), "(missing)")
        )
    features, actual = train.drop(columns=target), train[target].to_numpy()
    started = time.monotonic()
    if name == "flaml":
        from flaml import AutoML  # noqa: PLC0415 - only in its own process

        seen = {n: features[n].unique() for n in kinds["category"]}
        features = features.astype({n: pd.CategoricalDtype(seen[n]) for n in seen})
        test = test.astype({n: pd.CategoricalDtype(seen[n]) for n in seen})
        model = AutoML()
        metric = "rmse" if task == "regression" else told["metric"]
        model.fit(
            features, actual, task="regression" if task == "regression" else "classification", metric=metric,
            time_budget=budget, n_jobs=1, seed=7, verbose=0,
        )  # fmt: skip
    else:
        model = {"boosting": boosting, "linear": linear}[name](features, kinds, task)
        model.fit(features, actual)
    seconds = time.monotonic() - started
    rows = test.drop(columns=target)
    if task == "regression":
        scores = np.asarray(model.predict(rows), dtype=np.float64).reshape(-1, 1)
    else:
        found = np.asarray(model.predict_proba(rows))
        order = [str(c) for c in model.classes_]
        scores = found[:, [order.index(c) for c in told["classes"]]]
    best = str(getattr(model, "best_estimator", ""))
    np.savez(folder / f"{name}.npz", scores=scores, seconds=seconds, best=best)


main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
