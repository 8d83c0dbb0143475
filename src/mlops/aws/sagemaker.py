"""SageMaker training jobs behind :class:`mlops.retrain.jobs.TrainingJobs`, and the spot market's prices."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from mlops.aws.clients import client, error_code
from mlops.contract.recipe import PREFIX
from mlops.cost.billing import COST_TAG
from mlops.cost.money import ZERO, decimal
from mlops.cost.prices import Price, PriceSource
from mlops.errors import ConflictError, NotFoundError
from mlops.objects import ObjectStore, job_prefix, parts_prefix, recipe_key
from mlops.retrain.jobs import Cause, JobRefusedError, JobRequest, JobState
from mlops.retrain.place import SpotQuote
from mlops.training.container import DATASET, JOB

_VOLUME_GB = 30
#: Attempts of SageMaker's own when it failed by itself; what remains is retried as another job.
_OWN_RETRIES = 1
_REFUSED: dict[str, Cause] = {
    "ResourceLimitExceeded": "quota",
    "AccessDeniedException": "permission",
    "AccessDenied": "permission",
    "ValidationException": "job",
    "ResourceNotFound": "job",
    "CapacityError": "capacity",
}


class SageMakerJobs:
    """Training jobs of one stack.

    Parameters
    ----------
    image, role : the training image and the role that the job has.
    data_bucket, artifact_bucket : names; ``artifacts`` is the latter as a store.
    kms_key : for volumes and output; empty for keys that AWS owns.
    """

    def __init__(
        self,
        stack: str,
        *,
        image: str,
        role: str,
        data_bucket: str,
        artifact_bucket: str,
        artifacts: ObjectStore,
        kms_key: str = "",
        sagemaker: Any = None,
    ) -> None:
        self.stack = stack
        self.image, self.role = image, role
        self.data_bucket, self.artifact_bucket = data_bucket, artifact_bucket
        self.artifacts = artifacts
        self.kms_key = kms_key
        self._given = sagemaker

    def start(self, request: JobRequest) -> None:
        prefix = job_prefix(request.name)
        body = json.dumps(request.description.to_dict(), ensure_ascii=False).encode()
        self.artifacts.put(f"{prefix}input/job.json", body, content_type="application/json")
        self._bring_recipe(request, f"{prefix}input/recipe.py")
        manifest = json.dumps(self._manifest(request)).encode()
        self.artifacts.put(f"{prefix}parts.manifest", manifest, content_type="application/json")
        try:
            self._client.create_training_job(**self.request(request))
        except ClientError as error:
            code = error_code(error)
            if code == "ResourceInUse":
                self._is_ours(request)
                return
            if code not in _REFUSED:
                raise
            raise JobRefusedError(_REFUSED[code], f"{code}: {error.response['Error'].get('Message', '')}") from error

    def request(self, wanted: JobRequest) -> dict[str, Any]:
        """The arguments of ``CreateTrainingJob``."""
        described, prefix = wanted.description, job_prefix(wanted.name)
        key = {"VolumeKmsKeyId": self.kms_key} if self.kms_key else {}
        limits = {"MaxRuntimeInSeconds": wanted.max_seconds}
        if wanted.spot:
            limits["MaxWaitTimeInSeconds"] = wanted.max_wait_seconds
        return {
            "TrainingJobName": wanted.name,
            "AlgorithmSpecification": {"TrainingImage": self.image, "TrainingInputMode": "File"},
            "RoleArn": self.role,
            "HyperParameters": {
                "model": described.contract.name,
                "dataset_version": described.dataset_version,
                "run_id": described.run_id,
            },
            "InputDataConfig": [
                self._channel(JOB, "S3Prefix", f"{prefix}input/"),
                self._channel(DATASET, "ManifestFile", f"{prefix}parts.manifest"),
            ],
            "OutputDataConfig": {
                "S3OutputPath": f"s3://{self.artifact_bucket}/{prefix}output",
                **({"KmsKeyId": self.kms_key} if self.kms_key else {}),
            },
            "ResourceConfig": {
                "InstanceType": wanted.instance, "InstanceCount": 1, "VolumeSizeInGB": _VOLUME_GB, **key,
            },
            "StoppingCondition": limits,
            "RetryStrategy": {"MaximumRetryAttempts": _OWN_RETRIES},
            "CheckpointConfig": {"S3Uri": f"s3://{self.artifact_bucket}/{job_prefix(wanted.checkpoints)}checkpoints"},
            "EnableManagedSpotTraining": wanted.spot,
            "EnableNetworkIsolation": True,
            "Tags": [
                {"Key": COST_TAG, "Value": self.stack},
                {"Key": "mlops:model", "Value": described.contract.name},
                {"Key": "mlops:run", "Value": described.run_id},
            ],
        }  # fmt: skip

    def state(self, name: str) -> JobState | None:
        found = self._described(name)
        if found is None:
            return None
        steps = found.get("SecondaryStatusTransitions", [])
        secondary = str(found.get("SecondaryStatus", ""))
        if secondary == "Stopped":
            # The reason is in the step before, such as MaxWaitTimeExceeded.
            told = [s["Status"] for s in steps if s["Status"].startswith("Max")]
            secondary = told[-1] if told else secondary
        archive = urlsplit(found.get("ModelArtifacts", {}).get("S3ModelArtifacts", "")).path.lstrip("/")
        return JobState(
            name=name,
            run_id=str(found.get("HyperParameters", {}).get("run_id", "")),
            status=str(found["TrainingJobStatus"]),
            secondary=secondary,
            failure=str(found.get("FailureReason", "")),
            interruptions=sum(s["Status"] == "Interrupted" for s in steps),
            training_seconds=int(found.get("TrainingTimeInSeconds", 0)),
            billable_seconds=int(found.get("BillableTimeInSeconds", 0)),
            output=archive,
        )

    def stop(self, name: str) -> None:
        try:
            self._client.stop_training_job(TrainingJobName=name)
        except ClientError as error:
            # A job that has ended cannot be stopped: ValidationException.
            if error_code(error) not in ("ValidationException", "ResourceNotFound"):
                raise

    def _bring_recipe(self, request: JobRequest, key: str) -> None:
        """The contract's recipe beside the job's description. A contract without its digest fails in the container,
        which says what to do."""
        contract = request.description.contract
        named = contract.training.recipe or ""
        if named.startswith(PREFIX):
            try:
                self.artifacts.copy(recipe_key(contract.name, named.removeprefix(PREFIX)), key)
            except NotFoundError as error:
                raise JobRefusedError("job", f"{error.message}; put the contract in force with mlops push") from error

    def _is_ours(self, request: JobRequest) -> None:
        found = self.state(request.name)
        if found is not None and found.run_id != request.description.run_id:
            raise ConflictError(
                f"there is a training job '{request.name}' of another run ({found.run_id or 'unknown'})"
            )

    def _described(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._client.describe_training_job(TrainingJobName=name)
        except ClientError as error:
            missing = error_code(error) in ("ResourceNotFound", "ValidationException")
            if missing and "not found" in str(error).lower():
                return None
            raise
        return found

    def _manifest(self, request: JobRequest) -> list[Any]:
        """Exactly the parts of the data-set version, whatever else lies beside them."""
        base = f"s3://{self.data_bucket}/{parts_prefix(request.dataset.model)}"
        return [{"prefix": base}, *(f"{part}/columns.npz" for part in request.dataset.parts)]

    def _channel(self, name: str, kind: str, key: str) -> dict[str, Any]:
        source = {"S3DataType": kind, "S3Uri": f"s3://{self.artifact_bucket}/{key}",
                  "S3DataDistributionType": "FullyReplicated"}  # fmt: skip
        return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": "File"}

    @property
    def _client(self) -> Any:
        return self._given or client("sagemaker")


class SpotHistory:
    """What EC2's spot market asks for an instance type, as a share of the price on demand.

    SageMaker publishes no spot prices of its own; the share that EC2 takes off is taken to hold for it.
    """

    def __init__(self, ec2: Any = None) -> None:
        self._given = ec2

    def quote(self, instance: str, prices: PriceSource, region: str, now: datetime) -> SpotQuote | None:
        """The mean over zones of the newest prices of the last day; None without any, or when EC2 refuses."""
        kind = instance.removeprefix("ml.")
        try:
            full = prices.price(f"ec2.on_demand.{kind}", region)
        except KeyError:  # an instance type that is not in the catalogue
            return None
        if not isinstance(full, Price):
            return None
        try:
            answer = (self._given or client("ec2")).describe_spot_price_history(
                InstanceTypes=[kind], ProductDescriptions=["Linux/UNIX"], StartTime=now - timedelta(days=1), EndTime=now
            )
        except ClientError:
            return None  # a price that may not be asked for is assumed, and the option says so
        newest: dict[str, tuple[datetime, Decimal]] = {}
        for item in answer["SpotPriceHistory"]:
            zone, moment = item["AvailabilityZone"], item["Timestamp"]
            if zone not in newest or moment > newest[zone][0]:
                newest[zone] = (moment, decimal(item["SpotPrice"], f"spot price of {kind}"))
        if not newest:
            return None
        mean = sum((usd for _, usd in newest.values()), ZERO) / len(newest)
        share = min(Decimal(1), mean / full.first).quantize(Decimal("0.001"))
        return SpotQuote(share, f"EC2 spot prices in {len(newest)} zones, {now:%Y-%m-%d %H:%M} UTC")
