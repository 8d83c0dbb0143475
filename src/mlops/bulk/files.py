"""One file of many: checked as an upload by itself is, its good rows staged in the order of their addresses."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from mlops.bulk.entities import Bulk, FileOutcome, chunk_key, chunks, contract_of, dump, reference_of
from mlops.contract import Contract
from mlops.data import digests as dg
from mlops.data import report as reports
from mlops.data.checking import FileCheck, no_room
from mlops.data.dataset import in_order
from mlops.data.intake import Upload
from mlops.data.outcome import Rejection
from mlops.data.part_files import WRITERS
from mlops.data.profile import SAMPLE_ROWS, profile
from mlops.data.store import AddressedRows
from mlops.data.validation import Validated
from mlops.errors import NotFoundError
from mlops.objects import ObjectStore

_JSON = "application/json"


class Files:
    """Checks files, each once: the first outcome that is written down is the one that counts."""

    def __init__(self, objects: ObjectStore, clock: Callable[[], datetime]) -> None:
        self._objects = objects
        self._clock = clock
        self._check = FileCheck(objects, clock)

    def check(self, bulk: Bulk, upload: Upload, number: int, attempt: int = 0) -> dict[str, str]:
        """Check one file; ``{status}``. Not a word of the data set is changed."""
        known = self._known(bulk, upload)
        if known is None:
            contract = contract_of(self._objects, bulk)
            with tempfile.TemporaryDirectory(prefix="bulk-") as folder:
                try:
                    outcome = self._outcome(bulk, upload, number, contract, Path(folder), suspect=attempt > 0)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    full = no_room(shutil.disk_usage(folder).total)
                    outcome = self._rejected(bulk, FileOutcome(upload, number, "rejected"), full, None, contract)
            known = self._keep(bulk, outcome)
        return {"status": known}

    def failed(self, bulk: Bulk, upload: Upload, number: int, error: Mapping[str, Any]) -> dict[str, str]:
        """Write down that a function broke on a file."""
        reason = {
            "code": str(error.get("Error") or "fault")[:80],
            "column": None,
            "count": None,
            "message": "a function broke on this file, and its log says why. Upload the file by itself to try again",
        }
        return {"status": self._keep(bulk, FileOutcome(upload, number, "failed", reasons=(reason,)))}

    def _known(self, bulk: Bulk, upload: Upload) -> str | None:
        try:
            return str(json.loads(self._objects.get(bulk.file_prefix(upload) + "file.json"))["status"])
        except NotFoundError:
            return None

    def _keep(self, bulk: Bulk, outcome: FileOutcome) -> str:
        key = bulk.file_prefix(outcome.upload) + "file.json"
        self._objects.put(key, dump(outcome.to_dict()), content_type=_JSON, if_absent=True)
        return self._known(bulk, outcome.upload) or outcome.status

    def _outcome(
        self, bulk: Bulk, upload: Upload, number: int, contract: Contract, work: Path, *, suspect: bool
    ) -> FileOutcome:
        reference = reference_of(self._objects, bulk, contract)
        checked = self._check.examine(upload, contract, work, suspect=suspect, whole=False, reference=reference)
        plain = FileOutcome(upload, number, "rejected")
        if isinstance(checked, Rejection):
            return self._rejected(bulk, plain, checked, None, contract)
        if checked.rejection:
            return self._rejected(bulk, plain, checked.rejection, checked, contract)
        if checked.apart:
            self._check.set_apart(bulk.quarantine(upload), bulk.model, upload, checked)
        # Another attempt may write at the same time, and only one of both is told of.
        stage = f"{bulk.file_prefix(upload)}{uuid.uuid4().hex[:12]}/"
        columns = profile(checked.accepted.sample(SAMPLE_ROWS)[0], contract)
        rows = checked.accepted.addressed()
        self._stage(stage, rows)
        schema = dg.schema_digest(rows.columns)
        outcome = replace(
            self._described(plain, checked),
            status="partial" if checked.apart else "accepted",
            accepted=rows.count,
            quarantined=checked.apart,
            reasons=tuple(checked.reasons()),
            stage=stage,
            schema=schema,
            content=dg.set_digest(in_order([rows.digests]), schema),
        )
        return self._reported(bulk, outcome, contract, columns)

    def _rejected(
        self, bulk: Bulk, plain: FileOutcome, why: Rejection, checked: Validated | None, contract: Contract
    ) -> FileOutcome:
        reasons = self._check.reject(bulk.quarantine(plain.upload), bulk.model, plain.upload, [why])
        outcome = self._described(plain, checked) if checked else plain
        return self._reported(bulk, replace(outcome, reasons=tuple(reasons)), contract, [])

    @staticmethod
    def _described(plain: FileOutcome, checked: Validated) -> FileOutcome:
        findings = tuple(f.to_dict(checked.read) for f in checked.findings)
        return replace(plain, read=checked.read, findings=findings, notes=checked.notes)

    def _stage(self, stage: str, rows: AddressedRows) -> None:
        for number, (start, stop) in enumerate(chunks(rows.count)):
            self._objects.put(chunk_key(stage, number), rows.between(start, stop).save(packed=False))
        path = rows.folder / "staged.npy"
        WRITERS["digests.npy"](rows, path)
        self._objects.upload(str(path), f"{stage}digests.npy")
        np.save(path, rows.numbers)
        self._objects.upload(str(path), f"{stage}numbers.npy")
        path.unlink()

    def _reported(
        self, bulk: Bulk, outcome: FileOutcome, contract: Contract, columns: list[dict[str, Any]]
    ) -> FileOutcome:
        report = {
            "schema": "mlops.ingest-report.v1",
            "model": bulk.model,
            "upload_id": outcome.upload.id,
            "bulk_id": bulk.bulk_id,
            "source": outcome.upload.key,
            "status": outcome.status,
            "rows": {"read": outcome.read, "accepted": outcome.accepted, "quarantined": outcome.quarantined},
            "reasons": list(outcome.reasons),
            "findings": list(outcome.findings),
            "notes": list(outcome.notes),
            "columns": columns,
            "contract_digest": contract.digest(),
            "created_at": self._clock().isoformat(),
        }
        key = bulk.file_report_key(outcome.upload)
        self._objects.put(key, reports.page(report).encode(), content_type="text/html; charset=utf-8")
        self._objects.put(key.removesuffix("html") + "json", dump(report), content_type=_JSON)
        return replace(outcome, report_key=key)
