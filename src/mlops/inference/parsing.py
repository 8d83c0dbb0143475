"""From JSON records to the float32 matrix, by the rules of :mod:`mlops.features.encoding`.

Two readings of the same rules. The *bulk* reading handles whole batches with a few calls into C and gives up at
the first thing that is not plainly right. The *careful* reading then looks at every field of every record and
says what is wrong, or accepts what the bulk reading did not know. Tests hold that both, and ``encode`` of the
same values as columns, agree.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from mlops.features.columns import FloatArray
from mlops.features.encoding import Matrix, date_parts, missing_code, offsets, other_code, width
from mlops.features.parse import category_text, parse_date
from mlops.features.spec import Feature
from mlops.inference.errors import FIELD_ERRORS

FLOAT32_MAX = float(np.finfo(np.float32).max)
NAN = float("nan")
#: Details listed in one answer; the rest is only counted.
MAX_PROBLEMS = 100
#: Guesses at what was meant are slow: only the first problems of an answer get one.
MAX_HINTS = 10

_NUMBERS = frozenset({float, int})
_NUMBERS_OR_NULL = frozenset({float, int, type(None)})
_TEXT_OR_NULL = frozenset({str, type(None)})
_SCALARS = frozenset({str, int, float, bool, type(None)})
_JSON_NAMES = {str: "a string", bool: "a boolean", list: "an array", dict: "an object"}
_ABSENT = object()

Record = dict[str, Any]
Problem = dict[str, Any]


@dataclass(slots=True)
class Batch:
    """A parsed batch.

    Attributes
    ----------
    matrix : float32, shape (accepted records, width).
    accepted : positions of the records in ``matrix``; ``None`` means all, in order.
    problems : what is wrong, ``{"record", "field", "code", "message"}``; at most :data:`MAX_PROBLEMS`.
    problem_count : how many there are in truth.
    warnings : values outside the contract's range, which were scored all the same.
    """

    matrix: Matrix
    accepted: list[int] | None = None
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    warnings: list[Problem] = field(default_factory=list)


class BadValueError(ValueError):
    """One value that a feature cannot take."""

    def __init__(self, code: str, message: str, *, guess: tuple[str, Sequence[str]] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self._guess = guess

    def explain(self, hints: bool) -> str:
        """The message, with a guess at what was meant when ``hints`` are wanted."""
        close = did_you_mean(*self._guess) if hints and self._guess else None
        return f"{self}; did you mean '{close}'?" if close else str(self)


class Parser:
    """Compiled for the features and entity key of one model version."""

    def __init__(self, features: Sequence[Feature], key: Sequence[str] = (), target: str = "") -> None:
        self.features = tuple(features)
        self.key = tuple(k for k in key if k not in {f.name for f in features})
        self.target = target
        self.width = width(features)
        self.readers = [_reader(f) for f in self.features]
        self._names = frozenset(f.name for f in self.features)
        self._compile()

    def _compile(self) -> None:
        """Group features by how a batch of them is read."""
        numeric, others = [], []
        for position, feature in zip(offsets(self.features), self.features, strict=True):
            if feature.type in ("number", "integer"):
                numeric.append((position, feature))
            else:
                others.append((position, feature))
        self._numeric = [f for _, f in numeric]
        self._numeric_at = np.array([p for p, _ in numeric], dtype=np.intp)
        self._numbers = _getter([f.name for f in self._numeric])
        self._required = np.array([not f.nullable for f in self._numeric])
        self._integers = np.array([f.type == "integer" for f in self._numeric])
        self._any_integer = bool(self._integers.any())
        self._lows = [-np.inf if f.minimum is None else float(f.minimum) for f in self._numeric]
        self._highs = [np.inf if f.maximum is None else float(f.maximum) for f in self._numeric]
        self._low_array, self._high_array = np.array(self._lows), np.array(self._highs)
        self._bounded = any(f.minimum is not None or f.maximum is not None for f in self._numeric)
        self._others = [(p, operator.itemgetter(f.name), _bulk(f), f.type == "date") for p, f in others]
        self._keys = _getter(self.key)

    def parse(self, records: Sequence[Any]) -> Batch:
        """Parse records as ``orjson`` gives them. Nothing raises for what a record holds."""
        try:
            batch = self._bulk(records)
        except (KeyError, TypeError, ValueError, OverflowError):
            batch = None
        return self.careful(records) if batch is None else batch

    def _bulk(self, records: Sequence[Record]) -> Batch | None:
        rows = len(records)
        if set(map(type, records)) != {dict}:
            return None
        fields = len(self.features)
        if self.key and self.key[0] in records[0]:
            fields += len(self.key)
            if not set(map(type, chain.from_iterable(map(self._keys, records)))) <= _SCALARS:
                return None
        if sum(map(len, records)) != fields * rows:
            return None
        warnings: list[Problem] = []
        numbers = None
        if self._numeric:
            numbers = self._bulk_numbers(records, rows, warnings)
            if numbers is None or not self._others:
                return None if numbers is None else Batch(numbers, warnings=warnings)
        matrix = np.empty((rows, self.width), dtype=np.float32)
        if numbers is not None:
            matrix[:, self._numeric_at] = numbers
        for position, get, read, is_date in self._others:
            values = read(list(map(get, records)))
            if values is None:
                return None
            if is_date:
                _put_dates(matrix, position, np.array(values, dtype=np.float64))
            else:
                matrix[:, position] = values
        return Batch(matrix, warnings=warnings)

    def _bulk_numbers(self, records: Sequence[Record], rows: int, warnings: list[Problem]) -> Matrix | None:
        get = self._numbers
        flat = get(records[0]) if rows == 1 else tuple(chain.from_iterable(map(get, records)))
        types = set(map(type, flat))
        if types <= _NUMBERS:
            if max(flat) > FLOAT32_MAX or min(flat) < -FLOAT32_MAX:
                return None
            checked = not (self._any_integer and float in types)
            if checked and not self._bounded:
                return np.array(flat, dtype=np.float32).reshape(rows, -1)
            if checked and rows == 1 and not self._outside(flat):
                return np.array(flat, dtype=np.float32).reshape(1, -1)
        elif not types <= _NUMBERS_OR_NULL:
            return None
        values = np.array(flat, dtype=np.float64).reshape(rows, -1)
        if not self._plain(values, gaps=type(None) in types):
            return None
        if self._bounded:
            outside = (values < self._low_array) | (values > self._high_array)
            if outside.any():
                for row, column in np.argwhere(outside)[:MAX_PROBLEMS].tolist():
                    warnings.append(_outside(row, self._numeric[column]))
        return values.astype(np.float32)

    def _outside(self, flat: Sequence[float]) -> bool:
        return any(map(operator.lt, flat, self._lows)) or any(map(operator.gt, flat, self._highs))

    def _plain(self, values: FloatArray, *, gaps: bool) -> bool:
        """Whether every value fits a float32, no required one is missing, and integers are whole."""
        if gaps:
            if np.isnan(values[:, self._required]).any() or (np.abs(values) > FLOAT32_MAX).any():
                return False
        elif not np.isfinite(values).all():
            return False
        if self._any_integer:
            whole = values[:, self._integers]
            return not (whole != np.floor(whole))[~np.isnan(whole)].any()
        return True

    def careful(self, records: Sequence[Any]) -> Batch:
        """Field by field, with an explanation of everything that is wrong."""
        rows: list[list[float]] = []
        accepted: list[int] = []
        batch = Batch(np.empty((0, self.width), dtype=np.float32))
        for index, record in enumerate(records):
            values, problems, warnings = self.examine(record, hints=len(batch.problems) < MAX_HINTS)
            if problems:
                batch.problem_count += len(problems)
                for problem in problems[: MAX_PROBLEMS - len(batch.problems)]:
                    batch.problems.append({"record": index, **problem})
                continue
            rows.append(values)
            accepted.append(index)
            for warning in warnings:
                _add(batch.warnings, {"record": index, **warning})
        batch.matrix = self._matrix(rows)
        batch.accepted = None if len(accepted) == len(records) else accepted
        return batch

    def examine(self, record: Any, *, hints: bool = True) -> tuple[list[float], list[Problem], list[Problem]]:
        """One record: a number per feature (days for a date), what is wrong, what is outside its range."""
        if type(record) is not dict:
            return [], [_problem(None, "not_an_object", FIELD_ERRORS["not_an_object"])], []
        values: list[float] = []
        problems: list[Problem] = []
        warnings: list[Problem] = []
        for feature, read in zip(self.features, self.readers, strict=True):
            try:
                value = read(record.get(feature.name, _ABSENT))
            except BadValueError as bad:
                problems.append(_problem(feature.name, bad.code, bad.explain(hints)))
                continue
            values.append(value)
            if feature.type in ("number", "integer") and _is_outside(value, feature):
                warnings.append(_outside(None, feature))
        for name in record:
            if name not in self._names:
                self._check_extra(name, record[name], problems, hints and len(problems) < MAX_HINTS)
        return values, problems, warnings

    def _check_extra(self, name: str, value: Any, problems: list[Problem], hints: bool) -> None:
        if name in self.key:
            if type(value) not in _SCALARS:
                problems.append(_problem(name, "wrong_type", f"'{name}' must be a string or a number"))
            return
        shown = name[:80]
        if name == self.target:
            message = f"'{shown}' is what the model predicts; leave it out"
        else:
            message = f"'{shown}' is not a feature of this model"
            close = did_you_mean(name, [*self._names, *self.key]) if hints else None
            message += f"; did you mean '{close}'?" if close else ""
        problems.append(_problem(shown, "unknown_field", message))

    def _matrix(self, rows: list[list[float]]) -> Matrix:
        matrix = np.empty((len(rows), self.width), dtype=np.float32)
        if not rows:
            return matrix
        values = np.array(rows, dtype=np.float64)
        for i, position in enumerate(offsets(self.features)):
            if self.features[i].type == "date":
                _put_dates(matrix, position, values[:, i])
            else:
                matrix[:, position] = values[:, i]
        return matrix


def _getter(names: Sequence[str]) -> Callable[[Record], tuple[Any, ...]]:
    """All of ``names`` from a record, as a tuple also for one name."""
    if len(names) == 1:
        only = names[0]
        return lambda record: (record[only],)
    if not names:
        return lambda record: ()
    return operator.itemgetter(*names)


def _put_dates(matrix: Matrix, position: int, days: FloatArray) -> None:
    month, weekday = date_parts(days)
    matrix[:, position] = days
    matrix[:, position + 1] = month
    matrix[:, position + 2] = weekday


def _is_outside(value: float, feature: Feature) -> bool:
    return (feature.minimum is not None and value < feature.minimum) or (
        feature.maximum is not None and value > feature.maximum
    )


def _outside(record: int | None, feature: Feature) -> Problem:
    low = "-∞" if feature.minimum is None else f"{feature.minimum:g}"
    high = "∞" if feature.maximum is None else f"{feature.maximum:g}"
    message = f"'{feature.name}' is outside its range {low} to {high}; the record was scored all the same"
    warning = _problem(feature.name, "outside_range", message)
    return warning if record is None else {"record": record, **warning}


def _problem(name: str | None, code: str, message: str) -> Problem:
    return {"field": name, "code": code, "message": message}


def _add(problems: list[Problem], problem: Problem) -> None:
    if len(problems) < MAX_PROBLEMS:
        problems.append(problem)


def did_you_mean(name: str, known: Sequence[str]) -> str | None:
    """The known name most like ``name``, if any is like it."""
    import difflib  # noqa: PLC0415 - only for mistakes

    close = difflib.get_close_matches(name[:80], known, n=1, cutoff=0.7)
    if close:
        return close[0]
    folded = {k.casefold().replace("_", " ").replace("-", " ").strip(): k for k in known}
    return folded.get(name[:80].casefold().replace("_", " ").replace("-", " ").strip())


# One feature at a time ----------------------------------------------------------------------------


def _reader(feature: Feature) -> Callable[[Any], float]:
    """Read one JSON value of ``feature``: a number, a code, or days; BadValueError says what is wrong."""
    codes = {level: float(i) for i, level in enumerate(feature.categories)}
    read = {
        "number": _read_number,
        "integer": _read_number,
        "boolean": _read_boolean,
        "category": lambda value, f: _read_category(value, f, codes),
        "date": _read_date,
    }[feature.type]
    missing = float(missing_code(feature)) if feature.type == "category" else NAN

    def reader(value: Any) -> float:
        if value is None or value is _ABSENT:
            if feature.nullable:
                return missing
            code = "null_not_allowed" if value is None else "missing_field"
            raise BadValueError(code, f"'{feature.name}' is {'null' if value is None else 'missing'} but is required")
        return read(value, feature)

    return reader


def _expected(value: Any, feature: Feature, what: str) -> BadValueError:
    got = _JSON_NAMES.get(type(value), "a number")
    hint = "; send it without quotes" if type(value) is str and feature.type in ("number", "integer") else ""
    return BadValueError("wrong_type", f"'{feature.name}' must be {what}, not {got}{hint}")


def _read_number(value: Any, feature: Feature) -> float:
    if type(value) not in _NUMBERS:
        raise _expected(value, feature, "a number")
    if not -FLOAT32_MAX <= value <= FLOAT32_MAX:
        if type(value) is float and not math.isfinite(value):
            raise BadValueError("not_finite", f"'{feature.name}' must be a finite number")
        raise BadValueError("out_of_range", f"'{feature.name}' is too large for a 32-bit float")
    number = float(value)
    if feature.type == "integer" and not number.is_integer():
        raise BadValueError("not_integer", f"'{feature.name}' must be a whole number")
    return number


def _read_boolean(value: Any, feature: Feature) -> float:
    if type(value) is bool or (type(value) in _NUMBERS and value in (0, 1)):
        return float(value)
    raise _expected(value, feature, "true or false (or 1 or 0)")


def _read_category(value: Any, feature: Feature, codes: Mapping[str, float]) -> float:
    try:
        text = category_text(value)
    except ValueError:
        raise _expected(value, feature, "one of the contract's categories") from None
    code = codes.get(text)
    if code is not None:
        return code
    if feature.on_unknown == "other":
        return float(other_code(feature))
    known = ", ".join(f"'{c}'" for c in feature.categories[:10])
    more = f" and {len(feature.categories) - 10} more" if len(feature.categories) > 10 else ""
    message = f"'{feature.name}' must be one of {known}{more}"
    raise BadValueError("unknown_category", message, guess=(text, feature.categories[:500]))


def _read_date(value: Any, feature: Feature) -> float:
    try:
        return parse_date(value)
    except (ValueError, OverflowError):
        message = f'\'{feature.name}\' must be an ISO 8601 date such as "2026-11-22" or "2026-11-22T10:00:00Z"'
        raise BadValueError("invalid_date" if type(value) is str else "wrong_type", message) from None


# One column at a time -----------------------------------------------------------------------------


def _bulk(feature: Feature) -> Callable[[list[Any]], list[float] | None]:
    """Read a column of JSON values; ``None``, or an exception, sends the batch to the careful reading."""
    if feature.type == "boolean":
        truth: dict[Any, float] = {True: 1.0, False: 0.0}  # 1, 0, 1.0 and 0.0 are the same keys
        if feature.nullable:
            truth[None] = NAN
        return lambda values: [truth[v] for v in values]
    if feature.type == "date":
        return lambda values: [NAN if v is None and feature.nullable else parse_date(v) for v in values]
    codes: dict[str | None, float] = {level: float(i) for i, level in enumerate(feature.categories)}
    if feature.nullable:
        codes[None] = float(missing_code(feature))
    other = float(other_code(feature)) if feature.on_unknown == "other" else None

    def category(values: list[Any]) -> list[float] | None:
        if not set(map(type, values)) <= _TEXT_OR_NULL:
            values = [None if v is None else category_text(v) for v in values]
        if other is None:
            return [codes[v] for v in values]
        if not feature.nullable and None in values:
            return None
        return [codes.get(v, other) for v in values]

    return category
