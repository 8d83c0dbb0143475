"""Predictions of batch scoring kept as captures are, so that labels can judge them. See docs/scoring.md.

A row of one version of a file, scored by one version of the model, has one inference id. Its capture has one time
too, that of the first run that began to score the file: whatever is run again, in whichever order, writes the same rows
into the same hour, where a reader takes each once.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import orjson

from mlops.capture.blocks import LINE, MAX_ROWS, pack
from mlops.inference.emit import Capture, is_sampled
from mlops.inference.settings import InferenceSettings
from mlops.manifest import Manifest
from mlops.objects import ObjectStore, batch_captures, capture_prefix
from mlops.scoring.entities import Run, SourceObject

Line = Mapping[str, Any]


class Captures:
    """Where captures of batch predictions go.

    Parameters
    ----------
    store : the stack's data bucket.
    pseudonym_key : names entities as captures of requests do; without it captures name none.
    """

    def __init__(self, store: ObjectStore, pseudonym_key: bytes) -> None:
        self._store = store
        self._rules = Capture(InferenceSettings(pseudonym_key=pseudonym_key))

    def begin(self, run: Run, source: SourceObject, manifest: Manifest) -> ChunkCapture:
        """What takes the predictions of one chunk."""
        return ChunkCapture(run.identity(source), self._since(run, source), manifest, self._rules)

    def end(self, run: Run, source: SourceObject, chunk: int, capture: ChunkCapture) -> None:
        """Store them; the same chunk again replaces them."""
        body = capture.body()
        if not body:
            return
        hour = datetime.fromisoformat(capture.time).astimezone(UTC)
        prefix = capture_prefix(batch_captures(run.model), f"{hour:%Y-%m-%d}", f"{hour:%H}")
        key = f"{prefix}{run.identity(source)}-{chunk:05d}.jsonl.gz"
        self._store.put(key, body, content_type="application/gzip")

    def _since(self, run: Run, source: SourceObject) -> str:
        """When the first run began that captured this file: it wrote that down, and no later one can."""
        key = f"{capture_prefix(batch_captures(run.model))}_since/{run.identity(source)}.json"
        body = json.dumps({"time": run.started_at, "run": run.run_id}).encode()
        if self._store.put(key, body, content_type="application/json", if_absent=True):
            return run.started_at
        return str(json.loads(self._store.get(key))["time"])


class ChunkCapture:
    """The captures of one chunk, packed while they come."""

    def __init__(self, identity: str, time: str, manifest: Manifest, rules: Capture) -> None:
        self.time = time
        self._identity, self._rate = identity, manifest.capture_rate
        self._clean, self._entity = rules.clean(manifest), rules.entity(manifest)
        self._whole = [f.name for f in manifest.features if f.type == "integer" and f.pii == "pseudonymise"]
        self._head = {
            "kind": LINE, "model": manifest.model, "time": time, "request_id": f"score-{identity}",
            "step": None, "release": None,
        }  # fmt: skip
        # How long a single row took is not measured.
        self._tail = {"champion": {"version": manifest.version, "us": 0, "error": None}, "challenger": None}
        self._lines: list[Line] = []
        self._blocks: list[bytes] = []

    def take(self, row: int, record: Mapping[str, Any], scores: Sequence[float]) -> str | None:
        """The inference id of a row; None when the contract's ``capture.rate`` leaves it out.

        A line for each row, so that a row is recognised however chunks are cut.
        """
        name = f"{self._identity}-{row}"
        if not is_sampled(blake2b(name.encode(), digest_size=4).hexdigest(), self._rate):
            return None
        captured = {
            "id": name, "entity": self._entity(record), "features": self._clean(self._as_sent(record)),
            "answered": "champion", "champion": scores, "challenger": None,
        }  # fmt: skip
        self._lines.append({**self._head, "rows": [captured], **self._tail})
        if len(self._lines) >= MAX_ROWS:
            self._pack()
        return name

    def _as_sent(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Whole numbers as requests send them: files are read as 40.0, and another text has another pseudonym."""
        if not self._whole:
            return record
        return {**record, **{name: int(record[name]) for name in self._whole if record.get(name) is not None}}

    def body(self) -> bytes:
        """All of it as one stored object; empty when nothing was captured."""
        self._pack()
        return gzip.compress(b"".join(self._blocks), compresslevel=5, mtime=0) if self._blocks else b""

    def _pack(self) -> None:
        self._blocks += [orjson.dumps(block) + b"\n" for block in pack(self._lines)[0]]
        self._lines = []
