"""The baseline of a model version, and counts of later data on the same bins.

>>> import numpy as np
>>> from mlops.features.columns import Columns, float_column
>>> from mlops.features.spec import Feature
>>> rng = np.random.default_rng(7)
>>> table = Columns((float_column("x", "number", rng.normal(size=1000)),))
>>> baseline = build([Feature("x", "number")], table)
>>> later = Columns((float_column("x", "number", rng.normal(1.0, 1.0, size=500)),))
>>> whole = accumulate(baseline, later)
>>> halves = [accumulate(baseline, later.take(np.arange(i, 500, 2))) for i in (0, 1)]
>>> merge(*halves) == whole
True
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.features.columns import Column, Columns
from mlops.features.spec import Feature
from mlops.statistics import axis as axes_of
from mlops.statistics import relations as relations_of
from mlops.statistics import tally as tallies
from mlops.statistics.axis import BINS, Axis, BaselineError
from mlops.statistics.relations import Pairs, Relations
from mlops.statistics.season import Slots, Unit, read_unit
from mlops.statistics.tally import Tally

__all__ = ["Baseline", "BaselineError", "Counts", "accumulate", "build", "empty", "merge", "merge_all"]

SCHEMA = "mlops.baseline.v1"
MAX_NOTED = 50

Scores = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Counts:
    """Rows counted on a baseline's axes.

    Attributes
    ----------
    reference : digest of the axes; only counts of equal reference can be merged or compared.
    rows : rows counted.
    tallies : one per axis, in the baseline's order.
    unknown : names of columns that no axis counts, sorted, at most ``MAX_NOTED``.
    mistyped : names of columns whose type was not that of their axis, sorted.
    pairs : sums over pairs of columns; None when the baseline watches none.
    """

    reference: str
    rows: int
    tallies: tuple[Tally, ...]
    unknown: tuple[str, ...] = ()
    mistyped: tuple[str, ...] = ()
    pairs: Pairs | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "reference": self.reference,
            "rows": self.rows,
            "tallies": [t.to_dict() for t in self.tallies],
            "unknown": list(self.unknown),
            "mistyped": list(self.mistyped),
            **({"pairs": self.pairs.to_dict()} if self.pairs else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Counts:
        return cls(
            reference=str(data["reference"]),
            rows=int(data["rows"]),
            tallies=tuple(Tally.from_dict(t) for t in data["tallies"]),
            unknown=tuple(data.get("unknown", ())),
            mistyped=tuple(data.get("mistyped", ())),
            pairs=Pairs.from_dict(data["pairs"]) if data.get("pairs") else None,
        )


@dataclass(frozen=True)
class Season:
    """The training data's counts by slots of a unit of time (:mod:`mlops.statistics.season`); slots without rows are
    not there."""

    unit: Unit
    slots: Mapping[int, Counts]


@dataclass(frozen=True)
class Unrest:
    """The furthest that a period of the training data lies from the rest of it: drift is what goes beyond.

    Attributes
    ----------
    columns : population stability index, sampling noise taken out, one an axis.
    missing : change of the share of missing values, one an axis.
    pairs : as ``columns``, of the correlation of each watched pair.
    days, periods : how long the periods were, and how many.
    """

    columns: tuple[float, ...]
    missing: tuple[float, ...]
    pairs: tuple[float, ...]
    days: float
    periods: int


@dataclass(frozen=True)
class Baseline:
    """Axes and counts of the data that a model version was trained on.

    ``importance``: feature -> weight from 0, for deciding how much a feature's drift matters; may be empty.
    ``model`` and ``version`` say whose baseline it is, where known. ``relations``: the pairs of columns that are
    watched; None in a baseline from before there were any, or when no two columns vary. ``season`` and ``unrest``:
    what was learned from the training rows' times; None without times, or with too few to learn from.
    """

    axes: tuple[Axis, ...]
    counts: Counts
    importance: Mapping[str, float] = field(default_factory=dict)
    model: str = ""
    version: str = ""
    relations: Relations | None = None
    season: Season | None = None
    unrest: Unrest | None = None

    @cached_property
    def reference(self) -> str:
        """Digest of the axes and of the scores of pairs."""
        return _digest(self.axes, self.relations)

    def of(self, role: str) -> list[tuple[Axis, Tally]]:
        """Axes of one role with what was counted in training."""
        return [(a, t) for a, t in zip(self.axes, self.counts.tallies, strict=True) if a.role == role]

    def labelled(self, model: str, version: str, importance: Mapping[str, float] | None = None) -> Baseline:
        """The same with its owner's name, and feature weights if given."""
        return replace(self, model=model, version=version, importance=importance or self.importance)

    def during(self, slots: Slots) -> Baseline:
        """The same with the counts of these slots alone; itself when it has none of them."""
        parts = [self.season.slots[p] for p in sorted(slots.positions) if p in self.season.slots] if self.season else []
        return replace(self, counts=reduce(merge, parts)) if parts else self

    def to_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "model": self.model,
            "version": self.version,
            "rows": self.counts.rows,
            "reference": self.reference,
            "importance": {k: float(v) for k, v in self.importance.items()},
            "columns": [
                a.to_dict() | {"tally": t.to_dict()} for a, t in zip(self.axes, self.counts.tallies, strict=True)
            ],
        }
        if self.relations and self.counts.pairs:
            document["relations"] = self.relations.to_dict() | {"sums": self.counts.pairs.to_dict()}
        if self.season:
            slots = {str(slot): counts.to_dict() for slot, counts in self.season.slots.items()}
            document["season"] = {"unit": self.season.unit, "slots": slots}
        if self.unrest:
            document["unrest"] = asdict(self.unrest)
        return document

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Baseline:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        BaselineError
            for another schema, missing fields, or axes that do not fit their counts.
        """
        if data.get("schema") != SCHEMA:
            raise BaselineError(f"baseline: schema is {data.get('schema')!r}, this code reads '{SCHEMA}'")
        try:
            columns, rows = list(data["columns"]), int(data["rows"])
            axes = tuple(Axis.from_dict(c) for c in columns)
            counted = tuple(Tally.from_dict(c["tally"]) for c in columns)
            importance = {str(k): float(v) for k, v in dict(data.get("importance") or {}).items()}
        except (KeyError, TypeError, ValueError) as error:
            raise BaselineError(f"baseline: missing or malformed field ({error})") from error
        for axis, tally in zip(axes, counted, strict=True):
            if len(tally.counts) != axis.cells:
                raise BaselineError(
                    f"baseline: column '{axis.name}' has {len(tally.counts)} counts for {axis.cells} bins"
                )
        relations, pairs = _relations(data.get("relations"), len(axes))
        reference = _digest(axes, relations)
        if data.get("reference", reference) != reference:
            raise BaselineError("baseline: its bins were changed after it was written (the digest differs)")
        return cls(
            axes,
            Counts(reference, rows, counted, pairs=pairs),
            importance,
            str(data.get("model", "")),
            str(data.get("version", "")),
            relations,
            _season(data.get("season"), axes, reference),
            _unrest(data.get("unrest"), len(axes), len(relations.pairs) if relations else 0),
        )


def build(
    features: Sequence[Feature],
    table: Columns,
    *,
    predictions: Scores | None = None,
    target: Column | None = None,
    classes: Sequence[str] = (),
    importance: Mapping[str, float] | None = None,
    bins: int = BINS,
    pairs: bool = False,
) -> Baseline:
    """Choose axes from ``table`` and count it on them.

    Parameters
    ----------
    features : those to count; one that ``table`` lacks is taken as all missing. Personal data (``pii`` other than
        ``none``) is counted as present or missing only.
    table : the training data.
    predictions : scores of the model on ``table``, float of shape (rows, classes) or (rows, 1); NaN is missing.
        Of two probabilities the second is kept, as the first says the same.
    target : the label column, for label drift.
    classes : names of the score columns.
    importance : feature -> weight.
    bins : most bins of a numeric column.
    pairs : whether pairs of columns are watched, too (:mod:`mlops.statistics.relations`).
    """
    axes: list[Axis] = []
    by_name = {c.name: c for c in table.columns}
    for feature in features:
        column = by_name.get(feature.name)
        if column is None or (feature.type == "category") != (column.type == "category"):
            column = _empty_column(feature, table.rows)
        axes.append(axes_of.choose(column, role="feature", private=feature.pii != "none", bins=bins))
    for column in score_columns(predictions, classes):
        axes.append(axes_of.choose(column, role="prediction", bins=bins))
    if target is not None:
        axes.append(axes_of.choose(target, role="target", bins=bins))
        table = Columns((*(c for c in table.columns if c.name != target.name), target))
    frame = Baseline(tuple(axes), Counts("", 0, ()))
    counts = accumulate(frame, table, predictions)
    baseline = Baseline(frame.axes, counts, dict(importance or {}))
    relations = relations_of.choose(frame.axes, counts.tallies, baseline.importance, table) if pairs else None
    if relations is None:
        return baseline
    baseline = replace(baseline, relations=relations)
    sums = relations_of.count(relations, baseline.axes, table)
    return replace(baseline, counts=replace(counts, reference=baseline.reference, pairs=sums))


def accumulate(baseline: Baseline, table: Columns, predictions: Scores | None = None) -> Counts:
    """Count ``table``, and scores on it, on the baseline's axes: one pass, memory for the counts alone.

    A column that is not there, or has another type, leaves its rows ``absent``; the target is taken from the
    table by its name.
    """
    scores = score_columns(predictions, ())
    if scores and len(scores[0].values) != table.rows and table.columns:
        raise ValueError(f"{len(scores[0].values)} predictions for {table.rows} rows")
    rows = table.rows if table.columns or not scores else len(scores[0].values)
    by_name = {c.name: c for c in table.columns}
    counted, mistyped, position = [], [], 0
    for axis in baseline.axes:
        column = by_name.get(axis.name) if axis.role != "prediction" else None
        if axis.role == "prediction":
            column = scores[position] if position < len(scores) else None
            position += 1
        elif column is not None and not tallies.fits(axis, column):
            mistyped.append(axis.name)
        counted.append(tallies.count(axis, column, rows))
    named = {a.name for a in baseline.axes if a.role != "prediction"}
    return Counts(
        reference=baseline.reference,
        rows=rows,
        tallies=tuple(counted),
        unknown=tuple(sorted(n for n in by_name if n not in named)[:MAX_NOTED]),
        mistyped=tuple(sorted(mistyped)),
        pairs=relations_of.count(baseline.relations, baseline.axes, table) if baseline.relations else None,
    )


def recount(baseline: Baseline, blocks: Callable[[], Iterable[Columns]]) -> Baseline:
    """The baseline of more rows than those that its bins were chosen from: the outermost edges move to the smallest
    and the largest value, then all rows are counted.

    Parameters
    ----------
    blocks : gives all rows piece by piece.
    """
    frame = Baseline(baseline.axes, Counts("", 0, ()))
    counts = merge_all(frame, (accumulate(frame, block) for block in blocks()))
    return widened(replace(baseline, counts=counts))


def widened(baseline: Baseline, whole: Counts | None = None) -> Baseline:
    """The baseline with its outermost edges moved to the smallest and largest value that it counted, as if it had been
    counted on those: what lay outside joins the outermost bins.

    ``whole``: what the baseline's counts are a part of, if they are; then its values decide.
    """
    ends = (whole or baseline.counts).tallies
    found = [_widened(a, t, of) for a, t, of in zip(baseline.axes, baseline.counts.tallies, ends, strict=True)]
    frame = Baseline(tuple(a for a, _ in found), Counts("", 0, ()))
    counts = replace(baseline.counts, reference=frame.reference, tallies=tuple(t for _, t in found))
    return replace(baseline, axes=frame.axes, counts=counts)


def _widened(axis: Axis, tally: Tally, of: Tally) -> tuple[Axis, Tally]:
    # Of infinite values nobody knows on which side they lie; where there are some, the bins stay.
    if axis.kind != "numeric" or axis.discrete or of.minimum is None or of.maximum is None or of.infinite:
        return axis, tally
    first, *inner = tally.counts
    ends = [first + tally.below, *inner]
    ends[-1] += tally.above
    return axes_of.widened(axis, of.minimum, of.maximum), replace(tally, counts=tuple(ends), below=0, above=0)


def empty(baseline: Baseline) -> Counts:
    """Counts of no rows: the neutral element of :func:`merge`."""
    pairs = relations_of.none(baseline.relations) if baseline.relations else None
    return Counts(baseline.reference, 0, tuple(Tally((0,) * a.cells) for a in baseline.axes), pairs=pairs)


def merge(a: Counts, b: Counts) -> Counts:
    """Counts of both together; equal, bit by bit, to counting the whole at once.

    Raises
    ------
    BaselineError
        when they were counted on different axes.
    """
    if a.reference != b.reference:
        raise BaselineError(f"counts on different baselines cannot be merged ({a.reference} and {b.reference})")
    return Counts(
        reference=a.reference,
        rows=a.rows + b.rows,
        tallies=tuple(tallies.merge(x, y) for x, y in zip(a.tallies, b.tallies, strict=True)),
        unknown=tuple(sorted({*a.unknown, *b.unknown})[:MAX_NOTED]),
        mistyped=tuple(sorted({*a.mistyped, *b.mistyped})),
        pairs=a.pairs.plus(b.pairs) if a.pairs and b.pairs else None,
    )


def without(whole: Counts, part: Counts) -> Counts:
    """Counts of ``whole`` without those of a part of it."""
    return replace(
        whole,
        rows=whole.rows - part.rows,
        tallies=tuple(tallies.without(x, y) for x, y in zip(whole.tallies, part.tallies, strict=True)),
        pairs=whole.pairs.minus(part.pairs) if whole.pairs and part.pairs else None,
    )


def merge_all(baseline: Baseline, parts: Iterable[Counts]) -> Counts:
    """All parts together; no rows when there are none."""
    return reduce(merge, parts, empty(baseline))


def score_columns(predictions: Scores | None, classes: Sequence[str]) -> list[Column]:
    """Scores as columns: one for a regression or two classes, else one a class."""
    if predictions is None:
        return []
    scores = np.asarray(predictions, dtype=np.float64)
    if scores.ndim == 1:
        scores = scores[:, None]
    width = scores.shape[1]
    names = list(classes) if len(classes) == width else [str(i) for i in range(width)]
    if width == 1:
        return [Column("prediction", "number", scores[:, 0])]
    positions = [1] if width == 2 else range(width)
    return [Column(f"probability of {names[i]}", "number", scores[:, i]) for i in positions]


def _empty_column(feature: Feature, rows: int) -> Column:
    if feature.type == "category":
        return Column(feature.name, feature.type, np.full(rows, -1, dtype=np.int32))
    return Column(feature.name, feature.type, np.full(rows, np.nan))


def _relations(data: Any, axes: int) -> tuple[Relations | None, Pairs | None]:
    """The watched pairs of a baseline and their sums; none in one from before there were any."""
    if not data:
        return None, None
    relations = Relations.from_dict(data, axes)
    sums = Pairs.from_dict(data.get("sums") or {})
    if len(sums.rows) != len(relations.pairs):
        raise BaselineError("baseline: sums do not fit the pairs of columns")
    return relations, sums


def _season(data: Any, axes: Sequence[Axis], reference: str) -> Season | None:
    if not data:
        return None
    try:
        season = Season(read_unit(data["unit"]), {int(k): Counts.from_dict(c) for k, c in data["slots"].items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BaselineError(f"baseline: its seasons cannot be read ({error})") from error
    for counts in season.slots.values():
        fits = [len(t.counts) for t in counts.tallies] == [a.cells for a in axes]
        if counts.reference != reference or not fits:
            raise BaselineError("baseline: its seasons were counted on other bins")
    return season


def _unrest(data: Any, axes: int, pairs: int) -> Unrest | None:
    if not data:
        return None
    try:
        columns, missing, between = (tuple(float(v) for v in data[n]) for n in ("columns", "missing", "pairs"))
        unrest = Unrest(columns, missing, between, float(data["days"]), int(data["periods"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BaselineError(f"baseline: what its periods differ by cannot be read ({error})") from error
    if (len(columns), len(missing), len(between)) != (axes, axes, pairs):
        raise BaselineError("baseline: what its periods differ by does not fit its columns")
    return unrest


def _digest(axes: Sequence[Axis], relations: Relations | None = None) -> str:
    known: list[dict[str, Any]] = [a.to_dict() for a in axes]
    known += [s.to_dict() for s in relations.scores] if relations else []
    text = json.dumps(known, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
