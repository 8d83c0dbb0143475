"""A first contract from a first file. Everything it guesses is said, for a person to keep or to change.

It reads with the reader of ingestion, so what it finds out is what ingestion will find.
"""

from __future__ import annotations

import difflib
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import polars as pl

from mlops.contract.infer_column import Guess, guess
from mlops.contract.infer_rows import StoredRows
from mlops.contract.model import Checks, Contract, FileFormat, Target, Task
from mlops.contract.source import check
from mlops.data import parsing
from mlops.data.csv_dialect import header_below
from mlops.data.outcome import UnreadableError
from mlops.data.reading import Table, open_table, read_through
from mlops.errors import ContractError
from mlops.features.spec import Feature

#: Distinct numbers up to which a numeric target is taken for classes.
MAX_NUMERIC_CLASSES = 10
MAX_CLASSES = 100
#: Share of equal rows from which they are taken for natural, not for copies.
NATURAL_DUPLICATES = 0.01
MAX_BYTES = 20_000_000_000

#: Words of a last row that sums up the others.
_TOTALS = {
    "total",
    "totals",
    "grand total",
    "subtotal",
    "sum",
    "summe",
    "gesamt",
    "insgesamt",
    "totale",
    "somme",
    "suma",
}
_NO = {"0", "false", "f", "no", "n", "negative", "good", "benign", "none", "ok", "stay", "stayed", "-1"}
_YES = {"1", "true", "t", "yes", "y", "positive", "bad", "malignant", "fraud", "default", "churn", "churned", "spam"}


@dataclass(frozen=True)
class Inferred:
    """A contract and what was guessed.

    Attributes
    ----------
    notes : every remark, on the file, the target and columns, for a person to read.
    columns : column -> remark on how it was read; :func:`mlops.contract.source.dump` writes them as comments.
    rows : rows that the guesses rest on.
    """

    contract: Contract
    notes: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0


def infer(
    path: str | Path,
    target: str,
    name: str | None = None,
    *,
    task: Task | None = None,
    key: tuple[str, ...] | None = None,
    timestamp: str | None = None,
    attributes: Sequence[str] = (),
    file: FileFormat | None = None,
) -> Inferred:
    """Infer a contract from a CSV, JSON Lines or Parquet file.

    Parameters
    ----------
    path : a local file, packed or not.
    target : name of the column to predict; ``column_3`` for the third column of a file without a header.
    name : of the model; from the file's name by default.
    task, key, timestamp : settle what would be guessed.
    attributes : columns that the model may not see and is judged by.
    file : how to read it, where finding out goes wrong.

    Raises
    ------
    ContractError
        when the file cannot be read, lacks the target or an attribute, or holds nothing to learn from.
    """
    path = Path(path)
    if not path.is_file():
        raise ContractError(f"{path}: no such file")
    fmt = file or FileFormat()
    with tempfile.TemporaryDirectory(prefix="infer-") as folder:
        try:
            table = open_table(path, fmt, MAX_BYTES, Path(folder), guess_encoding=True, suspect=True)
            _check_columns(path.name, table, (target, *(key or ()), *([timestamp] if timestamp else []), *attributes))
            rows = read_through(table, lambda t: StoredRows(t, Path(folder) / "rows"))
        except UnreadableError as error:
            raise ContractError(f"{path.name}: {error.rejection.message}", code=error.rejection.code) from error
        return _inferred(path, table, rows, fmt, target, name, task, key, timestamp, attributes)


def _inferred(
    path: Path,
    table: Table,
    rows: StoredRows,
    fmt: FileFormat,
    target: str,
    name: str | None,
    task: Task | None,
    key: tuple[str, ...] | None,
    timestamp: str | None,
    attributes: Sequence[str],
) -> Inferred:
    if not rows.height:
        raise ContractError(f"{path.name}: has no rows to infer a contract from")
    remarks = [*table.notes]
    if rows.broken:
        remarks.append(f"{rows.broken} lines are no rows (see ingestion's report) and were not looked at")
    total = _total(rows.last)
    if total:
        remarks.append(f"the last row looks like a total ('{total}'), which is no case of its own: leave it out")
    fmt, decimal = _format(table, fmt, rows, remarks)
    chosen, aim = _target(rows.column(target), task, fmt.missing, decimal, remarks)
    guesses = {column: guess(rows.column(column), fmt.missing, decimal) for column in table.names if column != target}
    judged_by = tuple(_attribute(path.name, column, guesses.get(column)) for column in dict.fromkeys(attributes))
    others = {c: g for c, g in guesses.items() if c not in attributes}
    keys, timestamp = _roles(others, key, timestamp)
    used = {c: g for c, g in others.items() if c not in keys and c != timestamp}
    contract = Contract(
        name=name or _model_name(path),
        task=chosen,
        target=aim,
        features=tuple(replace(g.feature, name=c) for c, g in used.items() if g.feature),
        attributes=judged_by,
        key=keys,
        timestamp=timestamp,
        ignore=tuple(c for c, g in used.items() if not g.feature),
        file=fmt,
    )
    contract = replace(contract, checks=_duplicates(rows, contract, remarks))
    if not contract.features:
        why = "; ".join(f"'{c}' is {g.note}" if g.role != "feature" else c for c, g in guesses.items() if g.note)
        raise ContractError(f"{path.name}: no column beside '{target}' can serve as a feature: {why}")
    wrong = check(contract)
    if wrong:
        raise ContractError(f"{path.name}: gives no sound contract: {'; '.join(wrong[:3])}")
    remarks.append(
        "ranges are those of this file, widened on both sides by a quarter of their span (never below zero where "
        "nothing is negative); tighten them to what you know"
    )
    settled = {*(key or ()), *attributes}  # what was told needs no remark
    columns = {c: g.note for c, g in guesses.items() if g.note and c not in settled}
    remarks += [f"{column}: {note}" for column, note in columns.items()]
    return Inferred(contract, tuple(remarks), columns, rows.height)


def _total(cells: Sequence[object]) -> str | None:
    """The word that makes the last row a sum of those above it."""
    last = [v for v in cells if isinstance(v, str)]
    return next((v.strip() for v in last if v.strip().rstrip(":").lower() in _TOTALS), None)


def _check_columns(file: str, table: Table, columns: tuple[str, ...]) -> None:
    for column in columns:
        if column not in table.names:
            close = difflib.get_close_matches(column, table.names, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            shown = ", ".join(table.names[:30]) + (", …" if len(table.names) > 30 else "")
            line = header_below(table.file.path, columns) if table.kind == "csv" else None
            if line:
                raise ContractError(f"{file}: line {line} has the column names: delete the lines above it")
            raise ContractError(f"{file}: has no column '{column}'.{hint} Its columns are: {shown}")


def _format(table: Table, fmt: FileFormat, rows: StoredRows, remarks: list[str]) -> tuple[FileFormat, str]:
    """What later files must be told, because it cannot be found out from every one of them."""
    if table.dialect is None:
        return fmt, "."
    decimal = parsing.decimal_sign(map(rows.column, table.names), fmt.decimal, table.dialect.delimiter)
    if decimal == ",":
        fmt = replace(fmt, decimal=",")
        remarks.append("numbers are written with a decimal comma")
    if not table.dialect.header:
        fmt = replace(fmt, header=False)
        remarks.append("the file has no header; columns are named column_1, column_2, …")
    if table.file.encoding not in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        fmt = replace(fmt, encoding="windows-1252" if table.file.encoding == "cp1252" else table.file.encoding)
    return fmt, decimal


# The target ---------------------------------------------------------------------------------------


def _target(
    cells: pl.Series, task: Task | None, missing: Sequence[str], decimal: str, remarks: list[str]
) -> tuple[Task, Target]:
    name = cells.name
    given = parsing.given_cells(cells, missing)
    absent = given.null_count()
    if absent:
        noun = "1 row has" if absent == 1 else f"{absent} rows have"
        remarks.append(f"{noun} no '{name}'; ingestion keeps such rows apart")
    given = given.drop_nulls()
    if given.n_unique() < 2:
        raise ContractError(f"the target '{name}' has the same value in every row; there is nothing to learn")
    numbers = parsing.numbers(given, (), decimal)
    numeric = given.dtype != pl.Boolean and not numbers.wrong
    if task is None:
        distinct = numbers.values.n_unique()
        whole = numeric and bool((numbers.values == numbers.values.floor()).all())
        few = whole and distinct <= MAX_NUMERIC_CLASSES and distinct * 5 <= len(given)
        task = "classification" if not numeric or few else "regression"
        why = "its values are few" if few else ("it holds texts" if not numeric else "it holds numbers")
        remarks.append(f"task {task}: '{name}' looks like it, as {why}")
    if task == "regression":
        if not numeric:
            raise ContractError(f"the target '{name}' holds texts; regression needs numbers")
        return task, Target(name)
    texts = parsing.categories(given, ()).values
    if numeric and given.dtype == pl.String and texts.str.contains(r"\.0+$").any():
        texts = texts.str.replace(r"\.0+$", "")
    counts = texts.value_counts(sort=True)
    classes = counts[texts.name].to_list()
    if len(classes) > MAX_CLASSES:
        raise ContractError(
            f"the target '{name}' has {len(classes)} different values; a classification takes {MAX_CLASSES} classes"
        )
    ordered = sorted(classes, key=float) if numeric else sorted(classes)
    positive = _positive(ordered, rarest=classes[-1]) if len(ordered) == 2 else None
    if positive:
        remarks.append(f"positive class '{positive}': what metrics and the threshold speak of; change it if needed")
    return task, Target(name, tuple(ordered), positive)


def _positive(classes: list[str], *, rarest: str) -> str:
    for one, other in (classes, classes[::-1]):
        if one.lower() in _YES and other.lower() in _NO:
            return one
    return rarest


# The contract -------------------------------------------------------------------------------------


def _roles(
    guesses: Mapping[str, Guess], key: tuple[str, ...] | None, timestamp: str | None
) -> tuple[tuple[str, ...], str | None]:
    """Key and timestamp: as told, else the first column that looks like a key, and the only one like a time."""
    keys = key if key is not None else tuple([c for c, g in guesses.items() if g.role == "key" and c != timestamp][:1])
    if timestamp is None:
        times = [c for c, g in guesses.items() if g.role == "timestamp" and c not in keys]
        timestamp = times[0] if len(times) == 1 else None
    return keys, timestamp


def _attribute(file: str, column: str, found: Guess | None) -> Feature:
    """A column as told: what the model is judged by and may not see."""
    if found is None:
        raise ContractError(f"{file}: '{column}' is the target, so it cannot be an attribute")
    if found.feature is None:
        raise ContractError(f"{file}: '{column}' cannot be an attribute: {found.note}")
    if found.feature.type == "date":
        raise ContractError(f"{file}: '{column}' cannot be an attribute: a date has no groups")
    return replace(found.feature, name=column)


def _duplicates(rows: StoredRows, contract: Contract, remarks: list[str]) -> Checks:
    used = [f.name for f in contract.described] + [contract.target.name, *contract.key]
    used += [contract.timestamp] if contract.timestamp else []
    repeated = rows.height - rows.distinct(used)
    setting: Literal["quarantine", "allow"] = "quarantine"
    if repeated > rows.height * NATURAL_DUPLICATES and not contract.key:
        setting = "allow"
        remarks.append(
            f"{repeated} rows are equal to others and no column identifies a row, so equal rows are taken for "
            "different cases (checks.duplicates: allow)"
        )
    elif repeated:
        remarks.append(f"{repeated} rows are equal to others; ingestion keeps the repeats apart")
    return Checks(duplicates=setting)


def _model_name(path: Path) -> str:
    stem = path.name.split(".")[0].lower()
    name = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:40].strip("-")
    return name or "model"
