"""Golden rows of a model that was made elsewhere: a file of feature values and the answers that its author tells.

``expected`` is the class, or the value of a regression; ``expected_<class>`` the probability of that class. A file
needs one of them, and may leave cells of them empty. Feature cells are read as batch scoring reads them, and parsed as
``predict`` parses a request.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mlops.contract import Contract
from mlops.data.outcome import UnreadableError
from mlops.data.reading import ROW, Table, open_table, read_through
from mlops.errors import MlopsError
from mlops.evaluation.answering import Given
from mlops.inference.parsing import Parser
from mlops.scoring.preparing import records

EXPECTED = "expected"
TOLERANCE = 1e-4
MAX_ROWS = 10_000


class GoldenRowsError(MlopsError):
    """A file of golden rows that tells nothing, or something that cannot be."""

    code = "golden_rows"


def read_given(path: Path, contract: Contract, tolerance: float = TOLERANCE) -> Given:
    """The golden rows of a CSV, JSON Lines or Parquet file.

    Raises
    ------
    GoldenRowsError
        naming the row and what is wrong with it.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise GoldenRowsError(f"the tolerance must be a number from 0 on; it is {tolerance}")
    columns = {EXPECTED: -1, **{f"{EXPECTED}_{c}": i for i, c in enumerate(contract.target.classes)}}
    names = [f.name for f in contract.features]
    taken = [name for name in names if name in columns]
    if taken:
        raise GoldenRowsError(
            f"the contract has a feature called '{taken[0]}', so golden rows cannot tell an answer by it"
        )
    optional = [*columns, *(f.name for f in contract.features if f.nullable)]
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        try:
            limit = contract.checks.max_bytes
            table = open_table(
                path, contract.file, limit, Path(folder), expected=[*names, *columns], optional=optional, suspect=True
            )
            _require(table, path, contract, list(columns))
            told = [name for name in columns if name in table.names]
            lines, answers = read_through(table, lambda t: _read(t, contract, told))
        except UnreadableError as error:
            raise GoldenRowsError(f"{path.name}: {error.rejection.message}") from error
    return _given(path.name, contract, lines, answers, tolerance)


def _require(table: Table, path: Path, contract: Contract, columns: list[str]) -> None:
    missing = [f.name for f in contract.features if not f.nullable and f.name not in table.names]
    if missing:
        raise GoldenRowsError(f"{path.name} lacks the feature '{missing[0]}'")
    strange = [n for n in table.names if n.startswith(f"{EXPECTED}_") and n not in columns]
    if strange:
        raise GoldenRowsError(f"{path.name}: '{strange[0]}' names no class; columns may be {', '.join(columns)}")
    if not set(columns) & set(table.names):
        raise GoldenRowsError(f"{path.name} tells no answer; it needs one of the columns {', '.join(columns)}")


def _read(table: Table, contract: Contract, told: list[str]) -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]]]:
    lines: list[dict[str, Any]] = []
    answers: dict[int, dict[str, Any]] = {}
    missing = set(contract.file.missing)
    for batch in table.batches():
        for row in batch.select(ROW, *told).to_dicts():
            number = row.pop(ROW)
            answers[number] = {k: v for k, v in row.items() if v is not None and v not in missing}
    for block in records(table, contract.features, (), contract.file):
        lines += [json.loads(line) for line in block]
        if len(lines) > MAX_ROWS:
            raise GoldenRowsError(f"golden rows are at most {MAX_ROWS}")
    return lines, answers


def _given(
    name: str, contract: Contract, lines: list[dict[str, Any]], answers: dict[int, dict[str, Any]], tolerance: float
) -> Given:
    parser, classes = Parser(contract.features), contract.target.classes
    if not lines:
        raise GoldenRowsError(f"{name} has no rows")
    for line in lines:
        problems = line.get("problems") or parser.careful([line["record"]]).problems
        if problems:
            raise GoldenRowsError(f"{name}, row {line['row']}: {problems[0]['message']}")
    scores = np.full((len(lines), len(classes) or 1), np.nan)
    labelled = np.full(len(lines), -1, dtype=np.int64)
    for i, line in enumerate(lines):
        where, told = f"{name}, row {line['row']}", answers[line["row"]]
        if not told:
            raise GoldenRowsError(f"{where}: no answer is told")
        for column, value in told.items():
            if classes and column == EXPECTED:
                if str(value) not in classes:
                    raise GoldenRowsError(f"{where}: '{value}' is no class; they are {', '.join(classes)}")
                labelled[i] = classes.index(str(value))
            else:
                position = classes.index(column.removeprefix(f"{EXPECTED}_")) if classes else 0
                scores[i, position] = _number(where, column, value)
    inputs = parser.parse([line["record"] for line in lines]).matrix
    return Given(inputs, scores, labelled, np.array([line["row"] for line in lines], dtype=np.int64), tolerance)


def _number(where: str, column: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise GoldenRowsError(f"{where}: '{column}' is '{value}', which is no number")
    return number
