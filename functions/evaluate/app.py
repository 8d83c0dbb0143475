"""evaluate: a trained version is judged with the runtime that serves. See docs/gates.md."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.observe import observed
from mlops.aws.registry import DynamoRegistry
from mlops.evaluation.recent import StoredLabels
from mlops.evaluation.service import Evaluate
from mlops.settings import Settings


@functools.cache
def service() -> Evaluate:
    """The domain service with its adapters; tests replace it."""
    settings = Settings.from_env().require("stack", "data_bucket", "artifact_bucket", "table")
    return Evaluate(
        artifacts=S3Objects(settings.artifact_bucket),
        registry=DynamoRegistry(settings.table),
        ledger=DynamoLedger(settings.table, settings.stack),
        clock=lambda: datetime.now(UTC),
        recent=StoredLabels(S3Objects(settings.data_bucket)),
    )


@observed("evaluate")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """``{model, version, run_id}`` → ``{status: accepted | rejected | needs_approval, checks, report_key, …}``."""
    return service().run(event["model"], event["version"], event["run_id"])
