"""A stack on moto with everything the command line talks to, and an HTTP door in place of API Gateway."""

from __future__ import annotations

import http.server
import io
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from mlops.aws import clients
from mlops.aws.bootstrap import bootstrap
from mlops.aws.workbench import Workbench

STACK = "trial"
OUTPUTS = (
    "DataBucket", "ArtifactBucket", "Table", "PipelineArn", "ReleaseArn", "ScoreArn", "BackfillArn", "ApiUrl",
    "PredictFunction", "AnchorBucketName", "BulkArn",
)  # fmt: skip
MACHINE = json.dumps({"StartAt": "Done", "States": {"Done": {"Type": "Pass", "End": True}}})


class Door(http.server.BaseHTTPRequestHandler):
    """Answers as the API does; what was asked is in the server's ``asked``."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Authorization"], body))  # type: ignore[attr-defined]
        if body["records"] == [{"age": "old"}]:
            status, answer = 422, {
                "error": {
                    "code": "invalid_records", "message": "1 record cannot be read",
                    "details": [{"record": 0, "field": "age", "message": "a number is needed"}],
                }
            }  # fmt: skip
        else:
            added = {"contributions": {"age": 0.25, "plan": -1.5, "spend": 0.0, "since": 0.0625}}
            more = {"explanation": added} if body.get("explain") else {}
            status, answer = 200, {
                "model": body["model"], "version": "0123456789ab",
                "predictions": [
                    {"id": f"i{i}", "label": "yes", "probabilities": {"no": 0.25, "yes": 0.75}, **more}
                    for i, _ in enumerate(body["records"])
                ],
            }  # fmt: skip
        found = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing to the terminal."""


@dataclass
class Account:
    """What a test looks at: the stack's workbench, requests that the API got, and functions that were called."""

    bench: Workbench
    asked: list[Any]
    invoked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    before = dict(os.environ)
    for name in [n for n in os.environ if n.startswith(("AWS_", "MLOPS_"))]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1",
        "MLOPS_STACK": STACK, "MLOPS_ACTOR": "ann",
    }  # fmt: skip
    monkeypatch.chdir(tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    clients.client.cache_clear()
    with mock_aws():
        outputs = made(f"http://127.0.0.1:{server.server_port}")
        bootstrap(STACK)
        serves()
        bench = Workbench(STACK, outputs["ApiUrl"], outputs)
        found = Account(bench, server.asked)  # type: ignore[attr-defined]

        def invoke(self: Workbench, function: str, payload: dict[str, Any]) -> Any:
            found.invoked.append((function, payload))
            return found.results[function]

        # moto runs functions in containers only.
        monkeypatch.setattr(Workbench, "invoke", invoke)
        yield found
    server.shutdown()
    thread.join()
    server.server_close()
    clients.client.cache_clear()
    os.environ.clear()
    os.environ.update(before)


def made(api_url: str) -> dict[str, str]:
    """Buckets, table, machines, a log, and the stack whose outputs name them."""
    for bucket in ("trial-data", "trial-artifacts"):
        boto3.client("s3").create_bucket(Bucket=bucket)
    boto3.client("dynamodb").create_table(
        TableName="trial-table",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )
    machines = [
        boto3.client("stepfunctions").create_state_machine(
            name=f"{STACK}-{name}", definition=MACHINE, roleArn="arn:aws:iam::123456789012:role/x"
        )["stateMachineArn"]
        for name in ("pipeline", "release", "score", "backfill", "bulk")
    ]
    outputs = dict(
        zip(
            OUTPUTS,
            (
                *("trial-data", "trial-artifacts", "trial-table"),
                *machines[:4],
                *(api_url, f"{STACK}-predict", "trial-artifacts"),
                machines[4],
            ),
            strict=True,
        )
    )
    outputs["ApiId"] = rest_api()
    template = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    boto3.client("cloudformation").create_stack(StackName=STACK, TemplateBody=json.dumps(template))
    return outputs


def serves() -> None:
    """The serving function with the layer that bootstrap made, behind its alias."""
    functions = boto3.client("lambda")
    layer = boto3.client("ssm").get_parameter(Name=f"/{STACK}/model-layer-arn")["Parameter"]["Value"]
    role = boto3.client("iam").create_role(RoleName="predict", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("app.py", "")
    functions.create_function(
        FunctionName=f"{STACK}-predict", Runtime="python3.13", Role=role, Handler="app.handler",
        Code={"ZipFile": archive.getvalue()}, Layers=[layer], Environment={"Variables": {"MLOPS_ROUTES": "{}"}},
        Publish=True,
    )  # fmt: skip
    functions.create_alias(FunctionName=f"{STACK}-predict", Name="live", FunctionVersion="1")


def rest_api() -> str:
    """An API with the stage that clients are given; returns its identifier."""
    gateway = boto3.client("apigateway")
    api = gateway.create_rest_api(name=STACK)["id"]
    root = gateway.get_resources(restApiId=api)["items"][0]["id"]
    gateway.put_method(restApiId=api, resourceId=root, httpMethod="GET", authorizationType="NONE")
    gateway.put_integration(restApiId=api, resourceId=root, httpMethod="GET", type="MOCK")
    gateway.create_deployment(restApiId=api, stageName="v1")
    return str(api)
