"""The authorizer with its key set in a real (moto) SSM parameter."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import jwt
import pytest
from jwt.utils import base64url_encode
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


@pytest.fixture
def once(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stack that accepts every token once: its table, and a private key whose public half is stored."""
    monkeypatch.setenv("MLOPS_JWT_REQUIRE_JTI", "true")
    monkeypatch.setenv("MLOPS_TABLE", "demo")
    private, key_set = create_key_pair()
    aws.put_parameter(Name="/demo/jwks", Value=json.dumps(key_set), Type="String")
    dynamodb = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName="demo",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )
    return private, dynamodb


def test_a_token_is_good_once_where_that_is_demanded(once: Any, capsys: pytest.CaptureFixture[str]) -> None:
    private, dynamodb = once
    token = issue(private, subject="user:ana", lifetime=600)
    assert app.handler(request(token), None)["principalId"] == "user:ana"
    app.verifier.cache_clear()  # another process knows of it as well
    with pytest.raises(UnauthorizedError):
        app.handler(request(token), None)
    assert json.loads(capsys.readouterr().out)["code"] == "replayed"
    assert app.handler(request(issue(private, subject="user:ana")), None)["principalId"] == "user:ana"
    items = dynamodb.scan(TableName="demo")["Items"]
    assert len(items) == 2
    assert all(item["pk"]["S"].startswith("TOKEN#") for item in items)  # what the role may write
    soonest = min(int(item["expires"]["N"]) for item in items)
    assert 600 < soonest - time.time() <= 600 + 30  # as long as the token itself, and the skew that is forgiven
    assert token not in json.dumps(items)


def test_of_many_at_once_one_is_the_first(once: Any) -> None:
    private, _ = once
    token = issue(private, subject="user:ana")

    def use(_: int) -> bool:
        try:
            app.handler(request(token), None)
        except UnauthorizedError:
            return False
        return True

    app.handler(request(issue(private, subject="user:ben")), None)  # the keys are had once, before
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, range(24))) == 1


def test_a_refused_token_uses_up_nothing(once: Any) -> None:
    private, dynamodb = once
    stranger, _ = create_key_pair()
    for token in (issue(stranger, subject="user:eve"), issue(private, subject="user:ana", lifetime=60, now=1_000_000)):
        with pytest.raises(UnauthorizedError):
            app.handler(request(token), None)
    assert dynamodb.scan(TableName="demo")["Items"] == []


def test_shared_secrets_are_kept_encrypted(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "0123456789abcdef0123456789abcdef"
    key_set = {"keys": [{"kty": "oct", "kid": "s", "k": base64url_encode(secret.encode()).decode(), "alg": "HS256"}]}
    aws.put_parameter(Name="/demo/jwks", Value=json.dumps(key_set), Type="SecureString")
    now = int(time.time())
    claims = {"iss": "serverless-mlops", "aud": "serverless-mlops", "sub": "ci", "iat": now, "exp": now + 60}
    token = jwt.encode({**claims, "scope": "predict"}, secret, algorithm="HS256", headers={"kid": "s"})
    with pytest.raises(UnauthorizedError):
        app.handler(request(token), None)
    monkeypatch.setenv("MLOPS_JWT_ALGORITHMS", "HS256")
    app.verifier.cache_clear()
    assert app.handler(request(token), None)["principalId"] == "ci"
