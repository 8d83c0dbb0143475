"""Batch scoring without AWS: the services on stores in memory, and the state machine's steps by hand."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops.contract import Contract
from mlops.errors import ConflictError, NotFoundError
from mlops.features.spec import Feature
from mlops.manifest import Manifest
from mlops.scoring.captured import Captures
from mlops.scoring.chunks import Chunks
from mlops.scoring.entities import Run, SourceObject
from mlops.scoring.preparing import Prepare
from mlops.scoring.run import Runs
from mlops.scoring.tasks import Scoring
from tests.fakes import Clock, MemoryLedger, MemoryObjects, MemoryRegistry
from tests.unit.inference.small_models import put_version

BUCKET = "data-bucket"
PSEUDONYM = b"k" * 32


@dataclass
class Buckets:
    """Sources over stores in memory."""

    stores: dict[str, MemoryObjects]

    def list(self, bucket: str, prefix: str) -> Iterator[SourceObject]:
        store = self.stores[bucket]
        for info in store.list(prefix):
            yield SourceObject(info.key, info.size, etag(store.get(info.key)))

    def fetch(self, bucket: str, source: SourceObject, path: str) -> None:
        if not self.stores[bucket].exists(source.key):
            raise NotFoundError(f"'{source.key}' is not there any more")
        body = self.stores[bucket].get(source.key)
        if etag(body) != source.etag:
            raise ConflictError(f"'{source.key}' was changed after the run began; run again")
        Path(path).write_bytes(body)


def etag(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()  # as S3 makes it


@dataclass
class Live:
    """What serves."""

    champions: dict[str, str] = field(default_factory=dict)

    def champion(self, model: str) -> str | None:
        return self.champions.get(model)


class World:
    """A stack with one model."""

    def __init__(self, tmp_path: Path, manifest: Manifest, features: Sequence[Feature], **contract: Any) -> None:
        self.data, self.artifacts, self.other = MemoryObjects(), MemoryObjects(), MemoryObjects()
        stores = {BUCKET: self.data, "theirs": self.other}
        self.sources, self.live = Buckets(stores), Live({manifest.model: manifest.version})
        self.clock = Clock()
        self.registry, self.ledger = MemoryRegistry(self.clock), MemoryLedger(self.clock)
        self.manifest = manifest
        self.add(tmp_path, manifest)
        target = {"name": manifest.target, "classes": list(manifest.classes), "positive": manifest.positive}
        self.registry.put_contract(
            Contract.from_dict(
                {
                    "name": manifest.model, "task": manifest.task, "key": list(manifest.key),
                    "target": {k: v for k, v in target.items() if v},
                    "features": [f.to_dict() for f in features], **contract,
                }
            )
        )  # fmt: skip
        runs = Runs(
            data=self.data, data_bucket=BUCKET, score_bucket="theirs", sources=self.sources, outputs=stores.__getitem__,
            serving=self.live, registry=self.registry, ledger=self.ledger, clock=self.clock,
        )  # fmt: skip
        chunks = Chunks(
            artifacts=self.artifacts,
            work=self.data,
            outputs=stores.__getitem__,
            captures=Captures(self.data, PSEUDONYM),
        )
        self.scoring = Scoring(runs, chunks)
        self.prepare = Prepare(
            sources=self.sources, artifacts=self.artifacts, work=self.data, outputs=stores.__getitem__
        )

    def add(self, tmp_path: Path, manifest: Manifest, seed: int = 1) -> None:
        put_version(tmp_path / manifest.version, manifest, seed=seed)
        self.folder = tmp_path / manifest.version / manifest.model / manifest.version
        for path in self.folder.iterdir():
            self.artifacts.put(f"models/{manifest.model}/{manifest.version}/{path.name}", path.read_bytes())

    def plan(self, prefix: str = "scoring/in/", **request: Any) -> dict[str, Any]:
        asked = {"run_id": "run-1", "model": self.manifest.model, "prefix": prefix, **request}
        return self.scoring.run({"task": "plan", "request": asked})

    def run(self, prefix: str = "scoring/in/", **request: Any) -> dict[str, Any]:
        """What the state machine does."""
        planned = self.plan(prefix, **request)
        if planned["status"] != "planned":
            return planned
        for line in self.data.get(planned["items_key"]).splitlines():
            self.score(planned, json.loads(line))
        return self.scoring.run({"task": "finish", "run": planned})

    def score(self, planned: dict[str, Any], item: dict[str, Any]) -> None:
        prepared = self.prepare.run(Run.from_dict(planned), SourceObject(**item))
        if prepared["status"] != "prepared":
            return
        done = [
            self.scoring.run({"task": "chunk", "run": planned, "object": item, "chunk": i})
            for i in range(prepared["chunks"])
        ]
        totals = {name: sum(d[name] for d in done) for name in ("rows", "errors")}
        close = {"chunks": prepared["chunks"], "expected": prepared["rows"], **totals}
        self.scoring.run({"task": "close", "run": planned, "object": item, **close})

    def predictions(self, summary: dict[str, Any], name: str) -> list[dict[str, Any]]:
        """Lines of one object's predictions, as a user reads them."""
        prefix = f"{summary['output'].split('/', 3)[3]}{name}/"
        parts = [info.key for info in self.data.list(prefix)]
        return [json.loads(x) for part in parts for x in gzip.decompress(self.data.get(part)).splitlines()]
