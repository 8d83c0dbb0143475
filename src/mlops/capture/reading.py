"""Captured traffic as typed lines, one by one: for people, tools and tests. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from mlops.capture.blocks import LINE, REPLAY
from mlops.capture.fetching import bodies, lines
from mlops.objects import ObjectStore

Identity = tuple[str, str]


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
        if data["kind"] != LINE:
            raise ValueError("not a capture line")
        time = datetime.fromisoformat(data["time"])
        if time.tzinfo is None:
            raise ValueError("a capture line's time has an offset")
        champion = _side(data["champion"])
        if champion is None:
            raise ValueError("a capture line has a champion")
        return cls(
            model=_text(data["model"]),
            time=time,
            request_id=_text(data["request_id"]),
            step=_text_or_none(data.get("step")),
            release=_text_or_none(data.get("release")),
            rows=tuple(_row(row) for row in data["rows"]),
            champion=champion,
            challenger=_side(data.get("challenger")),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "kind": LINE, "time": self.time.isoformat(), "rows": [asdict(r) for r in self.rows]}


def _side(data: Mapping[str, Any] | None) -> CaptureSide | None:
    return None if data is None else CaptureSide(_text(data["version"]), int(data["us"]), data.get("error"))


def _row(data: Mapping[str, Any]) -> CaptureRow:
    if not isinstance(data["features"], dict):
        raise TypeError("the features of a captured record are an object")
    return CaptureRow(
        id=_text(data["id"]),
        entity=_text_or_none(data.get("entity")),
        features=data["features"],
        answered=data["answered"],
        champion=_scores(data.get("champion")),
        challenger=_scores(data.get("challenger")),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _scores(data: list[float] | None) -> tuple[float, ...] | None:
    return None if data is None else tuple(map(float, data))


def read(objects: ObjectStore, model: str, since: datetime, until: datetime) -> Iterator[CaptureLine]:
    """Lines of ``model`` with ``since <= time < until``, by hour, in no promised order within one.

    A line that was delivered in two different batches comes once, also while its hour is being folded. Damaged objects
    and lines are skipped: the writer counted and kept apart what was malformed when it arrived.

    :func:`mlops.capture.columns.read` gives the same rows as columns, many times faster.

    Raises
    ------
    ValueError
        when ``since`` or ``until`` has no time zone.
    """
    for _, found in groupby(bodies(objects, model, since, until), key=itemgetter(0)):
        seen: set[Identity] = set()
        for _, _, body in found:
            for line in parse(body):
                if since <= line.time < until and line.identity not in seen:
                    seen.add(line.identity)
                    yield line


def parse(body: bytes) -> Iterator[CaptureLine]:
    """Lines of one object (gzip or plain; JSON lines or blocks of them)."""
    for value in lines(body):
        try:
            yield CaptureLine.from_dict(value)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            continue
