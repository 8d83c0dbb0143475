"""The checks of one column, from the contract: what its cells must be, and what is said when they are not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import polars as pl

from mlops.contract import Contract
from mlops.data import parsing
from mlops.data.parsing import Parsed
from mlops.features.spec import Severity

#: Codes of rows that are wrong as a whole.
DUPLICATE = "duplicate_row"

_ROW_MESSAGES = {
    "too_many_cells": "the row has more cells than the file has columns (a stray delimiter or quote?)",
    "too_few_cells": "the row has fewer cells than the file has columns (is the file incomplete?)",
    "malformed_row": "the line is not a row (a stray quote, or no JSON object)",
    DUPLICATE: "the row is equal to an earlier one of this file",
}


_EXPECTED = {
    "number": "a number such as 1234.5 (without thousands separators, currency or percent signs)",
    "integer": "a whole number such as 1234 (without thousands separators, currency or percent signs)",
    "boolean": "true or false",
    "category": "a text",
    "date": "a date",
}
_SAYINGS = {
    "missing_value": "is missing",
    "missing_target": "is missing; a row without its answer cannot be learned from",
    "wrong_type": "is not {expected}",
    "not_finite": "is infinite or too large",
    "future_date": "lies in the future",
    "bad_date": "is not an ISO 8601 date such as 2026-03-01 or 2026-03-01T12:00:00Z",
}


@dataclass(frozen=True, slots=True)
class ColumnCheck:
    """What one column must be.

    Attributes
    ----------
    type : a feature type; target, key and timestamp are checked as ``category``, ``number`` or ``date``.
    role : ``feature``, ``attribute``, ``target``, ``key`` or ``timestamp``.
    levels : known levels of a category; empty means any.
    strict : whether a level outside ``levels`` is a violation.
    personal : values of this column are never shown.
    latest : of a date, the last day that is not in the future; None where the future is allowed.
    future : what a later one does.
    """

    name: str
    type: str
    role: str
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    levels: tuple[str, ...] = ()
    strict: bool = True
    severity: Severity = "quarantine"
    personal: bool = False
    latest: float | None = None
    future: Severity = "warn"

    def parse(self, cells: pl.Series, missing: tuple[str, ...], decimal: str) -> Parsed:
        """Typed values and what is wrong with single cells; every mask has the cells' length."""
        match self.type:
            case "category":
                parsed = parsing.categories(cells, missing, self.levels)
            case "boolean":
                parsed = parsing.booleans(cells, missing)
            case "date":
                parsed = parsing.dates(cells, missing)
            case _:
                parsed = parsing.numbers(cells, missing, decimal, whole=self.type == "integer")
        for code, mask in self._outside(parsed):
            if mask.any():
                parsed.wrong[code] = mask
        if not self.nullable and parsed.missing.any():
            parsed.wrong["missing_target" if self.role == "target" else "missing_value"] = parsed.missing
        return parsed

    def _outside(self, parsed: Parsed) -> Iterator[tuple[str, pl.Series]]:
        values = parsed.values
        if self.latest is not None:
            yield "future_date", (values > self.latest).fill_null(value=False)
        if self.minimum is not None:
            yield "below_minimum", (values < self.minimum).fill_null(value=False)
        if self.maximum is not None:
            yield "above_maximum", (values > self.maximum).fill_null(value=False)
        if self.levels:
            unknown = (values.is_not_null() & ~values.is_in(list(self.levels))).fill_null(value=False)
            yield "unknown_class" if self.role == "target" else "unknown_category", unknown

    def severity_of(self, code: str) -> Severity:
        """What a violation does. A level that ``on_unknown: other`` accepts is worth a remark only."""
        if code == "future_date":
            return self.future
        return "warn" if code == "unknown_category" and not self.strict else self.severity

    def says(self, code: str) -> str:
        """What is wrong, as a clause that follows the column's name; it never shows a value."""
        if code == "unknown_category":
            if not self.strict:
                return "is a category that the contract does not list; it counts as 'other'"
            return f"is not one of the {len(self.levels)} known categories"
        if code == "unknown_class":
            return f"is not one of the classes {_listed(self.levels)}"
        if code == "below_minimum":
            return f"is below the minimum {self.minimum:g}"
        if code == "above_maximum":
            return f"is above the maximum {self.maximum:g}"
        return _SAYINGS[code].format(expected=_EXPECTED[self.type])


def column_checks(contract: Contract, today: float | None = None) -> list[ColumnCheck]:
    """The columns of a data set in their order: features, attributes, target, key, timestamp.

    ``today``: days since 1970-01-01 in UTC; dates after the next day lie in the future. None: nothing does.
    """
    checks = [
        ColumnCheck(
            f.name,
            f.type,
            "feature" if i < len(contract.features) else "attribute",
            f.nullable,
            f.minimum,
            f.maximum,
            f.categories,
            f.on_unknown == "reject",
            f.severity,
            f.pii != "none",
        )
        for i, f in enumerate(contract.described)
    ]
    target = contract.target
    if contract.task == "classification":
        checks.append(ColumnCheck(target.name, "category", "target", levels=target.classes))
    else:
        checks.append(
            ColumnCheck(target.name, "number", "target", minimum=target.minimum, maximum=target.maximum),
        )
    # A key says who somebody is, so its values are treated as personal.
    checks += [ColumnCheck(name, "category", "key", personal=True) for name in contract.key]
    if contract.timestamp:
        checks.append(ColumnCheck(contract.timestamp, "date", "timestamp"))
    future = contract.checks.future_dates
    if today is None or future == "allow":
        return checks
    # Until the end of tomorrow, for senders whose day is ahead of UTC.
    latest = math.floor(today) + 2.0
    return [replace(c, latest=latest, future=future) if c.type == "date" else c for c in checks]


def row_message(code: str) -> str:
    """What is wrong with a row as a whole."""
    return _ROW_MESSAGES[code]


def _listed(levels: tuple[str, ...]) -> str:
    shown = ", ".join(levels[:10])
    return shown + (", …" if len(levels) > 10 else "")
