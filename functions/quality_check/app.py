"""quality_check: how good live predictions were, and can be expected to be. See docs/quality.md."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

from mlops.aws.events import EventBus
from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.observe import observed
from mlops.aws.registry import DynamoRegistry
from mlops.inference.hashing import entity_name
from mlops.quality.check import QualityCheck
from mlops.quality.request import parse
from mlops.settings import Settings


@functools.cache
def service() -> QualityCheck:
    """The domain service with its adapters; tests replace it."""
    settings = Settings.from_env().require("stack", "data_bucket", "artifact_bucket", "table", "capture_days")
    return QualityCheck(
        data=S3Objects(settings.data_bucket),
        artifacts=S3Objects(settings.artifact_bucket),
        registry=DynamoRegistry(settings.table),
        ledger=DynamoLedger(settings.table, settings.stack),
        events=EventBus(settings.stack),
        hashed=functools.partial(entity_name, settings.pseudonym_key.encode()[:64]),
        clock=lambda: datetime.now(UTC),
        capture_days=int(settings.capture_days),
    )


@observed("quality_check")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """``{task: "check", model?, hours?, until?}`` → ``{results: [...]}``."""
    request = parse(event)
    return {"results": [r.to_dict() for r in service().checks(request.model, request.hours, request.until)]}
