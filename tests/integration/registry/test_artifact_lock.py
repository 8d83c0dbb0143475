"""What Object Lock on the artifact bucket does to housekeeping: gone for the stack, kept by the bucket."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.registry import DynamoRegistry
from mlops.objects import version_prefix
from mlops.registry import clearing
from mlops.registry.entities import ModelVersion
from tests.cloudformation import template
from tests.fakes import Clock

OLD = "2026-01-01T00:00:00+00:00"


def test_the_template_asks_for_what_this_test_makes() -> None:
    asked = template()["Resources"]["ArtifactBucket"]["Properties"]
    assert asked["ObjectLockEnabled"] == {"Fn::If": ["HasArtifactLock", True, {"Ref": "AWS::NoValue"}]}
    condition, lock, otherwise = asked["ObjectLockConfiguration"]["Fn::If"]
    assert (condition, otherwise) == ("HasArtifactLock", {"Ref": "AWS::NoValue"})
    retention = {"Mode": {"Ref": "ArtifactLockMode"}, "Days": {"Ref": "ArtifactLockDays"}}
    assert lock == {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_a_locked_file_is_gone_for_the_stack_and_kept_by_the_bucket(dynamodb: Any, mode: str) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="artifacts", ObjectLockEnabledForBucket=True)
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, "Days": 30}}}
    s3.put_object_lock_configuration(Bucket="artifacts", ObjectLockConfiguration=lock)
    artifacts, clock = S3Objects("artifacts"), Clock()
    registry, ledger = DynamoRegistry("registry", dynamodb, clock), DynamoLedger("registry", "stack", dynamodb, clock)
    key = version_prefix("iris", "a") + "model.onnx"
    for name in ("model.onnx", "manifest.json"):
        artifacts.put(version_prefix("iris", "a") + name, b"as it was judged")
    registry.put_version(ModelVersion("iris", "a", "retired", OLD, "d", "c", updated_at=OLD))

    (found,) = clearing.plan(registry, artifacts, "iris", 30, clock())
    assert (found.files, found.bytes) == (("model.onnx",), 16)
    clearing.carry_out(
        registry, ledger, artifacts, found, actor="function:housekeeping", reason="old", now=clock().isoformat()
    )
    assert not artifacts.exists(key)
    assert artifacts.exists(version_prefix("iris", "a") + "manifest.json")
    assert clearing.plan(registry, artifacts, "iris", 30, clock()) == []
    assert [e.action for e in ledger.entries()] == ["version.files_deleted"]

    (kept,) = s3.list_object_versions(Bucket="artifacts", Prefix=key)["Versions"]
    assert artifacts.get(key, version_id=kept["VersionId"]) == b"as it was judged"
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket="artifacts", Key=key, VersionId=kept["VersionId"])
    artifacts.put(key, b"forged")
    assert artifacts.get(key, version_id=kept["VersionId"]) == b"as it was judged", "a later one does not replace it"
