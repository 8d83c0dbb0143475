"""train: a data-set version and the contract become a model version's artifacts. See docs/training.md."""

from __future__ import annotations

import functools
import platform
from datetime import UTC, datetime
from typing import Any

from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.observe import observed
from mlops.aws.registry import DynamoRegistry
from mlops.cost.compute import function_seconds
from mlops.settings import Settings
from mlops.training.service import Train


@functools.cache
def service() -> Train:
    """The domain service with its adapters; tests replace it."""
    settings = Settings.from_env().require("stack", "data_bucket", "artifact_bucket", "table")
    return Train(
        data=S3Objects(settings.data_bucket),
        artifacts=S3Objects(settings.artifact_bucket),
        registry=DynamoRegistry(settings.table),
        ledger=DynamoLedger(settings.table, settings.stack),
        clock=lambda: datetime.now(UTC),
        price=function_seconds(settings.region, settings.memory_mb, platform.machine()),
        lineage={
            "code": settings.code_version,
            "lock": settings.lock_digest,
            "where": "lambda",
            "memory_mb": settings.memory_mb,
        },
    )


@observed("train")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """``{model, run_id, dataset_version}`` → ``{status, version, metrics, explanation, …}``; see ``Train.run``. With
    ``task: collect`` and ``job``, what a training job made is taken over instead."""
    if event.get("task") == "collect":
        return service().collect(event["model"], event["run_id"], event["job"])
    left = context.get_remaining_time_in_millis() / 1000
    return service().run(event["model"], event["run_id"], event.get("dataset_version"), limit=left)
