"""The door of ``predict``: one proxy event in, one proxy response out, never an exception."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from mlops.errors import where
from mlops.inference.answers import records_answer
from mlops.inference.body import parse_json, raw_body, refuse_duplicate_keys
from mlops.inference.emit import Capture, Metrics, log_line, write
from mlops.inference.errors import ApiError
from mlops.inference.models import ModelSet
from mlops.inference.scoring import Outcome, Scorer
from mlops.inference.settings import InferenceSettings
from mlops.inference.texts import answer_text

if TYPE_CHECKING:
    from mlops.inference.lane import Quick

#: A Lambda answer may have 6 MB; the envelope takes some of it.
MAX_ANSWER_BYTES = 5_500_000

#: What a page of another origin may read of an answer's headers, besides the few that it always may.
EXPOSED_HEADERS = "X-Model-Version, X-Inference-Id, X-Error-Code, Retry-After, Inference-Header-Content-Length"

_PREDICT_FIELDS = frozenset({"model", "records", "partial", "interval", "explain"})

Event = Mapping[str, Any]
Response = dict[str, Any]


class Exchange:
    """One request on its way: what is known of it for metrics, logs and captures.

    Attributes
    ----------
    model : a deployed one, once it is known.
    lines : what will be printed.
    """

    __slots__ = ("event", "lines", "model", "refused", "request_id")

    def __init__(self, event: Event, request_id: str) -> None:
        self.event = event
        self.request_id = request_id
        self.model = ""
        self.lines: list[str] = []
        self.refused: ApiError | None = None

    @property
    def is_fault(self) -> bool:
        """Whether the request was refused for a reason of ours; a model without a version yet is none."""
        return self.refused is not None and self.refused.status >= 500 and self.refused.code != "no_champion"

    @property
    def authorizer(self) -> Mapping[str, Any]:
        """What the authorizer said of the caller; empty behind a gateway without one."""
        return (self.event.get("requestContext") or {}).get("authorizer") or {}

    def permits(self, model: str) -> bool:
        """Whether the caller's token permits ``model``."""
        allowed = self.authorizer.get("models")
        return allowed is None or allowed == "*" or "*" in (names := str(allowed).split()) or model in names

    def require(self, model: str, *, scope: str = "predict") -> None:
        """Refuse a model that the caller's token does not permit, and a token without ``scope`` ("": any).

        Raises
        ------
        ApiError
            ``model_not_allowed``.
        """
        scopes = self.authorizer.get("scopes")
        if scope and scopes is not None and scopes != scope and scope not in str(scopes).split():
            raise ApiError("model_not_allowed", f"the token lacks the scope '{scope}'")
        if not self.permits(model):
            raise ApiError("model_not_allowed", f"the token does not permit the model '{model[:80]}'")


class Application:
    """Everything that lives from one request to the next."""

    def __init__(self, settings: InferenceSettings) -> None:
        self.settings = settings
        self.models = ModelSet(settings.models_dir)
        self.models.warm(settings.eager_bytes)
        self.scorer = Scorer(self.models, settings)
        self.capture = Capture(settings)
        self.metrics = Metrics(settings.stack)
        self._quick: Quick | None = None
        self._is_first = True
        self.headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        if settings.cors_origin:
            self.headers["Access-Control-Allow-Origin"] = settings.cors_origin
            self.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS

    @classmethod
    def from_env(cls) -> Application:
        """Read the environment, load the model set, and log what is wrong with either."""
        application = cls(InferenceSettings.from_env())
        wrong = [f"{name}/{version}: {reason}" for (name, version), reason in application.models.failed.items()]
        wrong += [text for text in (application.models.error, application.settings.routes_error) if text]
        write([log_line("ERROR", reason, None) for reason in wrong])
        return application

    def handle(self, event: Event, context: Any) -> Any:
        """Answer one invocation: a proxy request, or a task that only a direct invocation can ask for.

        API Gateway always sends ``requestContext`` and ``httpMethod`` and lets no caller add a top-level field,
        so an event without both cannot have come through it.
        """
        if self._quick is not None:
            quick: Response | None = self._quick(event)
            if quick is not None:
                return quick
        elif not self._is_first:
            from mlops.inference.lane import build  # noqa: PLC0415 - a cold start does without

            self._quick = build(self)
        self._is_first = False
        if type(event) is not dict or ("requestContext" not in event and "httpMethod" not in event):
            from mlops.inference.tasks import run  # noqa: PLC0415 - never on the request path

            return run(self, event, context)
        started = time.perf_counter_ns()
        request_context = event.get("requestContext") or {}
        exchange = Exchange(event, str(request_context.get("requestId") or getattr(context, "aws_request_id", "")))
        fields: dict[str, Any] = {}
        try:
            response = self.route(exchange)
        except ApiError as error:
            response = self.refuse(exchange, error)
        except Exception as error:  # the door: whatever goes wrong, the caller gets JSON and we get a log line
            fields["fault"] = f"{type(error).__name__} at {where(error)}"
            fault = ApiError("internal_error", "an unexpected fault; quote the request id when you report it")
            response = self.refuse(exchange, fault)
        if exchange.refused is not None:
            self._log(exchange, context, **fields)
        elapsed = (time.perf_counter_ns() - started) // 1000
        rejected = exchange.refused is not None and not exchange.is_fault
        exchange.lines.append(self.metrics.line(exchange.model, elapsed, error=exchange.is_fault, rejected=rejected))
        write(exchange.lines)
        return response

    def _log(self, exchange: Exchange, context: Any, **fields: Any) -> None:
        """A line for a request that was refused: its code, never its message, which may hold what was sent."""
        code = exchange.refused.code if exchange.refused else ""
        if code == "model_unavailable":
            fields["reasons"] = {f"{n}/{v}": reason for (n, v), reason in self.models.failed.items()}
        level = "ERROR" if exchange.is_fault else "WARNING"
        line = log_line(
            level, "refused", context, correlation_id=exchange.request_id, code=code, model=exchange.model, **fields
        )
        exchange.lines.append(line)

    def route(self, exchange: Exchange) -> Response:
        """The answer to a request; the common route imports nothing."""
        event = exchange.event
        if event.get("path") == "/predict" and event.get("httpMethod") == "POST":
            return self.predict(exchange)
        from mlops.inference.routes import dispatch  # noqa: PLC0415 - everything but the common route

        return dispatch(self, exchange)

    def predict(self, exchange: Exchange) -> Response:
        """``POST /predict``."""
        body = raw_body(exchange.event, self.settings.max_body_bytes)
        request = parse_json(body)
        name, records, partial, interval, explain = _check(request)
        try:
            keys = len(request) + sum(map(len, records))
        except TypeError:  # a record that is no object; the parser will say so
            keys = -1
        refuse_duplicate_keys(body, request, keys)
        exchange.require(name)
        if explain:
            from mlops.inference.explain import explained_answer  # noqa: PLC0415 - only when it is asked for

            return explained_answer(self, exchange, name, records, body, partial=partial, interval=interval)
        outcome = self.score(exchange, name, records, body=body)
        answer = None if interval else answer_text(outcome)
        if answer is None:
            return self.reply(outcome, records_answer(outcome, partial=partial, interval=interval))
        return self.scored(outcome, answer)

    def score(
        self, exchange: Exchange, name: str, records: list[Any], version: str | None = None, *, body: bytes | str = b""
    ) -> Outcome:
        """Score, and note what is to be captured even if the answer will be an error.

        ``body``: the JSON that the records came in, for the capture.
        """
        entry = self.models.entry(name)
        exchange.model = entry.name
        outcome = self.scorer.score(name, records, version=version)
        exchange.lines += self.capture.lines(outcome, exchange.request_id, body=body)
        return outcome

    def reply(self, outcome: Outcome, answer: Mapping[str, Any]) -> Response:
        """200 with the headers that every scored answer has."""
        return self.scored(outcome, orjson.dumps(answer).decode())

    def scored(self, outcome: Outcome, body: str) -> Response:
        """The same for an answer that is text already."""
        if len(body) > MAX_ANSWER_BYTES:
            raise ApiError("batch_too_large", "the answer is larger than one response may be; send fewer records")
        return {"statusCode": 200, "headers": self.scored_headers(outcome), "body": body}

    def scored_headers(self, outcome: Outcome) -> dict[str, str]:
        return {
            **self.headers,
            "X-Model-Version": ",".join(outcome.versions()),
            "X-Inference-Id": outcome.inference_id,
        }

    def json(self, status: int, answer: Any, **headers: str) -> Response:
        """Any JSON answer without a score."""
        return {"statusCode": status, "headers": {**self.headers, **headers}, "body": orjson.dumps(answer).decode()}

    def refuse(self, exchange: Exchange, error: ApiError) -> Response:
        """An error in the form of its protocol: v2 has a text, everything else code, message and details."""
        exchange.refused = error
        headers = {**self.headers, **error.headers}
        status = error.status
        answer = error.body(exchange.request_id)
        if str(exchange.event.get("path", "")).startswith("/v2"):
            status = 400 if status == 422 else status  # what the v2 protocol's clients expect of a bad request
            answer = {"error": error.message}
        return {"statusCode": status, "headers": headers, "body": orjson.dumps(answer).decode()}


def _check(request: Any) -> tuple[str, list[Any], bool, bool, bool]:
    """``model``, ``records``, ``partial``, ``interval`` and ``explain`` of a request, or ApiError."""
    if type(request) is not dict:
        raise ApiError("invalid_request", 'the body must be an object: {"model": "…", "records": [{…}]}')
    if not request.keys() <= _PREDICT_FIELDS:
        from mlops.inference.careful import did_you_mean  # noqa: PLC0415

        unknown = min(request.keys() - _PREDICT_FIELDS)
        close = did_you_mean(unknown, sorted(_PREDICT_FIELDS))
        hint = (
            f"; did you mean '{close}'?" if close else "; known fields are model, records, partial, interval, explain"
        )
        raise ApiError("invalid_request", f"unknown field '{unknown[:80]}'{hint}", [{"field": unknown[:80]}])
    name, records, partial = request.get("model"), request.get("records"), request.get("partial", False)
    if type(name) is not str or not name:
        raise ApiError("invalid_request", "'model' must name the model", [{"field": "model"}])
    if type(records) is not list:
        raise ApiError("invalid_request", "'records' must be an array of objects", [{"field": "records"}])
    if type(partial) is not bool:
        raise ApiError("invalid_request", "'partial' must be true or false", [{"field": "partial"}])
    interval = request.get("interval", False)
    if type(interval) is not bool:
        raise ApiError("invalid_request", "'interval' must be true or false", [{"field": "interval"}])
    explain = request.get("explain", False)
    if type(explain) is not bool:
        raise ApiError("invalid_request", "'explain' must be true or false", [{"field": "explain"}])
    return name, records, partial, interval, explain
