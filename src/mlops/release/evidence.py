"""What live traffic says of a challenger: sums over pairs of answers to the same records.

Every number is a sum, so evidence from several reads adds up to that of one, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mlops.manifest import Manifest

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

    def __add__(self, other: Evidence) -> Evidence:
        mine, theirs = asdict(self), asdict(other)
        merged: dict[str, Any] = {
            name: _merge(value, theirs[name]) if isinstance(value, Mapping) else value + theirs[name]
            for name, value in mine.items()
        }
        return Evidence(**merged)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Evidence:
        return cls(**data)


def _merge(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in sorted({*one, *other})}


@dataclass(frozen=True)
class Judge:
    """Turns scores into labels, as ``predict`` does, and compares two versions.

    ``bound``: the contract's ``max_disagreement``, which ``excess`` is measured against.
    """

    champion: Manifest
    challenger: Manifest
    bound: float

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
        pairs = [(row["champion"], row.get("challenger")) for row in line["rows"] if row.get("champion") is not None]
        answered = [(a, b) for a, b in pairs if b is not None and all(map(math.isfinite, b))]
        code = challenger.get("error")
        if code is None and len(answered) < len(pairs):
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

    def _rows(self, pairs: Iterable[tuple[list[float], list[float]]]) -> dict[str, Any]:
        if self.champion.task == "classification":
            different = sum(label(self.champion, a) != label(self.challenger, b) for a, b in pairs)
            return {"disagreements": different}
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
        return sums

    def _range(self) -> tuple[float, float]:
        if self.challenger.value_range is None:
            return -math.inf, math.inf
        low, high = self.challenger.value_range
        slack = RANGE_SLACK * (high - low)
        return low - slack, high + slack


def label(manifest: Manifest, scores: list[float]) -> str:
    """The class that ``predict`` answers for ``scores`` (probabilities, in the order of ``manifest.classes``)."""
    if manifest.positive is not None and len(manifest.classes) == 2:
        at = manifest.classes.index(manifest.positive)
        return manifest.classes[at if scores[at] >= manifest.threshold else 1 - at]
    return manifest.classes[max(range(len(scores)), key=scores.__getitem__)]


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
