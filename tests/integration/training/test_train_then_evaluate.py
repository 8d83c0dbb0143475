"""The two handlers on moto's S3 and DynamoDB: what train stores is what evaluate judges."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from functions.evaluate import app as evaluate_app
from functions.quality_check import app as quality_app
from functions.train import app as train_app
from mlops.aws.clients import client
from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.registry import DynamoRegistry
from mlops.contract import Contract
from mlops.errors import ConfigurationError
from mlops.objects import capture_prefix, label_prefix, part_prefix
from mlops.registry import comparing
from mlops.registry.entities import DatasetVersion, ModelVersion
from tests.unit.training import tables

CONTEXT = SimpleNamespace(aws_request_id="request", get_remaining_time_in_millis=lambda: 900_000)


def clear() -> None:
    for cached in (client, train_app.service, evaluate_app.service, quality_app.service):
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
        "MLOPS_PSEUDONYM_KEY": "0" * 32,
        "MLOPS_CAPTURE_DAYS": "90",
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
        "model.onnx", "manifest.json", "baseline.json", "parity.npz", "golden.json", "holdout.npz", "trained_on.npy",
        "training.json", "evaluation.json", "evaluation.html", "estimate.json", "model_card.json", "model_card.html",
    }  # fmt: skip
    head = boto3.client("s3").head_object(Bucket="artifacts", Key=judged["report_key"])
    assert head["ContentType"] == "text/html; charset=utf-8"
    manifest = json.loads(S3Objects("artifacts").get(trained["prefix"] + "manifest.json"))
    assert manifest["lineage"]["code"] == "c0ffee"
    entries = list(DynamoLedger("table", "mlops-test").entries())
    assert [e.action for e in entries] == ["version.trained", "version.evaluated"]
    stages = [r.body["stage"] for r in DynamoRegistry("table").records(stack.name, "run")]
    assert set(stages) >= {"loading", "searching", "done"}


def test_what_became_true_of_live_predictions_judges_the_next_version(stack: Contract) -> None:
    """Captures and labels, joined by quality_check, are the rows on which evaluate compares champion and candidate."""
    contract = tables.contract("binary", tables.NUMBERS, families=("linear",))
    registry, data = DynamoRegistry("table"), S3Objects("data")
    registry.put_contract(contract)
    versions = []
    for seed, dataset in enumerate(("d1", "d2")):
        data.put(
            part_prefix(stack.name, dataset) + "columns.npz", tables.table("binary", tables.NUMBERS, 240, seed).save()
        )
        known = registry.current_dataset(stack.name)
        registry.advance_dataset(DatasetVersion(stack.name, dataset, (dataset,), 240), known.version if known else None)
        event = {"model": stack.name, "run_id": f"run-{dataset}", "dataset_version": dataset}
        versions.append(train_app.handler(event, CONTEXT)["version"])
    champion, candidate = versions
    registry.put_version(ModelVersion(stack.name, champion, "candidate", "t", "d1", "c"))
    registry.promote(stack.name, champion, None, "the first")

    live, when = tables.table("binary", tables.NUMBERS, 120, seed=7), datetime.now(UTC) - timedelta(hours=1)
    rows = [
        {"id": f"id-{i}", "entity": None, "features": {"a": a, "b": b}, "answered": "champion", "champion": [0.5, 0.5]}
        for i, (a, b) in enumerate(zip(live["a"].values.tolist(), live["b"].values.tolist(), strict=True))
    ]
    line = {
        "kind": "mlops.capture.v1", "model": stack.name, "time": when.isoformat(), "request_id": "r", "rows": rows,
        "champion": {"version": champion, "us": 1, "error": None},
    }  # fmt: skip
    key = capture_prefix(stack.name, f"{when:%Y-%m-%d}", f"{when:%H}") + "one.jsonl.gz"
    data.put(key, gzip.compress(json.dumps(line).encode()))
    truth = [live["y"].levels[code] for code in live["y"].values]
    labels = (json.dumps({"inference_id": f"id-{i}", "y": y}) for i, y in enumerate(truth))
    data.put(label_prefix(stack.name) + "labels.jsonl", "\n".join(labels).encode())
    (found,) = quality_app.handler({"task": "check", "model": stack.name}, CONTEXT)["results"]
    assert found["labelled"] == 120

    event = {"model": stack.name, "version": candidate, "run_id": "run-d2"}
    judged = evaluate_app.handler(event, CONTEXT)
    (check,) = [c for c in judged["checks"] if c["name"] == "no_worse_on_recent_traffic"]
    assert "on 120 recent predictions whose truth is known" in check["message"]
    assert check["value"] is not None

    registry.put_version(
        ModelVersion(stack.name, candidate, "challenger", "t", "d2", "c", judged["metrics"], parent_version=champion)
    )
    artifacts = S3Objects("artifacts")
    sides = [comparing.read(artifacts, registry.version(stack.name, v)) for v in versions]  # type: ignore[arg-type]
    seen = comparing.compare(*sides)
    assert seen.paired is not None
    assert (seen.paired["of"], seen.paired["over"]) == (candidate, champion)
    (auc,) = [m for m in seen.metrics if m.name == "roc_auc"]
    assert auc.second_interval is not None
    assert auc.second is not None
    assert auc.second_interval[0] <= auc.second <= auc.second_interval[1]
    assert {s.column for s in seen.data} == {"a", "b", "y"}
    assert [note for note in seen.notes if champion in note] == [
        f"{champion} has no evaluation.json: its metrics have no intervals"
    ]
    same = comparing.compare(sides[1], sides[1])
    assert {m.difference for m in same.metrics} == {0.0}
    assert {s.moved for s in same.data} == {0.0}
    assert same.features == ()
    assert all(p.same for p in (*same.lineage, *same.parameters, *same.serving))
    json.dumps(seen.to_dict(), allow_nan=False)


@pytest.mark.parametrize("app", [train_app, evaluate_app])
def test_a_missing_variable_is_named(app: Any, stack: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLOPS_ARTIFACT_BUCKET")
    with pytest.raises(ConfigurationError, match="MLOPS_ARTIFACT_BUCKET is not set"):
        app.service()
