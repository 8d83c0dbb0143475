"""boto3 clients, one per service and process."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

#: ``standard`` retries throttling and transient faults with jitter; Step Functions retries what is left.
_CONFIG = Config(
    retries={"mode": "standard", "max_attempts": 5}, connect_timeout=5, read_timeout=60, max_pool_connections=20
)


@cache
def client(service: str) -> Any:
    """A client for ``service`` with the process's credentials, region and endpoint."""
    return boto3.client(service, config=_CONFIG)  # type: ignore[call-overload]


def error_code(error: Exception) -> str:
    """The AWS error code of a botocore ClientError, or an empty text."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
