"""authorizer: who is calling, and what may they call. Called by API Gateway before ``predict``; see
docs/authentication.md. It has neither Powertools nor their layer: it is on the request path."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from mlops.errors import fault, hide_traces, where
from mlops.security.access import UnauthorizedError, bearer_token, policy
from mlops.security.keys import KeyRing, url_source
from mlops.security.tokens import ALGORITHMS, Rules, TokenError, Verifier
from mlops.settings import TokenSettings, listed


@functools.cache
def verifier() -> Verifier:
    """Rules and keys of this process; tests replace it."""
    settings = TokenSettings.from_env()
    rules = Rules(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        algorithms=listed(settings.jwt_algorithms) or ALGORITHMS,
        leeway=float(settings.jwt_leeway_seconds or 30),
        max_lifetime=float(settings.jwt_max_lifetime_seconds or 0) or None,
        require_jti=settings.is_once,
        client_ids=listed(settings.jwt_client_ids),
    )
    return Verifier(rules, KeyRing(_source(settings)), first_use=_first_use(settings))


def _source(settings: TokenSettings) -> Callable[[], str | bytes]:
    if settings.jwks_url:
        return url_source(settings.jwks_url)
    from mlops.aws.keysets import parameter_source  # noqa: PLC0415 - an issuer by address needs no boto3

    return parameter_source(settings.jwks_parameter)


def _first_use(settings: TokenSettings) -> Callable[[str, int], bool] | None:
    if not settings.is_once:
        return None
    from mlops.aws.once import UsedTokens  # noqa: PLC0415 - likewise

    return UsedTokens(settings.table).first_use


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """A REQUEST authorizer event gives a policy; a token that is not accepted raises "Unauthorized" (401)."""
    try:
        token = bearer_token(event)
        principal = verifier().verify(token)
        return policy(principal, str(event.get("methodArn", "")))
    except UnauthorizedError:
        hide_traces()  # the runtime prints what an authorizer raises, and callers without a token come every second
        raise
    except TokenError as error:
        _log("WARNING", "refused", event, context, code=error.code)
        hide_traces()
        raise UnauthorizedError from None
    except Exception as error:
        _log("ERROR", "fault", event, context, type=type(error).__name__, place=where(error))
        hide_traces()
        raise fault(error) from None


def _log(level: str, message: str, event: dict[str, Any], context: Any, **fields: Any) -> None:
    """A log line in the form of the other functions'. Never the token, nor anything that it says."""
    line = {
        "level": level,
        "message": message,
        "service": "authorizer",
        "function_request_id": getattr(context, "aws_request_id", ""),
        "correlation_id": (event.get("requestContext") or {}).get("requestId", ""),
        **fields,
    }
    print(json.dumps(line))
