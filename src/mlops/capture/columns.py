"""Captured traffic as columns, for drift and quality: thousands of records at a time, most of them never objects.

What the simple reader (:mod:`mlops.capture.reading`) gives line by line is here given by column, with the same rules
about what is damaged, outside the window or there twice. Needs orjson, which the inference layer has.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, chain, groupby
from operator import itemgetter
from typing import Any

import orjson

from mlops.capture.blocks import BLOCK, MAX_ROWS, REPLAY, Document, check, features_of, pack, unpack
from mlops.capture.fetching import bodies, inflate
from mlops.capture.reading import CaptureLine, Identity
from mlops.objects import ObjectStore

#: What reading a line or a block that is none raises.
_WRONG = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError)
_NUMBERS = {int, float}

ScoreList = Sequence[float] | None


@dataclass(frozen=True, slots=True)
class Block:
    """Records with the same versions, every list with one entry for each.

    Attributes
    ----------
    champion, challenger : the versions that were asked.
    is_replay : whether the release sent these records itself.
    features : name -> values as the requests gave them; None also for a record without it, which ``absent`` names.
    champion_scores, challenger_scores : see :class:`mlops.capture.reading.CaptureRow`.
    """

    champion: str
    challenger: str | None
    is_replay: bool
    times: list[datetime]
    ids: list[str]
    entities: list[str | None]
    features: Mapping[str, list[Any]]
    absent: Mapping[str, Iterable[int]]
    champion_scores: list[ScoreList]
    challenger_scores: list[ScoreList]

    def __len__(self) -> int:
        return len(self.ids)

    def scores_of(self, version: str) -> list[ScoreList] | None:
        """The answers of ``version``; None when it was not asked."""
        if version == self.champion:
            return self.champion_scores
        return self.challenger_scores if version == self.challenger else None

    def features_of(self, row: int) -> dict[str, Any]:
        """What one record held."""
        return features_of(self.features, self.absent, row)


IsNew = Callable[[datetime, Identity], bool]


class Once:
    """Tells of a line of one hour whether it lies in the window and was not there before."""

    def __init__(self, since: datetime, until: datetime) -> None:
        self._since, self._until = since, until
        self._seen: set[Identity] = set()

    def __call__(self, time: datetime, identity: Identity) -> bool:
        if not self._since <= time < self._until or identity in self._seen:
            return False
        self._seen.add(identity)
        return True


def read(
    objects: ObjectStore,
    model: str,
    since: datetime,
    until: datetime,
    *,
    once: Callable[[datetime, datetime], IsNew] = Once,
    took: Callable[[datetime, str], None] = lambda hour, key: None,
) -> Iterator[Block]:
    """The records that :func:`mlops.capture.reading.read` gives, as columns.

    Parameters
    ----------
    once : gives, for each hour anew, what decides of each line whether it counts, by its time and identity.
    took : is told the hour and the key of each object that was read.

    Raises
    ------
    ValueError
        when ``since`` or ``until`` has no time zone.
    """
    for _, found in groupby(bodies(objects, model, since, until), key=itemgetter(0)):
        is_new = once(since, until)
        loose: list[Any] = []
        for hour, key, body in found:
            took(hour, key)
            for value in _values(body):
                if isinstance(value, dict) and value.get("kind") == BLOCK:
                    yield from _blocks(value, is_new)
                else:
                    loose.append(value)
            if len(loose) >= MAX_ROWS:
                yield from from_lines(loose, is_new)
                loose = []
        yield from from_lines(loose, is_new)


def from_lines(lines: Iterable[Any], is_new: IsNew = lambda time, identity: True) -> Iterator[Block]:
    """Capture lines (JSON values) as blocks; what is no such line is left out."""
    documents, others = pack(lines)
    if others:
        documents += pack(_checked(others))[0]
    for document in documents:
        yield from _blocks(document, is_new)


def _checked(lines: Iterable[Any]) -> Iterator[Document]:
    """The lines that the simple reader takes, in the form that ``predict`` prints."""
    for line in lines:
        try:
            yield CaptureLine.from_dict(line).to_dict()
        except _WRONG:
            continue


def _values(body: bytes) -> Iterator[Any]:
    try:
        text = inflate(body)
    except (OSError, EOFError, zlib.error):
        return
    for raw in text.splitlines():
        try:
            yield orjson.loads(raw)
        except orjson.JSONDecodeError:
            try:
                yield json.loads(raw)  # takes what orjson does not, such as NaN: both readers read the same
            except (ValueError, RecursionError):
                continue


def _blocks(document: Mapping[str, Any], is_new: IsNew) -> Iterator[Block]:
    try:
        check(document)
        times = [datetime.fromisoformat(t) for t in document["time"]]
        good = _is_clean(document, times)
    except _WRONG:
        good = False
    if good:
        ends = list(accumulate(document["rows"]))
        ids = [document["id"][end - n] if n else "" for end, n in zip(ends, document["rows"], strict=True)]
        identities = zip(document["request_id"], ids, strict=True)
        kept = [is_new(time, identity) for time, identity in zip(times, identities, strict=True)]
        if all(kept):
            yield _block(document, times)
            return
        lines = [line for line, keep in zip(unpack(document), kept, strict=True) if keep]
        for part in pack(lines)[0]:
            yield _block(part, [datetime.fromisoformat(t) for t in part["time"]])
        return
    try:
        lines = list(unpack(document))
    except _WRONG:
        return
    for part in pack(_checked(lines))[0]:
        yield from _blocks(part, is_new)


def _is_clean(document: Mapping[str, Any], times: Sequence[datetime]) -> bool:
    """Whether the simple reader would take every line just as it stands."""
    scores = (*document["champion_scores"], *document["challenger_scores"])
    given = [s for s in scores if s is not None]
    measured = [*document["champion_us"], *(document["challenger_us"] if document["challenger"] is not None else ())]
    headed = isinstance(document["champion"], str) and isinstance(document["challenger"], str | None)
    return (
        headed
        and all(t.tzinfo is not None for t in times)
        and set(map(type, document["id"])) <= {str}
        and set(map(type, document["request_id"])) <= {str}
        and set(map(type, document["entity"])) <= {str, type(None)}
        and set(map(type, measured)) <= {int}
        and set(map(type, given)) <= {list, tuple}
        and set(map(type, chain.from_iterable(given))) <= _NUMBERS
    )


def _block(document: Mapping[str, Any], times: Sequence[datetime]) -> Block:
    counts = document["rows"]
    is_single = len(times) == len(document["id"]) and set(counts) <= {1}
    return Block(
        champion=document["champion"],
        challenger=document["challenger"],
        is_replay=bool(times) and document["request_id"][0].startswith(REPLAY),
        times=list(times) if is_single else [t for t, n in zip(times, counts, strict=True) for _ in range(n)],
        ids=document["id"],
        entities=document["entity"],
        features=document["features"],
        absent={name: set(positions) for name, positions in document["absent"].items()},
        champion_scores=document["champion_scores"],
        challenger_scores=document["challenger_scores"],
    )
