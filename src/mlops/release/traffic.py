"""Captured traffic for a release: the new lines since the last check, and recent records to replay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from mlops.capture.blocks import LINE, REPLAY
from mlops.capture.fetching import lines as captured
from mlops.errors import NotFoundError
from mlops.objects import ObjectInfo, ObjectStore, capture_prefix

#: A listing may show an object this much later than one that was stored after it.
OVERLAP = timedelta(seconds=10)

#: Objects read in one check; what is left is read by the next one.
MAX_OBJECTS = 2000

Line = Mapping[str, Any]


def new_lines(
    captures: ObjectStore, model: str, since: datetime, until: datetime, cursor: Mapping[str, Any]
) -> tuple[list[Line], dict[str, Any]]:
    """Capture lines in objects that were not read yet, and the cursor to give the next time.

    Parameters
    ----------
    since, until : UTC; hours between them (inclusive) are looked at.
    cursor : empty the first time. ``until``: the newest object read; ``recent``: keys read shortly before that,
        which a listing with an overlap shows again.
    """
    newest = datetime.fromisoformat(cursor["until"]) if cursor else None
    recent = set(cursor.get("recent", ()))
    first = max(since, newest - timedelta(hours=1)) if newest else since
    found: list[tuple[datetime, ObjectInfo]] = []
    for hour in _hours(first, until):
        for info in captures.list(capture_prefix(model, f"{hour:%Y-%m-%d}", f"{hour:%H}")):
            modified = datetime.fromisoformat(info.modified)
            if info.key not in recent and (newest is None or modified >= newest - OVERLAP):
                found.append((modified, info))
    found.sort(key=lambda item: (item[0], item[1].key))
    lines: list[Line] = []
    read: dict[str, datetime] = {}
    for modified, info in found[:MAX_OBJECTS]:
        lines += decode(captures.get(info.key))
        read[info.key] = modified
        newest = max(newest, modified) if newest else modified
    if newest is None:
        return lines, {}
    kept = [key for key, modified in read.items() if modified >= newest - OVERLAP]
    return lines, {"until": newest.isoformat(), "recent": sorted(kept + _still(recent, read, newest, cursor))}


def _still(recent: set[str], read: Mapping[str, datetime], newest: datetime, cursor: Mapping[str, Any]) -> list[str]:
    """Keys of the cursor before that the overlap can still show."""
    if not cursor or newest - datetime.fromisoformat(cursor["until"]) > OVERLAP:
        return []
    return [key for key in recent if key not in read]


def recent_records(captures: ObjectStore, model: str, now: datetime, count: int, hours: int = 48) -> list[Any]:
    """Features of up to ``count`` captured records, the newest objects first."""
    records: list[Any] = []
    for back in range(hours + 1):
        hour = now - timedelta(hours=back)
        objects = list(captures.list(capture_prefix(model, f"{hour:%Y-%m-%d}", f"{hour:%H}")))
        for info in sorted(objects, key=lambda i: (i.modified, i.key), reverse=True):
            try:
                body = captures.get(info.key)
            except NotFoundError:  # folded into another object meanwhile; any other record will do
                continue
            for line in decode(body):
                records += [row["features"] for row in line["rows"]]
                if len(records) >= count:
                    return records[:count]
    return records


def decode(body: bytes) -> list[Line]:
    """The lines of live traffic in one stored object. What is no such line is left out: it must not stop a release."""
    return [line for line in captured(body) if isinstance(line, dict) and _is_live(line)]


def _is_live(line: Line) -> bool:
    return line.get("kind") == LINE and not str(line.get("request_id")).startswith(REPLAY)


def _hours(first: datetime, last: datetime) -> Iterator[datetime]:
    hour = first.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    while hour <= last:
        yield hour
        hour += timedelta(hours=1)
