"""approval: a person decides about a release by a signed link, through API Gateway. See docs/release.md."""

from __future__ import annotations

import base64
import functools
from datetime import UTC, datetime
from typing import Any

from mlops.aws.callbacks import TaskTokens
from mlops.aws.ledger import DynamoLedger
from mlops.aws.observe import observed
from mlops.aws.registry import DynamoRegistry
from mlops.aws.secrets import APPROVAL_KEY, secret
from mlops.release.approval import Approvals
from mlops.release.approval_page import ApprovalPage
from mlops.settings import Settings


@functools.cache
def service() -> ApprovalPage:
    """The domain service with its adapters; tests replace it."""
    settings = Settings.from_env().require("stack", "table", "parameter_prefix")

    def clock() -> datetime:
        return datetime.now(UTC)

    approvals = Approvals(
        DynamoRegistry(settings.table), DynamoLedger(settings.table, settings.stack), TaskTokens(), clock
    )
    return ApprovalPage(approvals, secret(f"{settings.parameter_prefix}/{APPROVAL_KEY}"), clock)


@observed("approval")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """A REST proxy event gives a page. GET shows, POST decides."""
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        body = base64.b64decode(body).decode(errors="replace")
    return service().respond(str(event.get("httpMethod")), event.get("queryStringParameters") or {}, body)
