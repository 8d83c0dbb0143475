"""What live traffic says of a challenger: sums over pairs of answers to the same records.

Every number is a sum, so evidence from several reads adds up to that of one, in any order.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from mlops.manifest import Manifest
from mlops.release.losses import Expectation, Paired
from mlops.release.shift import Cells

#: Codes of a challenger that was late rather than wrong (mlops.inference.challenger).
LATE = frozenset({"budget", "busy", "resting"})

#: Buckets of the latency histogram per doubling: a median is right to 4 %.
_PER_DOUBLING = 16

#: How far outside the training target's range an answer may lie, in widths of that range.
RANGE_SLACK = 0.1


@dataclass(frozen=True)
class Evidence:
    """Counts over one step of a release.

    Attributes
    ----------
    requests : requests that the champion answered. errors, late : those of them that the challenger did not.
    rows : records that both answered. disagreements : of them, those with another label (classification).
    gap, size : sums of ``|challenger - champion|`` and ``|champion|`` (regression).
    excess, excess_squared : sums of ``x`` and ``x**2`` for ``x = gap - bound * size`` of one record.
    out_of_range : answers of the challenger outside the range of its training target (regression).
    champion_us, challenger_us : requests by bucket of their latency, see :func:`median_us`.
    codes : errors of the challenger by code.
    up, down : rows by the cell that the challenger's answer moved over, see :mod:`mlops.release.shift`.
    expected : what both versions expect of their losses on the same records.
    replayed_requests, replayed_rows : how many of ``requests`` and ``rows`` were no traffic, but recent records that
        the release sent again.
    """

    requests: int = 0
    errors: int = 0
    late: int = 0
    rows: int = 0
    disagreements: int = 0
    gap: float = 0.0
    size: float = 0.0
    excess: float = 0.0
    excess_squared: float = 0.0
    out_of_range: int = 0
    champion_us: Mapping[str, int] = field(default_factory=dict)
    challenger_us: Mapping[str, int] = field(default_factory=dict)
    codes: Mapping[str, int] = field(default_factory=dict)
    up: Mapping[str, int] = field(default_factory=dict)
    down: Mapping[str, int] = field(default_factory=dict)
    expected: Paired = field(default_factory=Paired)
    replayed_requests: int = 0
    replayed_rows: int = 0

    def __add__(self, other: Evidence) -> Evidence:
        merged: dict[str, Any] = {}
        for name in (f.name for f in fields(self)):
            mine, theirs = getattr(self, name), getattr(other, name)
            merged[name] = _merge(mine, theirs) if isinstance(mine, Mapping) else mine + theirs
        return Evidence(**merged)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Evidence:
        return cls(**{**data, "expected": Paired(**data.get("expected", {}))})


def _merge(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in sorted({*one, *other})}


@dataclass(frozen=True)
class Judge:
    """Turns scores into labels, as ``predict`` does, and compares two versions.

    ``bound``: the contract's ``max_disagreement``, which ``excess`` is measured against. ``cells``: what prediction
    drift is counted by. ``expects``: the losses that champion and challenger expect of themselves. Without these there
    is no evidence of that kind.
    """

    champion: Manifest
    challenger: Manifest
    bound: float
    cells: Cells | None = None
    expects: tuple[Expectation, Expectation] | None = None

    @property
    def is_regression(self) -> bool:
        return self.champion.task == "regression"

    def evidence(self, lines: Iterable[Mapping[str, Any]]) -> Evidence:
        """The evidence in capture lines (docs/architecture.md) of one release and step."""
        total = Evidence()
        for line in lines:
            total += self._line(line)
        return total

    def _line(self, line: Mapping[str, Any]) -> Evidence:
        champion, challenger = line["champion"], line.get("challenger")
        if champion.get("error") is not None and not any(row.get("champion") for row in line["rows"]):
            return Evidence()  # nothing to compare with: the record was at fault, or both were
        if challenger is None:
            return Evidence(requests=1, errors=1, codes={"not_loaded": 1})
        scored = [row for row in line["rows"] if row.get("champion") is not None]
        answered = [row for row in scored if _is_answer(row.get("challenger"))]
        code = challenger.get("error")
        if code is None and len(answered) < len(scored):
            code = "not_finite"
        late = code in LATE
        sums = self._rows(answered)
        return Evidence(
            requests=1,
            errors=int(code is not None and not late),
            late=int(late),
            rows=len(answered),
            champion_us=_bucket(champion.get("us")),
            challenger_us=_bucket(challenger.get("us")) if code is None else {},
            codes={code: 1} if code is not None else {},
            **sums,
        )

    def replayed(self, lines: Iterable[Mapping[str, Any]]) -> Evidence:
        """The same of records that were sent again: they say how the two answer, and are told apart from traffic."""
        found = self.evidence(lines)
        return replace(found, replayed_requests=found.requests, replayed_rows=found.rows)

    def _rows(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        pairs = [(row["champion"], row["challenger"]) for row in rows]
        sums: dict[str, Any] = self._values(pairs) if self.is_regression else self._labels(pairs)
        if self.expects is not None:
            own, its = self.expects
            known = [(row["features"], row["champion"], row["challenger"]) for row in rows if "features" in row]
            losses = (Paired.of(own.loss(f, a), its.loss(f, b)) for f, a, b in known)
            sums["expected"] = sum(losses, Paired())
        return sums

    def _labels(self, pairs: Sequence[tuple[list[float], list[float]]]) -> dict[str, Any]:
        labels = [(position(self.champion, a), position(self.challenger, b)) for a, b in pairs]
        return {"disagreements": sum(a != b for a, b in labels), **self._moved(pairs, labels)}

    def _values(self, pairs: Sequence[tuple[list[float], list[float]]]) -> dict[str, Any]:
        sums = {"gap": 0.0, "size": 0.0, "excess": 0.0, "excess_squared": 0.0, "out_of_range": 0}
        low, high = self._range()
        for (a, *_), (b, *_) in pairs:
            gap, size = abs(b - a), abs(a)
            excess = gap - self.bound * size
            sums["gap"] += gap
            sums["size"] += size
            sums["excess"] += excess
            sums["excess_squared"] += excess * excess
            sums["out_of_range"] += int(not low <= b <= high)
        return {**sums, **self._moved(pairs, [(0, 0)] * len(pairs))}

    def _moved(
        self, pairs: Sequence[tuple[list[float], list[float]]], labels: Sequence[tuple[int, int]]
    ) -> dict[str, dict[str, int]]:
        if self.cells is None:
            return {}
        up: Counter[str] = Counter()
        down: Counter[str] = Counter()
        for (a, b), both in zip(pairs, labels, strict=True):
            raised, lowered = self.cells.moved(a, b, both)
            up.update(map(str, raised))
            down.update(map(str, lowered))
        return {"up": dict(up), "down": dict(down)}

    def _range(self) -> tuple[float, float]:
        if self.challenger.value_range is None:
            return -math.inf, math.inf
        low, high = self.challenger.value_range
        slack = RANGE_SLACK * (high - low)
        return low - slack, high + slack


def position(manifest: Manifest, scores: Sequence[float]) -> int:
    """The position of the class that ``predict`` answers for ``scores`` (probabilities, in the order of
    ``manifest.classes``)."""
    if manifest.positive is not None and len(manifest.classes) == 2:
        at = manifest.classes.index(manifest.positive)
        return at if scores[at] >= manifest.threshold else 1 - at
    return max(range(len(scores)), key=scores.__getitem__)


def _is_answer(scores: Sequence[float] | None) -> bool:
    return scores is not None and all(map(math.isfinite, scores))


def _bucket(us: float | None) -> dict[str, int]:
    return {} if us is None else {str(round(_PER_DOUBLING * math.log2(max(us, 1)))): 1}


def median_us(histogram: Mapping[str, int]) -> float | None:
    """The median latency in microseconds of a histogram, None of an empty one."""
    total, seen = sum(histogram.values()), 0
    for bucket in sorted(histogram, key=int):
        seen += histogram[bucket]
        if 2 * seen >= total:
            return float(2 ** (int(bucket) / _PER_DOUBLING))
    return None
