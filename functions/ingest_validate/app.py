"""ingest_validate: an upload, of one file or of many, is checked against its contract; see
docs/bring-your-own-data.md."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

from mlops.aws.events import EventBus
from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.observe import observed
from mlops.aws.registry import DynamoRegistry
from mlops.aws.sources import S3Listing
from mlops.bulk.tasks import BulkUploads, bulk_uploads
from mlops.data.ingest import Ingest, IngestRequest
from mlops.settings import Settings


@functools.cache
def service() -> Ingest:
    """The domain service with its adapters; tests replace it."""
    settings = Settings.from_env().require("stack", "data_bucket", "table")
    return Ingest(
        objects=S3Objects(settings.data_bucket),
        registry=DynamoRegistry(settings.table),
        ledger=DynamoLedger(settings.table, settings.stack),
        events=EventBus(settings.stack),
        clock=lambda: datetime.now(UTC),
    )


@functools.cache
def bulk() -> BulkUploads:
    """The services behind the tasks of uploads of many files; tests replace it."""
    settings = Settings.from_env().require("stack", "data_bucket", "table")
    return bulk_uploads(
        objects=S3Objects(settings.data_bucket),
        listing=S3Listing(settings.data_bucket),
        bucket=settings.data_bucket,
        registry=DynamoRegistry(settings.table),
        ledger=DynamoLedger(settings.table, settings.stack),
        events=EventBus(settings.stack),
        clock=lambda: datetime.now(UTC),
    )


@observed("ingest_validate")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """``{model, upload, attempt}`` → ``{status: accepted | partial | rejected | duplicate, rows, reasons, …}``; with a
    ``task``, a step of the machine ``bulk``."""
    if "task" in event:
        return bulk().run(event)
    return service().run(IngestRequest.from_dict(event)).to_dict()
