"""housekeeping: anchors the ledger's head, puts old versions aside, deletes what the code storage no longer needs."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

from mlops.aws.callbacks import TaskTokens
from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.observe import observed
from mlops.aws.registry import DynamoRegistry
from mlops.aws.resources import function_versions
from mlops.aws.serving import LambdaServing
from mlops.release.approval import Approvals
from mlops.release.housekeeping import Housekeeping
from mlops.settings import Settings


@functools.cache
def service() -> Housekeeping:
    """The domain service with its adapters; tests replace it."""
    names = ("stack", "table", "predict_function", "parameter_prefix", "anchor_bucket")
    settings = Settings.from_env().require(*names)
    registry, ledger = DynamoRegistry(settings.table), DynamoLedger(settings.table, settings.stack)

    def clock() -> datetime:
        return datetime.now(UTC)

    return Housekeeping(
        stack=settings.stack,
        registry=registry,
        ledger=ledger,
        serving=LambdaServing(
            settings.predict_function,
            layer_name=f"{settings.stack}-models",
            parameter_prefix=settings.parameter_prefix,
            bucket="",
        ),
        approvals=Approvals(registry, ledger, TaskTokens(), clock),
        anchorage=S3Objects(settings.anchor_bucket),
        deployed=lambda: function_versions(settings.stack),
        clock=clock,
    )


@observed("housekeeping")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """``{task: daily | plan, actor?, reason?}`` → ``{status, anchored, moves, functions, layers}``."""
    return service().run(event)
