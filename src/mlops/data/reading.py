"""Reading an upload as batches of rows, whatever its kind.

CSV and JSON Lines come as text, so that a spoiled cell is kept as it was written; Parquet keeps its types.
The fast readers are those of polars. CSV is first read with numbers as numbers, which is faster still; when a cell
proves to be none, or its text is needed, :func:`read_through` starts again with text. When a reader gives up on a
line, it starts again with a lenient reader that goes line by line and marks the lines that are no rows.
"""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from mlops.contract import FileFormat
from mlops.data import csv_dialect
from mlops.data.csv_dialect import Dialect
from mlops.data.files import CHUNK, HEAD, Kind, PlainFile, encrypted_parquet, prepare, require_utf8
from mlops.data.outcome import MalformedError, Rejection, TextNeededError, UnreadableError

#: Names of the columns that a batch has beside the file's own. No header can hold a NUL.
ROW = "\0row"
PROBLEM = "\0problem"
LINE = "\0line"
_EXTRA = "\0extra"

#: Values of ``PROBLEM``.
TOO_MANY_CELLS = "too_many_cells"
TOO_FEW_CELLS = "too_few_cells"
MALFORMED = "malformed_row"

BATCH_ROWS = 65_536
_SAMPLE_LINES = 1_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Table:
    """A file that can be read as rows.

    Attributes
    ----------
    names : the file's columns, in its order.
    dialect : of CSV.
    numbers : columns of CSV that are read as numbers at once; set by :func:`read_through`.
    lenient : read line by line; set by :func:`read_through`.
    notes : guesses that a person should know of.
    """

    file: PlainFile
    names: tuple[str, ...]
    dialect: Dialect | None = None
    numbers: tuple[str, ...] = ()
    lenient: bool = False
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        return self.file.kind

    def batches(self) -> Iterator[pl.DataFrame]:
        """Batches in the file's order: its columns, ``ROW`` (int64, from 1), ``PROBLEM`` and ``LINE`` (text).

        ``PROBLEM`` says why a line is no row; ``LINE`` then holds the line as it is, where it is known.

        Raises
        ------
        UnreadableError
            when the file proves damaged.
        TextNeededError
            when a cell of ``numbers`` is no number.
        MalformedError
            when the fast reader cannot read some line; use :func:`read_through` for both.
        """
        if self.kind == "parquet":
            return _parquet_batches(self)
        if self.kind == "jsonl":
            return _json_lines_leniently(self) if self.lenient else _json_batches(self)
        return _csv_leniently(self) if self.lenient else _csv_batches(self)


def open_table(
    path: Path,
    fmt: FileFormat,
    max_bytes: int,
    work: Path,
    *,
    expected: Sequence[str] = (),
    optional: Sequence[str] = (),
    guess_encoding: bool = False,
    suspect: bool = False,
) -> Table:
    """Find out what a file is and which columns it has.

    Parameters
    ----------
    expected : the contract's columns.
    optional : those of them that rows of JSON Lines may leave out.
    work, guess_encoding : see :func:`mlops.data.files.prepare`.
    suspect : another process reads Parquet to its end first. In a function when one has ended while it read this file;
        always where this process is a person's own and nobody would try again.

    Raises
    ------
    UnreadableError
        with the reason, when it cannot be read as a table.
    """
    file = prepare(path, fmt, max_bytes, work, guess_encoding=guess_encoding)
    if file.kind == "parquet":
        if suspect:
            _let_a_child_read(file.path)
        names = _parquet_names(file.path)
        return Table(file, names, notes=file.notes)
    if file.kind == "jsonl":
        return Table(file, _json_names(file.path, expected, optional), notes=file.notes)
    try:
        with file.path.open(encoding="utf-8", newline="") as source:
            head = source.read(HEAD)
            complete = not source.read(1)
    except UnicodeDecodeError:
        require_utf8(file.path)
        raise
    dialect = csv_dialect.find(head, fmt, expected, complete=complete)
    return Table(file, dialect.names, dialect, notes=file.notes)


def read_through(table: Table, consume: Callable[[Table], T], numbers: Sequence[str] = ()) -> T:
    """Call ``consume`` with a table; again with a more patient reader if the faster one gives up on the way.

    ``numbers``: columns of CSV to read as numbers at first. ``consume`` may raise TextNeededError itself.
    """
    if numbers and table.kind == "csv":
        try:
            return consume(replace(table, numbers=tuple(numbers)))
        except TextNeededError:
            pass
    try:
        return consume(table)
    except MalformedError:
        return consume(replace(table, lenient=True))


def _batch(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """A batch with every column that callers rely on."""
    missing = [pl.lit(None, dtype=pl.String).alias(n) for n in (PROBLEM, LINE) if n not in frame.columns]
    return frame.with_columns(pl.col(ROW).cast(pl.Int64), *missing).select(*names, ROW, PROBLEM, LINE)


# CSV ----------------------------------------------------------------------------------------------


def _csv_batches(table: Table) -> Iterator[pl.DataFrame]:
    dialect = _dialect(table)
    inner = [f"c{i}" for i in range(len(table.names))]
    numbers = {i for i, n in zip(inner, table.names, strict=True) if n in table.numbers}
    lazy = pl.scan_csv(
        table.file.path,
        schema={n: pl.Float64 if n in numbers else pl.String for n in [*inner, _EXTRA]},
        has_header=False,
        skip_lines=dialect.skip,
        separator=dialect.delimiter,
        eol_char=dialect.newline,
        row_index_name=ROW,
        row_index_offset=1,
        glob=False,
        missing_columns="insert",
        extra_columns="ignore",
    )
    short: pl.Series | None = None
    for frame in _fast(lazy, table.file.path, TextNeededError if numbers else MalformedError):
        batch = frame.rename(dict(zip(inner, table.names, strict=True)))
        # A line with nothing in it is a row of nulls; so is a line of delimiters, which says as little.
        batch = batch.filter(~pl.all_horizontal(pl.exclude(ROW).is_null()))
        if batch[table.names[-1]].null_count() and short is None:
            short = _short_records(table)
        problem = pl.when(pl.col(_EXTRA).is_not_null()).then(pl.lit(TOO_MANY_CELLS)).otherwise(None)
        if short is not None and len(short):
            problem = pl.when(pl.col(ROW).is_in(short.implode())).then(pl.lit(TOO_FEW_CELLS)).otherwise(problem)
        yield _batch(batch.with_columns(problem.alias(PROBLEM)), table.names)


def _fast(lazy: pl.LazyFrame, path: Path, failure: type[Exception] = MalformedError) -> Iterator[pl.DataFrame]:
    batches = lazy.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)
    while True:
        try:
            batch = next(batches, None)
        except pl.exceptions.ComputeError as error:
            if "utf-8" in str(error).lower():
                require_utf8(path)
            raise failure from error
        if batch is None:
            return
        yield batch


def _dialect(table: Table) -> Dialect:
    if table.dialect is None:  # pragma: no cover - open_table gives every CSV file its dialect
        raise TypeError("a CSV table needs a dialect")
    return table.dialect


def _short_records(table: Table) -> pl.Series:
    """Row numbers of records with fewer cells than columns, such as the cut last line of a partial file.

    Counts delimiters a record. A record goes on over line breaks while a quote is open, that is, after an odd
    number of quotes. Delimiters inside quotes are counted too, so a few short records with such cells pass.
    """
    dialect = _dialect(table)
    needed = len(table.names) - 1
    empty = pl.Series(ROW, [], dtype=pl.Int64)
    if dialect.newline == "\r" or _surely_whole(table.file.path, dialect, needed):
        return empty
    lines = pl.scan_lines(table.file.path, name=LINE, glob=False).slice(dialect.skip)
    counted = lines.select(
        pl.col(LINE).str.count_matches('"', literal=True).cast(pl.Int64).alias("quotes"),
        pl.col(LINE).str.count_matches(dialect.delimiter, literal=True).cast(pl.Int64).alias("cells"),
        pl.col(LINE).str.len_bytes().cast(pl.Int64).alias("size"),
    )
    found: list[pl.Series] = []
    rows, quotes = 0, 0
    rest = pl.DataFrame(schema={ROW: pl.Int64, "cells": pl.Int64, "size": pl.Int64})
    for batch in _fast(counted, table.file.path):
        before = batch["quotes"].cum_sum().shift(1, fill_value=0) + quotes
        numbers = ((before % 2) == 0).cum_sum().cast(pl.Int64) + rows
        joined = pl.concat([rest, batch.select(numbers.alias(ROW), "cells", "size")])
        records = joined.group_by(ROW).agg(pl.col("cells").sum(), pl.col("size").sum())
        quotes += int(batch["quotes"].sum())
        rows = int(numbers[-1])
        # The last record may go on in the next batch.
        found.append(_short(records.filter(pl.col(ROW) < rows), needed))
        rest = records.filter(pl.col(ROW) == rows)
    found.append(_short(rest, needed))
    return pl.concat([empty, *found]).sort()


def _short(records: pl.DataFrame, needed: int) -> pl.Series:
    return records.filter((pl.col("cells") < needed) & (pl.col("size") > 0))[ROW]


def _surely_whole(path: Path, dialect: Dialect, needed: int) -> bool:
    """Whether no record is short, as far as bytes alone tell: no quotes, and every line has ``needed`` delimiters."""
    delimiter, end = dialect.delimiter.encode(), ord("\n")
    if len(delimiter) > 1:
        return False
    position = 0  # delimiters since the last line's end
    with path.open("rb") as source:
        for _ in range(dialect.skip):
            source.readline()
        while chunk := source.read(CHUNK):
            data = np.frombuffer(chunk, dtype=np.uint8)
            if (data == ord('"')).any():
                return False
            marks = data[(data == delimiter[0]) | (data == end)]
            ends = np.flatnonzero(marks == end)
            if not np.array_equal(ends, np.arange(needed - position, len(marks), needed + 1)):
                return False
            position = len(marks) - 1 - int(ends[-1]) if len(ends) else position + len(marks)
    return position in (0, needed)


def _csv_leniently(table: Table) -> Iterator[pl.DataFrame]:
    """Line by line: a line with a stray or open quote, or another number of cells, is a problem of its own."""
    dialect = _dialect(table)
    names = table.names

    def parse(line: str) -> list[str | None] | str:
        try:
            cells = next(csv.reader([line], delimiter=dialect.delimiter, strict=True), [])
        except csv.Error:
            return MALFORMED
        if len(cells) != len(names):
            return TOO_MANY_CELLS if len(cells) > len(names) else TOO_FEW_CELLS
        return [cell or None for cell in cells]

    return _parsed_lines(table, parse, skip=dialect.skip)


def _parsed_lines(
    table: Table, parse: Callable[[str], Sequence[str | None] | str], skip: int = 0
) -> Iterator[pl.DataFrame]:
    """Batches from lines; ``parse`` gives a line's cells, or the problem it has."""
    rows: list[tuple[Any, ...]] = []
    empty = (None,) * len(table.names)
    for number, line in enumerate(_lines(table.file.path, skip), 1):
        if not line.strip():
            continue
        parsed = parse(line)
        if isinstance(parsed, str):
            rows.append((*empty, number, parsed, line))
        else:
            rows.append((*parsed, number, None, None))
        if len(rows) == BATCH_ROWS:
            yield _from_rows(rows, table.names)
            rows = []
    if rows:
        yield _from_rows(rows, table.names)


def _lines(path: Path, skip: int) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", newline=None, buffering=CHUNK) as source:
            for number, line in enumerate(source):
                if number >= skip:
                    yield line.rstrip("\n")
    except UnicodeDecodeError:
        require_utf8(path)
        raise


def _from_rows(rows: list[tuple[Any, ...]], names: Sequence[str]) -> pl.DataFrame:
    schema = {**dict.fromkeys(names, pl.String), ROW: pl.Int64, PROBLEM: pl.String, LINE: pl.String}
    return _batch(pl.DataFrame(rows, schema=schema, orient="row"), names)


# JSON Lines ---------------------------------------------------------------------------------------


def _json_names(path: Path, expected: Sequence[str], optional: Sequence[str]) -> tuple[str, ...]:
    """Keys of the first objects in order of appearance, and the optional columns of the contract."""
    names: dict[str, None] = {}
    objects = 0
    for number, line in enumerate(_lines(path, 0)):
        if number >= _SAMPLE_LINES:
            break
        try:
            record = json.loads(line) if line.strip() else None
        except ValueError:
            continue
        if isinstance(record, dict):
            objects += 1
            names.update(dict.fromkeys(record))
    if not objects:
        raise UnreadableError(
            Rejection(
                "not_a_table",
                "The file looks like JSON, but none of its first lines is a whole JSON object. "
                "JSON Lines has one object in each line.",
            )
        )
    return tuple({**names, **dict.fromkeys(n for n in optional if n in expected)})


def _json_batches(table: Table) -> Iterator[pl.DataFrame]:
    schema = dict.fromkeys(table.names, pl.String)
    lazy = pl.scan_ndjson(table.file.path, schema=schema, row_index_name=ROW, row_index_offset=1)
    for frame in _fast(lazy, table.file.path):
        yield _batch(frame, table.names)


def _json_lines_leniently(table: Table) -> Iterator[pl.DataFrame]:
    def parse(line: str) -> list[str | None] | str:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return MALFORMED
        if not isinstance(record, dict):
            return MALFORMED
        return [_json_text(record.get(name)) for name in table.names]

    return _parsed_lines(table, parse)


def _json_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


# Parquet ------------------------------------------------------------------------------------------

#: What polars raises for a damaged file; a few bit patterns make its parser panic.
_DAMAGE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


#: A child that reads a file longer than this does not come to its end: a third of what the functions have.
CHILD_SECONDS = 300
#: The child finds packages where this process does, also those of a function's layers.
_CHILD = "import sys; sys.path[:] = sys.argv[2:]; from mlops.data.probe import main; main(sys.argv[1])"


def _let_a_child_read(path: Path) -> None:
    """Reject a file that ends the process which reads it.

    Polars believes the sizes that Parquet declares. Where damage made one huge, the allocation fails, and Rust then
    aborts the process: there is no exception to catch. Such sizes stand in the footer, in each page's header and,
    as lengths of runs and texts, inside the compressed pages, so only reading the file finds them all. To read every
    file twice would double the time of sound ones. So a function reads it plainly first, and in a child only once a
    process has ended over it; whatever the child can tell as an exception, the plain reading then tells again.
    """
    try:
        ended = subprocess.run(  # noqa: S603 - this interpreter, and a path that this program made
            [sys.executable, "-c", _CHILD, str(path), *sys.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=CHILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnreadableError(_unreadable_parquet(f"does not end within {CHILD_SECONDS} seconds")) from None
    if ended.returncode < 0:
        name = signal.Signals(-ended.returncode).name
        raise UnreadableError(_unreadable_parquet(f"ends the program that reads ({name})"))
    ended.check_returncode()  # a fault of the child's own says nothing of the file


def _unreadable_parquet(what: str) -> Rejection:
    return Rejection(
        "damaged",
        f"The Parquet file is damaged: reading it {what}. Write and upload it again; if other programs can read it, "
        "write it with smaller row groups.",
    )


def _parquet_names(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            return tuple(pl.read_parquet_schema(file))
    except _DAMAGE as error:
        raise UnreadableError(_damaged_parquet(error)) from error


def _parquet_batches(table: Table) -> Iterator[pl.DataFrame]:
    lazy = pl.scan_parquet(table.file.path, glob=False).select(table.names).with_row_index(ROW, offset=1)
    try:
        for frame in lazy.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
            yield _batch(frame, table.names)
    except _DAMAGE as error:
        raise UnreadableError(_damaged_parquet(error)) from error


def _damaged_parquet(error: BaseException) -> Rejection:
    if "ncrypt" in str(error):
        return encrypted_parquet()
    return Rejection("damaged", "The Parquet file is damaged: part of it cannot be read. Write and upload it again.")
