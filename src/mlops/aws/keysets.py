"""A key set that is kept in an SSM parameter."""

from __future__ import annotations

from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError

from mlops.aws.clients import client, error_code
from mlops.security.keys import KeySourceError


def parameter_source(name: str) -> Callable[[], str]:
    """Read the key set from the SSM parameter ``name``; KeySourceError when that fails.

    A set of shared secrets (HS256) belongs in a SecureString, which is decrypted here.
    """

    def fetch() -> str:
        try:
            return str(client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])
        except (ClientError, BotoCoreError) as error:
            raise KeySourceError(f"the key set's parameter cannot be read ({error_code(error)})") from error

    return fetch
