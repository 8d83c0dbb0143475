"""Captured traffic as typed lines, for drift and for the release's evidence. Standard library only."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from mlops.objects import ObjectStore, capture_prefix

SCHEMA = "mlops.capture.v1"
#: Request ids of records that the release replayed start with this; they are not live traffic.
REPLAY = "replay-"
Identity = tuple[str, str]
#: Objects fetched at once, and objects asked for before they are needed.
AT_ONCE, AHEAD = 16, 64


@dataclass(frozen=True, slots=True)
class CaptureRow:
    """One scored record. ``champion`` and ``challenger`` are probabilities in the order of the classes, or
    ``[value]``; ``None`` where that model gave no answer. ``answered``: ``champion`` or ``challenger``."""

    id: str
    entity: str | None
    features: Mapping[str, Any]
    answered: str
    champion: tuple[float, ...] | None
    challenger: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class CaptureSide:
    """What one version did with a request: microseconds, and the code of its fault if it had one."""

    version: str
    us: int
    error: str | None


@dataclass(frozen=True, slots=True)
class CaptureLine:
    """One request, or a part of a large one. ``step`` and ``release`` are ``None`` outside a release."""

    model: str
    time: datetime
    request_id: str
    step: str | None
    release: str | None
    rows: tuple[CaptureRow, ...]
    champion: CaptureSide
    challenger: CaptureSide | None

    @property
    def identity(self) -> Identity:
        """What a line has in common with itself in another delivery."""
        return self.request_id, self.rows[0].id if self.rows else ""

    @property
    def is_replay(self) -> bool:
        """Whether the release sent these records itself."""
        return self.request_id.startswith(REPLAY)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CaptureLine:
        """From the JSON form.

        Raises
        ------
        ValueError, KeyError, TypeError
            when ``data`` is not a capture line.
        """
        if data["kind"] != SCHEMA:
            raise ValueError("not a capture line")
        time = datetime.fromisoformat(data["time"])
        if time.tzinfo is None:
            raise ValueError("a capture line's time has an offset")
        champion = _side(data["champion"])
        if champion is None:
            raise ValueError("a capture line has a champion")
        return cls(
            model=data["model"],
            time=time,
            request_id=data["request_id"],
            step=data.get("step"),
            release=data.get("release"),
            rows=tuple(_row(row) for row in data["rows"]),
            champion=champion,
            challenger=_side(data.get("challenger")),
        )


def _side(data: Mapping[str, Any] | None) -> CaptureSide | None:
    return None if data is None else CaptureSide(data["version"], int(data["us"]), data.get("error"))


def _row(data: Mapping[str, Any]) -> CaptureRow:
    return CaptureRow(
        id=data["id"],
        entity=data.get("entity"),
        features=data["features"],
        answered=data["answered"],
        champion=_scores(data.get("champion")),
        challenger=_scores(data.get("challenger")),
    )


def _scores(data: list[float] | None) -> tuple[float, ...] | None:
    return None if data is None else tuple(map(float, data))


def read(objects: ObjectStore, model: str, since: datetime, until: datetime) -> Iterator[CaptureLine]:
    """Lines of ``model`` with ``since <= time < until``, by hour, in no promised order within one.

    A line that was delivered in two different batches comes once. Damaged objects and lines are skipped: the
    writer counted and kept apart what was malformed when it arrived.

    Raises
    ------
    ValueError
        when ``since`` or ``until`` has no time zone.
    """
    return (line for _, line in entries(objects, model, since, until))


def entries(objects: ObjectStore, model: str, since: datetime, until: datetime) -> Iterator[tuple[str, CaptureLine]]:
    """As :func:`read`, each line with the key of its object."""
    if since.tzinfo is None or until.tzinfo is None:
        raise ValueError("since and until need a time zone")
    for hour in hours(since, until):
        seen: set[Identity] = set()
        for key, body in bodies(objects, stored(objects, model, hour)):
            for line in parse(body):
                if since <= line.time < until and line.identity not in seen:
                    seen.add(line.identity)
                    yield key, line


def hours(since: datetime, until: datetime) -> Iterator[datetime]:
    """The full hours that a time from ``since`` to before ``until`` touches."""
    hour = since.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    while hour < until:
        yield hour
        hour += timedelta(hours=1)


def stored(objects: ObjectStore, model: str, hour: datetime) -> Iterator[str]:
    """Keys of the objects with lines of an hour."""
    return (i.key for i in objects.list(capture_prefix(model, hour.strftime("%Y-%m-%d"), hour.strftime("%H"))))


def bodies(objects: ObjectStore, keys: Iterator[str]) -> Iterator[tuple[str, bytes]]:
    """Objects in the order of their keys, some of them on their way while one is read: traffic of a day is tens of
    thousands of small objects, and one after the other they would take longer than a function may run."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="captures") as pool:
        coming: deque[tuple[str, Future[bytes]]] = deque()

        def ask(many: int) -> None:
            coming.extend((key, pool.submit(objects.get, key)) for key in islice(keys, many))

        try:
            ask(AHEAD)
            while coming:
                key, future = coming.popleft()
                yield key, future.result()
                ask(1)
        finally:
            for _, future in coming:
                future.cancel()


def parse(body: bytes) -> Iterator[CaptureLine]:
    """Lines of one object (gzip or plain JSON lines)."""
    try:
        text = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
    except (OSError, EOFError, zlib.error):
        return
    for raw in text.splitlines():
        try:
            line = CaptureLine.from_dict(json.loads(raw))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        yield line
