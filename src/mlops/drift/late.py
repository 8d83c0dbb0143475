"""Captured rows that come late: no window loses them, and none counts one twice.

A window is checked when it ends, but its last rows are still on their way: log batches are delivered again and again
for hours when the writer cannot take them. So every check keeps which objects it read of its last six hours. The window
that begins where it ended counts, beside its own rows, those that have come since; and those between the two, where a
schedule that is not exact left a gap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mlops.capture.reading import CaptureLine, Identity, bodies, entries, hours, parse, stored
from mlops.objects import ObjectStore, report_prefix

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
    """What a check of a window read. ``keys``: of the objects with rows of its last :data:`LATE`."""

    since: datetime
    until: datetime
    keys: frozenset[str]

    def to_dict(self) -> dict[str, Any]:
        return {"since": self.since.isoformat(), "until": self.until.isoformat(), "keys": sorted(self.keys)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Reading:
        since, until = (datetime.fromisoformat(data[name]) for name in ("since", "until"))
        return cls(since, until, frozenset(data["keys"]))


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
    """Lines of a window, and those that came late for the one before. To be iterated once.

    Attributes
    ----------
    late : rows that came late, when all lines were taken.
    """

    def __init__(
        self, objects: ObjectStore, model: str, since: datetime, until: datetime, before: Reading | None = None
    ) -> None:
        self.late = 0
        self._objects, self._model, self._since, self._until, self._before = objects, model, since, until, before
        self._keys: set[str] = set()

    def __iter__(self) -> Iterator[CaptureLine]:
        for line in self._late_lines():
            self.late += 0 if line.is_replay else len(line.rows)
            yield line
        for key, line in entries(self._objects, self._model, self._since, self._until):
            if line.time >= self._until - LATE:
                self._keys.add(key)
            yield line

    def reading(self) -> Reading:
        """What was read, when all lines were taken."""
        return Reading(self._since, self._until, frozenset(self._keys))

    def _late_lines(self) -> Iterator[CaptureLine]:
        before = self._before
        if before is None:
            return
        start = max(before.since, before.until - LATE)
        for hour in hours(start, self._since):
            listed = list(stored(self._objects, self._model, hour))
            known = [key for key in listed if key in before.keys]
            fresh = [key for key in listed if key not in before.keys]
            between = before.until < min(self._since, hour + timedelta(hours=1))
            if not fresh and not between:
                continue
            # What was counted comes first: a line may be in an object of then and in one of now.
            seen: set[Identity] = set()
            for key, body in bodies(self._objects, iter([*known, *fresh])):
                for line in parse(body):
                    counted = key in before.keys and line.time < before.until
                    if line.identity in seen or not start <= line.time < self._since:
                        continue
                    seen.add(line.identity)
                    if not counted:
                        yield line
