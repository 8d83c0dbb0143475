"""Captured predictions of a window, and the labels that belong to them, in bounded memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.capture.reading import CaptureLine
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
    """

    table: Columns
    scores: FloatArray
    actual: npt.NDArray[Any]
    times: FloatArray = field(default_factory=lambda: np.empty(0))

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
    scores: tuple[float, ...] = field(compare=False)
    time: datetime = field(compare=False)
    value: Value = field(compare=False, default=0)


class _Sample:
    """The rows with the smallest hashes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[_Kept] = []  # a max-heap by negated rank

    def offer(
        self, identity: str, features: Mapping[str, Any], scores: tuple[float, ...], time: datetime, value: Value = 0
    ) -> None:
        rank = -int.from_bytes(blake2b(identity.encode(), digest_size=8).digest())
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, _Kept(rank, features, scores, time, value))
        elif rank > self._heap[0].rank:
            heapq.heapreplace(self._heap, _Kept(rank, features, scores, time, value))

    def rows(self, features: Sequence[Feature], *, classes: int, labelled: bool) -> Rows:
        kept = sorted(self._heap, reverse=True)
        columns = batch(features, [k.features for k in kept], [k.scores for k in kept]).table
        table = columns.select([f.name for f in features if f.name in columns])
        scores = np.array([k.scores for k in kept], dtype=np.float64).reshape(len(kept), classes or 1)
        kind = np.int64 if classes else np.float64
        actual = np.array([k.value for k in kept] if labelled else [], dtype=kind)
        return Rows(table, scores, actual, np.array([k.time.timestamp() for k in kept]))


def join(
    features: Sequence[Feature],
    lines: Iterable[CaptureLine],
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
    latest: dict[tuple[str, int], tuple[datetime, str, Mapping[str, Any], tuple[float, ...]]] = {}
    found: set[str] = set()
    seen = 0
    for line in lines:
        if line.is_replay:
            continue
        is_champion = line.champion.version == version
        if not is_champion and (line.challenger is None or line.challenger.version != version):
            continue
        for row in line.rows:
            scores = row.champion if is_champion else row.challenger
            if scores is None or len(scores) != (classes or 1):
                continue
            seen += 1
            predictions.offer(row.id, row.features, scores, line.time)
            label = labels.by_id.get(row.id)
            if label is not None:
                found.add(row.id)
                labelled.offer(row.id, row.features, scores, line.time, label.value)
            for i, dated in enumerate(labels.by_entity.get(row.entity, ()) if row.entity else ()):
                _keep_latest(latest, (row.entity or "", i), dated, (line.time, row.id, row.features, scores))
    taken: dict[str, tuple[str, int]] = {}
    for key, (_, identity, _, _) in sorted(latest.items(), key=lambda item: _moment(labels, item[0])):
        taken[identity] = key  # of two labels for one prediction the later one counts
    for identity, key in taken.items():
        if identity not in found:
            captured, _, values, scores = latest[key]
            labelled.offer(identity, values, scores, captured, labels.by_entity[key[0]][key[1]].value)
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


def _keep_latest(
    latest: dict[tuple[str, int], tuple[datetime, str, Mapping[str, Any], tuple[float, ...]]],
    key: tuple[str, int],
    label: Label,
    candidate: tuple[datetime, str, Mapping[str, Any], tuple[float, ...]],
) -> None:
    if candidate[0] > (label.time or label.arrived):
        return
    known = latest.get(key)
    if known is None or candidate[:2] > known[:2]:
        latest[key] = candidate
