"""The serving adapter on moto: layers, versions, alias, parameters."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from mlops.aws.alarms import CloudWatchAlarms
from mlops.aws.serving import LambdaServing
from mlops.errors import ConflictError, MlopsError
from mlops.release.ports import LATEST, StorageFullError

BUCKET = "artifacts"


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, text in files.items():
            out.writestr(name, text)
    return buffer.getvalue()


class Account:
    """An account with the function ``stack-predict`` as the template makes it."""

    def __init__(self) -> None:
        self.lambda_ = boto3.client("lambda")
        # moto keeps no revision of a function, as AWS does; the adapter always names the one that it read.
        self.lambda_.meta.events.register(
            "after-call.lambda.GetFunctionConfiguration", lambda parsed, **_: parsed.setdefault("RevisionId", "r1")
        )
        self.ssm = boto3.client("ssm")
        self.s3 = boto3.client("s3")
        self.s3.create_bucket(Bucket=BUCKET)
        for digest in ("one", "two"):
            self.s3.put_object(Bucket=BUCKET, Key=f"layers/{digest}.zip", Body=archive(**{f"{digest}.json": "{}"}))
        role = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        self.runtime_layer = self.lambda_.publish_layer_version(
            LayerName="stack-inference", Content={"ZipFile": archive(a="")}
        )["LayerVersionArn"]
        self.serving = LambdaServing(
            "stack-predict",
            layer_name="stack-models",
            parameter_prefix="/stack",
            bucket=BUCKET,
            lambda_client=self.lambda_,
            ssm=self.ssm,
            sleep=lambda s: None,
        )
        self.first_layer = self.serving.publish_layer("one", "layers/one.zip")
        self.lambda_.create_function(
            FunctionName="stack-predict",
            Runtime="python3.13",
            Role=role,
            Handler="app.handler",
            Code={"ZipFile": archive(**{"app.py": "def handler(e, c): return e"})},
            Layers=[self.runtime_layer, self.first_layer],
            Environment={"Variables": {"MLOPS_ROUTES": "{}", "MLOPS_CORS_ORIGIN": "*"}},
            Publish=True,
        )
        self.lambda_.create_alias(FunctionName="stack-predict", Name="live", FunctionVersion="1")
        self.serving.remember(self.first_layer, {})


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield Account()


ROUTES = {"iris": {"share": 0.1, "step": "canary-1", "release": "r1"}}


def test_what_is_live_is_read_as_it_is(account: Account) -> None:
    live = account.serving.live()
    assert live.snapshot.version == "1"
    assert live.snapshot.serves(account.first_layer, {})
    latest = account.serving.published(LATEST)
    assert latest is not None
    assert latest.base == live.snapshot.base
    assert account.serving.published("99") is None


def test_a_change_keeps_everything_but_the_model_set_and_the_routes(account: Account) -> None:
    second = account.serving.publish_layer("two", "layers/two.zip")
    account.serving.configure(second, ROUTES)
    latest = account.serving.published(LATEST)
    assert latest is not None
    published = account.serving.publish(latest, "release r1 canary-1")
    assert published.version == "2"
    assert published.serves(second, ROUTES)
    assert published.base == account.serving.live().snapshot.base, "only what it serves differs"
    found = account.lambda_.get_function_configuration(FunctionName="stack-predict", Qualifier="2")
    assert [layer["Arn"] for layer in found["Layers"]] == [account.runtime_layer, second]
    assert found["Environment"]["Variables"]["MLOPS_CORS_ORIGIN"] == "*"
    assert account.serving.live().snapshot.version == "1", "nothing changed for callers yet"
    account.serving.point("2", account.serving.live().revision)
    assert account.serving.live().snapshot.routes == ROUTES


def test_other_code_or_memory_is_another_base(account: Account) -> None:
    before = account.serving.published(LATEST)
    account.lambda_.update_function_configuration(FunctionName="stack-predict", MemorySize=1024)
    bigger = account.serving.published(LATEST)
    code = archive(**{"app.py": "def handler(e, c): return 1"})
    account.lambda_.update_function_code(FunctionName="stack-predict", ZipFile=code)
    other = account.serving.published(LATEST)
    assert len({snapshot.base for snapshot in (before, bigger, other) if snapshot}) == 3


def test_a_function_without_a_model_layer_gets_one_and_loses_it(account: Account) -> None:
    account.serving.configure("", {})
    latest = account.serving.published(LATEST)
    assert latest is not None
    assert latest.layer == ""
    account.serving.configure(account.first_layer, {})
    found = account.lambda_.get_function_configuration(FunctionName="stack-predict")
    assert [layer["Arn"] for layer in found["Layers"]] == [account.runtime_layer, account.first_layer]


def test_layers_are_found_by_their_digest(account: Account) -> None:
    assert account.serving.find_layer("one") == account.first_layer
    assert account.serving.find_layer("two") is None
    second = account.serving.publish_layer("two", "layers/two.zip")
    assert account.serving.find_layer("two") == second


def test_parameters_are_what_the_next_deployment_reads(account: Account) -> None:
    account.serving.remember("arn", ROUTES)
    assert account.serving.remembered() == ("arn", ROUTES)
    value = account.ssm.get_parameter(Name="/stack/routes")["Parameter"]["Value"]
    assert value == '{"iris":{"release":"r1","share":0.1,"step":"canary-1"}}'


class Refusing:
    """A Lambda client that refuses one operation the way AWS does."""

    def __init__(self, inner: Any, operation: str, code: str) -> None:
        self._inner, self._operation, self._code = inner, operation, code

    def __getattr__(self, name: str) -> Any:
        from botocore.exceptions import ClientError

        def refuse(**arguments: Any) -> Any:
            raise ClientError({"Error": {"Code": self._code, "Message": "no"}}, name)

        return refuse if name == self._operation else getattr(self._inner, name)


@pytest.mark.parametrize("code", ["PreconditionFailedException", "ResourceConflictException"])
@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("update_alias", lambda s: s.point("1", "stale")),
        ("update_function_configuration", lambda s: s.configure("arn", {})),
        ("publish_version", lambda s: s.publish(s.published(LATEST), "x")),
    ],
)
def test_somebody_else_was_faster(account: Account, operation: str, call: Any, code: str) -> None:
    account.serving._given_lambda = Refusing(account.lambda_, operation, code)
    with pytest.raises(ConflictError):
        call(account.serving)


def test_a_move_of_the_alias_ends_weights_that_somebody_set(account: Account) -> None:
    serving = account.serving
    serving.configure(serving.publish_layer("two", "layers/two.zip"), {})
    latest = serving.published(LATEST)
    assert latest is not None
    other = serving.publish(latest, "x").version
    before = serving.live()
    assert before.others == ()
    account.lambda_.update_alias(
        FunctionName="stack-predict", Name="live", RoutingConfig={"AdditionalVersionWeights": {other: 0.2}}
    )
    weighted = serving.live()
    assert weighted.others == (other,)
    assert weighted.snapshot == before.snapshot
    assert not weighted.serves(weighted.snapshot.layer, weighted.snapshot.routes)
    serving.point(other, weighted.revision)
    assert (serving.live().snapshot.version, serving.live().others) == (other, ())


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("PublishLayerVersion", lambda serving: serving.publish_layer("two", "layers/two.zip")),
        ("PublishVersion", lambda serving: serving.publish(serving.published(LATEST), "x")),
    ],
)
def test_a_full_code_storage_is_told_with_what_to_do(account: Account, operation: str, call: Any) -> None:
    def full(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "CodeStorageExceededException", "Message": "75 GB"}}, operation)

    account.lambda_.meta.events.register(f"before-call.lambda.{operation}", full)
    with pytest.raises(StorageFullError, match="`mlops clean` frees what no rollback needs"):
        call(account.serving)


def test_every_change_is_conditional(account: Account) -> None:
    """Each call names the revision that it was decided on."""
    sent: dict[str, Any] = {}
    account.lambda_.meta.events.register(
        "provide-client-params.lambda.*", lambda params, model, **_: sent.update({model.name: params})
    )
    account.serving.configure(account.first_layer, ROUTES)
    latest = account.serving.published(LATEST)
    assert latest is not None
    account.serving.publish(latest, "x")
    account.serving.point("1", account.serving.live().revision)
    for operation in ("UpdateFunctionConfiguration", "PublishVersion", "UpdateAlias"):
        assert sent[operation]["RevisionId"], operation


class Answering:
    """Invoke needs a container on moto; what matters here is how its answer is read."""

    def __init__(self, payload: bytes, error: str | None = None) -> None:
        self.answer = {"Payload": io.BytesIO(payload), **({"FunctionError": error} if error else {})}
        self.sent: dict[str, Any] = {}

    def invoke(self, **arguments: Any) -> Any:
        self.sent = arguments
        return self.answer


def test_a_version_is_called_by_its_number(account: Account) -> None:
    client = Answering(b'{"status": "ok"}')
    account.serving._given_lambda = client
    assert account.serving.invoke("7", {"task": "golden"}) == {"status": "ok"}
    assert (client.sent["Qualifier"], json.loads(client.sent["Payload"])) == ("7", {"task": "golden"})


def test_a_version_that_crashes_says_so_without_its_trace(account: Account) -> None:
    body = json.dumps({"errorType": "ImportError", "errorMessage": "/opt/secret", "stackTrace": ["x"]}).encode()
    account.serving._given_lambda = Answering(body, "Unhandled")
    with pytest.raises(MlopsError, match=r"version 7 of stack-predict failed: ImportError$"):
        account.serving.invoke("7", {})


def test_layers_are_those_that_exist_with_their_digests(account: Account) -> None:
    second = account.serving.publish_layer("two", "layers/two.zip")
    assert list(account.serving.layers().items()) == [(account.first_layer, "one"), (second, "two")]
    account.lambda_.delete_layer_version(LayerName="stack-models", VersionNumber=1)
    assert account.serving.layers() == {second: "two"}


def test_old_versions_and_layers_are_deleted_and_never_the_function(account: Account) -> None:
    second = account.serving.publish_layer("two", "layers/two.zip")
    account.serving.configure(second, {})
    account.lambda_.publish_version(FunctionName="stack-predict")
    assert [(v.version, v.layer) for v in account.serving.versions()] == [
        (LATEST, second), ("1", account.first_layer), ("2", second),
    ]  # fmt: skip
    assert account.serving.aliased() == {"1"}
    account.serving.delete_version("2")
    account.serving.delete_version("2")
    account.serving.delete_layer(second)
    account.serving.delete_layer(second)
    assert [v.version for v in account.serving.versions()] == [LATEST, "1"]
    assert list(account.serving.layers()) == [account.first_layer]
    for wrong in ("", LATEST, "live"):
        with pytest.raises(ValueError, match="no published version"):
            account.serving.delete_version(wrong)
    with pytest.raises(ValueError, match="no version of the model layer"):
        account.serving.delete_layer(account.runtime_layer)


def test_alarms_that_fire_are_those_that_were_named(account: Account) -> None:
    cloudwatch = boto3.client("cloudwatch")
    for name in ("ours", "quiet", "another"):
        cloudwatch.put_metric_alarm(
            AlarmName=name, Namespace="N", MetricName="M", Statistic="Sum", Period=60, EvaluationPeriods=1,
            Threshold=1, ComparisonOperator="GreaterThanThreshold",
        )  # fmt: skip
        if name != "quiet":
            cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")
    (firing,) = CloudWatchAlarms(["ours", "quiet"], cloudwatch).firing()
    assert firing.name == "ours"
    assert firing.since.tzinfo is not None
    assert CloudWatchAlarms([], cloudwatch).firing() == []
