"""Every route but ``POST /predict``: the v2 protocol, the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.inference.errors import ApiError
from mlops.inference.scoring import Outcome

if TYPE_CHECKING:
    from mlops.inference.application import Application, Exchange, Response

#: Paths that exist with one method only, for the difference between 404 and 405.
_PLAIN = {
    "/predict": "POST",
    "/openapi.json": "GET",
    "/docs": "GET",
    "/v2": "GET",
    "/v2/health/live": "GET",
    "/v2/health/ready": "GET",
    "/v2/models": "GET",
    "/v2/repository/index": "POST",
}

#: What a page of another origin may send: token, API key, and the headers of the binary tensors.
ALLOWED_HEADERS = "Authorization, Content-Type, X-Api-Key, Content-Encoding, Inference-Header-Content-Length"


def dispatch(application: Application, exchange: Exchange) -> Response:
    """Answer by path and method.

    Raises
    ------
    ApiError
        ``unknown_route``, ``method_not_allowed``, and what the route raises.
    """
    path = str(exchange.event.get("path") or "/").rstrip("/") or "/"
    method = str(exchange.event.get("httpMethod") or "GET").upper()
    if method == "OPTIONS":
        return _preflight(application, path)
    expected = _PLAIN.get(path)
    if expected is not None:
        _require_method(method, expected, path)
        return _plain(application, exchange, path)
    parts = path.split("/")
    if parts[:3] == ["", "v2", "models"] and len(parts) > 3:
        return _model(application, exchange, method, parts[3:])
    raise ApiError("unknown_route", f"there is no path '{path[:120]}'")


def _require_method(method: str, expected: str, path: str) -> None:
    if method != expected:
        message = f"'{path[:120]}' is asked for with {expected}, not {method[:10]}"
        raise ApiError("method_not_allowed", message, allow=expected)


def _preflight(application: Application, path: str) -> Response:
    """What a browser asks before it calls from another origin; refused when no origin is configured."""
    allowed = _PLAIN.get(path)
    if allowed is None and path.startswith("/v2/models/"):
        allowed = "POST" if path.endswith("/infer") else "GET"
    if allowed is None:
        raise ApiError("unknown_route", f"there is no path '{path[:120]}'")
    if not application.settings.cors_origin:
        raise ApiError("method_not_allowed", "calls from other origins are not enabled here", allow=allowed)
    headers = {
        **application.headers,
        "Access-Control-Allow-Methods": allowed,
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": "600",
        "Vary": "Origin",
    }
    return {"statusCode": 204, "headers": headers, "body": ""}


def _plain(application: Application, exchange: Exchange, path: str) -> Response:
    if path == "/predict":
        return application.predict(exchange)
    if path == "/openapi.json":
        from mlops.inference.openapi import document  # noqa: PLC0415 - asked for by people

        return application.json(200, document(application.models, exchange.permits))
    if path == "/docs":
        from mlops.inference.page import HEADERS, PAGE  # noqa: PLC0415

        return {"statusCode": 200, "headers": {**application.headers, **HEADERS}, "body": PAGE}
    from mlops.inference import protocol  # noqa: PLC0415

    if path == "/v2/models":
        return application.json(200, {"models": [n for n in application.models.entries if exchange.permits(n)]})
    if path == "/v2/repository/index":
        return application.json(200, protocol.index(application.models, exchange.permits))
    status, answer = protocol.server(application.models, path)
    return application.json(status, answer)


def _model(application: Application, exchange: Exchange, method: str, parts: list[str]) -> Response:
    """``/v2/models/{name}[/versions/{version}][/ready|/infer]``."""
    from urllib.parse import unquote  # noqa: PLC0415

    from mlops.inference import protocol  # noqa: PLC0415

    name, rest = unquote(parts[0]), parts[1:]
    version = None
    if len(rest) >= 2 and rest[0] == "versions":
        version, rest = unquote(rest[1]), rest[2:]
    action = "/".join(rest)
    if action not in ("", "ready", "infer"):
        raise ApiError("unknown_route", f"a model has no path '{action[:80]}'")
    _require_method(method, "POST" if action == "infer" else "GET", f"…/{action}" if action else "a model")
    exchange.require(name, scope="predict" if action == "infer" else "")
    if action == "ready":
        status, answer = protocol.ready(application.models, name, version)
        return application.json(status, answer)
    if action == "":
        return application.json(200, protocol.metadata(application.models, name, version))
    return _infer(application, exchange, name, version)


def _infer(application: Application, exchange: Exchange, name: str, version: str | None) -> Response:
    from mlops.inference import protocol, tensors  # noqa: PLC0415

    application.models.champion(name)  # without one there is no answer, whatever version is asked for
    model = protocol.select(application.models, name, version)
    request, records = tensors.read_request(exchange.event, application.settings, model.parser)
    if tensors.wants_explanation(request):
        from mlops.inference.explain import check_size  # noqa: PLC0415

        check_size(len(records))
    outcome: Outcome = application.score(exchange, name, records, version)
    header, binary = tensors.answer(outcome, request)
    if not binary:
        return application.reply(outcome, header)
    return tensors.binary_response(application.scored_headers(outcome), header, binary)
