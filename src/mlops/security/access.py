"""What a scope permits, as the policy that API Gateway evaluates for each request of a token.

API Gateway caches an authorizer's answer by token, for all paths. So the policy names every route that the
token's scopes permit, and nothing of the request that happened to come first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlops.security.tokens import Principal

#: (method, path, scopes of which one is needed). ``*`` in a path stands for anything, slashes too.
ROUTES: Sequence[tuple[str, str, tuple[str, ...]]] = (
    ("POST", "predict", ("predict",)),
    ("POST", "v2/models/*/infer", ("predict",)),
    ("POST", "v2/repository/index", ("predict", "models:read")),
    ("GET", "v2", ("predict", "models:read")),
    ("GET", "v2/*", ("predict", "models:read")),
    ("GET", "openapi.json", ("predict", "models:read")),
    ("GET", "models", ("models:read",)),
    ("GET", "models/*", ("models:read",)),
    ("GET", "versions", ("models:read",)),
    ("POST", "models/*", ("models:write",)),  # no route yet: what changes a model is done by `mlops` and approvals
    ("GET", "ledger", ("audit:read",)),
)


class UnauthorizedError(Exception):
    """API Gateway answers 401 to exactly this text."""

    def __init__(self) -> None:
        super().__init__("Unauthorized")


def bearer_token(event: Mapping[str, Any]) -> str:
    """The token of a REQUEST authorizer event.

    Raises
    ------
    UnauthorizedError
        when there is no ``Authorization: Bearer …``, or more than one.
    """
    values: list[str] = []
    for name, several in (event.get("multiValueHeaders") or {}).items():
        if str(name).lower() == "authorization":
            values += several if isinstance(several, list) else [several]
    if not values:
        headers = event.get("headers") or {}
        values = [value for name, value in headers.items() if str(name).lower() == "authorization"]
    if len(values) != 1 or not isinstance(values[0], str):
        raise UnauthorizedError
    scheme, _, token = values[0].partition(" ")
    if scheme.lower() != "bearer" or not token or token != token.strip():
        raise UnauthorizedError
    return token


def policy(principal: Principal, method_arn: str) -> dict[str, Any]:
    """The authorizer's answer: which routes of this API and stage the principal may call, and who it is.

    Raises
    ------
    UnauthorizedError
        when ``method_arn`` is not one of API Gateway's.
    """
    parts = method_arn.split("/")
    if len(parts) < 3 or ":execute-api:" not in parts[0]:
        raise UnauthorizedError
    stage = "/".join(parts[:2])
    allowed = [f"{stage}/{method}/{path}" for method, path, scopes in ROUTES if principal.has(*scopes)]
    statement = {
        "Action": "execute-api:Invoke",
        "Effect": "Allow" if allowed else "Deny",
        "Resource": allowed or [f"{stage}/*"],
    }
    return {
        "principalId": principal.subject,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": {
            "principal": principal.subject,
            "scopes": " ".join(sorted(principal.scopes)),
            "models": " ".join(principal.models),
        },
    }
