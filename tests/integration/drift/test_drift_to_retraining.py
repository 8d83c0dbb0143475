"""Both functions through their real handlers, adapters and AWS's API shapes: drift is found, a run is started."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import numpy as np
import pytest

from functions.drift_check import app as drift_app
from functions.retrain_launcher import app as retrain_app
from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.registry import DynamoRegistry
from mlops.contract import Contract, Target
from mlops.features.columns import Column, Columns
from mlops.features.spec import Feature
from mlops.objects import capture_prefix, part_prefix, version_prefix
from mlops.registry.entities import DatasetVersion, ModelVersion
from mlops.statistics.baseline import build

MODEL, VERSION = "breast-cancer", "4be1a7c0d2f3"
FEATURES = (Feature("radius", "number"), Feature("texture", "number"))
CONTEXT = SimpleNamespace(aws_request_id="11111111-2222-3333-4444-555555555555", function_name="f")


def table(n: int, shift: float, seed: int) -> Columns:
    rng = np.random.default_rng(seed)
    return Columns(tuple(Column(f.name, "number", rng.normal(shift, 1, n)) for f in FEATURES))


@pytest.fixture
def world(stack: dict[str, str]) -> Iterator[DynamoRegistry]:
    for app in (drift_app, retrain_app):
        app.service.cache_clear()
    registry = DynamoRegistry("registry")
    contract = Contract(MODEL, "classification", Target("y", ("no", "yes"), "yes"), FEATURES)
    registry.put_contract(contract)
    registry.advance_dataset(DatasetVersion(MODEL, "d1", ("p1",), 500), None)
    registry.advance_dataset(DatasetVersion(MODEL, "d2", ("p1", "p2"), 800), "d1")
    now = datetime.now(UTC).isoformat()
    registry.put_version(ModelVersion(MODEL, VERSION, "champion", now, "d1", contract.digest()))
    baseline = build(FEATURES, table(500, 0.0, 1)).labelled(MODEL, VERSION)
    S3Objects("demo-artifacts").put(
        version_prefix(MODEL, VERSION) + "baseline.json", json.dumps(baseline.to_dict()).encode()
    )
    yield registry
    for app in (drift_app, retrain_app):
        app.service.cache_clear()


def put_traffic(shift: float) -> None:
    moment = datetime.now(UTC) - timedelta(minutes=90)
    data = table(300, shift, 2)
    rows = [
        {"id": f"i{i}", "entity": None, "features": {n: float(data[n].values[i]) for n in data.names},
         "answered": "champion", "champion": [0.5, 0.5], "challenger": None}
        for i in range(data.rows)
    ]  # fmt: skip
    line = {"kind": "mlops.capture.v1", "model": MODEL, "time": moment.isoformat(), "request_id": "r", "step": None,
            "release": None, "rows": rows, "champion": {"version": VERSION, "us": 40, "error": None},
            "challenger": None}  # fmt: skip
    key = f"{capture_prefix(MODEL, moment.strftime('%Y-%m-%d'), moment.strftime('%H'))}a.jsonl.gz"
    S3Objects("demo-data").put(key, json.dumps(line).encode())


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """The event as EventBridge hands it on."""
    return {"id": "e1", "source": "mlops", "detail-type": "DriftChecked", "detail": {**answer, "stack": "demo"}}


def test_shifted_traffic_ends_in_one_retraining(world: DynamoRegistry, stack: dict[str, str]) -> None:
    put_traffic(shift=2.0)
    (answer,) = drift_app.handler({"task": "window"}, CONTEXT)["results"]
    assert (answer["status"], answer["confirmed"], answer["rows"]) == ("drift", True, 300)
    page = boto3.client("s3").get_object(Bucket="demo-data", Key=answer["report_key"])
    assert page["ContentType"] == "text/html; charset=utf-8"

    decisions = [retrain_app.handler(checked(answer), CONTEXT) for _ in range(2)]
    assert decisions[0]["launch"]
    assert decisions[0]["reason"] == "drift"
    assert decisions[1]["run_id"] == decisions[0]["run_id"]
    machine = boto3.client("stepfunctions")
    (execution,) = machine.list_executions(stateMachineArn=stack["MLOPS_PIPELINE_ARN"])["executions"]
    assert execution["name"] == decisions[0]["run_id"]
    payload = json.loads(machine.describe_execution(executionArn=execution["executionArn"])["input"])
    assert (payload["kind"], payload["model"], payload["run_id"]) == ("retrain", MODEL, execution["name"])
    assert world.holder(MODEL, "train") == execution["name"]
    assert [e.action for e in DynamoLedger("registry", "demo").entries()] == ["drift.checked", "retrain.decided"]


def test_quiet_traffic_starts_nothing(world: DynamoRegistry, stack: dict[str, str]) -> None:
    put_traffic(shift=0.0)
    (answer,) = drift_app.handler({"task": "window", "model": MODEL}, CONTEXT)["results"]
    assert answer["status"] == "ok"
    assert retrain_app.handler({"task": "sweep"}, CONTEXT)["results"] == []
    executions = boto3.client("stepfunctions").list_executions(stateMachineArn=stack["MLOPS_PIPELINE_ARN"])
    assert executions["executions"] == []


def test_an_upload_is_checked_and_decided_on(world: DynamoRegistry) -> None:
    S3Objects("demo-data").put(part_prefix(MODEL, "p2") + "columns.npz", table(300, 2.0, 5).save())
    drift = drift_app.handler({"task": "dataset", "model": MODEL, "part_id": "p2"}, CONTEXT)
    assert drift["status"] == "drift"
    request = {"task": "decide", "model": MODEL, "reason": "upload", "run_id": "up-1", "dataset_version": "d2",
               "new_rows": 300, "drift": json.loads(json.dumps(drift))}  # fmt: skip
    decision = retrain_app.handler(request, CONTEXT)
    assert (decision["launch"], decision["where"]) == (True, "lambda")
    assert retrain_app.handler(request, CONTEXT)["run_id"] == "up-1"
