"""The authorizer with its key set in a real (moto) SSM parameter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from functions.authorizer import app
from mlops.aws.clients import client
from mlops.aws.keysets import parameter_source
from mlops.security.access import UnauthorizedError
from mlops.security.issuing import create_key_pair, issue
from mlops.security.keys import KeySourceError

ARN = "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/v1/POST/predict"


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "MLOPS_JWKS_PARAMETER": "/demo/jwks",
        "MLOPS_JWT_ISSUER": "serverless-mlops",
        "MLOPS_JWT_AUDIENCE": "serverless-mlops",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    client.cache_clear()
    app.verifier.cache_clear()
    with mock_aws():
        yield boto3.client("ssm")
    client.cache_clear()
    app.verifier.cache_clear()


def request(token: str) -> dict[str, Any]:
    return {"type": "REQUEST", "methodArn": ARN, "headers": {"Authorization": f"Bearer {token}"}}


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
def test_a_token_of_the_stored_key_is_accepted_and_any_other_refused(aws: Any, algorithm: Any) -> None:
    private, key_set = create_key_pair(algorithm)
    stranger, _ = create_key_pair(algorithm)
    aws.put_parameter(Name="/demo/jwks", Value=json.dumps(key_set), Type="String")
    assert app.handler(request(issue(private, subject="user:ana")), None)["principalId"] == "user:ana"
    with pytest.raises(UnauthorizedError):
        app.handler(request(issue(stranger, subject="user:eve")), None)


def test_a_missing_parameter_is_a_fault_that_names_no_secret(aws: Any) -> None:
    with pytest.raises(KeySourceError, match="ParameterNotFound"):
        parameter_source("/demo/jwks")()
    private, _ = create_key_pair()
    with pytest.raises(KeySourceError):
        app.handler(request(issue(private, subject="user:ana")), None)


def test_the_parameter_is_read_once_for_many_tokens(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    private, key_set = create_key_pair()
    aws.put_parameter(Name="/demo/jwks", Value=json.dumps(key_set), Type="String")
    calls: list[str] = []
    ssm = client("ssm")
    real = ssm.get_parameter
    monkeypatch.setattr(ssm, "get_parameter", lambda **kwargs: calls.append(kwargs["Name"]) or real(**kwargs))
    for i in range(5):
        app.handler(request(issue(private, subject=f"user:{i}")), None)
    assert calls == ["/demo/jwks"]
