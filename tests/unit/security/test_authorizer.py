"""The authorizer: from a REQUEST event to a policy or "Unauthorized"."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from functions.authorizer import app
from mlops.errors import ConfigurationError
from mlops.security.access import ROUTES, UnauthorizedError, bearer_token, policy
from mlops.security.issuing import create_key_pair, issue
from mlops.security.keys import KeyRing, KeySourceError
from mlops.security.tokens import SCOPES, Principal, Rules, Verifier
from mlops.settings import TokenSettings

PRIVATE, KEY_SET = create_key_pair()
ARN = "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/v1/POST/predict"
STAGE = "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/v1"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = Rules("serverless-mlops", "serverless-mlops")
    checker = Verifier(rules, KeyRing(lambda: json.dumps(KEY_SET)))
    monkeypatch.setattr(app, "verifier", lambda: checker)


def request(token: str | None, **changes: Any) -> dict[str, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    event = {"type": "REQUEST", "methodArn": ARN, "headers": headers, "requestContext": {"requestId": "r-1"}}
    return {**event, **changes}


def matches(answer: dict[str, Any], method: str, path: str, stage: str = STAGE) -> bool:
    """What API Gateway would decide, by its own matching of wildcards."""
    (statement,) = answer["policyDocument"]["Statement"]
    target = f"{stage}/{method}/{path}"
    patterns = ["^" + re.escape(r).replace(r"\*", ".*") + "$" for r in statement["Resource"]]
    return statement["Effect"] == "Allow" and any(re.match(p, target) for p in patterns)


def allowed(scopes: list[str], method: str, path: str) -> bool:
    answer = app.handler(request(issue(PRIVATE, subject="user:ana", scopes=scopes)), None)
    return matches(answer, method, path)


def test_a_good_token_gives_a_policy_and_who_it_is() -> None:
    token = issue(PRIVATE, subject="user:ana", scopes=["predict", "audit:read"], models=["tumour", "price"])
    answer = app.handler(request(token), None)
    assert answer["principalId"] == "user:ana"
    assert answer["context"] == {"principal": "user:ana", "scopes": "audit:read predict", "models": "price tumour"}
    assert all(isinstance(v, str) for v in answer["context"].values())


@pytest.mark.parametrize(
    ("scopes", "method", "path", "expected"),
    [
        (["predict"], "POST", "predict", True),
        (["predict"], "POST", "v2/models/tumour/infer", True),
        (["predict"], "POST", "v2/models/tumour/versions/1/infer", True),
        (["predict"], "GET", "v2/models/tumour", True),
        (["predict"], "GET", "openapi.json", True),
        (["predict"], "GET", "ledger", False),
        (["predict"], "POST", "models/tumour/release", False),
        (["predict"], "DELETE", "predict", False),
        (["models:read"], "POST", "predict", False),
        (["models:read"], "POST", "v2/models/tumour/infer", False),
        (["models:read"], "GET", "v2", True),
        (["models:read"], "POST", "v2/repository/index", True),
        (["models:write"], "POST", "models/tumour/release", True),
        (["models:write"], "POST", "predict", False),
        (["audit:read"], "GET", "ledger", True),
        (["audit:read"], "GET", "v2/models", False),
    ],
)
def test_scopes_permit_their_routes_and_no_others(scopes: list[str], method: str, path: str, expected: bool) -> None:
    assert allowed(scopes, method, path) is expected


def test_the_policy_is_the_same_for_every_first_request_of_a_token() -> None:
    token = issue(PRIVATE, subject="user:ana", scopes=["predict"])
    first = app.handler(request(token), None)
    second = app.handler(request(token, methodArn=f"{STAGE}/GET/ledger"), None)
    assert first == second
    assert not matches(first, "POST", "predict", stage=STAGE.replace("/v1", "/v2"))
    assert not matches(first, "POST", "predict", stage=STAGE.replace("a1b2c3d4e5", "other"))


def test_a_token_without_a_scope_is_denied_and_not_unauthorized() -> None:
    answer = app.handler(request(issue(PRIVATE, subject="user:ana", scopes=[])), None)
    (statement,) = answer["policyDocument"]["Statement"]
    assert (statement["Effect"], statement["Resource"]) == ("Deny", [f"{STAGE}/*"])


def test_every_scope_opens_something_and_every_route_needs_one() -> None:
    assert {scope for _, _, scopes in ROUTES for scope in scopes} == set(SCOPES)
    assert all(scopes for _, _, scopes in ROUTES)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer  two-spaces"},
        {"Authorization": "token"},
        {"X-Authorization": "Bearer x"},
    ],
)
def test_a_request_without_a_bearer_token_is_unauthorized(headers: dict[str, str]) -> None:
    with pytest.raises(UnauthorizedError, match=r"^Unauthorized$"):
        app.handler(request(None, headers=headers), None)


def test_the_header_is_found_in_any_case_and_twice_is_refused() -> None:
    assert bearer_token({"headers": {"authorization": "bearer abc"}}) == "abc"
    assert bearer_token({"multiValueHeaders": {"AUTHORIZATION": ["Bearer abc"]}}) == "abc"
    with pytest.raises(UnauthorizedError):
        bearer_token({"multiValueHeaders": {"Authorization": ["Bearer abc", "Bearer def"]}})
    with pytest.raises(UnauthorizedError):
        bearer_token({"multiValueHeaders": {"Authorization": ["Bearer abc"], "authorization": ["Bearer def"]}})


def test_a_bad_token_is_unauthorized_and_logged_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    token = issue(PRIVATE, subject="user:secret-name", lifetime=60, now=1_000_000)
    with pytest.raises(UnauthorizedError) as caught:
        app.handler(request(token), None)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    line = json.loads(capsys.readouterr().out)
    assert (line["level"], line["code"], line["correlation_id"]) == ("WARNING", "expired", "r-1")
    assert token not in json.dumps(line)
    assert "secret-name" not in json.dumps(line)


def test_a_missing_key_set_is_a_fault_and_not_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def down() -> str:
        raise KeySourceError("down")

    checker = Verifier(Rules("i", "a"), KeyRing(down))
    monkeypatch.setattr(app, "verifier", lambda: checker)
    with pytest.raises(KeySourceError):
        app.handler(request(issue(PRIVATE, subject="x", issuer="i", audience="a")), None)


@pytest.mark.parametrize("arn", ["", "x", "arn:aws:s3:::bucket/a/b", "*"])
def test_a_strange_method_arn_is_unauthorized(arn: str) -> None:
    with pytest.raises(UnauthorizedError):
        policy(Principal("x", frozenset({"predict"}), ("*",), 0), arn)


EVENTS = sorted(Path("events/authorizer").glob("*.json"))


@pytest.mark.parametrize("path", EVENTS, ids=lambda p: p.stem)
def test_event_files_are_refused(path: Path) -> None:
    event = json.loads(path.read_text())
    with pytest.raises(UnauthorizedError):
        app.handler(event, None)
    token = issue(PRIVATE, subject="user:ana")
    good = {"Authorization": f"Bearer {token}"}
    answer = app.handler({**event, "headers": good, "multiValueHeaders": {k: [v] for k, v in good.items()}}, None)
    assert matches(answer, "POST", "predict")


def test_settings_name_what_is_missing() -> None:
    with pytest.raises(ConfigurationError, match=r"MLOPS_JWT_ISSUER.*MLOPS_JWT_AUDIENCE.*MLOPS_JWKS_PARAMETER"):
        TokenSettings.from_env({})
    good = {"MLOPS_JWT_ISSUER": "i", "MLOPS_JWT_AUDIENCE": "a", "MLOPS_JWKS_URL": "https://x/jwks"}
    assert TokenSettings.from_env(good).jwks_url == "https://x/jwks"
    with pytest.raises(ConfigurationError, match=r"MLOPS_TABLE"):
        TokenSettings.from_env({**good, "MLOPS_JWT_REQUIRE_JTI": "true"})


def test_the_verifier_is_built_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for name, value in {
        "MLOPS_JWT_ISSUER": "i",
        "MLOPS_JWT_AUDIENCE": "a",
        "MLOPS_JWKS_URL": "https://issuer.example/jwks",
        "MLOPS_JWT_ALGORITHMS": "ES256, RS256",
        "MLOPS_JWT_CLIENT_IDS": "one, two,",
        "MLOPS_JWT_LEEWAY_SECONDS": "5",
        "MLOPS_JWT_MAX_LIFETIME_SECONDS": "3600",
        "MLOPS_JWT_REQUIRE_JTI": "true",
        "MLOPS_TABLE": "table",
    }.items():
        monkeypatch.setenv(name, value)
    app.verifier.cache_clear()
    rules = app.verifier().rules
    app.verifier.cache_clear()
    assert rules.algorithms == ("ES256", "RS256")
    assert rules.client_ids == ("one", "two")
    assert (rules.leeway, rules.max_lifetime, rules.require_jti) == (5, 3600, True)
