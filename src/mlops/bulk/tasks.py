"""What ``ingest_validate`` is asked to do for uploads of many files, by their state machine alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlops.bulk.comparing import Comparing
from mlops.bulk.entities import Bulk, Listing
from mlops.bulk.files import Files
from mlops.bulk.finishing import Finishing
from mlops.bulk.parts import Parts
from mlops.bulk.planning import Planner
from mlops.bulk.telling import Teller
from mlops.data.ingest import Events
from mlops.data.intake import Upload
from mlops.objects import ObjectStore
from mlops.registry.ports import Ledger, Registry


@dataclass(frozen=True)
class BulkUploads:
    """The services behind the tasks."""

    planner: Planner
    files: Files
    comparing: Comparing
    parts: Parts
    finishing: Finishing
    teller: Teller

    def run(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Do the task that the event names; an unknown one is answered, not raised."""
        task = _TASKS.get(str(event.get("task")))
        if task is None:
            return {"status": "invalid", "explanation": f"task must be one of {', '.join(sorted(_TASKS))}"}
        return task(self, event)

    def _plan(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return self.planner.plan(event["request"])

    def _file(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self.files.check(*_what(event), event.get("attempt") or 0))

    def _file_failed(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self.files.failed(*_what(event), event.get("error") or {}))

    def _compare(self, event: Mapping[str, Any]) -> dict[str, Any]:
        round_ = int(event.get("round") or 0)
        return {**self.comparing.compare(Bulk.from_dict(event["bulk"]), round_), "round": round_ + 1}

    def _part(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self.parts.make(Bulk.from_dict(event["bulk"]), str(event["base"]), event["group"]))

    def _finish(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return self.finishing.finish(Bulk.from_dict(event["bulk"]), event.get("base"))

    def _fail(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self.teller.failed(event["request"], event.get("error") or {}))


def bulk_uploads(
    *,
    objects: ObjectStore,
    listing: Listing,
    bucket: str,
    registry: Registry,
    ledger: Ledger,
    events: Events,
    clock: Callable[[], datetime],
) -> BulkUploads:
    """The services on one stack; ``objects`` and ``listing`` are its data bucket, named ``bucket``."""
    teller = Teller(registry, ledger, events, clock)
    return BulkUploads(
        Planner(objects, listing, bucket, registry, clock),
        Files(objects, clock),
        Comparing(objects, registry),
        Parts(objects),
        Finishing(objects, listing, registry, teller, clock),
        teller,
    )


def _what(event: Mapping[str, Any]) -> tuple[Bulk, Upload, int]:
    file = event["file"]
    upload = Upload(**{name: file[name] for name in Upload.__dataclass_fields__})
    return Bulk.from_dict(event["bulk"]), upload, int(file["number"])


_TASKS = {
    "plan": BulkUploads._plan,
    "file": BulkUploads._file,
    "file_failed": BulkUploads._file_failed,
    "compare": BulkUploads._compare,
    "part": BulkUploads._part,
    "finish": BulkUploads._finish,
    "fail": BulkUploads._fail,
}
