"""Stored capture objects of a window, many of them on their way at once. Standard library only."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mlops.capture.blocks import BLOCK, unpack
from mlops.errors import NotFoundError
from mlops.objects import ObjectInfo, ObjectStore, capture_prefix

#: Objects fetched at once; objects, and stored bytes, asked for before they are needed.
AT_ONCE, AHEAD, AHEAD_BYTES = 16, 64, 32_000_000
#: How often an hour is listed again because objects of it had gone: each time it was being folded anew.
AGAIN = 5
_HOUR = re.compile(r"/dt=(\d{4}-\d{2}-\d{2})/hh=(\d{2})/[^/]+$")


@dataclass(frozen=True, slots=True)
class _Coming:
    hour: datetime
    info: ObjectInfo
    body: Future[bytes]


def bodies(objects: ObjectStore, model: str, since: datetime, until: datetime) -> Iterator[tuple[datetime, str, bytes]]:
    """Each hour between ``since`` and ``until`` that has objects, with key and body of each; hours in their order.

    An object that is gone when it is fetched was folded into another meanwhile: its hour is listed once more, and
    what is new there comes too. So a line may come twice in an hour, and never not at all.

    Raises
    ------
    ValueError
        when ``since`` or ``until`` has no time zone.
    NotFoundError
        when objects of an hour go faster than they can be read.
    """
    if since.tzinfo is None or until.tzinfo is None:
        raise ValueError("since and until need a time zone")
    listed = _listed(objects, model, since.astimezone(UTC), until.astimezone(UTC))
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="captures") as pool:
        coming: deque[_Coming] = deque()
        ahead, current, known, lost = 0, None, set[str](), False
        try:
            while True:
                while len(coming) < AHEAD and (ahead < AHEAD_BYTES or not coming):
                    found = next(listed, None)
                    if found is None:
                        break
                    hour, info = found
                    coming.append(_Coming(hour, info, pool.submit(objects.get, info.key)))
                    ahead += info.size
                if not coming or coming[0].hour != current:
                    if lost and current is not None:
                        yield from _once_more(objects, model, current, known)
                    if not coming:
                        return
                    current, known, lost = coming[0].hour, set(), False
                one = coming.popleft()
                ahead -= one.info.size
                try:
                    body = one.body.result()
                except NotFoundError:
                    lost = True
                    continue
                known.add(one.info.key)
                yield one.hour, one.info.key, body
        finally:
            for one in coming:
                one.body.cancel()


def _once_more(
    objects: ObjectStore, model: str, hour: datetime, known: set[str]
) -> Iterator[tuple[datetime, str, bytes]]:
    """What an hour holds beside the objects that are ``known``, until nothing of it goes away."""
    gone: NotFoundError | None = None
    for _ in range(AGAIN):
        gone = None
        for info in objects.list(capture_prefix(model, f"{hour:%Y-%m-%d}", f"{hour:%H}")):
            if info.key in known:
                continue
            try:
                body = objects.get(info.key)
            except NotFoundError as error:
                gone = error
                continue
            known.add(info.key)
            yield hour, info.key, body
        if gone is None:
            return
    if gone is not None:
        raise gone


def _listed(
    objects: ObjectStore, model: str, since: datetime, until: datetime
) -> Iterator[tuple[datetime, ObjectInfo]]:
    """Objects and their hours. A whole day is listed at once: folded, it has an object an hour."""
    hour = since.replace(minute=0, second=0, microsecond=0)
    while hour < until:
        whole = hour.hour == 0 and hour + timedelta(days=1) <= until
        for info in objects.list(capture_prefix(model, f"{hour:%Y-%m-%d}", "" if whole else f"{hour:%H}")):
            its = hour_of(info.key)
            if its is not None:
                yield its, info
        hour += timedelta(days=1) if whole else timedelta(hours=1)


def hour_of(key: str) -> datetime | None:
    """The hour whose captures an object holds; None for a stray one."""
    found = _HOUR.search(key)
    try:
        return datetime.strptime(" ".join(found.groups()), "%Y-%m-%d %H").replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


def inflate(body: bytes) -> bytes:
    """The text of a stored object, gzip or plain.

    Raises
    ------
    OSError, EOFError, zlib.error
        when it is damaged.
    """
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body


def lines(body: bytes) -> Iterator[Any]:
    """The capture lines of one stored object as JSON values, those of blocks included; what is damaged is left out."""
    try:
        text = inflate(body)
    except (OSError, EOFError, zlib.error):
        return
    for raw in text.splitlines():
        try:
            value = json.loads(raw)
            if isinstance(value, dict) and value.get("kind") == BLOCK:
                yield from list(unpack(value))
            else:
                yield value
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            continue
