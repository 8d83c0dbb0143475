"""What the API tells of models and of the ledger: ``GET /models``, ``/models/{name}``, ``/versions``,
``/ledger``.

Read-only, and limited to the models that the caller's token permits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mlops.errors import MlopsError
from mlops.registry.entities import LedgerEntry
from mlops.registry.ports import Ledger, Registry
from mlops.registry.search import find

PAGE = 100
MAX_PAGE = 1000
_STATUS = {
    "invalid_request": 400,
    "model_not_allowed": 403,
    "unknown_model": 404,
    "unknown_route": 404,
    "method_not_allowed": 405,
}
_ALLOWED_HEADERS = "Authorization, Content-Type, X-Api-Key"

Response = dict[str, Any]


class ReadingError(MlopsError):
    """A request that is answered with an error; its status is in one table."""


class Reading:
    """Answers REST proxy events.

    Parameters
    ----------
    cors_origin : origin whose pages may read answers; empty for none.
    """

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        *,
        cors_origin: str = "",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._origin = cors_origin
        self._clock = clock

    def respond(self, event: Mapping[str, Any]) -> Response:
        """The proxy response to a proxy event of API Gateway."""
        path = str(event.get("path") or "/").rstrip("/")
        context = event.get("requestContext") or {}
        try:
            if event.get("httpMethod") == "OPTIONS":
                return self._preflight()
            permitted = _permitted(context.get("authorizer") or {})
            body = self._route(path, event.get("queryStringParameters") or {}, permitted)
        except ReadingError as error:
            told = {"code": error.code, "message": error.message, "details": []}
            request_id = str(context.get("requestId", ""))
            answer = {"error": {**told, "request_id": request_id}}
            allow = {"Allow": "GET"} if error.code == "method_not_allowed" else {}
            return self._answer(_STATUS[error.code], answer, {"X-Error-Code": error.code, **allow})
        return self._answer(200, body)

    def _route(self, path: str, query: Mapping[str, str], permitted: frozenset[str] | None) -> Any:
        if path == "/models":
            return {"models": [self._summary(n) for n in self._registry.models() if _may(permitted, n)]}
        if path.startswith("/models/") and path.count("/") == 2:
            return self._model(path.rpartition("/")[2], permitted)
        if path == "/versions":
            return self._search(query, permitted)
        if path == "/ledger":
            return self._entries(query, permitted)
        raise ReadingError(f"there is no path '{path[:120]}'", code="unknown_route")

    def _summary(self, model: str) -> dict[str, Any]:
        contract = self._registry.contract(model)
        champion = self._registry.in_state(model, "champion")
        challenger = self._registry.in_state(model, "challenger")
        tagging = self._registry.tagging(model, None)
        return {
            "name": model,
            "task": contract.task if contract else None,
            "target": contract.target.name if contract else None,
            "champion": champion.version if champion else None,
            "challenger": challenger.version if challenger else None,
            "tags": dict(tagging.tags) if tagging else {},
        }

    def _model(self, model: str, permitted: frozenset[str] | None) -> dict[str, Any]:
        if not _may(permitted, model):
            raise ReadingError(f"the token does not permit the model '{model[:80]}'", code="model_not_allowed")
        contract = self._registry.contract(model)
        if contract is None:
            raise ReadingError(f"there is no model '{model[:80]}'", code="unknown_model")
        dataset = self._registry.current_dataset(model)
        return {
            **self._summary(model),
            "contract_digest": contract.digest(),
            "dataset": {"version": dataset.version, "rows": dataset.rows} if dataset else None,
            "versions": [asdict(v) for v in self._registry.versions(model)],
        }

    def _search(self, query: Mapping[str, str], permitted: frozenset[str] | None) -> dict[str, Any]:
        limit, after = _number(query, "limit", PAGE, low=1, high=MAX_PAGE), _number(query, "after", 0, low=0)
        models = [name for name in self._registry.models() if _may(permitted, name)]
        try:
            found = find(self._registry, models, query.get("query") or "", self._clock())
        except MlopsError as error:
            raise ReadingError(error.message, code="invalid_request") from error
        until = after + limit
        shown = [asdict(version) for version in found[after:until]]
        return {"versions": shown, "total": len(found), "next": until if until < len(found) else None}

    def _entries(self, query: Mapping[str, str], permitted: frozenset[str] | None) -> dict[str, Any]:
        after, limit = _number(query, "after", 0, low=0), _number(query, "limit", PAGE, low=1, high=MAX_PAGE)
        subject = query.get("subject") or None
        found: list[LedgerEntry] = []
        for entry in self._ledger.entries(subject=subject, after=after):
            if not _about(entry, permitted):
                continue
            if len(found) == limit:
                return {"entries": [asdict(e) for e in found], "next": found[-1].sequence}
            found.append(entry)
        return {"entries": [asdict(e) for e in found], "next": None}

    def _preflight(self) -> Response:
        if not self._origin:
            raise ReadingError("calls from other origins are not enabled here", code="method_not_allowed")
        headers = {
            "Access-Control-Allow-Methods": "GET",
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
            "Access-Control-Max-Age": "600",
            "Vary": "Origin",
        }
        return {**self._answer(204, None, headers), "body": ""}

    def _answer(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
        found = {"Content-Type": "application/json", "Cache-Control": "no-store", **(headers or {})}
        if self._origin:
            found["Access-Control-Allow-Origin"] = self._origin
            found["Access-Control-Expose-Headers"] = "X-Error-Code, Retry-After"
        return {"statusCode": status, "headers": found, "body": json.dumps(body, ensure_ascii=False)}


def _permitted(authorizer: Mapping[str, Any]) -> frozenset[str] | None:
    """Names that the caller's token permits; None for all. Without an authorizer's word: none."""
    names = str(authorizer.get("models", "")).split()
    return None if "*" in names else frozenset(names)


def _may(permitted: frozenset[str] | None, model: str) -> bool:
    return permitted is None or model in permitted


def _about(entry: LedgerEntry, permitted: frozenset[str] | None) -> bool:
    """Whether an entry may be shown: a token limited to models sees what is about them by name."""
    if permitted is None:
        return True
    kind, _, rest = entry.subject.partition("/")
    return kind == "model" and rest.partition("/")[0] in permitted


def _number(query: Mapping[str, str], name: str, default: int, *, low: int, high: int = 10**12) -> int:
    text = query.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and low <= int(text) <= high):
        raise ReadingError(f"'{name}' must be a whole number from {low} to {high}", code="invalid_request")
    return int(text)
