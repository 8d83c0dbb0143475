"""The meter against moto: what CloudWatch and the services say becomes quantities, refusals become reasons."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mlops.aws.metering import CloudWatchMeter
from mlops.cost.usage import Usage, Window

D = Decimal
HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
WINDOW = Window(HOUR - timedelta(hours=2), HOUR)

STACK: dict[str, Any] = {
    "Resources": {
        "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {
            "Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}}},
        "PredictFunction": {"Type": "AWS::Lambda::Function", "Properties": {
            "FunctionName": "demo-predict", "Runtime": "python3.13", "Handler": "index.handler", "MemorySize": 512,
            "Role": {"Fn::GetAtt": ["Role", "Arn"]}, "Code": {"ZipFile": "def handler(event, context): pass"}}},
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/aws/lambda/demo-predict"}},
        "Table": {"Type": "AWS::DynamoDB::Table", "Properties": {
            "TableName": "demo", "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}]}},
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "demo-data"}},
        "Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Name": "demo"}},
        "Key": {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": {"Version": "2012-10-17", "Statement": []}}},
        "Machine": {"Type": "AWS::StepFunctions::StateMachine", "Properties": {
            "StateMachineName": "demo", "RoleArn": "arn:aws:iam::123456789012:role/x",
            "DefinitionString": json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}})}},
    }
}  # fmt: skip


@pytest.fixture
def stack(aws: Callable[[str], Any]) -> Callable[[str], Any]:
    aws("cloudformation").create_stack(
        StackName="demo", TemplateBody=json.dumps(STACK), Capabilities=["CAPABILITY_IAM"]
    )
    return aws


def put(
    aws: Callable[[str], Any], namespace: str, name: str, value: float, hours: float = 1, **dimensions: str
) -> None:
    aws("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[{
        "MetricName": name, "Value": value, "Timestamp": HOUR - timedelta(hours=hours),
        "Dimensions": [{"Name": k, "Value": v} for k, v in dimensions.items()]}])  # fmt: skip


def measure(aws: Callable[[str], Any], **options: Any) -> Usage:
    return CloudWatchMeter("demo", "us-east-1", clients=aws, **options).measure(WINDOW)


def amount(usage: Usage, key: str) -> Decimal:
    return sum((q.amount for q in (*usage.quantities, *usage.standing) if q.key == key), D(0))


def write_logs(aws: Callable[[str], Any], *messages: str) -> None:
    logs = aws("logs")
    logs.create_log_stream(logGroupName="/aws/lambda/demo-predict", logStreamName="s")
    time = int((HOUR - timedelta(minutes=30)).timestamp() * 1000)
    events = [{"timestamp": time + i, "message": m} for i, m in enumerate(messages)]
    logs.put_log_events(logGroupName="/aws/lambda/demo-predict", logStreamName="s", logEvents=events)


def report(duration: str, billed: int, used: int = 70) -> str:
    return (
        f"REPORT RequestId: x\tDuration: {duration} ms\tBilled Duration: {billed} ms\tMemory Size: 512 MB\t"
        f"Max Memory Used: {used} MB"
    )


def test_lambda_metrics_and_reports_become_gb_seconds(stack: Callable[[str], Any]) -> None:
    for hours in (1, 1.5):
        put(stack, "AWS/Lambda", "Invocations", 1, hours, FunctionName="demo-predict")
        put(stack, "AWS/Lambda", "Duration", 1.2, hours, FunctionName="demo-predict")
    put(stack, "AWS/Lambda", "Invocations", 100, 5, FunctionName="demo-predict")  # before the window
    put(stack, "AWS/Logs", "IncomingBytes", 2**20, 1, LogGroupName="/aws/lambda/demo-predict")
    write_logs(stack, "START", report("1.20", 2), "something else", report("1.20", 4, 90))
    usage = measure(stack)
    found = usage.function("predict")
    assert found is not None
    assert (found.invocations, found.billed_ms, found.max_memory_mb) == (2, D(6), 90)
    assert found.gb_seconds == D("0.003")
    assert found.log_bytes == 2**20
    assert amount(usage, "logs.ingested_gb") == D(1) / 1024


def test_each_service_is_metered(stack: Callable[[str], Any]) -> None:
    put(stack, "AWS/ApiGateway", "Count", 40, 1, ApiName="demo")
    put(stack, "AWS/ApiGateway", "Count", 40, 1, ApiName="demo", Method="POST", Resource="/predict", Stage="v1")
    put(stack, "AWS/ApiGateway", "Count", 7, 1, ApiName="other", Method="POST", Resource="/predict", Stage="v1")
    put(stack, "AWS/DynamoDB", "ConsumedWriteCapacityUnits", 12, 1, TableName="demo")
    put(stack, "AWS/DynamoDB", "ConsumedReadCapacityUnits", 3.5, 1, TableName="demo")
    put(stack, "AWS/S3", "BucketSizeBytes", 2**30, 30, BucketName="demo-data", StorageType="StandardStorage")
    put(stack, "ServerlessMLOps", "Invocations", 1, 1, function="predict")
    put(stack, "ServerlessMLOps", "Invocations", 1, 1.5, function="predict")
    usage = measure(stack)
    assert amount(usage, "apigateway.rest_requests") == 40
    assert amount(usage, "dynamodb.write_units") == 12
    assert amount(usage, "dynamodb.read_units") == D("3.5")
    assert amount(usage, "s3.storage_gb_month") == 1
    assert amount(usage, "kms.keys") == 1
    hours_in_month = WINDOW.hours / WINDOW.months
    assert abs(amount(usage, "cloudwatch.metrics") - 3 / hours_in_month) < D("1e-20"), "two own hours, one of the API"
    assert amount(usage, "cloudwatch.get_metric_data") > 10


def test_a_service_without_data_on_aws_was_not_used(stack: Callable[[str], Any]) -> None:
    usage = measure(stack)
    assert amount(usage, "apigateway.rest_requests") == 0
    assert any(q.key == "apigateway.rest_requests" for q in usage.quantities)
    found = usage.function("predict")
    assert found is not None
    assert found.invocations == 0


def test_on_the_local_engine_what_it_does_not_publish_is_not_metered(stack: Callable[[str], Any]) -> None:
    write_logs(stack, "START", report("1.0", 1), report("2.0", 2))
    put(stack, "AWS/Lambda", "Invocations", 1, 1, FunctionName="demo-predict")
    stack("s3").put_object(Bucket="demo-data", Key="a", Body=b"x" * 1024)
    usage = measure(stack, local=True)
    reasons = {n.what: n.reason for n in usage.not_metered}
    assert "AWS/ApiGateway" in reasons["API requests"]
    assert "custom metrics" in reasons
    assert not any(q.key == "apigateway.rest_requests" for q in usage.quantities)
    found = usage.function("predict")
    assert found is not None
    assert (found.invocations, found.billed_ms) == (2, 3), "its log has invocations that its metrics miss"
    assert found.log_bytes == sum(len(m) + 26 for m in ("START", report("1.0", 1), report("2.0", 2)))
    assert amount(usage, "s3.storage_gb_month") == D(1024) / 2**30


def test_a_stack_that_does_not_exist_is_not_metered(aws: Callable[[str], Any]) -> None:
    usage = measure(aws)
    assert usage.functions == ()
    assert usage.not_metered[0].what == "the stack demo"


class Refusing:
    """A client that refuses one operation and passes everything else on."""

    def __init__(self, inner: Any, operation: str, code: str) -> None:
        self._inner, self._operation, self._code = inner, operation, code

    def __getattr__(self, name: str) -> Any:
        if name == self._operation:

            def refuse(**_: Any) -> Any:
                title = "".join(part.capitalize() for part in name.split("_"))
                raise ClientError({"Error": {"Code": self._code, "Message": ""}}, title)

            return refuse
        return getattr(self._inner, name)  # fmt: skip


@pytest.mark.parametrize(
    ("service", "operation", "code", "what", "reason"),
    [
        ("dynamodb", "describe_table", "AccessDeniedException", "table Table", "no permission for DescribeTable"),
        ("apigateway", "get_rest_api", "TooManyRequestsException", "requests of API Api", "answered TooManyRequests"),
        ("lambda", "get_function_configuration", "AccessDeniedException", "function PredictFunction", "no permission"),
        ("logs", "filter_log_events", "ThrottlingException", "logs of predict", "answered ThrottlingException"),
    ],
)
def test_a_refusal_leaves_a_reason_and_the_rest_is_metered(
    stack: Callable[[str], Any], service: str, operation: str, code: str, what: str, reason: str
) -> None:
    put(stack, "AWS/Lambda", "Invocations", 3, 1, FunctionName="demo-predict")

    def clients(name: str) -> Any:
        return Refusing(stack(name), operation, code) if name == service else stack(name)

    usage = measure(clients)
    reasons = {n.what: n.reason for n in usage.not_metered}
    assert reason in reasons[what]
    assert amount(usage, "kms.keys") == 1
    assert any(q.resource == "Bucket" for q in usage.standing)


def test_a_log_group_that_was_never_written_is_zero_bytes(stack: Callable[[str], Any]) -> None:
    stack("logs").delete_log_group(logGroupName="/aws/lambda/demo-predict")
    usage = measure(stack, local=True)
    found = usage.function("predict")
    assert found is not None
    assert found.log_bytes == 0
    assert "logs of predict" not in {n.what for n in usage.not_metered}


def test_executions_are_counted_from_their_histories_and_scaled(stack: Callable[[str], Any]) -> None:
    arn = stack("stepfunctions").list_state_machines()["stateMachines"][0]["stateMachineArn"]
    kinds = ("ExecutionStarted", "PassStateEntered", "MapRunStarted", "SucceedStateEntered")
    types = [{"type": kind} for kind in kinds]

    class States:
        """Two executions inside the window, one after it and one before; newest first as AWS lists them."""

        def get_paginator(self, name: str) -> Any:
            ages = [timedelta(hours=-1), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=3)]
            listed = [{"executionArn": f"{arn}:{i}", "startDate": HOUR - age} for i, age in enumerate(ages)]

            class Pages:
                def paginate(self, **_: Any) -> Any:
                    return [{"executions": listed}] if name == "list_executions" else [{"events": types}]

            return Pages()

    def clients(name: str) -> Any:
        return States() if name == "stepfunctions" else stack(name)

    assert amount(measure(clients), "stepfunctions.transitions") == 4
    limited = CloudWatchMeter("demo", "us-east-1", clients=clients, histories=1).measure(WINDOW)
    assert amount(limited, "stepfunctions.transitions") == 4
    basis = next(q.basis for q in limited.quantities if q.key == "stepfunctions.transitions")
    assert basis == "2 steps in the histories of 1 executions, scaled to 2"
    assert any(n.what.startswith("steps of ") and n.what.endswith("'s items") for n in limited.not_metered)


def test_more_sampling_changes_only_the_basis(stack: Callable[[str], Any]) -> None:
    put(stack, "AWS/Lambda", "Invocations", 10, 1, FunctionName="demo-predict")
    put(stack, "AWS/Lambda", "Duration", 12, 1, FunctionName="demo-predict")
    write_logs(stack, *(report("1.20", 2) for _ in range(4)))
    found = measure(stack, sample=2).function("predict")
    assert found is not None
    assert found.billed_ms == 12 + 10 * D("0.8")
    assert found.sampled == 2
