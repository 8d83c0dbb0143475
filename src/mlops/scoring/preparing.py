"""From a file to chunks of records: read as ingestion reads it, typed by the model's features, nothing left out.

Every row of the file becomes one line: ``{"row", "record"}``, or ``{"row", "problems"}`` when a cell cannot be what its
feature is or the line is no row. What else may be wrong with a record (a missing value, an unknown category) is for
the scorer to say, in the words of the API.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from mlops.contract import FileFormat
from mlops.data import parsing
from mlops.data.outcome import UnreadableError
from mlops.data.reading import PROBLEM, ROW, Table, open_table, read_through
from mlops.data.validation import alike
from mlops.errors import ConflictError, MlopsError, NotFoundError
from mlops.features.spec import Feature
from mlops.manifest import Manifest
from mlops.objects import ObjectStore, version_prefix
from mlops.scoring.entities import Run, SourceObject, Sources

#: A larger file does not fit into the function's disk, plain and unpacked. Split it.
MAX_BYTES = 4_500_000_000
#: Cells of one chunk at most, which bounds the memory of the function that scores it.
CHUNK_CELLS = 2_000_000
MIN_CHUNK, MAX_CHUNK = 1_000, 50_000

Problems = list[dict[str, Any]]

_LINE_MESSAGES = {
    "too_many_cells": "the row has more cells than the header",
    "too_few_cells": "the row has fewer cells than the header",
    "malformed_row": "the line cannot be read as a row",
}
_CODES = {"bad_date": "invalid_date"}
_EXPECTED = {
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false (or 1 or 0)",
    "date": 'an ISO 8601 date such as "2026-11-22"',
    "category": "a text or a number",
}


class Prepare:
    """Turns objects into chunks.

    Parameters
    ----------
    sources : where the files are.
    artifacts : where the versions' manifests are.
    work : the bucket that holds chunks for a day.
    outputs : gives the store of a bucket that takes predictions.
    """

    def __init__(
        self,
        *,
        sources: Sources,
        artifacts: ObjectStore,
        work: ObjectStore,
        outputs: Callable[[str], ObjectStore],
    ) -> None:
        self.sources = sources
        self.artifacts = artifacts
        self.work = work
        self.outputs = outputs

    def run(self, run: Run, source: SourceObject, attempt: int = 0) -> dict[str, Any]:
        """``{status: prepared, chunks, rows}``, or ``{status: failed, code, message}`` for what no retry would mend.

        ``attempt``: how many attempts came before this one; any of them may have died of the file.
        """
        body = self.artifacts.get(f"{version_prefix(run.model, run.version)}manifest.json")
        manifest = Manifest.from_dict(json.loads(body))
        try:
            chunks, rows = self._chunks(run, source, manifest, suspect=attempt > 0)
        except UnreadableError as error:
            return self._failed(run, source, error.rejection.code, error.rejection.message)
        except (NotFoundError, ConflictError, _MissingColumnsError) as error:
            return self._failed(run, source, error.code, error.message)
        return {"status": "prepared", "chunks": chunks, "rows": rows}

    def _failed(self, run: Run, source: SourceObject, code: str, message: str) -> dict[str, Any]:
        failure = {"key": source.key, "code": code, "message": message}
        key = f"{run.failed_prefix()}{run.identity(source)}.json"
        self.outputs(run.output_bucket).put(key, json.dumps(failure).encode(), content_type="application/json")
        return {"status": "failed", "code": code, "message": message}

    def _chunks(self, run: Run, source: SourceObject, manifest: Manifest, *, suspect: bool) -> tuple[int, int]:
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in run.file.items()}
        fmt = FileFormat(**values)
        names = [f.name for f in manifest.features]
        key = [k for k in manifest.key if k not in names]
        optional = [f.name for f in manifest.features if f.nullable] + key
        with tempfile.TemporaryDirectory(prefix="score-") as folder:
            path = Path(folder) / "object"
            self.sources.fetch(run.bucket, source, str(path))
            unpacked = Path(folder) / "work"
            unpacked.mkdir()
            expected = [*names, *key]
            table = open_table(path, fmt, MAX_BYTES, unpacked, expected=expected, optional=optional, suspect=suspect)
            _require_columns(table, manifest)

            def write(readable: Table) -> tuple[int, int]:
                return self._write(run, source, records(readable, manifest.features, key, fmt), len(names))

            numbers = [f.name for f in manifest.features if f.type in ("number", "integer") and f.name in table.names]
            return read_through(table, write, numbers)

    def _write(self, run: Run, source: SourceObject, lines: Any, width: int) -> tuple[int, int]:
        size = max(MIN_CHUNK, min(MAX_CHUNK, CHUNK_CELLS // max(1, width)))
        chunk: list[bytes] = []
        chunks = rows = 0
        for batch in lines:
            for start in range(0, len(batch), size):
                chunk += batch[start : start + size]
                while len(chunk) >= size:
                    self._put(run, source, chunks, chunk[:size])
                    chunks, rows, chunk = chunks + 1, rows + size, chunk[size:]
        if chunk or not chunks:
            self._put(run, source, chunks, chunk)
            chunks, rows = chunks + 1, rows + len(chunk)
        return chunks, rows

    def _put(self, run: Run, source: SourceObject, number: int, lines: Sequence[bytes]) -> None:
        body = gzip.compress(b"".join(line + b"\n" for line in lines), compresslevel=1, mtime=0)
        self.work.put(run.chunk_key(source, number), body, content_type="application/gzip")


class _MissingColumnsError(MlopsError):
    code = "missing_columns"


def _require_columns(table: Table, manifest: Manifest) -> None:
    needed = [f.name for f in manifest.features]
    missing = [f.name for f in manifest.features if not f.nullable and f.name not in table.names]
    if not missing:
        return
    unused = [name for name in table.names if name not in needed]
    words = []
    for name in missing[:10]:
        other = alike(name, unused)
        words.append(f"'{name}'" + (f" (the file has '{other}': renamed?)" if other else ""))
    more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    raise _MissingColumnsError(
        f"the file lacks {', '.join(words)}{more}, which version {manifest.version} of '{manifest.model}' needs"
    )


def records(table: Table, features: Sequence[Feature], key: Sequence[str], fmt: FileFormat) -> Any:
    """Batches of lines as bytes without line ends, in the file's order."""
    decimal: str | None = None
    for batch in table.batches():
        if decimal is None:
            numeric = [batch[f.name] for f in features if f.type in ("number", "integer") and f.name in batch.columns]
            told = fmt.decimal if table.kind == "csv" else "."
            decimal = parsing.decimal_sign(numeric, told, table.dialect.delimiter if table.dialect else ",")
        yield _lines(batch, features, [k for k in key if k in batch.columns], fmt.missing, decimal)


def _lines(
    batch: pl.DataFrame, features: Sequence[Feature], key: Sequence[str], missing: Sequence[str], decimal: str
) -> list[bytes]:
    columns, problems = [], dict[int, Problems]()
    for position, code in _where(batch[PROBLEM].is_not_null(), batch[PROBLEM]):
        problems[position] = [{"field": None, "code": code, "message": _LINE_MESSAGES.get(code, code)}]
    whole = batch[PROBLEM].is_null()
    for feature in features:
        if feature.name not in batch.columns:
            continue
        values, wrong = _typed(batch[feature.name], feature, missing, decimal)
        columns.append(values.alias(feature.name))
        for code, mask in wrong.items():
            problem = _problem(feature, code)
            for position in (mask & whole).arg_true().to_list():
                problems.setdefault(position, []).append(problem)
    columns += [_text(batch[name], missing).alias(name) for name in key]
    record = pl.DataFrame(columns).to_struct("record") if columns else pl.Series("record", [{}] * batch.height)
    lines = pl.DataFrame([batch[ROW].alias("row"), record]).write_ndjson().encode().split(b"\n")[: batch.height]
    numbers = batch[ROW]
    for position, found in problems.items():
        line: dict[str, Any] = {"row": numbers[position], "problems": found}
        named = {name: columns[-len(key) + i][position] for i, name in enumerate(key)} if key else {}
        if named and found[0]["field"] is not None:
            line["key"] = named
        lines[position] = json.dumps(line, ensure_ascii=False).encode()
    return lines


def _where(mask: pl.Series, values: pl.Series) -> list[tuple[int, Any]]:
    return [(i, values[i]) for i in mask.arg_true().to_list()]


def _typed(
    cells: pl.Series, feature: Feature, missing: Sequence[str], decimal: str
) -> tuple[pl.Series, Mapping[str, pl.Series]]:
    """A column as the API takes it in JSON, and which cells cannot be that."""
    if feature.type in ("number", "integer"):
        parsed = parsing.numbers(cells, missing, decimal)
    elif feature.type == "boolean":
        parsed = parsing.booleans(cells, missing)
    elif feature.type == "date":
        parsed = parsing.dates(cells, missing)
        return _iso(parsing.given_cells(cells, missing)), parsed.wrong
    else:
        parsed = parsing.categories(cells, missing, feature.categories)
    return parsed.values, parsed.wrong


def _iso(given: pl.Series) -> pl.Series:
    """Dates as ISO 8601 text in UTC."""
    if given.dtype == pl.Date:
        return given.dt.to_string("%Y-%m-%d")
    if isinstance(given.dtype, pl.Datetime):
        moments = given if given.dtype.time_zone is None else given.dt.convert_time_zone("UTC")
        return moments.dt.replace_time_zone(None).dt.to_string("%Y-%m-%dT%H:%M:%S%.6f")
    return given if given.dtype == pl.String else pl.Series(given.name, [None] * len(given), dtype=pl.String)


def _text(cells: pl.Series, missing: Sequence[str]) -> pl.Series:
    """Key cells as text, whole floats without a fraction."""
    return parsing.categories(cells, missing).values


def _problem(feature: Feature, code: str) -> dict[str, Any]:
    code = _CODES.get(code, code)
    what = "a finite number" if code == "not_finite" else _EXPECTED[feature.type]
    return {"field": feature.name, "code": code, "message": f"'{feature.name}' must be {what}"}
