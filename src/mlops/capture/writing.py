"""From one CloudWatch Logs batch to capture objects.

A batch is delivered at least once. Object keys are made from the ids of the log events in it, so a second
delivery overwrites the same objects with the same bytes instead of adding duplicates.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mlops.capture.blocks import LINE
from mlops.errors import MlopsError
from mlops.objects import ObjectStore, capture_prefix

#: Lines that are no capture are put aside below ``captures/_malformed/``.
MALFORMED = "_malformed"
#: A batch of CloudWatch Logs has at most 1 MB compressed; what it inflates to is bounded here.
MAX_BYTES = 100_000_000


class BatchError(MlopsError):
    """An event that is not a CloudWatch Logs batch."""

    code = "invalid_log_batch"


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One log event: its unique ``id``, ``time`` in UTC, ``message``."""

    id: str
    time: datetime
    message: str


@dataclass(frozen=True, slots=True)
class Written:
    """What one batch gave: ``lines`` stored, ``malformed`` put aside, ``ignored`` (no capture at all), object
    ``keys``."""

    lines: int = 0
    malformed: int = 0
    ignored: int = 0
    keys: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        return {"lines": self.lines, "malformed": self.malformed, "ignored": self.ignored, "keys": list(self.keys)}


def decode(event: Mapping[str, Any]) -> list[LogEvent]:
    """The log events of a subscription's delivery; none for CloudWatch's own control messages.

    Raises
    ------
    BatchError
        when the event is not such a delivery.
    """
    try:
        packed = base64.b64decode(event["awslogs"]["data"], validate=True)
        inflate = zlib.decompressobj(wbits=31)
        body = inflate.decompress(packed, MAX_BYTES)
        if inflate.unconsumed_tail:
            raise BatchError(f"the log batch inflates to more than {MAX_BYTES} bytes")
        data = json.loads(body)
        if data["messageType"] != "DATA_MESSAGE":
            return []
        return [
            LogEvent(str(e["id"]), datetime.fromtimestamp(e["timestamp"] / 1000, tz=UTC), str(e["message"]))
            for e in data["logEvents"]
        ]
    except (KeyError, TypeError, ValueError, OverflowError, binascii.Error, zlib.error) as error:
        raise BatchError(f"the event is not a CloudWatch Logs batch ({type(error).__name__})") from error


def write(objects: ObjectStore, events: Iterable[LogEvent]) -> Written:
    """Store capture lines by model, day and hour of their own time; several models and hours may share a batch."""
    groups: dict[str, list[LogEvent]] = {}
    malformed = ignored = lines = 0
    for event in events:
        if LINE not in event.message:
            ignored += 1
            continue
        prefix = _prefix(event.message)
        if prefix is None:
            malformed += 1
            prefix = capture_prefix(MALFORMED, *_hour(event.time))
        else:
            lines += 1
        groups.setdefault(prefix, []).append(event)
    keys = []
    for prefix, members in sorted(groups.items()):
        digest = hashlib.sha256("\n".join(e.id for e in members).encode()).hexdigest()[:32]
        key = f"{prefix}{digest}.jsonl.gz"
        body = "".join(e.message.strip().replace("\n", " ") + "\n" for e in members)
        objects.put(key, gzip.compress(body.encode(), mtime=0), content_type="application/gzip")
        keys.append(key)
    return Written(lines, malformed, ignored, tuple(keys))


def _hour(time: datetime) -> tuple[str, str]:
    return time.strftime("%Y-%m-%d"), time.strftime("%H")


def _prefix(message: str) -> str | None:
    """Where a line belongs, ``None`` when it is not a capture line."""
    try:
        line = json.loads(message)
        model, time = line["model"], datetime.fromisoformat(line["time"])
        is_line = line["kind"] == LINE and isinstance(line["rows"], list) and isinstance(model, str)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not is_line or not model or "/" in model or model.startswith("_") or time.tzinfo is None:
        return None
    return capture_prefix(model, *_hour(time.astimezone(UTC)))
