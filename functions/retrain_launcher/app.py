"""retrain_launcher: whether, why and where to train again, and the start of the run. See docs/retraining.md."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

from mlops.aws.events import EventBus
from mlops.aws.executions import StateMachine
from mlops.aws.ledger import DynamoLedger
from mlops.aws.observe import observed
from mlops.aws.places import offers, runner
from mlops.aws.registry import DynamoRegistry
from mlops.retrain.launch import Launcher
from mlops.retrain.request import answer
from mlops.settings import Settings


@functools.cache
def service() -> Launcher:
    """The domain service with its adapters; tests replace it."""
    settings = Settings.from_env().require("stack", "table", "pipeline_arn")
    return Launcher(
        registry=DynamoRegistry(settings.table),
        ledger=DynamoLedger(settings.table, settings.stack),
        events=EventBus(settings.stack),
        pipeline=StateMachine(settings.pipeline_arn),
        clock=_now,
        offers=functools.partial(offers, settings, _now),
        runner=runner(settings, _now) if settings.training_image else None,
    )


def _now() -> datetime:
    return datetime.now(UTC)


@observed("retrain_launcher")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """A task (``decide``, ``submit``, ``sweep``, ``launch``, ``explain``) or an event about drift, quality or a job
    → the decision, or what was done about the job."""
    return answer(service(), event, request_id=str(getattr(context, "aws_request_id", "") or ""))
