"""ingest_validate and intake with their real adapters, on a simulated AWS: S3 versions, DynamoDB conditions, events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from functions.ingest_validate import app as ingest_app
from functions.intake import app as intake_app
from mlops.aws import clients
from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.registry import DynamoRegistry
from mlops.contract.source import load
from mlops.data.intake import upload_id

ROOT = Path(__file__).parents[3]
EVENTS = ROOT / "events" / "ingest_validate"
BUCKET = "mlops-local-data"
CONTRACT = load(ROOT / "models" / "diabetes.yaml")
ROWS = "patient_id,age,sex,bmi,bp,s1,s2,s3,s4,s5,s6,progression\n" + "".join(
    f"P{i},{30 + i},{i % 2 + 1},{20 + i}.5,90,180,110.2,45,4,4.5,90,{100 + i}\n" for i in range(20)
)
SPOILED = ROWS.replace("P3,33", "P3,nine").replace("P5,35,2", "P5,35,7")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("MLOPS_STACK", "mlops-local")
    monkeypatch.setenv("MLOPS_DATA_BUCKET", BUCKET)
    monkeypatch.setenv("MLOPS_TABLE", "mlops")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        clients.client.cache_clear()
        ingest_app.service.cache_clear()
        intake_app.pipeline.cache_clear()
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        boto3.client("dynamodb").create_table(
            TableName="mlops",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        DynamoRegistry("mlops").put_contract(CONTRACT)
        yield s3
    clients.client.cache_clear()
    ingest_app.service.cache_clear()
    intake_app.pipeline.cache_clear()


def uploaded(s3: Any, body: str, key: str = "incoming/diabetes/rows.csv") -> dict[str, Any]:
    put = s3.put_object(Bucket=BUCKET, Key=key, Body=body.encode())
    identity = upload_id(BUCKET, key, put["VersionId"], "")
    upload = {"id": identity, "bucket": BUCKET, "key": key, "version_id": put["VersionId"], "size": len(body)}
    return {"model": "diabetes", "upload": upload}


def body_of(s3: Any, key: str) -> bytes:
    body: bytes = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return body


def test_an_upload_from_bucket_to_data_set(aws: Any) -> None:
    result = ingest_app.handler(uploaded(aws, SPOILED), None)
    assert (result["status"], result["rows"]) == ("partial", {"read": 20, "accepted": 18, "quarantined": 2, "new": 18})
    current = DynamoRegistry("mlops").current_dataset("diabetes")
    assert current is not None
    assert (current.version, current.rows) == (result["dataset_version"], 18)
    lines = body_of(aws, f"quarantine/diabetes/{result['upload_id']}/rows.jsonl").splitlines()
    assert [json.loads(line)["reasons"][0]["code"] for line in lines] == ["wrong_type", "unknown_category"]
    assert b"<!doctype html>" in body_of(aws, result["report_key"])
    assert json.loads(json.dumps(result)) == result


def test_deliveries_twice_have_one_effect(aws: Any) -> None:
    request = uploaded(aws, ROWS)
    first = ingest_app.handler(request, None)
    assert ingest_app.handler(request, None) == first
    entries = list(DynamoLedger("mlops", "mlops-local").entries())
    assert [e.action for e in entries] == ["upload.accepted"]
    assert len(DynamoRegistry("mlops").records("diabetes", "upload")) == 1


def test_the_version_that_the_event_named_is_read(aws: Any) -> None:
    request = uploaded(aws, ROWS)
    uploaded(aws, "something else")
    aws.delete_object(Bucket=BUCKET, Key="incoming/diabetes/rows.csv")
    assert ingest_app.handler(request, None)["status"] == "accepted"


def test_a_rejected_file_is_copied_as_it_is(aws: Any) -> None:
    result = ingest_app.handler(uploaded(aws, "not a table"), None)
    assert (result["status"], result["reasons"][0]["code"]) == ("rejected", "not_a_table")
    assert body_of(aws, f"quarantine/diabetes/{result['upload_id']}/file") == b"not a table"


UPLOADS = [p for p in sorted(EVENTS.glob("*.json")) if "task" not in json.loads(p.read_text())]


@pytest.mark.parametrize("path", UPLOADS, ids=lambda p: p.stem)
def test_every_event_file_ends_in_a_result(aws: Any, path: Path) -> None:
    event = json.loads(path.read_text())
    if event["model"] == "diabetes":
        aws.put_object(Bucket=BUCKET, Key=event["upload"]["key"], Body=ROWS.encode())
    result = ingest_app.handler(event, None)
    codes = [reason["code"] for reason in result["reasons"]]
    expected = {"upload": [], "unknown-model": ["no_contract"], "no-model": ["no_model"]}[path.stem]
    assert (result["status"], codes) == ("rejected" if expected else "accepted", expected)


def test_intake_starts_one_execution(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = boto3.client("stepfunctions").create_state_machine(
        name="pipeline",
        definition=json.dumps({"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}),
        roleArn="arn:aws:iam::123456789012:role/pipeline",
    )["stateMachineArn"]
    monkeypatch.setenv("MLOPS_PIPELINE_ARN", machine)
    event = json.loads((ROOT / "events" / "intake" / "object-created.json").read_text())
    assert intake_app.handler(event, None)["status"] == "started"
    intake_app.handler(event, None)
    executions = boto3.client("stepfunctions").list_executions(stateMachineArn=machine)["executions"]
    assert [e["name"] for e in executions] == [
        f"up-{upload_id(BUCKET, event['detail']['object']['key'], event['detail']['object']['version-id'], '')}"
    ]


def test_large_files_are_sent_in_parts(aws: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.aws.objects._ONE_REQUEST", 10)
    store, path = S3Objects(BUCKET), tmp_path / "file"
    path.write_bytes(b"more than ten bytes")
    assert store.upload(str(path), "datasets/x", if_absent=True)
    path.write_bytes(b"others, also more than ten")
    assert not store.upload(str(path), "datasets/x", if_absent=True)
    assert store.get("datasets/x") == b"more than ten bytes"
    assert store.upload(str(path), "datasets/x")
    assert store.get("datasets/x") == b"others, also more than ten"


def test_many_objects_are_deleted_at_once_and_those_that_are_gone_are_no_fault(aws: Any) -> None:
    objects = S3Objects(BUCKET)
    keys = [f"captures/m/{i:04}" for i in range(5)]
    for key in [*keys, "captures/m/kept"]:
        objects.put(key, b"x")
    objects.delete_many([*keys, *(f"captures/never/{i}" for i in range(1200))])
    objects.delete_many(keys)
    assert [info.key for info in objects.list("captures/")] == ["captures/m/kept"]
