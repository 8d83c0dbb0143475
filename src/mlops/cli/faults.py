"""What the world refused, in one line: AWS, the network, the file system."""

from __future__ import annotations

import http.client
import urllib.error
from collections.abc import Mapping

from mlops.errors import MlopsError

_DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation", "403", "Forbidden"}
_CREDENTIALS = {
    "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException",
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature",
    "RequestExpired",
}  # fmt: skip


def aws_errors() -> tuple[type[Exception], ...]:
    """Everything that an AWS client raises. boto3 takes a third of a second to import: `--help` does not wait."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return Boto3Error, BotoCoreError, ClientError


def of_aws(error: Exception) -> MlopsError:
    """An AWS client's error as a clear message."""
    from botocore.exceptions import (
        ClientError,
        ConnectionError,
        CredentialRetrievalError,
        HTTPClientError,
        NoCredentialsError,
        NoRegionError,
        ProfileNotFound,
        SSOError,
        TokenRetrievalError,
    )

    if isinstance(error, ClientError):
        return _refused(error.operation_name, dict(error.response.get("Error", {})))
    if isinstance(error, NoCredentialsError | CredentialRetrievalError | SSOError | TokenRetrievalError):
        message = f"no AWS credentials ({_line(error)}); log in, or name a profile with --profile"
        return MlopsError(message, code="credentials")
    if isinstance(error, ProfileNotFound):
        return MlopsError(f"{_line(error)}; `aws configure list-profiles` lists yours", code="credentials")
    if isinstance(error, NoRegionError):
        return MlopsError("no AWS region: give --region, or set one in the profile", code="configuration")
    if isinstance(error, ConnectionError | HTTPClientError):
        return MlopsError(f"AWS cannot be reached: {_line(error)}", code="unreachable")
    return MlopsError(f"AWS: {_line(error)}", code="aws")


def of_http(error: OSError | http.client.HTTPException, url: str) -> MlopsError:
    """The API did not answer."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return MlopsError(f"the API at {url} does not answer: {_line(reason)}", code="unreachable")


def of_files(error: OSError) -> MlopsError:
    """A file, or something like it, that cannot be used."""
    what = f"{error.filename}: " if error.filename is not None else ""
    return MlopsError(f"{what}{error.strerror or _line(error)}", code="file")


def _refused(operation: str, error: Mapping[str, object]) -> MlopsError:
    code, message = str(error.get("Code", "")), _line(error.get("Message") or "no reason given")
    if code in _DENIED:
        return MlopsError(f"AWS denied {operation}: {message}; your credentials lack that right", code="access_denied")
    if code in _CREDENTIALS:
        return MlopsError(f"AWS does not accept your credentials ({message}); log in again", code="credentials")
    return MlopsError(f"AWS refused {operation}: {message} ({code})", code="aws")


def _line(value: object) -> str:
    return " ".join(str(value).split())
