"""Checking a file against its contract: good rows as typed columns, bad rows apart with all their reasons."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mlops.contract import Contract
from mlops.data import digests as dg
from mlops.data import parsing
from mlops.data.checks import DUPLICATE, ColumnCheck, column_checks, row_message
from mlops.data.digests import Digests
from mlops.data.outcome import EXAMPLES, KEPT, Finding, Rejection, UnreadableError
from mlops.data.reading import LINE, PROBLEM, ROW, Table, open_table, read_through
from mlops.features.columns import MISSING, Column, Columns

_EXAMPLE_LENGTH = 40
#: Reasons in a result; the report has them all. A state machine's payload is bounded.
_REASONS = 20


@dataclass(frozen=True)
class Validated:
    """What checking a file found.

    Attributes
    ----------
    columns : accepted rows in the file's order: features, target, key, timestamp.
    digests : of the accepted rows; uint64, shape (rows, 2).
    read : rows in the file.
    findings : every kind of violation, also of rows that were accepted with a warning.
    quarantine : bad rows as JSON lines, ``{row, reasons: [{code, column, message}], values}``.
    rejection : why the file is rejected as a whole, if it is.
    notes : remarks on the file (ignored columns, guesses).
    """

    columns: Columns
    digests: Digests
    read: int
    findings: tuple[Finding, ...]
    quarantine: tuple[bytes, ...]
    rejection: Rejection | None
    notes: tuple[str, ...]

    def reasons(self) -> list[dict[str, Any]]:
        """Why rows are kept apart, most frequent first: ``{code, column, count, message}``, no value of a cell."""
        kept = [f for f in self.findings if f.severity != "warn"][:_REASONS]
        return [{"code": f.code, "column": f.column, "count": f.count, "message": f.message} for f in kept]


def validate_file(path: Path, contract: Contract, work: Path) -> Validated | Rejection:
    """Read and check a file.

    Parameters
    ----------
    path : the file as uploaded, packed or not.
    work : an empty folder for intermediate files; the caller deletes it.

    Returns
    -------
    Validated, or the Rejection of a file that cannot be read as a table of this contract.
    """
    try:
        checks = column_checks(contract)
        table = open_table(
            path,
            contract.file,
            contract.checks.max_bytes,
            work,
            expected=[c.name for c in checks],
            optional=[c.name for c in checks if c.nullable],
        )
        mismatch = _schema_mismatch(table, checks, contract)
        if mismatch:
            return mismatch
        return read_through(table, lambda t: _check_rows(t, checks, contract))
    except UnreadableError as error:
        return error.rejection


# The file's columns -------------------------------------------------------------------------------


def _schema_mismatch(table: Table, checks: Sequence[ColumnCheck], contract: Contract) -> Rejection | None:
    needed = [c.name for c in checks]
    missing = [name for name in needed if name not in table.names]
    unused = [name for name in table.names if name not in needed and name not in contract.ignore]
    if missing:
        hints = []
        for name in missing[:10]:
            other = alike(name, unused)
            hints.append(f"'{name}'" + (f" (the file has '{other}': renamed?)" if other else ""))
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        noun = "column" if len(missing) == 1 else "columns"
        return Rejection(
            "missing_columns",
            f"The file lacks {noun} {', '.join(hints)}{more}, which the contract of '{contract.name}' names. "
            "Send files with those columns, or change the contract.",
            missing[0],
        )
    if unused and contract.checks.extra_columns == "reject":
        return Rejection(
            "extra_columns",
            f"The file has columns that the contract of '{contract.name}' does not name: {_quoted(unused)}. Leave them "
            "out, list them under 'ignore', or set checks.extra_columns: ignore.",
            unused[0],
        )
    return None


def alike(name: str, others: Sequence[str]) -> str | None:
    """The name that ``name`` may have been before somebody renamed it."""

    def plain(text: str) -> str:
        return "".join(ch for ch in text.lower() if ch.isalnum())

    same = [o for o in others if plain(o) == plain(name)]
    close = same or difflib.get_close_matches(name, others, n=1, cutoff=0.8)
    return close[0] if close else None


def _quoted(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{n}'" for n in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")


# The rows -----------------------------------------------------------------------------------------


@dataclass
class _State:
    """What accumulates over batches."""

    read: int = 0
    bad: int = 0
    duplicates: int = 0
    parts: list[Columns] = field(default_factory=list)
    digests: list[Digests] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)
    findings: dict[tuple[str | None, str], Finding] = field(default_factory=dict)
    quarantine: list[bytes] = field(default_factory=list)
    decimal: str | None = None


def _check_rows(table: Table, checks: Sequence[ColumnCheck], contract: Contract) -> Validated:
    state = _State()
    for batch in table.batches():
        _check_batch(batch, table, checks, contract, state)
    columns = Columns.concat(state.parts) if state.parts else _no_rows(checks)
    digests = np.concatenate(state.digests) if state.digests else np.empty((0, 2), dtype=np.uint64)
    unused = [n for n in table.names if n not in {c.name for c in checks} and n not in contract.ignore]
    notes = [*table.notes]
    if unused:
        notes.append(f"columns that the contract does not name were left out: {_quoted(unused)}")
    if table.lenient:
        notes.append("some lines are malformed, so the file was read line by line")
    findings = tuple(sorted(state.findings.values(), key=lambda f: (-f.count, f.column or "", f.code)))
    return Validated(
        columns,
        digests,
        state.read,
        findings,
        tuple(state.quarantine),
        _verdict(state, columns.rows, contract, findings),
        tuple(notes),
    )


def _check_batch(
    batch: pl.DataFrame, table: Table, checks: Sequence[ColumnCheck], contract: Contract, state: _State
) -> None:
    if state.decimal is None:
        numeric = [batch[c.name] for c in checks if c.type in ("number", "integer")]
        delimiter = table.dialect.delimiter if table.dialect else ","
        told = contract.file.decimal if table.kind == "csv" else "."
        state.decimal = parsing.decimal_sign(numeric, told, delimiter)
    state.read += batch.height
    problems = batch[PROBLEM]
    bad = problems.is_not_null()
    whole = ~bad
    # (column, code, message, mask) of every violation that keeps a row apart, for the rows' reasons.
    reasons: list[tuple[str | None, str, str, pl.Series]] = []
    for code in problems.drop_nulls().unique().sort().to_list():
        mask = (problems == code).fill_null(value=False)
        _record(state, Finding(code, None, "quarantine", row_message(code)), mask, batch)
        reasons.append((None, code, row_message(code), mask))
    columns = []
    for check in checks:
        parsed = check.parse(batch[check.name], contract.file.missing, state.decimal)
        for code, found in parsed.wrong.items():
            mask = found & whole
            if not mask.any():
                continue
            severity = check.severity_of(code)
            message = f"'{check.name}' {check.says(code)}"
            shown = None if check.personal or code.startswith("missing") else batch[check.name]
            _record(state, Finding(code, check.name, severity, message), mask, batch, shown)
            if severity != "warn":
                bad |= mask
                reasons.append((check.name, code, message, mask))
        columns.append((check, parsed.values))
    good = ~bad
    accepted = batch.filter(good)
    part = Columns(tuple(_column(check, values.filter(good)) for check, values in columns))
    digests = dg.row_digests(part)
    if contract.checks.duplicates == "quarantine":
        fresh = _fresh(digests, state.seen)
        if not fresh.all():
            repeated = accepted.filter(pl.Series(~fresh))
            mask = pl.Series([True] * repeated.height)
            _record(state, Finding(DUPLICATE, None, "quarantine", row_message(DUPLICATE)), mask, repeated)
            state.duplicates += repeated.height
            state.quarantine += _lines(repeated, table.names, [(None, DUPLICATE, row_message(DUPLICATE), mask)])
            part, digests = part.take(fresh), digests[fresh]
    state.bad += int(bad.sum())
    if bad.any():
        apart = [(column, code, message, mask.filter(bad)) for column, code, message, mask in reasons]
        state.quarantine += _lines(batch.filter(bad), table.names, apart)
    if part.rows:
        state.parts.append(part)
        state.digests.append(digests)


def _record(state: _State, kind: Finding, mask: pl.Series, batch: pl.DataFrame, shown: pl.Series | None = None) -> None:
    """Count the rows of ``mask`` under a kind of finding; ``shown`` holds the cells that may serve as examples."""
    finding = state.findings.setdefault((kind.column, kind.code), kind)
    finding.count += int(mask.sum())
    if len(finding.rows) < KEPT:
        finding.rows += batch[ROW].filter(mask).head(KEPT - len(finding.rows)).to_list()
    if shown is not None and len(finding.examples) < EXAMPLES:
        for value in shown.filter(mask).unique(maintain_order=True).head(EXAMPLES).to_list():
            text = str(value)[:_EXAMPLE_LENGTH]
            if text not in finding.examples and len(finding.examples) < EXAMPLES:
                finding.examples.append(text)


def _fresh(digests: Digests, seen: set[tuple[int, int]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows were not seen before; remembers them."""
    fresh = np.ones(len(digests), dtype=bool)
    for i, (high, low) in enumerate(digests.tolist()):
        pair = (high, low)
        if pair in seen:
            fresh[i] = False
        else:
            seen.add(pair)
    return fresh


def _lines(
    rows: pl.DataFrame, names: Sequence[str], reasons: Sequence[tuple[str | None, str, str, pl.Series]]
) -> list[bytes]:
    """Rows as JSON lines, each with all its reasons and its cells as they came."""
    said: list[list[dict[str, str | None]]] = [[] for _ in range(rows.height)]
    for column, code, message, mask in reasons:
        for position in mask.arg_true().to_list():
            said[position].append({"code": code, "column": column, "message": message})
    lines = []
    for why, record in zip(said, rows.iter_rows(named=True), strict=True):
        line = record[LINE]
        values = {"line": line} if line is not None else {n: record[n] for n in names}
        body = {"row": record[ROW], "reasons": why, "values": values}
        lines.append(json.dumps(body, ensure_ascii=False, default=str).encode())
    return lines


def _column(check: ColumnCheck, values: pl.Series) -> Column:
    if check.type != "category":
        return Column(check.name, check.type, values.fill_null(float("nan")).to_numpy().astype(np.float64))
    levels = values.drop_nulls().unique().sort()
    if levels.is_empty():
        return Column(check.name, "category", np.full(len(values), MISSING, dtype=np.int32))
    codes = values.replace_strict(levels, pl.int_range(len(levels), eager=True, dtype=pl.Int32), default=None)
    return Column(check.name, "category", codes.fill_null(MISSING).to_numpy().astype(np.int32), tuple(levels.to_list()))


def _no_rows(checks: Sequence[ColumnCheck]) -> Columns:
    return Columns(
        tuple(
            Column(c.name, c.type, np.empty(0, dtype=np.int32 if c.type == "category" else np.float64)) for c in checks
        )
    )


def _verdict(state: _State, accepted: int, contract: Contract, findings: Sequence[Finding]) -> Rejection | None:
    """Why the whole file is rejected, if it is."""
    if state.read == 0:
        return Rejection("no_rows", "The file has column names but no rows.")
    for finding in findings:
        if finding.severity == "reject":
            return Rejection(
                finding.code,
                f"{finding.message} in {_rows(finding.count)} (first row {finding.rows[0]}); the contract rejects the "
                "whole file for that (severity: reject).",
                finding.column,
            )
    share = state.bad / state.read
    if share > contract.checks.max_bad_share:
        worst = next(f for f in findings if f.severity == "quarantine" and f.code != DUPLICATE)
        return Rejection(
            "too_many_bad_rows",
            f"{state.bad:,} of {_rows(state.read)} ({share:.0%}) are bad; the contract accepts "
            f"{contract.checks.max_bad_share:.0%} (checks.max_bad_share). Most often: {worst.message} "
            f"({_rows(worst.count)}).",
            worst.column,
        )
    if accepted < contract.checks.min_rows:
        return Rejection(
            "too_few_rows",
            f"{_rows(accepted)} of {state.read:,} can be used; the contract asks for {contract.checks.min_rows:,} "
            "(checks.min_rows).",
        )
    return None


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
