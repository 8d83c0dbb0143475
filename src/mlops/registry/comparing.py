"""Two versions of a model side by side: how they were judged, what they were made from and of, what they cost to call.

Everything comes from the files beside the versions. What one of them does not have is left out and said so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mlops.errors import NotFoundError
from mlops.manifest import Manifest
from mlops.objects import ObjectStore, version_prefix
from mlops.registry.entities import ModelVersion
from mlops.statistics.axis import Axis
from mlops.statistics.baseline import Baseline
from mlops.statistics.tally import Tally

#: Entries of a lineage that are told elsewhere, or only to programs.
_APART = ("parameters", "parts", "importance", "run_id", "trivial")


@dataclass(frozen=True)
class Side:
    """One version and what lies beside it. ``size``: bytes of its ONNX file; None when it was deleted."""

    version: ModelVersion
    manifest: Manifest
    evaluation: Mapping[str, Any]
    baseline: Baseline | None
    size: int | None


@dataclass(frozen=True)
class Metric:
    """A metric of both, each with its interval on its own hold-out rows (None: it has none). ``apart``: the intervals
    do not touch, so that the difference is more than chance whatever the rows."""

    name: str
    first: float | None
    second: float | None
    first_interval: tuple[float, float] | None
    second_interval: tuple[float, float] | None
    apart: bool | None

    @property
    def difference(self) -> float | None:
        return None if self.first is None or self.second is None else self.second - self.first


@dataclass(frozen=True)
class Pair:
    """What is one thing in the first version, and another (or the same) in the second. None: it has none."""

    name: str
    first: Any
    second: Any

    @property
    def same(self) -> bool:
        return bool(self.first == self.second)


@dataclass(frozen=True)
class Shift:
    """How a column of the training data differs. ``moved``: for numbers the difference of the means in standard
    deviations of the first; for categories the share of rows that would have to change their level. Missing shares
    are of all rows."""

    column: str
    kind: str
    first: str
    second: str
    moved: float | None
    first_missing: float
    second_missing: float


@dataclass(frozen=True)
class Comparison:
    """``paired``: the gain of one over the other on the same rows, where one was judged against the other."""

    model: str
    first: str
    second: str
    states: Pair
    metrics: tuple[Metric, ...]
    paired: Mapping[str, Any] | None
    parameters: tuple[Pair, ...]
    lineage: tuple[Pair, ...]
    features: tuple[Pair, ...]
    data: tuple[Shift, ...]
    serving: tuple[Pair, ...]
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, with what follows from it: differences, and what is the same."""
        found = asdict(self)
        for metric, told in zip(self.metrics, found["metrics"], strict=True):
            told["difference"] = metric.difference
        for name in ("parameters", "lineage", "features", "serving"):
            for pair, told in zip(getattr(self, name), found[name], strict=True):
                told["same"] = pair.same
        return {"schema": "mlops.comparison.v1", **found}


def read(artifacts: ObjectStore, version: ModelVersion) -> Side:
    """One version with its files.

    Raises
    ------
    NotFoundError
        when it has no manifest.
    """
    prefix = version_prefix(version.model, version.version)
    sizes = {info.key.removeprefix(prefix): info.size for info in artifacts.list(prefix)}
    if "manifest.json" not in sizes:
        raise NotFoundError(f"{version.model}/{version.version} has no manifest.json, so there is nothing to compare")

    def document(name: str) -> Any:
        return json.loads(artifacts.get(prefix + name)) if name in sizes else None

    baseline = document("baseline.json")
    return Side(
        version,
        Manifest.from_dict(document("manifest.json")),
        document("evaluation.json") or {},
        Baseline.from_dict(baseline) if baseline else None,
        sizes.get("model.onnx"),
    )


def compare(first: Side, second: Side) -> Comparison:
    """Put two versions of one model side by side."""
    a, b = first, second
    notes = list(_notes(a, b))
    return Comparison(
        model=a.version.model,
        first=a.version.version,
        second=b.version.version,
        states=Pair("state", a.version.state, b.version.state),
        metrics=tuple(_metrics(a, b)),
        paired=_paired(a, b),
        parameters=_pairs(_parameters(a), _parameters(b)),
        lineage=_pairs(_lineage(a), _lineage(b)),
        features=tuple(p for p in _pairs(_features(a), _features(b)) if not p.same),
        data=tuple(_shifts(a.baseline, b.baseline)) if a.baseline and b.baseline else (),
        serving=_pairs(_serving(a), _serving(b)),
        notes=tuple(notes),
    )


def paired_words(paired: Mapping[str, Any]) -> str:
    """What :attr:`Comparison.paired` says, in a sentence."""
    low, high = paired["low"], paired["high"]
    verdict = "better" if low > 0 else "worse" if high < 0 else "not told apart"
    return (
        f"On the same rows, {paired['of']} gains {paired['gain']:.4g} in {paired['metric']} over {paired['over']} "
        f"({low:.4g} to {high:.4g} with {paired['confidence']:.0%}): {verdict}."
    )


def _notes(a: Side, b: Side) -> Iterator[str]:
    for side in (a, b):
        name = side.version.version
        if not side.evaluation:
            yield f"{name} has no evaluation.json: its metrics have no intervals"
        if side.baseline is None:
            yield f"{name} has no baseline.json (deleted after it was retired): its data cannot be compared"
    if a.version.dataset_version != b.version.dataset_version:
        yield "they were trained and judged on different data: each interval is of the version's own hold-out rows"


def _metrics(a: Side, b: Side) -> Iterator[Metric]:
    first, second = _values(a), _values(b)
    for name in sorted({*first, *second}):
        one, other = _interval(a, name), _interval(b, name)
        apart = None if one is None or other is None else one[1] < other[0] or other[1] < one[0]
        yield Metric(name, first.get(name), second.get(name), one, other, apart)


def _values(side: Side) -> Mapping[str, float]:
    return side.version.metrics or side.manifest.metrics


def _interval(side: Side, name: str) -> tuple[float, float] | None:
    found = (side.evaluation.get("intervals") or {}).get(name)
    if found is None and side.evaluation.get("metric") == name:
        found = side.evaluation.get("interval")
    return (float(found["low"]), float(found["high"])) if found else None


def _paired(a: Side, b: Side) -> Mapping[str, Any] | None:
    """The gain as the gates measured it, when one of the two was champion while the other was judged."""
    for challenger, champion in ((b, a), (a, b)):
        if challenger.evaluation.get("champion") == champion.version.version and challenger.evaluation.get("gain"):
            gain = challenger.evaluation["gain"]
            return {
                "metric": challenger.evaluation["metric"], "of": challenger.version.version,
                "over": champion.version.version, "gain": gain["value"], "low": gain["low"], "high": gain["high"],
                "confidence": gain["confidence"],
            }  # fmt: skip
    return None


def _pairs(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Pair, ...]:
    names = list(dict.fromkeys([*first, *second]))
    return tuple(Pair(name, first.get(name), second.get(name)) for name in names)


def _parameters(side: Side) -> dict[str, Any]:
    lineage = side.manifest.lineage
    told = {"family": lineage.get("family"), **dict(lineage.get("parameters") or {})}
    if side.manifest.classes and side.manifest.positive is not None:
        told["decision threshold"] = side.manifest.threshold
    return told


def _lineage(side: Side) -> dict[str, Any]:
    version = side.version
    told: dict[str, Any] = {}
    for name, value in side.manifest.lineage.items():
        if name in _APART or name == "family":
            continue
        nested = isinstance(value, Mapping)
        told |= {f"{name}.{k}": v for k, v in value.items()} if nested else {name: value}
    return {"data set": version.dataset_version, "parent": version.parent_version, "created": version.created_at} | {
        name: value for name, value in told.items() if name not in ("dataset_version", "parent_version")
    }


def _features(side: Side) -> dict[str, Any]:
    return {f.name: {k: v for k, v in f.to_dict().items() if k != "name"} for f in side.manifest.features}


def _serving(side: Side) -> dict[str, Any]:
    checks = {check["name"]: check for check in side.evaluation.get("checks") or ()}
    told: dict[str, Any] = {"bytes of model.onnx": side.size, "features": len(side.manifest.features)}
    if "latency" in checks:
        told["µs for a row (median)"] = checks["latency"]["value"]
    return told


def _shifts(a: Baseline, b: Baseline) -> Iterator[Shift]:
    """Columns that both know, by how far they moved."""
    after = {(axis.role, axis.name): (axis, tally) for axis, tally in zip(b.axes, b.counts.tallies, strict=True)}
    found = []
    for axis, tally in zip(a.axes, a.counts.tallies, strict=True):
        other = after.get((axis.role, axis.name))
        if other is not None and axis.role in ("feature", "target") and other[0].kind == axis.kind:
            found.append(_shift(axis, tally, *other))
    yield from sorted(found, key=lambda shift: -(shift.moved or 0.0))


def _shift(axis: Axis, tally: Tally, other: Axis, counted: Tally) -> Shift:
    moved: float | None = None
    if axis.kind == "numeric":
        first, second, deviation = tally.mean(axis), counted.mean(other), tally.deviation(axis)
        if first is not None and second is not None and deviation:
            moved = abs(second - first) / deviation
        words = (_number(first), _number(second))
    elif axis.kind == "category":
        before, after = _levels(axis, tally), _levels(other, counted)
        if before and after:
            moved = sum(abs(before.get(x, 0.0) - after.get(x, 0.0)) for x in {*before, *after}) / 2
        words = (_most(before), _most(after))
    else:
        words = ("-", "-")
    return Shift(axis.name, axis.kind, *words, moved, _missing(tally), _missing(counted))


def _levels(axis: Axis, tally: Tally) -> dict[str, float]:
    """Share of each level among the rows that have one; levels that the axis does not name are one."""
    if not tally.present:
        return {}
    shares = {level: count / tally.present for level, count in zip(axis.levels, tally.counts, strict=True)}
    return shares | ({"(others)": tally.other / tally.present} if tally.other else {})


def _most(shares: Mapping[str, float]) -> str:
    if not shares:
        return "-"
    level = max(shares, key=lambda name: shares[name])
    return f"{level} {shares[level]:.0%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"mean {value:.4g}"


def _missing(tally: Tally) -> float:
    return tally.missing / tally.known if tally.known else 0.0
