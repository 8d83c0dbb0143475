"""Finding out how a CSV file is written: delimiter, header, column names."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlops.contract import FileFormat
from mlops.data.outcome import Rejection, UnreadableError

DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_RECORDS = 60
_LONG = 100_000
_NUMBER = re.compile(r"[-+]?[0-9]*[.,]?[0-9]+([eE][-+]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.*")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one CSV file is written.

    Attributes
    ----------
    delimiter : the character between cells; cells are quoted by ``"``.
    header : whether the first record holds the column names.
    names : the columns' names in order, ``column_1`` … without a header.
    skip : physical lines before the first row of data.
    newline : the line's end as the reader sees it.
    """

    delimiter: str
    header: bool
    names: tuple[str, ...]
    skip: int
    newline: str = "\n"


def find(head: str, fmt: FileFormat, expected: Sequence[str] = (), *, complete: bool = True) -> Dialect:
    """Find the dialect from the first characters of a file.

    Parameters
    ----------
    head : decoded text from the file's start.
    fmt : what the contract says; ``None`` fields are found out.
    expected : the contract's column names: they settle which delimiter fits and whether there is a header.
    complete : whether ``head`` is the whole file; else its last, cut line is not looked at.

    Raises
    ------
    UnreadableError
        when no delimiter makes a table of it, or the header is unusable.
    """
    newline = "\r" if "\r" in head and "\n" not in head else "\n"
    text = head.replace("\r", "\n") if newline == "\r" else head
    if not complete and "\n" in text:
        text = text[: text.rindex("\n") + 1]
    skip = _leading_lines(text)
    text = "".join(text.splitlines(keepends=True)[skip:])
    told = text and _excel_hint(head)
    candidates = [fmt.delimiter] if fmt.delimiter else ([told] if told else list(DELIMITERS))
    scored = [(_score(records, expected), records, delimiter) for delimiter, records in _read_all(text, candidates)]
    if not scored:
        raise UnreadableError(_not_csv())
    # The first of equals wins, so a comma beats a semicolon.
    score, records, delimiter = max(scored, key=lambda s: s[0])
    if score[2] < 2 and len(expected) != 1:
        raise UnreadableError(_not_csv())
    dialect = Dialect(delimiter, True, (), skip, newline)
    return _with_header(dialect, text, records, fmt, expected)


def header_below(path: Path, names: Sequence[str]) -> int | None:
    """The line, of the first ones of a file in UTF-8, that has all of these names; None for none, or the first.

    A report often begins with a title or the date of its export.
    """
    with path.open(encoding="utf-8", errors="replace", newline=None) as file:
        for number, line in enumerate(itertools.islice(file, _SAMPLE_RECORDS), 1):
            for delimiter in DELIMITERS:
                cells = {cell.strip() for cell in next(csv.reader([line[:_LONG]], delimiter=delimiter), [])}
                if number > 1 and cells.issuperset(names):
                    return number
    return None


def _leading_lines(text: str) -> int:
    """Blank lines, and Excel's ``sep=;``, before the first record."""
    skip = 0
    for line in text.splitlines():
        if line.strip() and not re.fullmatch(r"sep=.", line.strip()):
            break
        skip += 1
    return skip


def _excel_hint(head: str) -> str | None:
    match = re.match(r"\s*sep=(.)\r?\n", head)
    return match.group(1) if match else None


def _read_all(text: str, candidates: Sequence[str]) -> list[tuple[str, list[list[str]]]]:
    result = []
    for delimiter in candidates:
        try:
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            records = [record for _, record in zip(range(_SAMPLE_RECORDS), reader, strict=False) if record]
        except csv.Error:
            continue
        if records:
            result.append((delimiter, records))
    return result


def _score(records: list[list[str]], expected: Sequence[str]) -> tuple[int, float, int]:
    """How well a delimiter fits: known names in the header, share of records of equal width, that width."""
    names = {cell.strip() for cell in records[0]}
    width, count = Counter(len(r) for r in records).most_common(1)[0]
    agreement = count / len(records) if width > 1 else 0.0
    return len(names & set(expected)), agreement, width


def _not_csv() -> Rejection:
    return Rejection(
        "not_a_table",
        "The file is text, but not a table: no delimiter (comma, semicolon, tab or |) splits its lines into columns. "
        "Upload CSV with a header, JSON Lines or Parquet.",
    )


def _with_header(
    dialect: Dialect, text: str, records: list[list[str]], fmt: FileFormat, expected: Sequence[str]
) -> Dialect:
    first = [cell.strip() for cell in records[0]]
    known = set(expected)
    header = fmt.header
    if header is None:
        if known & set(first):
            header = True
        elif known:
            # Positional names in the contract mean that it was made from a file without a header.
            header = not (all(re.fullmatch(r"column_[0-9]+", n) for n in known) or _looks_like_data(records))
            if not header and not all(re.fullmatch(r"column_[0-9]+", n) for n in known):
                raise UnreadableError(
                    Rejection(
                        "missing_header",
                        "The first line holds data, not column names. Add a header line, or say file.header: false in "
                        "the contract and name the columns column_1, column_2, …",
                    )
                )
        else:
            header = not _looks_like_data(records)
    if not header:
        width = Counter(len(r) for r in records).most_common(1)[0][0]
        return replace(dialect, header=False, names=tuple(f"column_{i + 1}" for i in range(width)))
    names = tuple(name or f"column_{i + 1}" for i, name in enumerate(first))
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        places = {name: [i + 1 for i, other in enumerate(names) if other == name] for name in twice[:5]}
        listed = ", ".join(f"'{n}' (columns {', '.join(map(str, at))})" for n, at in places.items())
        raise UnreadableError(
            Rejection(
                "duplicate_columns",
                f"The header names {listed} more than once. Give every column a name of its own, then upload the file "
                "again.",
                twice[0],
            )
        )
    return replace(dialect, names=names, skip=dialect.skip + _lines_of_first_record(text, dialect.delimiter))


def _lines_of_first_record(text: str, delimiter: str) -> int:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    next(reader)
    return reader.line_num


def _looks_like_data(records: list[list[str]]) -> bool:
    """Whether the first record is a row of data.

    It is a header when every cell is a distinct text that is no number or date. Otherwise it is data, unless
    only a few cells are numbers although the column below holds none.
    """
    first = [cell.strip() for cell in records[0]]
    filled = [cell for cell in first if cell]
    if not filled:
        return True
    values = [cell for cell in filled if _is_value(cell)]
    if not values:
        # All texts. Names stand over other kinds of cells, and repeat neither in their line nor below.
        if any(_is_value(cell.strip()) for record in records[1:] for cell in record):
            return False
        if len(set(filled)) < len(filled):
            return True
        below = records[1:]
        again = sum(
            1 for i, cell in enumerate(first) if cell and any(i < len(r) and r[i].strip() == cell for r in below)
        )
        return again > len(filled) / 2
    return len(values) > len(filled) / 4


def _is_value(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell) or _DATE.fullmatch(cell))
