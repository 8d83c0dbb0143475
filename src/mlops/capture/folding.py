"""Folding: the many small objects of an hour become one, so that readers ask for hundreds of objects, not for millions.

An hour's lines are a set. A folded object is named by the digest of its lines and written before any object that it
replaces is deleted. So at every moment, whatever dies or runs twice, each line is in at least one object, and readers
take a line that is in two of them once. Nothing is lost even when several fold the same hour at once: an object is only
deleted for one that holds all its lines, and of two objects that hold each other's lines both have the same name.

Standard library only.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Protocol

from mlops.capture.blocks import BLOCK, pack, unpack
from mlops.capture.fetching import AT_ONCE, hour_of, inflate
from mlops.errors import NotFoundError
from mlops.objects import ObjectInfo, ObjectStore, capture_prefix, folded_capture_key, is_folded

#: Deliveries of an hour's lines come this long after its end at most, nearly always.
CLOSED = timedelta(hours=1)
#: How far back hours are folded: what a run left, or a release kept from being folded.
DAYS = 8
#: Fewer small objects are left as they are: a PUT costs as much as 12.5 GETs, and each object is read some eight times.
LEAST = 4
#: Stored bytes that are folded at a time, and up to which a folded object is folded again with late lines.
MAX_BYTES, GROWING = 4_000_000, 2_000_000


class Foldable(ObjectStore, Protocol):
    """A bucket of which objects may be deleted."""

    def delete_many(self, keys: Sequence[str]) -> None:
        """Delete objects; those that are not there are no fault."""
        ...


@dataclass(frozen=True, slots=True)
class Folded:
    """What one run did. ``hours``: in which something was folded; ``objects``: that went into others; ``expired``:
    objects deleted because they are older than captures are kept; ``left``: whether time ran out."""

    hours: int = 0
    objects: int = 0
    expired: int = 0
    left: bool = False

    def __add__(self, other: Folded) -> Folded:
        return Folded(
            self.hours + other.hours, self.objects + other.objects, self.expired + other.expired,
            self.left or other.left,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def fold(
    objects: Foldable, model: str, now: datetime, *, keep_days: int, may_go_on: Callable[[], bool] = lambda: True
) -> Folded:
    """Fold the closed hours of the last days, and delete captures older than ``keep_days``: folding makes objects
    younger than their lines, which the bucket's lifecycle does not know.

    Parameters
    ----------
    may_go_on : asked before each fold; what is left when it says no is done by the next run.
    """
    now = now.astimezone(UTC)
    done = _expire(objects, model, now, keep_days)
    for back in range(min(DAYS, keep_days), -1, -1):
        day = capture_prefix(model, f"{now - timedelta(days=back):%Y-%m-%d}")
        for hour, infos in groupby(objects.list(day), key=lambda info: hour_of(info.key)):
            if hour is None or hour + timedelta(hours=1) + CLOSED > now:
                continue
            merged = 0
            for group in groups(list(infos)):
                if not may_go_on():
                    return done + Folded(left=True)
                merged += merge(objects, capture_prefix(model, f"{hour:%Y-%m-%d}", f"{hour:%H}"), group)
            done += Folded(hours=int(merged > 0), objects=merged)
    return done


def _expire(objects: Foldable, model: str, now: datetime, keep_days: int) -> Folded:
    expired = 0
    for back in range(keep_days + 1, keep_days + DAYS + 3):
        keys = [i.key for i in objects.list(capture_prefix(model, f"{now - timedelta(days=back):%Y-%m-%d}"))]
        if keys:
            objects.delete_many(keys)
            expired += len(keys)
    return Folded(expired=expired)


def groups(infos: Sequence[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    """The objects of an hour that are worth folding, in groups of bounded size."""
    small = [i for i in infos if not is_folded(i.key)]
    growing = [i for i in infos if is_folded(i.key) and i.size < GROWING]
    if len(small) < LEAST and len(growing) < 2:
        return
    group: list[ObjectInfo] = []
    for info in [*growing, *small]:
        group.append(info)
        if sum(i.size for i in group) >= MAX_BYTES:
            yield group
            group = []
    if len(group) > 1:
        yield group


def merge(objects: Foldable, prefix: str, infos: Sequence[ObjectInfo]) -> int:
    """Fold some objects of one hour into one; returns how many went into it.

    A damaged object stays as it is, and so do all where one is gone: someone else is folding them.
    """

    def fetched(info: ObjectInfo) -> tuple[str, bytes]:
        return info.key, objects.get(info.key)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="folding") as pool:
        try:
            found = list(pool.map(fetched, infos))
        except NotFoundError:
            return 0
    texts, sources = set[str](), []
    for key, body in found:
        try:
            texts.update(list(_texts(body)))
        except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, RecursionError, zlib.error):
            continue
        sources.append(key)
    if not texts:
        return 0
    ordered = sorted(texts)
    target = folded_capture_key(prefix, hashlib.sha256("\n".join(ordered).encode()).hexdigest())
    replaced = [key for key in sources if key != target]
    if replaced:
        objects.put(target, _body(ordered), content_type="application/gzip")
        objects.delete_many(replaced)
    return len(replaced)


def _texts(body: bytes) -> Iterator[str]:
    """The lines of an object, each in the one way to write it."""
    for raw in inflate(body).splitlines():
        value = json.loads(raw)
        is_block = isinstance(value, dict) and value.get("kind") == BLOCK
        yield from map(_text, unpack(value) if is_block else (value,))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _body(texts: Iterable[str]) -> bytes:
    blocks, others = pack(sorted((json.loads(t) for t in texts), key=_by_time))
    return gzip.compress("".join(_text(v) + "\n" for v in (*blocks, *others)).encode(), mtime=0)


def _by_time(line: Any) -> str:
    return str(line.get("time")) if isinstance(line, dict) else ""
