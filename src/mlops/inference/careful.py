"""The careful reading: every field of every record, with an explanation of all that is wrong.

Only for batches that the quick readings of :mod:`mlops.inference.parsing` gave up, and not loaded before the first.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops.features.encoding import date_parts
from mlops.features.layout import level_codes, missing_code, offsets, other_code
from mlops.features.parse import category_text, parse_date
from mlops.features.spec import Feature
from mlops.inference.errors import FIELD_ERRORS
from mlops.inference.parsing import FLOAT32_MAX, MAX_PROBLEMS, NAN, SCALARS, Batch, Problem, outside

if TYPE_CHECKING:
    from mlops.features.encoding import Matrix

#: Guesses at what was meant are slow: only the first problems of an answer get one.
MAX_HINTS = 10

_NUMBERS = frozenset({float, int})
_JSON_NAMES = {str: "a string", bool: "a boolean", list: "an array", dict: "an object"}
_ABSENT = object()


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


class Examiner:
    """Reads records of one model version field by field."""

    def __init__(self, features: Sequence[Feature], key: Sequence[str], target: str) -> None:
        self._features = tuple(features)
        self._key = tuple(key)
        self._target = target
        self._readers = [_reader(f) for f in self._features]
        self._names = frozenset(f.name for f in self._features)

    def read(self, records: Sequence[Any], width: int) -> Batch:
        """The batch: a row for every record without a problem."""
        rows: list[list[float]] = []
        accepted: list[int] = []
        batch = Batch(np.empty((0, width), dtype=np.float32))
        for index, record in enumerate(records):
            values, problems, warnings = self.examine(record, hints=len(batch.problems) < MAX_HINTS)
            if problems:
                batch.problem_count += len(problems)
                for problem in problems[: MAX_PROBLEMS - len(batch.problems)]:
                    batch.problems.append({"record": index, **problem})
                continue
            rows.append(values)
            accepted.append(index)
            for warning in warnings[: max(0, MAX_PROBLEMS - len(batch.warnings))]:
                batch.warnings.append({"record": index, **warning})
        batch.matrix = self._matrix(rows, width)
        batch.accepted = None if len(accepted) == len(records) else accepted
        return batch

    def examine(self, record: Any, *, hints: bool = True) -> tuple[list[float], list[Problem], list[Problem]]:
        """One record: a number per feature (days for a date), what is wrong, what is outside its range."""
        if type(record) is not dict:
            return [], [_problem(None, "not_an_object", FIELD_ERRORS["not_an_object"])], []
        values: list[float] = []
        problems: list[Problem] = []
        warnings: list[Problem] = []
        for feature, read in zip(self._features, self._readers, strict=True):
            try:
                value = read(record.get(feature.name, _ABSENT))
            except BadValueError as bad:
                problems.append(_problem(feature.name, bad.code, bad.explain(hints)))
                continue
            values.append(value)
            if feature.type in ("number", "integer") and _is_outside(value, feature):
                warnings.append(outside(feature))
        for name in record:
            if name not in self._names:
                self._check_extra(name, record[name], problems, hints and len(problems) < MAX_HINTS)
        return values, problems, warnings

    def _check_extra(self, name: str, value: Any, problems: list[Problem], hints: bool) -> None:
        if name in self._key:
            if type(value) not in SCALARS:
                problems.append(_problem(name, "wrong_type", f"'{name}' must be a string or a number"))
            return
        shown = name[:80]
        if name == self._target:
            message = f"'{shown}' is what the model predicts; leave it out"
        else:
            message = f"'{shown}' is not a feature of this model"
            close = did_you_mean(name, [*self._names, *self._key]) if hints else None
            message += f"; did you mean '{close}'?" if close else ""
        problems.append(_problem(shown, "unknown_field", message))

    def _matrix(self, rows: list[list[float]], width: int) -> Matrix:
        matrix = np.empty((len(rows), width), dtype=np.float32)
        if not rows:
            return matrix
        values = np.array(rows, dtype=np.float64)
        for i, position in enumerate(offsets(self._features)):
            matrix[:, position] = values[:, i]
            if self._features[i].type == "date":
                matrix[:, position + 1], matrix[:, position + 2] = date_parts(values[:, i])
        return matrix


def _is_outside(value: float, feature: Feature) -> bool:
    return (feature.minimum is not None and value < feature.minimum) or (
        feature.maximum is not None and value > feature.maximum
    )


def _problem(name: str | None, code: str, message: str) -> Problem:
    return {"field": name, "code": code, "message": message}


def did_you_mean(name: str, known: Sequence[str]) -> str | None:
    """The known name most like ``name``, if any is like it."""
    close = difflib.get_close_matches(name[:80], known, n=1, cutoff=0.7)
    if close:
        return close[0]
    folded = {k.casefold().replace("_", " ").replace("-", " ").strip(): k for k in known}
    return folded.get(name[:80].casefold().replace("_", " ").replace("-", " ").strip())


# One value -----------------------------------------------------------------------------------------


def _reader(feature: Feature) -> Callable[[Any], float]:
    """Read one JSON value of ``feature``: a number, a code, or days; BadValueError says what is wrong."""
    codes = {level: float(code) for level, code in level_codes(feature).items()}
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
