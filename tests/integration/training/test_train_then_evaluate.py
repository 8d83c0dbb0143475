"""The two handlers on moto's S3 and DynamoDB: what train stores is what evaluate judges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from functions.evaluate import app as evaluate_app
from functions.train import app as train_app
from mlops.aws.clients import client
from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.registry import DynamoRegistry
from mlops.contract import Contract
from mlops.errors import ConfigurationError
from mlops.objects import part_prefix
from mlops.registry.entities import DatasetVersion
from tests.unit.training import tables

CONTEXT = SimpleNamespace(aws_request_id="request", get_remaining_time_in_millis=lambda: 900_000)


def clear() -> None:
    for cached in (client, train_app.service, evaluate_app.service):
        cached.cache_clear()


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Contract]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLOPS_STACK": "mlops-test",
        "MLOPS_DATA_BUCKET": "data",
        "MLOPS_ARTIFACT_BUCKET": "artifacts",
        "MLOPS_TABLE": "table",
        "MLOPS_CODE_VERSION": "c0ffee",
    }.items():
        monkeypatch.setenv(name, value)
    clear()
    with mock_aws():
        for bucket in ("data", "artifacts"):
            boto3.client("s3").create_bucket(Bucket=bucket)
        boto3.client("dynamodb").create_table(
            TableName="table",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        contract = tables.contract("binary", tables.EVERYTHING, families=("linear", "boosting"))
        DynamoRegistry("table").put_contract(contract)
        table = tables.table("binary", contract.features)
        S3Objects("data").put(part_prefix(contract.name, "p1") + "columns.npz", table.save())
        DynamoRegistry("table").advance_dataset(DatasetVersion(contract.name, "d1", ("p1",), table.rows), None)
        yield contract
    clear()


def test_a_trained_version_is_accepted(stack: Contract) -> None:
    event: dict[str, Any] = {"model": stack.name, "run_id": "run-1", "dataset_version": "d1"}
    trained = train_app.handler(event, CONTEXT)
    assert trained["status"] == "trained"

    event = {"model": stack.name, "version": trained["version"], "run_id": "run-1"}
    judged = evaluate_app.handler(event, CONTEXT)
    assert judged["status"] == "accepted"
    json.dumps(judged, allow_nan=False)

    listed = {o.key.removeprefix(trained["prefix"]) for o in S3Objects("artifacts").list(trained["prefix"])}
    assert listed == {
        "model.onnx", "manifest.json", "baseline.json", "parity.npz", "golden.json", "holdout.npz", "training.json",
        "evaluation.json", "evaluation.html",
    }  # fmt: skip
    head = boto3.client("s3").head_object(Bucket="artifacts", Key=judged["report_key"])
    assert head["ContentType"] == "text/html; charset=utf-8"
    manifest = json.loads(S3Objects("artifacts").get(trained["prefix"] + "manifest.json"))
    assert manifest["lineage"]["code"] == "c0ffee"
    entries = list(DynamoLedger("table", "mlops-test").entries())
    assert [e.action for e in entries] == ["version.trained", "version.evaluated"]
    stages = [r.body["stage"] for r in DynamoRegistry("table").records(stack.name, "run")]
    assert set(stages) >= {"loading", "searching", "done"}


@pytest.mark.parametrize("app", [train_app, evaluate_app])
def test_a_missing_variable_is_named(app: Any, stack: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLOPS_ARTIFACT_BUCKET")
    with pytest.raises(ConfigurationError, match="MLOPS_ARTIFACT_BUCKET is not set"):
        app.service()
