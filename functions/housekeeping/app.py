"""housekeeping: checks and anchors the ledger, puts old versions aside, deletes what nobody needs any more,
and folds captured traffic."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

from mlops.aws.callbacks import TaskTokens
from mlops.aws.events import EventBus
from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.observe import observed
from mlops.aws.registry import DynamoRegistry
from mlops.aws.resources import function_versions
from mlops.aws.serving import LambdaServing
from mlops.registry.watch import Watch
from mlops.release.approval import Approvals
from mlops.release.housekeeping import Housekeeping
from mlops.settings import Settings


@functools.cache
def service() -> Housekeeping:
    """The domain service with its adapters; tests replace it."""
    names = (
        "stack", "table", "artifact_bucket", "predict_function", "parameter_prefix", "anchor_bucket", "data_bucket",
        "capture_days",
    )  # fmt: skip
    settings = Settings.from_env().require(*names)
    registry, ledger = DynamoRegistry(settings.table), DynamoLedger(settings.table, settings.stack)

    def clock() -> datetime:
        return datetime.now(UTC)

    return Housekeeping(
        registry=registry,
        ledger=ledger,
        serving=LambdaServing(
            settings.predict_function,
            layer_name=f"{settings.stack}-models",
            parameter_prefix=settings.parameter_prefix,
            bucket="",
        ),
        approvals=Approvals(registry, ledger, TaskTokens(), clock),
        artifacts=S3Objects(settings.artifact_bucket),
        watch=Watch(
            settings.stack, registry, ledger, S3Objects(settings.anchor_bucket), EventBus(settings.stack).put, clock
        ),
        deployed=lambda: function_versions(settings.stack),
        clock=clock,
        captures=S3Objects(settings.data_bucket),
        capture_days=int(settings.capture_days),
    )


@observed("housekeeping")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """``{task: daily | plan | anchor, actor?, reason?}`` → ``{status, ledger, anchored, …}``."""
    return service().run(event, lambda: context.get_remaining_time_in_millis() / 1000)
