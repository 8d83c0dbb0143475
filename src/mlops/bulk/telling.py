"""What is told of a bulk upload: one entry in the ledger, one event, one record, however often it ends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from mlops.bulk.entities import Bulk
from mlops.bulk.planning import ACTOR
from mlops.data.ingest import Events
from mlops.objects import quarantine_prefix
from mlops.registry.entities import LedgerDraft, Record
from mlops.registry.ports import Ledger, Registry


class Teller:
    """Tells the ledger, the bus and the registry."""

    def __init__(self, registry: Registry, ledger: Ledger, events: Events, clock: Callable[[], datetime]) -> None:
        self._registry = registry
        self._ledger = ledger
        self._events = events
        self._clock = clock

    def tell(self, bulk: Bulk, result: Mapping[str, Any], *, first: bool) -> None:
        """``first``: nobody can have told of it yet."""
        self._ledger.append(
            LedgerDraft(
                actor=bulk.actor,
                action=f"upload.{result['status']}",
                subject=f"upload/{bulk.bulk_id}",
                reason=str(result["explanation"]),
                outcome=str(result["status"]),
                inputs={
                    "model": bulk.model,
                    "upload_id": bulk.bulk_id,
                    "prefix": bulk.prefix,
                    "files": dict(result["files"]),
                    "max_failed": bulk.max_failed,
                    "parts": len(result["parts"]),
                    "dataset_version": result["dataset_version"],
                    "rows": dict(result["rows"]),
                    "codes": [r["code"] for r in result["reasons"]],
                    "why": bulk.reason,
                },
                id=f"upload-{bulk.bulk_id}",
            )
        )
        if first:
            self._alert(bulk, result)
        time = self._clock().isoformat()
        fresh = self._registry.put_record(Record(bulk.model, "upload", bulk.bulk_id, time, dict(result)))
        if fresh and not first:  # the run that wrote the result broke off before it told of it
            self._alert(bulk, result)

    def failed(self, request: Mapping[str, Any], error: Mapping[str, Any]) -> dict[str, str]:
        """The run itself broke: what is checked stays for a day, and a further run goes on from there."""
        model, run_id = str(request.get("model")), str(request.get("run_id"))
        text = f"the upload of many files stopped: {str(error.get('Error') or 'fault')[:80]}; start it again"
        digest = hashlib.sha256(str(request.get("prefix")).encode()).hexdigest()[:16]
        self._ledger.append(
            LedgerDraft(
                actor=ACTOR, action="upload.failed", subject=f"model/{model}", reason=text, outcome="failed",
                inputs={"run": run_id, "prefix_digest": digest}, id=f"upload-failed/{run_id}",
            )
        )  # fmt: skip
        return {"status": "failed", "explanation": text}

    def _alert(self, bulk: Bulk, result: Mapping[str, Any]) -> None:
        failed = result["files"]["rejected"] + result["files"]["failed"]
        if result["status"] != "rejected" and not result["rows"]["quarantined"] and not failed:
            return
        detail = {
            "model": bulk.model,
            "upload_id": bulk.bulk_id,
            "key": bulk.prefix,
            "status": result["status"],
            "rows": dict(result["rows"]),
            "files": dict(result["files"]),
            "reasons": [dict(r) for r in result["reasons"][:5]],
            "failures": [dict(f) for f in result["failures"][:5]],
            "quarantine": quarantine_prefix(bulk.model, bulk.bulk_id),
            "report_key": result["report_key"],
        }
        self._events.put("UploadQuarantined", detail)
