"""The door of the deployed stack: attacks on tokens, scopes, single use, and clients with limits of their own."""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from local import engine, stack
from mlops.aws.apikeys import ApiKeys
from mlops.aws.clients import client
from mlops.aws.workbench import Answer, Workbench
from mlops.security.clients import Limits
from mlops.security.keys import KeyRing
from mlops.security.tokens import Rules, TokenError, Verifier
from tests.attacks import forged
from tests.cloudformation import ROOT, template
from tests.e2e.conftest import Deployed

ISSUER = "serverless-mlops"
#: What stands between a caller and an answer.
DOOR = (
    "Api", "Table", "AuthorizerFunction", "AuthorizerRole", "AuthorizerLogs", "SecurityLayer",
    "PredictFunction", "PredictRole", "PredictLogs", "InferenceLayer",
)  # fmt: skip


def signing_key(bench: Workbench) -> dict[str, Any]:
    stored = client("ssm").get_parameter(Name=f"/{bench.stack}/signing-key", WithDecryption=True)
    found: dict[str, Any] = json.loads(stored["Parameter"]["Value"])
    return found


def test_no_attack_opens_the_door(deployed: Deployed) -> None:
    bench = deployed.bench
    good = bench.token(subject="user:ana")
    assert bench.request("GET", "/v2", token=good).status == 200
    # One of each kind: the local engine starts a function anew after each that it refuses. The unit test has them all.
    attacks = {
        name: token for name, (token, _) in forged(signing_key(bench), ISSUER, ISSUER).items() if ":" not in name
    }
    attacks |= {"no token": "", "no bearer": good}
    headers = {"no token": {}, "no bearer": {"Authorization": good}}

    def answer(name: str) -> Answer:
        given = headers.get(name, {"Authorization": f"Bearer {attacks[name]}"})
        return bench.request("GET", "/v2", headers=given)

    with ThreadPoolExecutor(4) as pool:
        answers = dict(zip(attacks, pool.map(answer, attacks), strict=True))
    assert {name: found.status for name, found in answers.items()} == dict.fromkeys(attacks, 401)
    assert len({json.dumps(found.body) for found in answers.values()}) == 1, "the answer must not say why"


def test_a_scope_opens_its_routes_and_a_model_is_named(deployed: Deployed) -> None:
    bench = deployed.bench
    narrow = bench.token(subject="user:ana", scopes=["audit:read"])
    assert bench.request("GET", "/v2", token=narrow).status == 403
    assert bench.predict("diabetes", [{}], narrow).status == 403
    reader = bench.token(subject="user:ana", scopes=["models:read", "audit:read"])
    models, ledger = bench.request("GET", "/models", token=reader), bench.request("GET", "/ledger", token=reader)
    versions = bench.request("GET", "/versions?query=state%3Dchampion", token=reader)
    assert (models.status, ledger.status, versions.status) == (200, 200, 200)
    assert {v["state"] for v in versions.body["versions"]} <= {"champion"}
    assert bench.request("GET", "/versions", token=narrow).status == 403
    assert [m["name"] for m in models.body["models"]] == bench.registry.models()
    assert len(ledger.body["entries"]) == min(100, bench.ledger.head()[0])
    assert bench.request("GET", "/ledger", token=bench.token(subject="user:ana")).status == 403
    other = bench.token(subject="user:ana", models=["another"])
    answer = bench.predict("diabetes", [{}], other)
    assert (answer.status, answer.body["error"]["code"]) == (403, "model_not_allowed")


@pytest.fixture(scope="module")
def strict(deployed: Deployed) -> Workbench:
    """The door alone, as the template has it, beside the stack: it demands API keys and takes each token once."""
    built = yaml.safe_load((ROOT / ".aws-sam" / "local" / "template.yaml").read_text())
    built["Resources"] = {name: built["Resources"][name] for name in DOOR}
    built["Outputs"] = {"ApiId": {"Value": {"Ref": "Api"}}}
    name, running = f"{deployed.running.name}-door", deployed.running
    parameters = {"RequireApiKey": "true", "RequireJti": "true"}
    outputs = stack.deploy_template(running, name, yaml.safe_dump(built), parameters)
    url = f"{running.endpoint}/restapis/{outputs['ApiId']}/v1/_user_request_"
    return Workbench(name, url, outputs)


def test_clients_have_limits_of_their_own_and_tokens_are_good_once(deployed: Deployed, strict: Workbench) -> None:
    def new() -> str:
        return deployed.bench.token(subject="user:ana")  # both doors trust the stack's key

    def ask(key: str | None = None, token: str | None = None) -> int:
        headers = {"X-Api-Key": key} if key else {}
        return strict.request("GET", "/v2", token=token or new(), headers=headers).status

    keys = ApiKeys(strict.stack, strict.api_id)
    assert keys.required()
    slow = keys.create("slow", Limits(rate=0.01, burst=2))
    small = keys.create("small", Limits(rate=1000, burst=1000, quota=3, period="DAY"))
    free = keys.create("free", Limits(rate=1000, burst=1000))

    assert ask() == 403
    assert ask("nobody-has-this-key-0123456789") == 403
    assert [ask(slow) for _ in range(4)] == [200, 200, 429, 429]
    assert [ask(small) for _ in range(5)] == [200, 200, 200, 429, 429]
    assert [ask(free) for _ in range(3)] == [200, 200, 200], "the others' limits are not its own"

    token = new()
    assert [ask(free, token) for _ in range(3)] == [200, 401, 401]

    keys.revoke("free")
    assert [c.name for c in keys.all()] == ["slow", "small"]
    deadline = time.monotonic() + 30
    while ask(free) != 403:
        assert time.monotonic() < deadline, "a revoked key opens the door"
    for name in ("slow", "small"):
        keys.revoke(name)


def test_tokens_of_the_template_s_user_pool_are_accepted(deployed: Deployed) -> None:
    whole, names = template(), ("UserPool", "UserPoolDomain", "UserPoolScopes", "UserPoolClient")
    part = {
        "Parameters": {name: whole["Parameters"][name] for name in ("CreateUserPool", "JwtAudience")},
        "Conditions": {"HasUserPool": whole["Conditions"]["HasUserPool"]},
        "Resources": {name: whole["Resources"][name] for name in names},
        "Outputs": {"Pool": {"Value": {"Ref": "UserPool"}}, "Client": {"Value": {"Ref": "UserPoolClient"}}},
    }
    formation, name, endpoint = client("cloudformation"), f"{deployed.running.name}-pool", deployed.running.endpoint
    formation.create_stack(
        StackName=name,
        TemplateBody=json.dumps(part),
        Parameters=[{"ParameterKey": "CreateUserPool", "ParameterValue": "true"}],
    )
    formation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    outputs = stack.outputs(dict(os.environ), name)
    pool, machine = outputs["Pool"], outputs["Client"]
    found = client("cognito-idp").describe_user_pool_client(UserPoolId=pool, ClientId=machine)["UserPoolClient"]
    basic = base64.b64encode(f"{machine}:{found['ClientSecret']}".encode()).decode()
    form = urllib.parse.urlencode({"grant_type": "client_credentials", "scope": f"{ISSUER}/predict"}).encode()
    wanted = urllib.request.Request(f"{endpoint}/oauth2/token", data=form, headers={"Authorization": f"Basic {basic}"})
    with urllib.request.urlopen(wanted, timeout=30) as answer:
        token = json.load(answer)["access_token"]

    def keys() -> bytes:
        # The authorizer takes addresses of https alone, which the local engine does not speak.
        with urllib.request.urlopen(f"{endpoint}/{pool}/.well-known/jwks.json", timeout=30) as found:
            body: bytes = found.read()
            return body

    issuer = f"https://cognito-idp.{engine.REGION}.amazonaws.com/{pool}"
    principal = Verifier(Rules(issuer, ISSUER, client_ids=(machine,)), KeyRing(keys)).verify(token)
    assert (principal.subject, principal.scopes) == (machine, {"predict"})
    with pytest.raises(TokenError):
        Verifier(Rules(issuer, ISSUER, client_ids=("another",)), KeyRing(keys)).verify(token)
