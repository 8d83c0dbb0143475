"""An upload of many files with the real adapters, on a simulated AWS: versions, deleted objects, and every task."""

from __future__ import annotations

import json
from typing import Any

import pytest

from functions.ingest_validate import app
from mlops.aws.ledger import DynamoLedger
from mlops.aws.registry import DynamoRegistry
from mlops.aws.sources import S3Listing
from tests.integration.data.test_ingest_on_aws import BUCKET, EVENTS, ROWS, SPOILED, aws, body_of, uploaded

__all__ = ["aws"]
PREFIX = "bulk/diabetes/2025/"


@pytest.fixture(autouse=True)
def fresh(aws: Any) -> None:
    app.bulk.cache_clear()


def put(s3: Any, name: str, body: str) -> str:
    return str(s3.put_object(Bucket=BUCKET, Key=PREFIX + name, Body=body.encode())["VersionId"])


def test_what_is_listed_is_the_latest_version_of_what_is_there(aws: Any) -> None:
    put(aws, "a.csv", "old")
    versions = {"a.csv": put(aws, "a.csv", "new"), "b.csv": put(aws, "b.csv", "b")}
    put(aws, "c.csv", "gone")
    aws.delete_object(Bucket=BUCKET, Key=PREFIX + "c.csv")
    found = list(S3Listing(BUCKET, aws).latest(PREFIX))
    assert {u.key.removeprefix(PREFIX): u.version_id for u in found} == versions
    assert [u.size for u in found] == [3, 1]
    assert len({u.id for u in found}) == 2


def test_from_prefix_to_data_set(aws: Any) -> None:
    """What the state machine does, task by task."""
    head, *lines = SPOILED.splitlines(keepends=True)
    for i in range(3):
        put(aws, f"{i}.csv", head + "".join(lines[i::3]))
    put(aws, "3.csv", ROWS)
    request = {"model": "diabetes", "prefix": PREFIX, "actor": "user:ann", "max_failed": 0.3}
    bulk = app.handler({"task": "plan", "request": request}, None)
    put(aws, "0.csv", "overwritten after it was listed")
    aws.delete_object(Bucket=BUCKET, Key=PREFIX + "1.csv")
    for line in body_of(aws, bulk["files_key"]).splitlines():
        assert app.handler({"task": "file", "bulk": bulk, "file": json.loads(line)}, None)["status"] != "rejected"
    compared = app.handler({"task": "compare", "bulk": bulk}, None)
    for line in body_of(aws, compared["groups_key"]).splitlines():
        app.handler({"task": "part", "bulk": bulk, "base": compared["base"], "group": json.loads(line)}, None)
    result = app.handler({"task": "finish", "bulk": bulk, "base": compared["base"]}, None)
    assert (result["status"], result["rows"]) == (
        "partial", {"read": 40, "accepted": 20, "quarantined": 20, "new": 20},
    )  # fmt: skip
    current = DynamoRegistry("mlops").current_dataset("diabetes")
    assert current is not None
    assert (current.version, current.parts) == (result["dataset_version"], (result["part_id"],))
    assert app.handler({"task": "finish", "bulk": bulk, "base": compared["base"]}, None) == result
    assert app.handler(uploaded(aws, ROWS), None)["status"] == "duplicate"
    entries = [e for e in DynamoLedger("mlops", "mlops-local").entries() if e.actor == "user:ann"]
    assert [(e.action, e.inputs["files"]["total"]) for e in entries] == [("upload.partial", 4)]
    assert b"<!doctype html>" in body_of(aws, result["report_key"])


@pytest.mark.parametrize(
    ("name", "status"), [("plan-nothing-there", "nothing"), ("plan-quarantine", "refused"), ("unknown-task", "invalid")]
)
def test_event_files_of_tasks_end_in_a_result(aws: Any, name: str, status: str) -> None:
    assert app.handler(json.loads((EVENTS / f"{name}.json").read_text()), None)["status"] == status
