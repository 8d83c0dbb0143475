"""Captured rows that come late: no window loses them, and none counts one twice.

A window is checked when it ends, but its last rows are still on their way: log batches are delivered again and again
for hours when the writer cannot take them. So every check keeps which lines it counted of its last six hours. The
window that begins where it ended counts, beside its own rows, those that have come since; and those between the two,
where a schedule that is not exact left a gap.
"""

from __future__ import annotations

import re
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from mlops.capture.columns import Block, IsNew, Once, read
from mlops.capture.reading import Identity
from mlops.objects import ObjectStore, capture_prefix, report_prefix

#: How late a row may come, and how far apart two windows may lie that follow each other.
LATE = timedelta(hours=6)
_STAMP = "%Y%m%dT%H%M%SZ"
_CHECK = re.compile(r"window-(\d{8}T\d{6}Z)-(\d{8}T\d{6}Z)-.+")


def stamp(since: datetime, until: datetime) -> str:
    """A window's part of a check's id."""
    return f"window-{since:{_STAMP}}-{until:{_STAMP}}"


def reading_key(model: str, check_id: str) -> str:
    """Where it is kept what a check read."""
    return f"{report_prefix('drift', model)}read/{check_id}.json"


@dataclass(frozen=True)
class Reading:
    """What a check of a window read.

    Attributes
    ----------
    keys : of the objects of the hours of its last :data:`LATE`: while there are no others, nothing came late.
    lines : 64 bits of a hash of each line of its last :data:`LATE` that it counted, whichever object holds the line
        now: objects are folded.
    """

    since: datetime
    until: datetime
    keys: frozenset[str]
    lines: frozenset[int]

    def to_dict(self) -> dict[str, Any]:
        lines = b64encode(array("Q", sorted(self.lines)).tobytes()).decode()
        times = {"since": self.since.isoformat(), "until": self.until.isoformat()}
        return {**times, "keys": sorted(self.keys), "lines": lines}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Reading:
        since, until = (datetime.fromisoformat(data[name]) for name in ("since", "until"))
        return cls(since, until, frozenset(data["keys"]), frozenset(array("Q", b64decode(data["lines"]))))


def _named(identity: Identity) -> int:
    return int.from_bytes(blake2b("\n".join(identity).encode(), digest_size=8).digest())


def predecessor(check_ids: Sequence[str], since: datetime, until: datetime) -> str | None:
    """Of some checks the one whose window this one follows: it ended where this one begins, or nearest to it."""
    found = []
    for check_id in check_ids:
        match = _CHECK.fullmatch(check_id)
        if match:
            start, end = (datetime.strptime(text, _STAMP).replace(tzinfo=UTC) for text in match.groups())
            apart = abs(end - since)
            if start < since and end < until and apart <= LATE:
                found.append((apart, check_id))
    return min(found)[1] if found else None


class Captured:
    """Records of a window, and those that came late for the one before. To be iterated once.

    Attributes
    ----------
    late : rows that came late, when all records were taken.
    """

    def __init__(
        self, objects: ObjectStore, model: str, since: datetime, until: datetime, before: Reading | None = None
    ) -> None:
        self.late = 0
        self._objects, self._model, self._since, self._until, self._before = objects, model, since, until, before
        self._keys: set[str] = set()
        self._lines: set[int] = set()

    def __iter__(self) -> Iterator[Block]:
        for block in self._late_blocks():
            self.late += 0 if block.is_replay else len(block)
            yield block
        end = self._until - LATE

        def took(hour: datetime, key: str) -> None:
            if hour + timedelta(hours=1) > end:
                self._keys.add(key)

        def once(since: datetime, until: datetime) -> IsNew:
            is_new = Once(since, until)

            def counts(time: datetime, identity: Identity) -> bool:
                new = is_new(time, identity)
                if new and time >= end:
                    self._lines.add(_named(identity))
                return new

            return counts

        yield from read(self._objects, self._model, self._since, self._until, once=once, took=took)

    def reading(self) -> Reading:
        """What was read, when all records were taken."""
        return Reading(self._since, self._until, frozenset(self._keys), frozenset(self._lines))

    def _late_blocks(self) -> Iterator[Block]:
        before = self._before
        if before is None:
            return

        def once(since: datetime, until: datetime) -> IsNew:
            is_new = Once(since, until)
            return lambda time, identity: is_new(time, identity) and _named(identity) not in before.lines

        start = max(before.since, before.until - LATE)
        hour = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        while hour < self._since:
            after = hour + timedelta(hours=1)
            prefix = capture_prefix(self._model, f"{hour:%Y-%m-%d}", f"{hour:%H}")
            fresh = any(info.key not in before.keys for info in self._objects.list(prefix))
            if fresh or before.until < min(self._since, after):
                since, until = max(start, hour), min(self._since, after)
                yield from read(self._objects, self._model, since, until, once=once)
            hour = after
