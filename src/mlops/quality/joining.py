"""Captured predictions of a window, and the labels that belong to them, in bounded memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlops.capture.columns import Block
from mlops.drift.traffic import batch
from mlops.features.columns import Columns
from mlops.features.spec import Feature
from mlops.quality.labels import Label, Labels, Value

FloatArray = npt.NDArray[np.float64]

#: Predictions kept of a window, and labelled ones besides. What is kept of more is chosen by a hash of the id, so that
#: a second look at the same window sees the same rows.
MAX_ROWS = 50_000


@dataclass(frozen=True)
class Rows:
    """Some predictions as arrays.

    Attributes
    ----------
    table : a column for every feature that was captured.
    scores : float64, (rows, classes) or (rows, 1).
    actual : int64 positions of classes, or float64; empty where there are no labels.
    times : float64, when each was captured, in seconds since 1970; empty for rows that were not captured.
    ids : float64, 53 bits of a hash of each inference id; empty for rows that were not captured.
    """

    table: Columns
    scores: FloatArray
    actual: npt.NDArray[Any]
    times: FloatArray = field(default_factory=lambda: np.empty(0))
    ids: FloatArray = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Joined:
    """A window. ``seen``: predictions of the version; ``matched`` labels of ``labels.usable`` found one."""

    predictions: Rows
    labelled: Rows
    seen: int
    matched: int
    labels: Labels


@dataclass(order=True)
class _Kept:
    rank: int
    features: Mapping[str, Any] = field(compare=False)
    scores: Sequence[float] = field(compare=False)
    time: datetime = field(compare=False)
    value: Value = field(compare=False, default=0)


class _Sample:
    """The rows with the smallest hashes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[_Kept] = []  # a max-heap by negated rank

    def offer(self, identity: str, block: Block, row: int, scores: Sequence[float], value: Value = 0) -> None:
        rank = -int.from_bytes(blake2b(identity.encode(), digest_size=8).digest())
        is_full = len(self._heap) >= self._size
        if is_full and rank <= self._heap[0].rank:
            return
        kept = _Kept(rank, block.features_of(row), scores, block.times[row], value)
        if is_full:
            heapq.heapreplace(self._heap, kept)
        else:
            heapq.heappush(self._heap, kept)

    def rows(self, features: Sequence[Feature], *, classes: int, labelled: bool) -> Rows:
        kept = sorted(self._heap, reverse=True)
        columns = batch(features, [k.features for k in kept], [k.scores for k in kept]).table
        table = columns.select([f.name for f in features if f.name in columns])
        scores = np.array([k.scores for k in kept], dtype=np.float64).reshape(len(kept), classes or 1)
        kind = np.int64 if classes else np.float64
        actual = np.array([k.value for k in kept] if labelled else [], dtype=kind)
        times = np.array([k.time.timestamp() for k in kept], dtype=np.float64)
        return Rows(table, scores, actual, times, np.array([-k.rank >> 11 for k in kept], dtype=np.float64))


def join(
    features: Sequence[Feature],
    blocks: Iterable[Block],
    labels: Labels,
    version: str,
    *,
    classes: int,
    max_rows: int = MAX_ROWS,
) -> Joined:
    """Find the label of every prediction of ``version``; replayed records are left out.

    By inference id directly. By entity: a label belongs to the entity's last prediction that is not after the label's
    time (without one: after the arrival of its file). The order in which predictions or labels come does not matter.
    """
    predictions, labelled = _Sample(max_rows), _Sample(max_rows)
    latest: dict[tuple[str, int], _Candidate] = {}
    found: set[str] = set()
    seen = 0
    for block in blocks:
        answers = None if block.is_replay else block.scores_of(version)
        if answers is None:
            continue
        for i, scores in enumerate(answers):
            if scores is None or len(scores) != (classes or 1):
                continue
            seen += 1
            identity = block.ids[i]
            predictions.offer(identity, block, i, scores)
            label = labels.by_id.get(identity)
            if label is not None:
                found.add(identity)
                labelled.offer(identity, block, i, scores, label.value)
            entity = block.entities[i]
            for n, dated in enumerate(labels.by_entity.get(entity, ()) if entity else ()):
                _keep_latest(latest, (entity or "", n), dated, _Candidate(block.times[i], identity, block, i, scores))
    taken: dict[str, tuple[str, int]] = {}
    for key, one in sorted(latest.items(), key=lambda item: _moment(labels, item[0])):
        taken[one.identity] = key  # of two labels for one prediction the later one counts
    for identity, key in taken.items():
        if identity not in found:
            one = latest[key]
            labelled.offer(identity, one.block, one.row, one.scores, labels.by_entity[key[0]][key[1]].value)
    return Joined(
        predictions.rows(features, classes=classes, labelled=False),
        labelled.rows(features, classes=classes, labelled=True),
        seen,
        len(found) + len(latest),
        labels,
    )


def _moment(labels: Labels, key: tuple[str, int]) -> datetime:
    label = labels.by_entity[key[0]][key[1]]
    return label.time or label.arrived


class _Candidate(NamedTuple):
    """A prediction of an entity; of two the one with the larger ``(time, identity)`` is the later one."""

    time: datetime
    identity: str
    block: Block
    row: int
    scores: Sequence[float]


def _keep_latest(
    latest: dict[tuple[str, int], _Candidate], key: tuple[str, int], label: Label, candidate: _Candidate
) -> None:
    if candidate.time > (label.time or label.arrived):
        return
    known = latest.get(key)
    if known is None or candidate[:2] > known[:2]:
        latest[key] = candidate
