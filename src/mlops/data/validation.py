"""Checking a file against its contract: good rows as typed columns, bad rows apart with all their reasons."""

from __future__ import annotations

import difflib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl

from mlops.contract import Contract
from mlops.data import outliers, parsing, whole_file
from mlops.data.checks import DUPLICATE, ColumnCheck, column_checks, row_message
from mlops.data.csv_dialect import header_below
from mlops.data.glance import clean_columns, readable_as_numbers
from mlops.data.outcome import EXAMPLES, KEPT, Finding, MalformedError, Rejection, TextNeededError, UnreadableError
from mlops.data.reading import LINE, PROBLEM, ROW, Table, open_table, read_through
from mlops.data.repeats import repeated
from mlops.data.row_rules import CODE, RowRule, broken_rows, row_rules
from mlops.data.store import Rows, RowWriter
from mlops.features.columns import MISSING, Column, Columns

#: Column, code, message and rows of a violation that keeps rows apart.
_Reason = tuple[str | None, str, str, pl.Series]

_EXAMPLE_LENGTH = 40
_DAY = 86_400
#: Reasons in a result; the report has them all. A state machine's payload is bounded.
_REASONS = 20


@dataclass(frozen=True)
class Validated:
    """What checking a file found.

    Attributes
    ----------
    accepted : good rows on disk, in the file's order, columns in the order features, target, key, timestamp; none
        when only its cells were to be checked.
    read, apart : rows in the file, and those of them that are kept apart.
    findings : every kind of violation, also of rows that were accepted with a warning.
    quarantine : bad rows as JSON lines, ``{row, reasons: [{code, column, message}], values}``.
    rejection : why the file is rejected as a whole, if it is.
    notes : remarks on the file (ignored columns, guesses).
    """

    accepted: Rows
    read: int
    apart: int
    findings: tuple[Finding, ...]
    quarantine: Path
    rejection: Rejection | None
    notes: tuple[str, ...]

    def reasons(self) -> list[dict[str, Any]]:
        """Why rows are kept apart, most frequent first: ``{code, column, count, message}``, no value of a cell."""
        return reasons_of(self.findings)


def reasons_of(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The reasons that findings give for keeping rows apart."""
    kept = [f for f in findings if f.severity != "warn"][:_REASONS]
    return [{"code": f.code, "column": f.column, "count": f.count, "message": f.message} for f in kept]


def validate_file(
    path: Path,
    contract: Contract,
    work: Path,
    *,
    keep: bool = True,
    now: datetime | None = None,
    history: Sequence[int] = (),
    suspect: bool = False,
    whole: bool = True,
    reference: outliers.Reference | None = None,
) -> Validated | Rejection:
    """Read and check a file, in memory that does not grow with it.

    Parameters
    ----------
    path : the file as uploaded, packed or not.
    work : an empty folder for intermediate files and the accepted rows; the caller deletes it.
    keep : whether rows are compared and the file is looked at as a whole; else single rows are checked alone.
    now : the time, for dates in the future and old files; by default that of this machine.
    history : rows of earlier files of this model.
    suspect : see :func:`mlops.data.reading.open_table`.
    whole : whether the file is all of an upload. One of many is not judged by its number of rows, nor looked at as a
        whole: that is for all of them together.
    reference : what is usual in the data set: rows far from it are kept apart.

    Returns
    -------
    Validated, or the Rejection of a file that cannot be read as a table of this contract.
    """
    moment = now or datetime.now(UTC)
    try:
        checks = column_checks(contract, moment.timestamp() / _DAY)
        table = open_table(
            path,
            contract.file,
            contract.checks.max_bytes,
            work,
            expected=[c.name for c in checks],
            optional=[c.name for c in checks if c.nullable],
            suspect=suspect,
        )
        mismatch = _schema_mismatch(table, checks, contract)
        if mismatch:
            return mismatch
        numbers = _numbers(table, checks, contract)
        run = partial(_Run, checks=checks, contract=contract, work=work, keep=keep, now=moment, whole=whole)
        return read_through(table, lambda t: run(t, history=history, reference=reference).result(), numbers)
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
        line = header_below(table.file.path, missing) if table.kind == "csv" else None
        if line:
            return Rejection(
                "missing_columns",
                f"The file's first line has no column names: line {line} has them. Delete the lines above it and "
                "upload the file again.",
                missing[0],
            )
        return Rejection(
            "missing_columns",
            f"The file lacks {noun} {', '.join(hints)}{more}, which the contract of '{contract.name}' names. "
            f"Send files with those columns, or change the contract; what would change: {_command(contract)}",
            missing[0],
        )
    if unused and contract.checks.extra_columns == "reject":
        return Rejection(
            "extra_columns",
            f"The file has columns that the contract of '{contract.name}' does not name: {_quoted(unused)}. Leave them "
            "out, list them under 'ignore', or set checks.extra_columns: ignore. What would change: "
            f"{_command(contract)}",
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


def _command(contract: Contract) -> str:
    """The command that proposes a contract which the file keeps."""
    return f"mlops contract diff models/{contract.name}.yaml FILE"


# The rows -----------------------------------------------------------------------------------------


class _Run:
    """One reading of a file, batch after batch."""

    def __init__(
        self,
        table: Table,
        checks: Sequence[ColumnCheck],
        contract: Contract,
        work: Path,
        *,
        keep: bool,
        now: datetime,
        history: Sequence[int],
        whole: bool,
        reference: outliers.Reference | None,
    ) -> None:
        self._table = table
        self._checks = checks
        self._contract = contract
        self._distinct = contract.checks.duplicates == "quarantine"
        self._levels = {c.name: pl.Enum(sorted(set(c.levels))) for c in checks if c.type == "category"}
        self._keep = keep
        self._now = now
        self._history = history
        self._whole = whole
        self._reference = reference
        self._rules = row_rules(contract, now.timestamp() / _DAY)
        # A folder of its own: a reading that gives up on the way leaves its files behind.
        self._folder = Path(tempfile.mkdtemp(dir=work, prefix="rows-"))
        self._writer = RowWriter(self._folder)
        self._read = self._bad = 0
        self._findings: dict[tuple[str | None, str], Finding] = {}
        self._decimal: str | None = None

    def result(self) -> Validated:
        """Read and judge."""
        try:
            with self._writer:
                return self._result()
        except (TextNeededError, MalformedError):
            shutil.rmtree(self._folder)
            raise

    def _result(self) -> Validated:
        apart = self._folder / "rows.jsonl"
        with apart.open("wb") as quarantine:
            for batch in self._table.batches():
                self._check(batch, quarantine)
            accepted, again = self._writer.finish(), 0
            marks = repeated(accepted) if self._distinct else None
            if marks is not None:
                self._set_apart(accepted.numbers, marks, quarantine)
                again = int(np.count_nonzero(marks))
                accepted = accepted.without(marks)
        whole = []
        if self._keep and self._whole:
            look = partial(whole_file.findings, history=self._history, held=self._reference is not None)
            whole = look(accepted, self._contract, read=self._read, now=self._now)
        findings = tuple(
            sorted([*self._findings.values(), *whole], key=lambda f: (-f.count, f.column or "", f.code, f.message))
        )
        bad = self._bad + again
        rejection = self._verdict(self._read - bad, findings)
        return Validated(accepted, self._read, bad, findings, apart, rejection, tuple(self._notes()))

    def _notes(self) -> Iterable[str]:
        yield from self._table.notes
        named = {c.name for c in self._checks}
        unused = [n for n in self._table.names if n not in named and n not in self._contract.ignore]
        if unused:
            yield f"columns that the contract does not name were left out: {_quoted(unused)}"
        if self._table.lenient:
            yield "some lines are malformed, so the file was read line by line"
        if self._whole and self._reference is None and outliers.wanted(self._contract):
            yield outliers.NOT_JUDGED

    def _check(self, batch: pl.DataFrame, quarantine: BinaryIO) -> None:
        if self._decimal is None:
            self._decimal = self._decimal_sign(batch)
        self._read += batch.height
        problems = batch[PROBLEM]
        bad = problems.is_not_null()
        whole = ~bad
        # (column, code, message, mask) of every violation that keeps a row apart, for the rows' reasons.
        reasons: list[_Reason] = []
        for code in problems.drop_nulls().unique().sort().to_list():
            mask = (problems == code).fill_null(value=False)
            self._record(Finding(code, None, "quarantine", row_message(code)), mask, batch)
            reasons.append((None, code, row_message(code), mask))
        missing = self._contract.file.missing
        clean = clean_columns(batch, self._checks, missing, self._decimal)
        columns = []
        for check in self._checks:
            values = clean.get(check.name)
            if values is None:
                if check.name in self._table.numbers:
                    raise TextNeededError
                parsed = check.parse(batch[check.name], missing, self._decimal)
                values = parsed.values
                for code, found in parsed.wrong.items():
                    bad |= self._violation(check, code, found & whole, batch, reasons)
            columns.append((check, values))
        for rule, mask in self._broken(columns, whole):
            self._record(
                Finding(CODE, None, rule.severity, rule.message, max_share=rule.max_share), mask, batch, name=rule.text
            )
            if rule.severity != "warn":
                bad |= mask
                reasons.append((None, CODE, rule.message, mask))
        for name, message, mask in self._far(columns, whole):
            self._record(Finding(outliers.CODE, name, "quarantine", message), mask, batch, batch[name])
            bad |= mask
            reasons.append((name, outliers.CODE, message, mask))
        if bad.any():
            if self._table.numbers:  # rows that are kept apart are shown as they were written
                raise TextNeededError
            self._bad += int(bad.sum())
            apart = [(column, code, message, mask.filter(bad)) for column, code, message, mask in reasons]
            quarantine.writelines(_lines(batch.filter(bad), self._table.names, apart))
            columns = [(check, values.filter(~bad)) for check, values in columns]
        if self._keep:
            part = Columns(tuple(_column(check, values, self._levels.get(check.name)) for check, values in columns))
            self._writer.add(part, batch[ROW].filter(~bad).to_numpy())

    def _decimal_sign(self, batch: pl.DataFrame) -> str:
        numeric = [batch[c.name] for c in self._checks if c.type in ("number", "integer")]
        delimiter = self._table.dialect.delimiter if self._table.dialect else ","
        told = self._contract.file.decimal if self._table.kind == "csv" else "."
        return parsing.decimal_sign(numeric, told, delimiter)

    def _violation(
        self, check: ColumnCheck, code: str, mask: pl.Series, batch: pl.DataFrame, reasons: list[_Reason]
    ) -> pl.Series:
        """Record one kind of violation; which rows it keeps apart."""
        severity = check.severity_of(code)
        if mask.any():
            message = f"'{check.name}' {check.says(code)}"
            shown = None if check.personal or code.startswith("missing") else batch[check.name]
            self._record(Finding(code, check.name, severity, message), mask, batch, shown)
            if severity != "warn":
                reasons.append((check.name, code, message, mask))
                return mask
        return pl.repeat(False, len(mask), dtype=pl.Boolean, eager=True)

    def _broken(
        self, columns: Sequence[tuple[ColumnCheck, pl.Series]], whole: pl.Series
    ) -> Iterator[tuple[RowRule, pl.Series]]:
        """The rules that rows of a batch break, with those rows."""
        if not self._rules:
            return
        masks = broken_rows(self._rules, pl.DataFrame([_for_rules(check, values) for check, values in columns]))
        for rule, mask in zip(self._rules, masks.iter_columns(), strict=True):
            if (mask & whole).any():
                yield rule, mask & whole

    def _far(
        self, columns: Sequence[tuple[ColumnCheck, pl.Series]], whole: pl.Series
    ) -> Iterator[tuple[str, str, pl.Series]]:
        """Rows of a batch that lie far from those of the data set: in which column most, what is said, and which."""
        if self._reference is not None:
            for name, message, mask in self._reference.masks({check.name: values for check, values in columns}):
                if (mask & whole).any():
                    yield name, message, mask & whole

    def _record(
        self,
        kind: Finding,
        mask: pl.Series,
        batch: pl.DataFrame,
        shown: pl.Series | None = None,
        name: str | None = None,
    ) -> None:
        """Count the rows of ``mask`` under a kind of finding.

        ``shown``: cells that may serve as examples. ``name``: what it is counted under, where that is no column.
        """
        finding = self._findings.setdefault((kind.column or name, kind.code), kind)
        finding.count += int(mask.sum())
        if len(finding.rows) < KEPT:
            finding.rows += batch[ROW].filter(mask).head(KEPT - len(finding.rows)).to_list()
        if shown is not None and len(finding.examples) < EXAMPLES:
            for value in shown.filter(mask).unique(maintain_order=True).head(EXAMPLES).to_list():
                text = str(value)[:_EXAMPLE_LENGTH]
                if text not in finding.examples and len(finding.examples) < EXAMPLES:
                    finding.examples.append(text)

    def _set_apart(self, numbers: npt.NDArray[np.int64], marks: npt.NDArray[np.bool_], quarantine: BinaryIO) -> None:
        """Rows that equal an earlier one: they are known only at the end, so the file is read for them again.

        ``numbers``, ``marks``: of all good rows, their numbers in the file and whether they are such.
        """
        message = row_message(DUPLICATE)
        start = 0
        for batch in replace(self._table, numbers=()).batches():
            # Numbers ascend by one or more, so a batch has those of one stretch no longer than itself.
            near = numbers[start : start + batch.height]
            end = start + int(np.searchsorted(near, batch[ROW][-1], side="right"))
            wanted = numbers[start:end][marks[start:end]]
            start = end
            again = batch.filter(pl.Series(np.isin(batch[ROW].to_numpy(), wanted)))
            if again.height:
                mask = pl.repeat(True, again.height, dtype=pl.Boolean, eager=True)
                self._record(Finding(DUPLICATE, None, "quarantine", message), mask, again)
                quarantine.writelines(_lines(again, self._table.names, [(None, DUPLICATE, message, mask)]))
            if start == len(numbers):
                break

    def _verdict(self, accepted: int, findings: Sequence[Finding]) -> Rejection | None:
        """Why the whole file is rejected, if it is."""
        contract = self._contract
        if self._read == 0:
            return Rejection("no_rows", "The file has column names but no rows. Upload it again with its rows.")
        forbidden = rejected_for(findings, self._read)
        if forbidden:
            return forbidden
        share = self._bad / self._read
        if share > contract.checks.max_bad_share:
            worst = next(f for f in findings if f.severity == "quarantine" and f.code != DUPLICATE)
            return Rejection(
                "too_many_bad_rows",
                f"{self._bad:,} of {_rows(self._read)} ({share:.0%}) are bad; the contract accepts "
                f"{contract.checks.max_bad_share:.0%} (checks.max_bad_share). Most often: {worst.message} "
                f"({_rows(worst.count)}, first row {worst.rows[0]}). If the file is right and the contract is not: "
                f"{_command(contract)}",
                worst.column,
            )
        return too_few(accepted, self._read, contract) if self._whole else None


def rejected_for(findings: Sequence[Finding], read: int) -> Rejection | None:
    """The rejection of an upload for what the contract says ``severity: reject`` to."""
    for finding in findings:
        # A class that no row has is found in no row.
        if finding.severity == "reject" and (not finding.count or finding.count > finding.max_share * read):
            where = f" in {_rows(finding.count)}" if finding.count else ""
            where += f" (first row {finding.rows[0]})" if finding.rows else ""
            return Rejection(
                finding.code,
                f"{finding.message}{where}; the contract rejects the whole file for that (severity: reject).",
                finding.column,
            )
    return None


def too_few(accepted: int, read: int, contract: Contract) -> Rejection | None:
    """The rejection of an upload with too few good rows."""
    if accepted >= contract.checks.min_rows:
        return None
    return Rejection(
        "too_few_rows",
        f"{_rows(accepted)} of {read:,} can be used; the contract asks for {contract.checks.min_rows:,} "
        "(checks.min_rows).",
    )


def _for_rules(check: ColumnCheck, values: pl.Series) -> pl.Series:
    """A column as rules see it: null where a value is missing, truth as truth."""
    plain = values.fill_nan(None) if values.dtype.is_float() else values
    return (plain.cast(pl.Boolean) if check.type == "boolean" else plain).alias(check.name)


def _numbers(table: Table, checks: Sequence[ColumnCheck], contract: Contract) -> list[str]:
    """Columns of a CSV file that can be read as numbers at once."""
    # A decimal comma, or a number that means "missing", is seen in the text only.
    if contract.file.decimal == "," or not readable_as_numbers(contract.file.missing):
        return []
    return [c.name for c in checks if c.type in ("number", "integer") and c.name in table.names]


def _lines(rows: pl.DataFrame, names: Sequence[str], reasons: Sequence[_Reason]) -> Iterator[bytes]:
    """Rows as JSON lines, each with all its reasons and its cells as they came."""
    said: list[list[dict[str, str | None]]] = [[] for _ in range(rows.height)]
    for column, code, message, mask in reasons:
        for position in mask.arg_true().to_list():
            said[position].append({"code": code, "column": column, "message": message})
    for why, record in zip(said, rows.iter_rows(named=True), strict=True):
        line = record[LINE]
        values = {"line": line} if line is not None else {n: record[n] for n in names}
        body = {"row": record[ROW], "reasons": why, "values": values}
        yield json.dumps(body, ensure_ascii=False, default=str).encode() + b"\n"


def _column(check: ColumnCheck, values: pl.Series, known: pl.Enum | None) -> Column:
    """``known``: the levels of a category that the contract lists, sorted."""
    if check.type != "category":
        # A null becomes NaN on the way to numpy.
        return Column(check.name, check.type, values.to_numpy().astype(np.float64, copy=False))
    levels, codes = _coded(values, known)
    filled = codes.fill_null(MISSING) if codes.null_count() else codes
    return Column(check.name, "category", filled.to_numpy().astype(np.int32), levels)


def _coded(values: pl.Series, known: pl.Enum | None) -> tuple[tuple[str, ...], pl.Series]:
    """Levels of a category, sorted, and each value's place among them."""
    if known is not None and len(known.categories):
        try:
            return tuple(known.categories), values.cast(known).to_physical().cast(pl.Int32)
        except pl.exceptions.InvalidOperationError:  # one that the contract does not list
            pass
    levels = values.drop_nulls().unique().sort()
    if levels.is_empty():
        return (), pl.Series([None] * len(values), dtype=pl.Int32)
    numbers = pl.int_range(len(levels), eager=True, dtype=pl.Int32)
    return tuple(levels.to_list()), values.replace_strict(levels, numbers, default=None)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
