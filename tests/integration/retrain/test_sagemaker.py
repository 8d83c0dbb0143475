"""SageMaker's adapter against botocore's validators and moto, and a whole run: what is asked for is laid out as
SageMaker does, the training container's entry point runs in it, and what it leaves becomes a version."""

from __future__ import annotations

import io
import json
import re
import signal
import tarfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber

from mlops.aws.executions import TaskTokens
from mlops.aws.objects import S3Objects
from mlops.aws.registry import DynamoRegistry
from mlops.aws.sagemaker import SageMakerJobs, SpotHistory
from mlops.contract.recipe import PREFIX, digest
from mlops.cost.prices import snapshot
from mlops.errors import ConflictError, MlopsError
from mlops.objects import part_prefix, recipe_key
from mlops.registry.entities import DatasetVersion
from mlops.retrain.jobs import JobRefusedError, JobRequest
from mlops.retrain.runner import JobRunner, job_name
from mlops.training import job as entry
from mlops.training.archive import unpack
from mlops.training.container import JobDescription, Layout
from mlops.training.service import Train
from tests.fakes import Clock, MemoryLedger, MemoryObjects
from tests.unit.training import tables

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/serverless-mlops-training:1"
ROLE = "arn:aws:iam::123456789012:role/demo-TrainingJobRole"
CONTRACT = tables.contract("binary", tables.NUMBERS, families=("linear",))
DATASET = DatasetVersion(CONTRACT.name, "d1", ("p1", "p2"), 240)
RUN = "rt-example-drift-0123456789abcdef"


def adapter(sagemaker: Any = None, artifacts: Any = None, **options: Any) -> SageMakerJobs:
    return SageMakerJobs(
        "demo", image=IMAGE, role=ROLE, data_bucket="demo-data", artifact_bucket="demo-artifacts",
        artifacts=artifacts or MemoryObjects(), sagemaker=sagemaker, **options,
    )  # fmt: skip


def request(spot: bool = True, **changes: Any) -> JobRequest:
    values: dict[str, Any] = {
        "name": job_name(RUN, 1), "checkpoints": job_name(RUN, 0), "dataset": DATASET, "instance": "ml.m5.large",
        "description": JobDescription(CONTRACT, "d1", DATASET.parts, RUN, None, {}), "spot": spot,
        "max_seconds": 3600, "max_wait_seconds": 86_400,
    }  # fmt: skip
    return JobRequest(**values | changes)


def client(service: str = "sagemaker") -> Any:
    return boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


@pytest.mark.parametrize("spot", [True, False])
@pytest.mark.parametrize("kms", ["", "arn:aws:kms:us-east-1:123456789012:key/k"])
def test_what_is_asked_for_has_sagemakers_shape(spot: bool, kms: str) -> None:
    """botocore's validator and the patterns and bounds of its service model, which it does not check itself."""
    sagemaker, artifacts = client(), MemoryObjects()
    stubbed = Stubber(sagemaker)
    stubbed.add_response("create_training_job", {"TrainingJobArn": "arn:aws:sagemaker:us-east-1:1:training-job/x"})
    jobs = adapter(sagemaker, artifacts, kms_key=kms)
    with stubbed:
        jobs.start(request(spot))
    asked = jobs.request(request(spot))
    shape = sagemaker.meta.service_model.operation_model("CreateTrainingJob").input_shape
    assert check(shape, asked) == []
    assert asked["EnableManagedSpotTraining"] is spot
    assert asked["EnableNetworkIsolation"] is True
    assert ("MaxWaitTimeInSeconds" in asked["StoppingCondition"]) is spot, "only spot waits"
    assert {"Key": "mlops:stack", "Value": "demo"} in asked["Tags"]
    assert ("VolumeKmsKeyId" in asked["ResourceConfig"]) is bool(kms)
    manifest = artifacts.json(f"jobs/{job_name(RUN, 1)}/parts.manifest")
    assert manifest == [
        {"prefix": f"s3://demo-data/datasets/{CONTRACT.name}/parts/"},
        "p1/columns.npz",
        "p2/columns.npz",
    ]


def test_a_recipe_goes_with_the_job_and_a_missing_one_is_refused() -> None:
    artifacts, named = MemoryObjects(), replace(CONTRACT, training=replace(CONTRACT.training, recipe="sha256:abc"))
    wanted = request(description=JobDescription(named, "d1", DATASET.parts, RUN, None, {}))
    with pytest.raises(JobRefusedError, match="mlops push"):
        adapter(client(), artifacts).start(wanted)
    artifacts.put(recipe_key(CONTRACT.name, "abc"), b"def recipe(): ...")
    sagemaker = client()
    with Stubber(sagemaker) as stubbed:
        stubbed.add_response("create_training_job", {"TrainingJobArn": "arn:aws:sagemaker:us-east-1:1:training-job/x"})
        adapter(sagemaker, artifacts).start(wanted)
    assert artifacts.get(f"jobs/{wanted.name}/input/recipe.py") == b"def recipe(): ..."


def check(shape: Any, value: Any, where: str = "") -> list[str]:
    """What a service model says about lengths, ranges, patterns and enumerations."""

    rules, found = shape.metadata, []
    if shape.type_name == "structure":
        return [p for k, v in value.items() for p in check(shape.members[k], v, f"{where}.{k}")]
    if shape.type_name == "list":
        return [p for i, v in enumerate(value) for p in check(shape.member, v, f"{where}[{i}]")]
    if shape.type_name == "map":
        return [
            p for k, v in value.items() for p in (*check(shape.key, k, where), *check(shape.value, v, f"{where}.{k}"))
        ]
    size = len(value) if isinstance(value, str) else value
    if not isinstance(value, bool) and not rules.get("min", size) <= size <= rules.get("max", size):
        found.append(f"{where}: {value} is out of range")
    pattern = re.sub(r"\\p\{[LN]\}", r"\\w", rules.get("pattern", ".*")).replace(r"\p{Z}", r"\s")  # Java's classes
    if isinstance(value, str) and not re.fullmatch(pattern, value):
        found.append(f"{where}: {value} is not {pattern}")
    if rules.get("enum") and value not in rules["enum"]:
        found.append(f"{where}: {value} is none of the enumeration")
    return found


@pytest.mark.parametrize(
    ("code", "cause"),
    [("ResourceLimitExceeded", "quota"), ("AccessDeniedException", "permission"), ("ValidationException", "job")],
)
def test_refusals_become_causes(code: str, cause: str) -> None:
    sagemaker = client()
    with Stubber(sagemaker) as stubbed:
        stubbed.add_client_error("create_training_job", code, "limit 'ml.m5.large for spot training job usage' is 0")
        with pytest.raises(JobRefusedError, match="spot training job usage") as caught:
            adapter(sagemaker).start(request())
    assert caught.value.cause == cause


def test_throttling_is_a_fault_to_be_tried_again() -> None:
    sagemaker = client()
    with Stubber(sagemaker) as stubbed:
        stubbed.add_client_error("create_training_job", "ThrottlingException", "Rate exceeded")
        with pytest.raises(ClientError):
            adapter(sagemaker).start(request())


def described(run: str = RUN, **values: Any) -> dict[str, Any]:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    return {
        "TrainingJobName": job_name(RUN, 1), "TrainingJobArn": "arn:aws:sagemaker:us-east-1:1:training-job/x",
        "ModelArtifacts": {"S3ModelArtifacts": "s3://demo-artifacts/jobs/a/output/a/output/model.tar.gz"},
        "TrainingJobStatus": "InProgress", "SecondaryStatus": "Training", "StoppingCondition": {}, "CreationTime": now,
        "ResourceConfig": {"VolumeSizeInGB": 1}, "AlgorithmSpecification": {"TrainingInputMode": "File"},
        "HyperParameters": {"run_id": run}, "SecondaryStatusTransitions": [], **values,
    }  # fmt: skip


def transitions(*names: str) -> list[dict[str, Any]]:
    return [{"Status": name, "StartTime": datetime(2026, 3, 2, tzinfo=UTC)} for name in names]


@pytest.mark.parametrize(("run", "ours"), [(RUN, True), ("rt-of-somebody-else", False)])
def test_a_name_that_exists_is_the_same_job_or_a_conflict(run: str, ours: bool) -> None:
    sagemaker = client()
    with Stubber(sagemaker) as stubbed:
        stubbed.add_client_error("create_training_job", "ResourceInUse", "exists")
        stubbed.add_response("describe_training_job", described(run), {"TrainingJobName": ANY})
        if ours:
            adapter(sagemaker).start(request())
        else:
            with pytest.raises(ConflictError, match="of another run"):
                adapter(sagemaker).start(request())


def test_a_state_counts_interruptions_and_finds_why_a_job_stopped() -> None:
    sagemaker = client()
    with Stubber(sagemaker) as stubbed:
        steps = transitions(
            "Starting", "Training", "Interrupted", "Training", "Interrupted", "MaxWaitTimeExceeded", "Stopped"
        )
        stubbed.add_response(
            "describe_training_job",
            described(TrainingJobStatus="Stopped", SecondaryStatus="Stopped", SecondaryStatusTransitions=steps,
                      TrainingTimeInSeconds=900, BillableTimeInSeconds=270),
        )  # fmt: skip
        stubbed.add_client_error("describe_training_job", "ValidationException", "Requested resource not found.")
        found, missing = adapter(sagemaker).state("a"), adapter(sagemaker).state("b")
    assert found is not None
    assert (found.interruptions, found.secondary, found.billable_seconds) == (2, "MaxWaitTimeExceeded", 270)
    assert found.output == "jobs/a/output/a/output/model.tar.gz"
    assert missing is None


def test_stopping_what_has_ended_is_no_fault() -> None:
    sagemaker = client()
    with Stubber(sagemaker) as stubbed:
        stubbed.add_client_error(
            "stop_training_job", "ValidationException", "The request was rejected because it ended"
        )
        adapter(sagemaker).stop("a")


def test_the_spot_market_gives_a_share_of_the_price_on_demand() -> None:
    ec2, now = client("ec2"), datetime(2026, 3, 2, 12, tzinfo=UTC)

    def price(zone: str, hour: int, usd: str) -> dict[str, Any]:
        return {
            "AvailabilityZone": zone,
            "Timestamp": now.replace(hour=hour),
            "SpotPrice": usd,
            "InstanceType": "m5.large",
        }

    with Stubber(ec2) as stubbed:
        history = [price("a", 1, "0.09"), price("a", 11, "0.03"), price("b", 2, "0.042")]
        stubbed.add_response("describe_spot_price_history", {"SpotPriceHistory": history})
        stubbed.add_client_error("describe_spot_price_history", "UnauthorizedOperation", "no")
        market = SpotHistory(ec2)
        quote = market.quote("ml.m5.large", snapshot(), "us-east-1", now)
        refused = market.quote("ml.m5.large", snapshot(), "us-east-1", now)
    assert quote is not None
    assert quote.share == Decimal("0.375"), "the newest of each zone, 0.036, by 0.096 on demand"
    assert "2 zones" in quote.source
    assert refused is None
    assert market.quote("ml.x9.huge", snapshot(), "us-east-1", now) is None
    assert market.quote("ml.m5.large", snapshot(), "mars-north-1", now) is None


def test_tokens_that_nobody_waits_on_any_more_are_no_fault() -> None:
    states = client("stepfunctions")
    with Stubber(states) as stubbed:
        stubbed.add_response("send_task_success", {}, {"taskToken": "t", "output": '{"status": "completed"}'})
        stubbed.add_client_error("send_task_failure", "TaskTimedOut", "gone")
        stubbed.add_client_error("send_task_failure", "AccessDeniedException", "no")
        tokens = TaskTokens(states)
        tokens.done("t", {"status": "completed"})
        tokens.failed("t", "TrainingJob.quota", "zero")
        with pytest.raises(ClientError):
            tokens.failed("t", "TrainingJob.quota", "zero")


class Heard:
    def __init__(self) -> None:
        self.results: list[dict[str, Any]] = []

    def done(self, token: str, result: Any) -> None:
        self.results.append(dict(result))

    def failed(self, token: str, error: str, cause: str) -> None:
        raise AssertionError(f"{error}: {cause}")


RECIPE = b"""
from sklearn.ensemble import ExtraTreesClassifier

def estimator(seed, rows):
    return ExtraTreesClassifier(n_estimators=12, min_samples_leaf=max(2, rows // 60))
"""


@pytest.mark.parametrize("recipe", [None, RECIPE])
def test_from_decision_to_version_through_a_training_job(
    recipe: bytes | None, aws: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto keeps the job, this machine is the container, and the train function takes its model over. A recipe goes
    the whole way: from the bucket into the job, where it makes the model, and with it into the version's folder."""
    for bucket in ("demo-data", "demo-artifacts"):
        aws("s3").create_bucket(Bucket=bucket)
    keys = [("pk", "HASH"), ("sk", "RANGE")]
    aws("dynamodb").create_table(
        TableName="table", BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": n, "KeyType": k} for n, k in keys],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n, _ in keys],
    )  # fmt: skip
    data, artifacts, clock = S3Objects("demo-data"), S3Objects("demo-artifacts"), Clock()
    registry, ledger = DynamoRegistry("table"), MemoryLedger(clock)
    contract = CONTRACT
    if recipe is not None:
        contract = replace(CONTRACT, training=replace(CONTRACT.training, recipe=digest(recipe)))
        artifacts.put(recipe_key(CONTRACT.name, digest(recipe).removeprefix(PREFIX)), recipe)
    registry.put_contract(contract)
    table = tables.table("binary", CONTRACT.features)
    for part, rows in (("p1", range(120)), ("p2", range(120, 240)), ("other", range(50))):
        data.put(part_prefix(CONTRACT.name, part) + "columns.npz", table.take(np.array(rows)).save())
    registry.advance_dataset(DATASET, None)
    heard, jobs = Heard(), adapter(aws("sagemaker"), artifacts)
    runner = JobRunner(registry=registry, ledger=ledger, data=data, jobs=jobs, waiting=heard, clock=clock,
                       lineage={"code": "c0ffee"})  # fmt: skip
    name = runner.submit(CONTRACT.name, RUN, "token", instance="ml.m5.large", spot=True, seconds=60)["job"]

    layout = lay_out(tmp_path, aws("sagemaker").describe_training_job(TrainingJobName=name), aws("s3"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert entry.main(["train", "--root", str(tmp_path)]) == entry.DONE
    state = jobs.state(name)
    assert state is not None
    artifacts.put(state.output, packed(layout.model))

    assert runner.event({"TrainingJobName": name, "TrainingJobStatus": "Completed"})["status"] == "collect"
    ((result),) = heard.results
    train = Train(data, artifacts, registry, ledger, clock)
    collected = train.collect(CONTRACT.name, RUN, result)
    assert collected["status"] == "trained"
    assert [line["stage"] for line in collected["progress"]][-2:] == ["exporting", "done"]
    manifest = json.loads(artifacts.get(f"{collected['prefix']}manifest.json"))
    assert manifest["lineage"]["parts"] == ["p1", "p2"], "what else lies in the bucket is not trained on"
    assert manifest["lineage"]["where"] == "sagemaker_spot"
    if recipe is not None:
        lineage = manifest["lineage"]
        assert (lineage["estimator"], lineage["recipe"]) == ("ExtraTreesClassifier", digest(recipe))
        assert lineage["parameters"]["min_samples_leaf"] == lineage["rows"]["train"] // 60
        assert artifacts.get(f"{collected['prefix']}recipe.py") == recipe
    assert train.collect(CONTRACT.name, RUN, result)["version"] == collected["version"], "a retry changes nothing"
    (took,) = [r.body for r in registry.records(CONTRACT.name, "training")]
    assert "progress" not in took
    assert (took["rows"], took["where"], took["instance"]) == (240, "sagemaker_spot", "ml.m5.large")
    with pytest.raises(MlopsError, match="of another run"):
        train.collect(CONTRACT.name, "rt-another", result)


def lay_out(root: Path, job: dict[str, Any], s3: Any) -> Layout:
    """What SageMaker does before it starts a container, from what was asked of it."""
    layout = Layout(root)
    layout.config.mkdir(parents=True)
    (layout.config / "hyperparameters.json").write_text(json.dumps(job["HyperParameters"]))
    (layout.config / "resourceconfig.json").write_text(json.dumps({"hosts": ["algo-1"]}))
    channels = {c["ChannelName"]: c for c in job["InputDataConfig"]}
    (layout.config / "inputdataconfig.json").write_text(json.dumps({name: {} for name in channels}))
    for name, channel in channels.items():
        source = channel["DataSource"]["S3DataSource"]
        bucket, _, key = source["S3Uri"].removeprefix("s3://").partition("/")
        if source["S3DataType"] == "ManifestFile":
            first, *rest = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
            bucket, _, prefix = first["prefix"].removeprefix("s3://").partition("/")
            files = {path: prefix + path for path in rest}
        else:
            found = s3.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]
            files = {item["Key"].removeprefix(key): item["Key"] for item in found}
        for path, object_key in files.items():
            target = layout.channel(name) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(s3.get_object(Bucket=bucket, Key=object_key)["Body"].read())
    return layout


def packed(folder: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.add(folder, arcname=".")
    return out.getvalue()


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "sub/model.onnx", ".hidden"])
def test_an_archive_that_no_training_writes_is_refused(name: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(MlopsError, match="which no training writes"):
        unpack(out.getvalue())
    with pytest.raises(MlopsError, match="cannot be read"):
        unpack(out.getvalue()[:20])


def test_a_link_in_an_archive_is_refused() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("manifest.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(MlopsError, match="which no training writes"):
        unpack(out.getvalue())
