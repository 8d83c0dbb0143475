"""Labels that arrive late: what became true of a prediction, as files of any order, with repeats and strangers.

A label names its prediction by ``inference_id``, or by the columns of the contract's entity key and, if there is one, a
time. Standard library only: the release reads labels too.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from typing import Any

from mlops.contract import Contract
from mlops.features.parse import category_text

INFERENCE_ID = "inference_id"
#: The column of a label's time where the contract names no timestamp.
TIME = "time"

Value = float | int
Hash = Callable[[Sequence[Any]], str]


@dataclass(frozen=True, slots=True)
class Label:
    """One label. ``value``: position of the class, or the number. ``time``: when it holds; None: as of its file."""

    value: Value
    time: datetime | None
    arrived: datetime


@dataclass
class Labels:
    """The labels of one model.

    Attributes
    ----------
    by_id : inference id -> label; the last one wins.
    by_entity : entity, as captures name it -> its labels.
    rows : labels read, good or not.
    repeated, conflicting : inference ids that came again with the same, and with another value.
    invalid : reason -> rows that are no label.
    useless : keys of files without a single label.
    """

    by_id: dict[str, Label] = field(default_factory=dict)
    by_entity: dict[str, list[Label]] = field(default_factory=dict)
    rows: int = 0
    repeated: int = 0
    conflicting: int = 0
    invalid: dict[str, int] = field(default_factory=dict)
    useless: list[str] = field(default_factory=list)

    @property
    def usable(self) -> int:
        """How many different labels there are to find predictions for."""
        return len(self.by_id) + sum(map(len, self.by_entity.values()))

    def add(
        self, rows: Iterable[Mapping[str, Any] | None], contract: Contract, arrived: datetime, hashed: Hash
    ) -> None:
        """Take in the rows of one file. Files come in the order of their arrival, so that the last word wins.

        Parameters
        ----------
        rows : None for a line that is no row.
        hashed : gives the name that captures have for the values of an entity key; an empty text where none is known.
        """
        column = contract.timestamp or TIME
        for row in rows:
            self.rows += 1
            if row is None:
                self._refuse("not_a_row")
                continue
            value = _value(contract, row.get(contract.target.name))
            time, is_time = _time(row.get(column))
            if value is None or not is_time:
                self._refuse("no_label" if value is None else "bad_time")
                continue
            label = Label(value, time, arrived)
            identity = row.get(INFERENCE_ID)
            if identity not in (None, ""):
                self._by_id(str(identity), label)
            else:
                self._by_entity([row.get(name) for name in contract.key], label, hashed)

    def _by_id(self, identity: str, label: Label) -> None:
        known = self.by_id.get(identity)
        if known is not None:
            if known.value == label.value:
                self.repeated += 1
            else:
                self.conflicting += 1
        self.by_id[identity] = label

    def _by_entity(self, values: Sequence[Any], label: Label, hashed: Hash) -> None:
        if not values or any(v in (None, "") for v in values):
            self._refuse("no_id")
            return
        names = {name for variant in _variants(values) if (name := hashed(variant))}
        if not names:
            self._refuse("no_pseudonym_key")
        for name in names:
            given = self.by_entity.setdefault(name, [])
            same = [i for i, g in enumerate(given) if g.time == label.time]
            if same:
                if name == min(names):
                    self.repeated += given[same[0]].value == label.value
                    self.conflicting += given[same[0]].value != label.value
                given[same[0]] = label
            else:
                given.append(label)

    def _refuse(self, reason: str) -> None:
        self.invalid[reason] = self.invalid.get(reason, 0) + 1


def _variants(values: Sequence[Any]) -> Iterator[list[Any]]:
    """A key as a caller may have sent it: a file's ``17`` was the text or the number 17 in the request."""
    choices: list[list[Any]] = []
    for value in values:
        found = [value]
        if isinstance(value, str) and value.strip().lstrip("-").isdigit() and str(int(value)) == value.strip():
            found.append(int(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            found.append(str(value))
        choices.append(found)
    yield from (list(chosen) for chosen in product(*choices))


def _value(contract: Contract, cell: Any) -> Value | None:
    if cell is None or cell == "":
        return None
    if contract.task == "classification":
        try:
            return contract.target.classes.index(category_text(cell))
        except ValueError:
            return None
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and not isinstance(cell, bool) else None


def _time(cell: Any) -> tuple[datetime | None, bool]:
    if cell in (None, ""):
        return None, True
    try:
        moment = datetime.fromisoformat(str(cell))
    except ValueError:
        return None, False
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC), True


def parse(body: bytes) -> Iterator[Mapping[str, Any] | None]:
    """Rows of a label file: CSV with a header or JSON Lines in UTF-8, plain or gzip; None for what is no row."""
    if body[:2] == b"\x1f\x8b":
        try:
            body = gzip.decompress(body)
        except (OSError, EOFError, zlib.error):
            yield None
            return
    text = body.decode("utf-8-sig", errors="replace")
    if text.lstrip().startswith("{"):
        for line in text.splitlines():
            if line.strip():
                yield _json(line)
        return
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t|", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            yield None if None in row else row
    except csv.Error:
        yield None


def _json(line: str) -> Mapping[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
