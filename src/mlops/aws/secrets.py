"""Secrets that the stack keeps in Parameter Store."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from mlops.aws.clients import client, error_code
from mlops.errors import ConfigurationError

#: Below the stack's prefix: the key that signs links for approvals.
APPROVAL_KEY = "approval-key"


def secret(name: str, ssm: Any = None) -> bytes:
    """The bytes of a SecureString.

    Raises
    ------
    ConfigurationError
        when it was never made.
    """
    try:
        found = (ssm or client("ssm")).get_parameter(Name=name, WithDecryption=True)
    except ClientError as error:
        if error_code(error) == "ParameterNotFound":
            raise ConfigurationError(f"the parameter {name} does not exist; `mlops bootstrap` makes it") from error
        raise
    return str(found["Parameter"]["Value"]).encode()
