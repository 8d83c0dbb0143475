"""Scoring one chunk of records with the parser, the session and the answers of ``predict``."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson

from mlops.errors import MlopsError
from mlops.inference.answers import prediction
from mlops.inference.errors import FIELD_ERRORS
from mlops.inference.models import Model, load_model
from mlops.inference.scoring import Row, finite_rows
from mlops.objects import ObjectStore, version_prefix
from mlops.scoring.captured import Captures, ChunkCapture
from mlops.scoring.entities import Run, SourceObject

#: Records parsed and scored at once.
BLOCK = 2_000
#: Problems told of one row.
MAX_PROBLEMS = 10

Line = Mapping[str, Any]


class Chunks:
    """Scores chunks; a version's model is loaded once for a process.

    Parameters
    ----------
    artifacts : where the versions are.
    work : the bucket with the chunks.
    outputs : gives the store of a bucket that takes predictions.
    captures : keeps predictions of runs that ask for it.
    """

    def __init__(
        self,
        *,
        artifacts: ObjectStore,
        work: ObjectStore,
        outputs: Callable[[str], ObjectStore],
        captures: Captures,
    ) -> None:
        self.artifacts = artifacts
        self.work = work
        self.outputs = outputs
        self.captures = captures
        self._loaded: tuple[str, str, Model] | None = None

    def score(self, run: Run, source: SourceObject, chunk: int) -> dict[str, int]:
        """Write the predictions of a chunk, one line for every row of it: ``{rows, errors}``."""
        model = self._model(run.model, run.version)
        rows = errors = 0
        written: list[bytes] = []
        capture = self.captures.begin(run, source, model.manifest) if run.capture else None
        for line, is_error in predictions(model, _read(self.work.get(run.chunk_key(source, chunk))), capture):
            written.append(line)
            rows, errors = rows + 1, errors + is_error
        body = gzip.compress(b"".join(line + b"\n" for line in written), compresslevel=5, mtime=0)
        if capture is not None:
            self.captures.end(run, source, chunk, capture)
        key = run.part_key(source, chunk)
        self.outputs(run.output_bucket).put(key, body, content_type="application/gzip")
        return {"rows": rows, "errors": errors}

    def close(self, run: Run, source: SourceObject, *, chunks: int, expected: int, rows: int, errors: int) -> None:
        """Mark an object as scored as a whole.

        Raises
        ------
        MlopsError
            when rows were lost on the way; the object then counts as failed.
        """
        if rows != expected:
            raise MlopsError(f"{source.key}: {expected} rows were read but {rows} were scored", code="rows_lost")
        mark = {
            **source.to_dict(),
            "model": run.model,
            "version": run.version,
            "run_id": run.run_id,
            "rows": rows,
            "errors": errors,
            "parts": [run.part_key(source, i) for i in range(chunks)],
        }
        store = self.outputs(run.output_bucket)
        store.put(run.mark_key(source, rows, errors), json.dumps(mark).encode(), content_type="application/json")

    def _model(self, name: str, version: str) -> Model:
        if self._loaded is None or self._loaded[:2] != (name, version):
            with tempfile.TemporaryDirectory(prefix="model-") as folder:
                for file in ("manifest.json", "model.onnx"):
                    self.artifacts.download(version_prefix(name, version) + file, os.path.join(folder, file))
                self._loaded = (name, version, load_model(folder))
        return self._loaded[2]


def _read(body: bytes) -> Iterator[Line]:
    for line in gzip.decompress(body).splitlines():
        yield orjson.loads(line)


def predictions(
    model: Model, lines: Iterator[Line], capture: ChunkCapture | None = None
) -> Iterator[tuple[bytes, bool]]:
    """The output line of every line, in order, and whether it tells an error instead of a prediction.

    ``capture`` takes every prediction and gives its ``id``.
    """
    while block := list(islice(lines, BLOCK)):
        answers = _answers(model, [line["record"] for line in block if "record" in line])
        for line in block:
            name = None
            if "record" in line:
                answer, scores = next(answers)
                if capture is not None and scores is not None:
                    name = capture.take(line["row"], line["record"], scores)
                key = {name: line["record"][name] for name in model.parser.key if name in line["record"]}
            else:
                answer, key = _error(line["problems"]), line.get("key", {})
            head = {"row": line["row"], **({"id": name} if name else {}), **({"key": key} if key else {})}
            yield orjson.dumps({**head, **answer}), "error" in answer


def _answers(model: Model, records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[dict[str, Any], Row]]:
    """A prediction with its scores, or an error without, for every record."""
    batch = model.parser.parse(records)
    scores = iter(finite_rows(model, batch.matrix)[0] if len(batch.matrix) else ())
    accepted = set(range(len(records)) if batch.accepted is None else batch.accepted)
    for position, record in enumerate(records):
        if position not in accepted:
            # The batch keeps the details of its first problems alone.
            yield _error(model.parser.careful([record]).problems), None
            continue
        row = next(scores)
        if row is None:
            yield _error([{"field": None, "code": "model_failed", "message": FIELD_ERRORS["model_failed"]}]), None
        else:
            yield prediction(model, row), row


def _error(problems: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = problems[0]
    details = [{name: p[name] for name in ("field", "code", "message")} for p in problems[:MAX_PROBLEMS]]
    return {"error": {"code": first["code"], "message": first["message"], "details": details}}
