"""registry_api: tells of models and of the ledger, through API Gateway. See docs/registry.md."""

from __future__ import annotations

import functools
from typing import Any

from mlops.aws.ledger import DynamoLedger
from mlops.aws.observe import observed
from mlops.aws.registry import DynamoRegistry
from mlops.registry.reading import Reading
from mlops.settings import Settings


@functools.cache
def service() -> Reading:
    """The domain service with its adapters; tests replace it."""
    settings = Settings.from_env().require("stack", "table")
    ledger = DynamoLedger(settings.table, settings.stack)
    return Reading(DynamoRegistry(settings.table), ledger, cors_origin=settings.cors_origin)


@observed("registry_api")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """A REST proxy event gives a proxy response. It reads and never writes."""
    return service().respond(event)
