"""A stack's table, buckets and event bus on moto."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from mlops.aws.clients import client

NAMES = {
    "MLOPS_STACK": "demo",
    "MLOPS_TABLE": "registry",
    "MLOPS_DATA_BUCKET": "demo-data",
    "MLOPS_ARTIFACT_BUCKET": "demo-artifacts",
}


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    for name, value in NAMES.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        client.cache_clear()
        boto3.client("dynamodb").create_table(
            TableName="registry",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        for bucket in ("demo-data", "demo-artifacts"):
            boto3.client("s3").create_bucket(Bucket=bucket)
        role = boto3.client("iam").create_role(
            RoleName="pipeline",
            AssumeRolePolicyDocument='{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", '
            '"Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"}]}',
        )["Role"]["Arn"]
        machine = boto3.client("stepfunctions").create_state_machine(
            name="pipeline",
            definition='{"StartAt": "Train", "States": {"Train": {"Type": "Succeed"}}}',
            roleArn=role,
        )["stateMachineArn"]
        monkeypatch.setenv("MLOPS_PIPELINE_ARN", machine)
        yield {**NAMES, "MLOPS_PIPELINE_ARN": machine}
    client.cache_clear()
