"""What ``predict`` prints: capture lines, metrics and log lines, in one write per request.

Everything goes to ``sys.stdout``, which Lambda ships to CloudWatch Logs after the answer has left: a
subscription filter stores the capture lines, CloudWatch turns the metrics line (embedded metric format) into
metrics. No line holds a token, a body or a feature that the contract flags as personal data.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from mlops.inference.scoring import Outcome, Row, Side
from mlops.inference.settings import InferenceSettings
from mlops.inference.texts import capture_text
from mlops.manifest import Manifest

SCHEMA = "mlops.capture.v1"
#: CloudWatch cuts events of more than 256 KiB; a larger capture is printed as several lines.
MAX_LINE_BYTES = 240_000
#: Fractions of a second as text: a table is quicker than a format.
_THOUSANDTHS = tuple(f"{n:03d}" for n in range(1000))


def timestamp(seconds: float) -> str:
    """ISO 8601 UTC with milliseconds."""
    second, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{_second(second)}.{_THOUSANDTHS[milliseconds]}Z"


@functools.lru_cache(maxsize=1)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def write(lines: list[str]) -> None:
    """Print lines in one write."""
    if lines:
        # sys.stdout is looked up each time: runtimes replace it. File descriptor 1 may belong to their protocol.
        stream = sys.stdout
        stream.write("\n".join(lines) + "\n")
        stream.flush()


def is_sampled(inference_id: str, rate: float) -> bool:
    """Whether a request is captured; decided by its id, so the same request always is or is not."""
    return rate >= 1.0 or int(inference_id[:8], 16) < rate * 2**32


class Capture:
    """Capture lines of one model, by its personal-data rules."""

    def __init__(self, settings: InferenceSettings) -> None:
        self._key = settings.pseudonym_key
        self._open: dict[str, tuple[Manifest, bool]] = {}

    def lines(self, outcome: Outcome, request_id: str, *, body: bytes | str = b"", always: bool = False) -> list[str]:
        """The lines of one request: usually one, none when the request is not sampled.

        ``body``: the JSON that the records came in, if it has them as ``"records"``; they are then copied from it.
        """
        manifest = outcome.champion.model.manifest
        sampled = always or outcome.route is not None or is_sampled(outcome.inference_id, manifest.capture_rate)
        if not sampled or not outcome.champion.rows:
            return []
        if type(body) is str and body and self.is_open(manifest):
            line = capture_text(outcome, body, timestamp(outcome.started), request_id)
            if line is not None and len(line if line.isascii() else line.encode()) <= MAX_LINE_BYTES:
                return [line]
        route = outcome.route
        head = {
            "kind": SCHEMA,
            "model": manifest.model,
            "time": timestamp(outcome.started),
            "request_id": request_id,
            "step": route.step if route else None,
            "release": route.release if route else None,
        }
        tail = {
            "champion": _side(outcome.champion),
            "challenger": _side(outcome.challenger) if outcome.challenger else None,
        }
        return _fit(head, self._rows(outcome), tail)

    def is_open(self, manifest: Manifest) -> bool:
        """Whether records of this version may be captured as they came: no personal data, no key among features."""
        known = self._open.get(manifest.version)
        if known is None or known[0] is not manifest:
            names = {f.name for f in manifest.features}
            is_open = all(f.pii == "none" for f in manifest.features) and names.isdisjoint(manifest.key)
            known = self._open[manifest.version] = (manifest, is_open)
        return known[1]

    def _rows(self, outcome: Outcome) -> list[dict[str, Any]]:
        manifest = outcome.champion.model.manifest
        clean, entity = self.clean(manifest), self.entity(manifest)
        nothing: list[Row] = [None] * len(outcome.champion.rows)
        challenger = outcome.challenger.rows if outcome.challenger else nothing
        answered = outcome.answered or ["champion"] * len(nothing)
        records, prefix = outcome.records, outcome.inference_id
        return [
            {
                "id": f"{prefix}-{index}",
                "entity": entity(records[index]),
                "features": clean(records[index]),
                "answered": role,
                "champion": first,
                "challenger": second,
            }
            for index, role, first, second in zip(
                outcome.positions(), answered, outcome.champion.rows, challenger, strict=True
            )
        ]

    def entity(self, manifest: Manifest) -> Callable[[Mapping[str, Any]], str | None]:
        """How a record of this model names its entity; None for one without a whole key."""
        key = manifest.key
        if not key or not self._key:
            return lambda record: None
        from mlops.inference.hashing import entity_name  # noqa: PLC0415 - only models with an entity key

        def named(record: Mapping[str, Any]) -> str | None:
            values = [record.get(name) for name in key]
            return None if None in values else entity_name(self._key, values)

        return named

    def clean(self, manifest: Manifest) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
        """How a record of this model becomes its captured features."""
        names = [f.name for f in manifest.features]
        if all(f.pii == "none" for f in manifest.features):
            width = len(names)

            def as_it_is(record: Mapping[str, Any]) -> Mapping[str, Any]:
                if len(record) == width:  # nothing missing, no key: it was parsed, so these are the features
                    return record
                return {name: record.get(name) for name in names}

            return (lambda r: {n: r.get(n) for n in names}) if manifest.key else as_it_is
        plain = [f.name for f in manifest.features if f.pii == "none"]
        hashed = [f.name for f in manifest.features if f.pii == "pseudonymise"] if self._key else []
        from mlops.inference.hashing import pseudonym  # noqa: PLC0415 - only models with personal data

        def cleaned(record: Mapping[str, Any]) -> Mapping[str, Any]:
            result = {name: record.get(name) for name in plain}
            for name in hashed:
                value = record.get(name)
                result[name] = None if value is None else pseudonym(self._key, name, value)
            return result

        return cleaned


def _side(side: Side) -> dict[str, Any]:
    return {"version": side.model.version, "us": side.us, "error": side.error}


def _fit(head: dict[str, Any], rows: list[dict[str, Any]], tail: dict[str, Any]) -> list[str]:
    """One line, or several with a part of the rows each. A single row that is too long loses its features."""
    line = orjson.dumps({**head, "rows": rows, **tail})
    if len(line) <= MAX_LINE_BYTES:
        return [line.decode()]
    if len(rows) == 1:
        return [orjson.dumps({**head, "rows": [{**rows[0], "features": {}}], **tail}).decode()]
    parts = len(line) // MAX_LINE_BYTES + 1
    step = max(1, min(len(rows) // 2, len(rows) // parts))
    return [piece for i in range(0, len(rows), step) for piece in _fit(head, rows[i : i + step], tail)]


class Metrics:
    """One line of CloudWatch's embedded metric format per request, written by hand."""

    def __init__(self, stack: str) -> None:
        self._stack = stack
        self._heads: dict[str, str] = {}

    def line(self, model: str, microseconds: int, *, error: bool = False, rejected: bool = False) -> str:
        """``model`` must be a deployed one, or "" for requests that name none: each value is a paid metric.

        ``error``: our fault, worth an alarm; ``rejected``: the caller's, or a model that has no version yet.
        """
        head = self._heads.get(model)
        if head is None:
            head = self._heads[model] = self._head(model)
        return (
            f'{{"_aws":{{"Timestamp":{time.time_ns() // 1_000_000},{head}'
            f'"Requests":1,"Errors":{int(error)},"Rejected":{int(rejected)},"Latency":{microseconds}}}'
        )

    def _head(self, model: str) -> str:
        units = {"Requests": "Count", "Errors": "Count", "Rejected": "Count", "Latency": "Microseconds"}
        directive = {
            "Namespace": "ServerlessMLOps",
            "Dimensions": [["stack", "model"]],
            "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items()],
        }
        values = orjson.dumps({"stack": self._stack or "-", "model": model or "-"}).decode()
        return f'"CloudWatchMetrics":[{orjson.dumps(directive).decode()}]}},{values[1:-1]},'


def log_line(level: str, message: str, context: Any, *, correlation_id: str = "", **fields: Any) -> str:
    """A log line with the keys that Powertools' Logger uses in the other functions."""
    line = {
        "level": level,
        "message": message,
        "timestamp": timestamp(time.time()),
        "service": "predict",
        "function_name": getattr(context, "function_name", ""),
        "function_request_id": getattr(context, "aws_request_id", ""),
        "correlation_id": correlation_id,
        "xray_trace_id": os.environ.get("_X_AMZN_TRACE_ID", "").split(";")[0].removeprefix("Root="),
        **fields,
    }
    return orjson.dumps(line, default=str).decode()
