"""A stack in memory that takes many files as one upload; the state machine's steps are walked by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlops.bulk.tasks import BulkUploads, bulk_uploads
from mlops.contract import Contract
from mlops.data.ingest import Ingest, IngestRequest, IngestResult
from mlops.data.intake import Upload, upload_id
from tests.fakes import Clock, MemoryEvents, MemoryLedger, MemoryObjects, MemoryRegistry

BUCKET = "data"


class MemoryListing:
    """The latest versions in a :class:`MemoryObjects`."""

    def __init__(self, objects: MemoryObjects) -> None:
        self.objects = objects

    def latest(self, prefix: str) -> Iterator[Upload]:
        for info in self.objects.list(prefix):
            version = str(len(self.objects.versions[info.key]))
            yield Upload(upload_id(BUCKET, info.key, version, ""), BUCKET, info.key, version, "", info.size)


class Broken(Exception):
    """A function that died."""


class World:
    """One stack. ``before``: called with the name of each task before it runs; may raise :class:`Broken`."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.clock = Clock()
        self.objects = MemoryObjects()
        self.registry = MemoryRegistry(self.clock)
        self.ledger = MemoryLedger(self.clock)
        self.events = MemoryEvents()
        self.registry.put_contract(contract)
        self.before: Callable[[str], None] = lambda task: None

    @property
    def tasks(self) -> BulkUploads:
        return bulk_uploads(
            objects=self.objects,
            listing=MemoryListing(self.objects),
            bucket=BUCKET,
            registry=self.registry,
            ledger=self.ledger,
            events=self.events,
            clock=self.clock,
        )

    def do(self, task: str, **event: Any) -> dict[str, Any]:
        self.before(task)
        result = self.tasks.run({"task": task, **event})
        return dict(json.loads(json.dumps(result)))  # as it comes through a state machine

    def put(self, files: Mapping[str, bytes], folder: str = "history") -> str:
        prefix = f"bulk/{self.contract.name}/{folder}/"
        for name, body in files.items():
            self.objects.put(prefix + name, body)
        return prefix

    def take(self, files: Mapping[str, bytes], *, folder: str = "history", **request: Any) -> dict[str, Any]:
        """Upload files at once, as the state machine does."""
        return self.again(self.put(files, folder), **request)

    def again(self, prefix: str, **request: Any) -> dict[str, Any]:
        bulk = self.do("plan", request={"run_id": "run", "model": self.contract.name, "prefix": prefix, **request})
        if bulk["status"] == "known":
            return self.do("finish", bulk=bulk, base=None)
        if bulk["status"] != "planned":
            return bulk
        for line in self.objects.get(bulk["files_key"]).splitlines():
            self.check(bulk, json.loads(line))
        round_ = 0
        while True:
            compared = self.do("compare", bulk=bulk, round=round_)
            for line in self.objects.get(compared["groups_key"]).splitlines():
                self.do("part", bulk=bulk, base=compared["base"], group=json.loads(line))
            result = self.do("finish", bulk=bulk, base=compared["base"])
            round_ = compared["round"]
            if result["status"] != "moved":
                return result

    def check(self, bulk: Mapping[str, Any], file: Mapping[str, Any]) -> None:
        self.do("file", bulk=bulk, file=file)

    def alone(self, body: bytes, name: str = "whole.csv") -> IngestResult:
        """Upload one file by itself."""
        key = f"incoming/{self.contract.name}/{name}"
        self.objects.put(key, body)
        version = str(len(self.objects.versions[key]))
        upload = Upload(upload_id(BUCKET, key, version, ""), BUCKET, key, version, "", len(body))
        ingest = Ingest(self.objects, self.registry, self.ledger, self.events, self.clock)
        return ingest.run(IngestRequest(self.contract.name, upload))

    def report(self, result: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self.objects.json(result["report_key"].replace(".html", ".json")))
