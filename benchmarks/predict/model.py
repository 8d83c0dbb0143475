"""The one model that every peer serves: a forest of 100 trees behind a scaler and a one-hot encoder.

Written once, in every form that a peer needs: the model set of ours, the ONNX file alone, the scikit-learn
pipeline for joblib. Runs in the project's own environment.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from mlops.contract.model import Contract
from mlops.features.columns import Column, Columns
from mlops.features.encoding import encode, width
from mlops.features.spec import Feature
from mlops.manifest import Manifest
from mlops.training.estimator import fit_candidate
from mlops.training.export import to_onnx
from mlops.training.families import Candidate

MODEL, VERSION = "credit", "0123456789ab"
ROWS = 4000
FEATURES = (
    Feature("age", "integer", minimum=18, maximum=110),
    Feature("income", "number", minimum=0, maximum=1e7),
    Feature("debt_ratio", "number", minimum=0, maximum=100),
    Feature("open_accounts", "integer", minimum=0, maximum=200),
    Feature("late_payments", "integer", minimum=0, maximum=500),
    Feature("utilisation", "number", minimum=0, maximum=20),
    Feature("months_employed", "integer", minimum=0, maximum=800),
    Feature("amount", "number", minimum=0, maximum=1e7),
    Feature("purpose", "category", categories=("car", "education", "furniture", "holiday", "house", "other")),
    Feature("region", "category", categories=("centre", "east", "north", "south", "west")),
)


def table(rows: int, seed: int) -> tuple[Columns, np.ndarray[Any, Any]]:
    """Synthetic applicants and whether they defaulted."""
    random = np.random.default_rng(seed)
    values = {
        "age": random.integers(18, 90, rows),
        "income": random.lognormal(10, 0.6, rows).round(2),
        "debt_ratio": random.beta(2, 4, rows).round(4),
        "open_accounts": random.poisson(6, rows),
        "late_payments": random.poisson(1.2, rows),
        "utilisation": random.beta(1.5, 3, rows).round(4),
        "months_employed": random.integers(0, 400, rows),
        "amount": random.lognormal(8.5, 0.8, rows).round(2),
    }
    columns = []
    for feature in FEATURES:
        if feature.type == "category":
            codes = random.integers(0, len(feature.categories), rows).astype(np.int32)
            columns.append(Column(feature.name, "category", codes, feature.categories))
        else:
            columns.append(Column(feature.name, feature.type, values[feature.name].astype(np.float64)))
    risk = 2.5 * values["debt_ratio"] + 1.5 * values["utilisation"] + 0.5 * values["late_payments"]
    risk += columns[8].values * 0.15 + values["amount"] / 40_000 - 2.6
    return Columns(tuple(columns)), (random.random(rows) < 1 / (1 + np.exp(-2 * risk))).astype(np.int64)


def records(data: Columns) -> list[dict[str, Any]]:
    """Rows as JSON records."""
    result = []
    for row in range(data.rows):
        record: dict[str, Any] = {}
        for column in data.columns:
            value = column.values[row]
            if column.type == "category":
                record[column.name] = column.levels[value]
            else:
                record[column.name] = int(value) if column.type == "integer" else float(value)
        result.append(record)
    return result


def event(batch: list[dict[str, Any]]) -> dict[str, Any]:
    """The proxy event that API Gateway sends for ``POST /predict``."""
    return {
        "resource": "/predict",
        "path": "/predict",
        "httpMethod": "POST",
        "headers": {
            "Accept": "application/json",
            "Authorization": "Bearer " + "x" * 700,
            "Content-Type": "application/json",
            "Host": "api.example.com",
            "User-Agent": "bench/1",
            "X-Amzn-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793",
            "X-Forwarded-For": "192.0.2.7",
            "X-Forwarded-Port": "443",
            "X-Forwarded-Proto": "https",
        },
        "multiValueHeaders": {"Content-Type": ["application/json"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "a1b2c3",
            "httpMethod": "POST",
            "identity": {"sourceIp": "192.0.2.7", "userAgent": "bench/1"},
            "path": "/v1/predict",
            "protocol": "HTTP/1.1",
            "requestId": "5f1c9a3e-0000-4000-8000-000000000001",
            "requestTimeEpoch": 1763800000000,
            "resourceId": "r1",
            "resourcePath": "/predict",
            "stage": "v1",
            "authorizer": {"principal": "bench", "scopes": "predict", "models": "*"},
        },
        "body": json.dumps({"model": MODEL, "records": batch}),
        "isBase64Encoded": False,
    }


def write(folder: Path) -> None:
    """Train, export and write: ``models/`` (ours), ``model.onnx``, ``model.joblib``, ``mlflow/``, ``event-*.json``."""
    data, target = table(ROWS, 1)
    contract = Contract.from_dict(
        {
            "name": MODEL,
            "task": "classification",
            "target": {"name": "defaulted", "classes": ["no", "yes"], "positive": "yes"},
            "features": [f.to_dict() for f in FEATURES],
        }
    )
    matrix = encode(FEATURES, data)
    fitted = fit_candidate(contract, Candidate("forest-0", "forest", {"max_depth": 8}), matrix, target)
    onnx = to_onnx(fitted, width(FEATURES))
    (folder / "model.onnx").write_bytes(onnx)
    version = folder / "models" / MODEL / VERSION
    version.mkdir(parents=True, exist_ok=True)
    (version / "model.onnx").write_bytes(onnx)
    manifest = Manifest(
        model=MODEL,
        version=VERSION,
        task="classification",
        features=FEATURES,
        target="defaulted",
        classes=("no", "yes"),
        positive="yes",
        onnx_sha256=hashlib.sha256(onnx).hexdigest(),
    )
    (version / "manifest.json").write_text(json.dumps(manifest.to_dict()))
    entry = {"champion": VERSION, "challenger": None}
    body = {"schema": "mlops.model-set.v1", "models": {MODEL: entry}}
    (folder / "models" / "set.json").write_text(json.dumps(body))
    test, _ = table(100, 2)
    rows = records(test)
    for count in (1, 100):
        (folder / f"event-{count}.json").write_text(json.dumps(event(rows[:count])))
    (folder / "train.json").write_text(json.dumps({"records": records(data), "target": target.tolist()}))
