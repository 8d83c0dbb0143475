"""From JSON records to the float32 matrix, by the rules of :mod:`mlops.features.encoding`.

Three readings of the same rules. *Quick* readings handle one plain record, or a whole batch by columns, with a few
calls into C, and give up at the first thing that is not plainly right. The *careful* reading (its own module) then
looks at every field of every record and says what is wrong, or accepts what the quick ones did not know. Tests hold
that all of them, and ``encode`` of the same values as columns, agree.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops.features.layout import level_codes, missing_code, offsets, other_code, width
from mlops.features.parse import category_text, parse_date
from mlops.features.spec import Feature

if TYPE_CHECKING:
    from mlops.features.columns import FloatArray
    from mlops.features.encoding import Matrix

#: The largest float32; ``np.finfo`` takes a millisecond to say so.
FLOAT32_MAX = 3.4028234663852886e38
NAN = float("nan")
#: Details listed in one answer; the rest is only counted.
MAX_PROBLEMS = 100

SCALARS = frozenset({str, int, float, bool, type(None)})
_NUMBERS = frozenset({float, int})
_NUMBERS_OR_NULL = frozenset({float, int, type(None)})
_TEXT_OR_NULL = frozenset({str, type(None)})

Record = dict[str, Any]
Problem = dict[str, Any]


class Batch:
    """A parsed batch.

    Attributes
    ----------
    matrix : float32, shape (accepted records, width).
    accepted : positions of the records in ``matrix``; ``None`` means all, in order.
    problems : what is wrong, ``{"record", "field", "code", "message"}``; at most :data:`MAX_PROBLEMS`.
    problem_count : how many there are in truth.
    warnings : values outside the contract's range, which were scored all the same.
    is_exact : every record has the features and nothing else, so its text can be captured as it came.
    """

    __slots__ = ("accepted", "is_exact", "matrix", "problem_count", "problems", "warnings")

    def __init__(self, matrix: Matrix, warnings: list[Problem] | None = None, *, is_exact: bool = False) -> None:
        self.matrix = matrix
        self.accepted: list[int] | None = None
        self.problems: list[Problem] = []
        self.problem_count = 0
        self.warnings: list[Problem] = [] if warnings is None else warnings
        self.is_exact = is_exact


class Parser:
    """Compiled for the features and entity key of one model version."""

    def __init__(self, features: Sequence[Feature], key: Sequence[str] = (), target: str = "") -> None:
        self.features = tuple(features)
        self.key = tuple(k for k in key if k not in {f.name for f in features})
        self.target = target
        self.width = width(features)
        self._examiner: Any = None
        self._compile_columns()
        self._compile_row()

    def _compile_columns(self) -> None:
        """Group features by how a batch of them is read: numbers together, every other one by itself."""
        placed = list(zip(offsets(self.features), self.features, strict=True))
        numeric = [(p, f) for p, f in placed if f.type in ("number", "integer")]
        self._others = [
            (p, operator.itemgetter(f.name), _column(f), f.type == "date")
            for p, f in placed
            if f.type not in ("number", "integer")
        ]
        self._numeric = [f for _, f in numeric]
        positions = [p for p, _ in numeric]
        is_block = positions == list(range(positions[0], positions[0] + len(positions))) if positions else False
        # a slice is written several times faster than a list of positions
        self._numeric_at: Any = slice(positions[0], positions[-1] + 1) if is_block else np.array(positions, np.intp)
        self._numbers = _getter([f.name for f in self._numeric])
        self._required = np.array([not f.nullable for f in self._numeric], dtype=bool)
        self._integers = np.array([i for i, f in enumerate(self._numeric) if f.type == "integer"], dtype=np.intp)
        self._lows = np.array([low_of(f) for f in self._numeric])
        self._highs = np.array([high_of(f) for f in self._numeric])
        self._keys = _getter(self.key)

    def _compile_row(self) -> None:
        """For a single record of numbers and categories: all values in the order of the matrix."""
        self._count = len(self.features)
        self._row = _getter([f.name for f in self.features])
        self._row_codes = [(i, codes_of(f)) for i, f in enumerate(self.features) if f.type == "category"]
        self._row_integers = tuple(i for i, f in enumerate(self.features) if f.type == "integer")
        self._row_lows = [low_of(f) for f in self.features]
        self._row_highs = [high_of(f) for f in self.features]
        self._row_floats = struct.Struct(f"{self._count}f")
        if not self.features or any(f.type in ("date", "boolean") for f in self.features):
            self._count = -1  # no record has so many fields: all go the way of batches

    def parse(self, records: Sequence[Any]) -> Batch:
        """Parse records as ``orjson`` gives them. Nothing raises for what a record holds."""
        try:
            batch = self._one(records[0]) if len(records) == 1 else None
            if batch is None:
                batch = self._bulk(records)
        except (KeyError, TypeError, ValueError, OverflowError):
            batch = None
        return self.careful(records) if batch is None else batch

    def _one(self, record: Any) -> Batch | None:
        """A record with every value there, of the type and in the range that the contract wants."""
        if type(record) is not dict or len(record) != self._count:
            return None
        values: Sequence[Any] = self._row(record)
        if self._row_codes:
            coded = list(values)
            for position, codes in self._row_codes:
                code = codes.get(coded[position])
                if code is None:
                    return None
                coded[position] = code
            values = coded
        types = set(map(type, values))
        if not types <= _NUMBERS:
            return None
        if float in types:
            for position in self._row_integers:
                if type(values[position]) is float:
                    return None
        if not (all(map(operator.le, self._row_lows, values)) and all(map(operator.ge, self._row_highs, values))):
            return None
        packed = self._row_floats.pack(*values)
        return Batch(np.ndarray((1, self.width), np.float32, packed), is_exact=True)

    def _bulk(self, records: Sequence[Record]) -> Batch | None:
        """Columns of a batch, each by one or two calls."""
        rows = len(records)
        if set(map(type, records)) != {dict}:
            return None
        fields = len(self.features)
        has_key = bool(self.key) and self.key[0] in records[0]
        if has_key:
            fields += len(self.key)
            if not set(map(type, chain.from_iterable(map(self._keys, records)))) <= SCALARS:
                return None
        if sum(map(len, records)) != fields * rows:
            return None
        warnings: list[Problem] = []
        matrix = np.empty((rows, self.width), dtype=np.float32)
        if self._numeric:
            numbers = self._bulk_numbers(records, rows, warnings)
            if numbers is None:
                return None
            matrix[:, self._numeric_at] = numbers
        for position, get, read, is_date in self._others:
            values = read(list(map(get, records)))
            if values is None:
                return None
            matrix[:, position] = values
            if is_date:
                from mlops.features.encoding import date_parts  # noqa: PLC0415 - only models with dates

                matrix[:, position + 1], matrix[:, position + 2] = date_parts(np.array(values, dtype=np.float64))
        return Batch(matrix, warnings, is_exact=not has_key)

    def _bulk_numbers(self, records: Sequence[Record], rows: int, warnings: list[Problem]) -> FloatArray | None:
        """float64, shape (rows, numeric features); ``None`` when a value may be wrong."""
        flat = tuple(chain.from_iterable(map(self._numbers, records)))
        try:
            # `pack` takes integers and floats, refuses texts and nulls, and takes booleans for 0 and 1
            values: FloatArray = np.frombuffer(struct.pack(f"{len(flat)}d", *flat))
        except struct.error:
            return self._with_gaps(flat, rows, warnings)
        doubtful = np.flatnonzero((values == 0.0) | (values == 1.0))
        if bool in map(type, map(flat.__getitem__, doubtful.tolist())):
            return None
        values = values.reshape(rows, -1)
        if len(self._integers):
            whole = values[:, self._integers]
            if (whole != np.floor(whole)).any():
                return None
        return values if self._within(values, warnings) and not np.isnan(values.sum()) else None

    def _with_gaps(self, flat: tuple[Any, ...], rows: int, warnings: list[Problem]) -> FloatArray | None:
        """The same for numbers with nulls between them."""
        if not set(map(type, flat)) <= _NUMBERS_OR_NULL:
            return None
        values: FloatArray = np.array(flat, dtype=np.float64).reshape(rows, -1)
        gaps = np.isnan(values)
        if gaps[:, self._required].any() or gaps.sum() != flat.count(None):
            return None
        whole = values[:, self._integers]
        if (whole != np.floor(whole))[~np.isnan(whole)].any():
            return None
        return values if self._within(values, warnings) else None

    def _within(self, values: FloatArray, warnings: list[Problem]) -> bool:
        """Note what is outside its range; False when a number does not fit a float32."""
        fine = (values >= self._lows) & (values <= self._highs)
        if fine.all():
            return True
        if (np.abs(values) > FLOAT32_MAX).any():
            return False
        wrong = np.argwhere(~(fine | np.isnan(values)))
        for row, column in wrong[:MAX_PROBLEMS].tolist():
            warnings.append({"record": row, **outside(self._numeric[column])})
        return True

    def careful(self, records: Sequence[Any]) -> Batch:
        """Field by field, with an explanation of everything that is wrong."""
        if self._examiner is None:
            from mlops.inference.careful import Examiner  # noqa: PLC0415 - only for what is not plainly right

            self._examiner = Examiner(self.features, self.key, self.target)
        batch: Batch = self._examiner.read(records, self.width)
        return batch


def low_of(feature: Feature) -> float:
    """The least number that is scored without a warning, within float32."""
    return -FLOAT32_MAX if feature.minimum is None else max(float(feature.minimum), -FLOAT32_MAX)


def high_of(feature: Feature) -> float:
    """The largest number that is scored without a warning, within float32."""
    return FLOAT32_MAX if feature.maximum is None else min(float(feature.maximum), FLOAT32_MAX)


def _getter(names: Sequence[str]) -> Callable[[Record], tuple[Any, ...]]:
    """All of ``names`` from a record, as a tuple also for one name."""
    if len(names) == 1:
        only = names[0]
        return lambda record: (record[only],)
    if not names:
        return lambda record: ()
    return operator.itemgetter(*names)


def outside(feature: Feature) -> Problem:
    """The warning for a value outside the contract's range."""
    low = "-∞" if feature.minimum is None else f"{feature.minimum:g}"
    high = "∞" if feature.maximum is None else f"{feature.maximum:g}"
    message = f"'{feature.name}' is outside its range {low} to {high}; the record was scored all the same"
    return {"field": feature.name, "code": "outside_range", "message": message}


def codes_of(feature: Feature) -> dict[str | None, float]:
    """Code of every level that the contract knows, and of null where it may be missing."""
    codes: dict[str | None, float] = {level: float(code) for level, code in level_codes(feature).items()}
    if feature.nullable:
        codes[None] = float(missing_code(feature))
    return codes


def _column(feature: Feature) -> Callable[[list[Any]], list[float] | None]:
    """Read a column of JSON values; ``None``, or an exception, sends the batch to the careful reading."""
    if feature.type == "boolean":
        truth: dict[Any, float] = {True: 1.0, False: 0.0}  # 1, 0, 1.0 and 0.0 are the same keys
        if feature.nullable:
            truth[None] = NAN
        return lambda values: list(map(truth.__getitem__, values))
    if feature.type == "date":
        return lambda values: [NAN if v is None and feature.nullable else parse_date(v) for v in values]
    codes = codes_of(feature)
    other = float(other_code(feature)) if feature.on_unknown == "other" else None

    def category(values: list[Any]) -> list[float] | None:
        try:
            return list(map(codes.__getitem__, values))
        except KeyError:
            pass
        if not set(map(type, values)) <= _TEXT_OR_NULL:
            values = [None if v is None else category_text(v) for v in values]
        if other is None:
            return [codes[v] for v in values]
        if not feature.nullable and None in values:
            return None
        return [codes.get(v, other) for v in values]

    return category
