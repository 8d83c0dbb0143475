"""register: an evaluated version enters the registry, and a run ends. See docs/registry.md."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.observe import observed
from mlops.aws.registry import DynamoRegistry
from mlops.registry.register import Register
from mlops.settings import Settings


@functools.cache
def service() -> Register:
    """The domain service with its adapters; tests replace it."""
    settings = Settings.from_env().require("stack", "artifact_bucket", "table")
    return Register(
        registry=DynamoRegistry(settings.table),
        ledger=DynamoLedger(settings.table, settings.stack),
        artifacts=S3Objects(settings.artifact_bucket),
        clock=lambda: datetime.now(UTC),
    )


@observed("register")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """``{task: register | close | fail, model, run_id, …}`` → ``{status, …}``."""
    return service().run(event)
