"""The places where this stack can train, put together from its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from mlops.aws.executions import TaskTokens
from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.pricing import PriceListApi
from mlops.aws.registry import DynamoRegistry
from mlops.aws.sagemaker import SageMakerJobs, SpotHistory
from mlops.cost.prices import Layered, PriceSource, snapshot
from mlops.retrain.place import INSTANCES, Offers
from mlops.retrain.runner import JobRunner
from mlops.settings import Settings


def offers(settings: Settings, now: Callable[[], datetime]) -> Offers:
    """Where a training can run now.

    Prices are those that the cost report keeps, else the snapshot's; spot prices are asked for only where a job
    could run.
    """
    prices: PriceSource = snapshot()
    if settings.target != "local":
        prices = Layered([PriceListApi(S3Objects(settings.artifact_bucket), now, ask=False), prices])
    found = Offers(
        region=settings.region,
        prices=prices,
        lambda_mb=int(settings.train_memory_mb or 3008),
        architecture=settings.architecture or "x86_64",
    )
    if not settings.training_image:
        return found
    market, instances = SpotHistory(), tuple(INSTANCES)
    quotes = {i: market.quote(i, prices, settings.region, now()) for i in instances}
    return replace(found, instances=instances, spot={i: q for i, q in quotes.items() if q is not None})


def runner(settings: Settings, now: Callable[[], datetime]) -> JobRunner:
    """Carries training jobs; only for a stack with a training image."""
    settings.require("data_bucket", "artifact_bucket", "training_role_arn")
    return JobRunner(
        registry=DynamoRegistry(settings.table),
        ledger=DynamoLedger(settings.table, settings.stack),
        data=S3Objects(settings.data_bucket),
        jobs=SageMakerJobs(
            settings.stack,
            image=settings.training_image,
            role=settings.training_role_arn,
            data_bucket=settings.data_bucket,
            artifact_bucket=settings.artifact_bucket,
            artifacts=S3Objects(settings.artifact_bucket),
            kms_key=settings.kms_key_arn,
        ),
        waiting=TaskTokens(),
        clock=now,
        lineage={"code": settings.code_version, "lock": settings.lock_digest},
    )
