"""release: moves a version from candidate to champion step by step, or back. See docs/release.md."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

from mlops.aws.alarms import CloudWatchAlarms
from mlops.aws.callbacks import TaskTokens
from mlops.aws.events import EventBus
from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.observe import observed
from mlops.aws.registry import DynamoRegistry
from mlops.aws.serving import LambdaServing
from mlops.release.actions import Releases
from mlops.release.dispatch import run
from mlops.settings import Settings


@functools.cache
def service() -> Releases:
    """The domain service with its adapters; tests replace it."""
    names = ("stack", "data_bucket", "artifact_bucket", "table", "predict_function", "parameter_prefix")
    settings = Settings.from_env().require(*names)
    return Releases(
        registry=DynamoRegistry(settings.table),
        ledger=DynamoLedger(settings.table, settings.stack),
        serving=LambdaServing(
            settings.predict_function,
            layer_name=f"{settings.stack}-models",
            parameter_prefix=settings.parameter_prefix,
            bucket=settings.artifact_bucket,
        ),
        artifacts=S3Objects(settings.artifact_bucket),
        data=S3Objects(settings.data_bucket),
        events=EventBus(settings.stack),
        clock=lambda: datetime.now(UTC),
        callbacks=TaskTokens(),
        alarms=CloudWatchAlarms([name for name in settings.alarms.split(",") if name]),
    )


@observed("release")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """``{action, state | …}`` → ``{status, …}``; the machine hands each answer to the next action as its state."""
    return run(service(), event)
