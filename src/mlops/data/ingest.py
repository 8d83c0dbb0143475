"""One upload from the bucket to the data set, or to quarantine.

The order of effects makes every step safe to repeat: quarantine files and the part (content-addressed), the
data set's version (conditional), the result (written once, the first writer's counts), then ledger, event and
record, each keyed by the upload. A second delivery, or a run that broke off and is retried, finds what is
there and adds only what is missing. An event can be put twice if a run breaks off between event and record,
but is never lost.
"""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from mlops.contract import Contract
from mlops.data import report as reports
from mlops.data import store as stored
from mlops.data.checking import FileCheck, no_room
from mlops.data.dataset import Growth, add_rows
from mlops.data.intake import UNASSIGNED, Upload
from mlops.data.outcome import Rejection
from mlops.data.profile import SAMPLE_ROWS as PROFILE_ROWS
from mlops.data.profile import profile
from mlops.data.reference import known_reference
from mlops.data.validation import Validated
from mlops.data.violations import constraint_violations
from mlops.errors import MlopsError, NotFoundError
from mlops.objects import ObjectStore, quarantine_prefix, report_prefix
from mlops.registry.entities import LedgerDraft, Record
from mlops.registry.ports import Ledger, Registry
from mlops.statistics import baseline, model_monitor

Status = Literal["accepted", "partial", "rejected", "duplicate"]

#: Rows that the bins of a part's statistics are chosen from; all rows are counted.
SAMPLE_ROWS = 200_000

_ACTOR = "function:ingest_validate"
_JSON = "application/json"


class Events(Protocol):
    """Where events for the outside go."""

    def put(self, detail_type: str, detail: Mapping[str, Any]) -> None: ...


class RequestError(MlopsError):
    """A request that is not one; the message names the field."""

    code = "bad_request"


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """One upload to take in.

    Attributes
    ----------
    attempt : how many attempts came before this one; any of them may have died of the file.
    """

    model: str
    upload: Upload
    attempt: int = 0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> IngestRequest:
        """From ``{model, upload: {id, bucket, key, version_id, etag, size}, attempt}``; further fields are ignored.

        Raises
        ------
        RequestError
            naming a field that is absent or of the wrong type.
        """
        upload = data.get("upload")
        if not isinstance(upload, Mapping):
            raise RequestError("the request has no 'upload'; expected {model, upload: {id, bucket, key, …}}")
        for name in ("id", "bucket", "key"):
            if not isinstance(upload.get(name), str) or not upload[name]:
                raise RequestError(f"the request's upload.{name} is absent or not a text")
        model = data.get("model")
        if not isinstance(model, str) or not model:
            raise RequestError("the request has no 'model'")
        size = upload.get("size") or 0
        if not isinstance(size, int):
            raise RequestError("the request's upload.size is not a whole number")
        attempt = data.get("attempt") or 0
        if not isinstance(attempt, int):
            raise RequestError("the request's attempt is not a whole number")
        version_id, etag = str(upload.get("version_id") or ""), str(upload.get("etag") or "")
        return cls(model, Upload(upload["id"], upload["bucket"], upload["key"], version_id, etag, size), attempt)


@dataclass(frozen=True, slots=True)
class Rows:
    """Counts of rows. ``new``: accepted rows that the data set did not have before."""

    read: int = 0
    accepted: int = 0
    quarantined: int = 0
    new: int = 0


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of an upload.

    Attributes
    ----------
    status : ``accepted`` (every row), ``partial`` (some rows kept apart), ``rejected`` (the whole file), or
        ``duplicate`` (every good row is in the data set already).
    part_id : the part with its new rows; empty when there are none.
    dataset_version : the data set's version that holds its rows; empty when rejected.
    reasons : ``{code, column, count, message}``, most frequent first, without any value of a cell.
    report_key : of the HTML report in the data bucket; the JSON report lies beside it.
    """

    status: Status
    model: str
    upload_id: str
    part_id: str
    dataset_version: str
    rows: Rows
    reasons: tuple[Mapping[str, Any], ...]
    report_key: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"reasons": [dict(r) for r in self.reasons]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> IngestResult:
        values = dict(data)
        return cls(**values | {"rows": Rows(**values["rows"]), "reasons": tuple(values["reasons"])})


class Ingest:
    """Takes uploads in.

    Parameters
    ----------
    objects : the data bucket.
    events : gets ``UploadQuarantined`` for rejected and partly accepted uploads.
    clock : the time, UTC.
    """

    def __init__(
        self,
        objects: ObjectStore,
        registry: Registry,
        ledger: Ledger,
        events: Events,
        clock: Callable[[], datetime],
    ) -> None:
        self._objects = objects
        self._registry = registry
        self._ledger = ledger
        self._events = events
        self._clock = clock
        self._files = FileCheck(objects, clock)

    def run(self, request: IngestRequest) -> IngestResult:
        """Take one upload in; the same upload again gives the same result and no second effect.

        Raises
        ------
        ConflictError
            when the data set kept changing under it; worth a retry.
        """
        stored = self._stored(request)
        if stored:
            self._tell(request, stored, first=False)
            return stored
        with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
            try:
                result, report = self._taken_in(request, Path(folder))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                result, report = self._rejected(request, [no_room(shutil.disk_usage(folder).total)], None)
        mine = self._keep(result, report)
        if not mine:  # another delivery of this upload was faster; its counts are the ones that hold
            result = self._stored(request) or result
        self._tell(request, result, first=mine)
        return result

    def _taken_in(self, request: IngestRequest, work: Path) -> tuple[IngestResult, dict[str, Any]]:
        outcome = self._examine(request, work)
        if isinstance(outcome, Rejection):
            return self._rejected(request, [outcome], None)
        if outcome[1].rejection:
            return self._rejected(request, [outcome[1].rejection], outcome[1])
        return self._accepted(request, *outcome)

    # Reading and checking ---------------------------------------------------------------------------

    def _examine(self, request: IngestRequest, work: Path) -> Rejection | tuple[Contract, Validated]:
        upload = request.upload
        if request.model == UNASSIGNED:
            return Rejection(
                "no_model",
                f"The file lies in no model's folder ('{upload.key}'). Upload to incoming/<model>/<file>; a model's "
                "name has lower-case letters, digits and hyphens.",
            )
        contract = self._registry.contract(request.model)
        if contract is None:
            known = ", ".join(self._registry.models()) or "none yet"
            return Rejection(
                "no_contract",
                f"There is no contract for the model '{request.model}'. Models with a contract: {known}. Write one "
                "with 'mlops init FILE --target COLUMN' and register it, then upload the file again.",
            )
        checked = self._files.examine(
            upload,
            contract,
            work,
            history=self._history(request),
            suspect=request.attempt > 0,
            reference=known_reference(self._objects, self._registry, contract, upload.id),
        )
        return checked if isinstance(checked, Rejection) else (contract, checked)

    def _history(self, request: IngestRequest) -> list[int]:
        return latest_rows(self._registry, request.model, request.upload.id)

    # Outcomes ---------------------------------------------------------------------------------------

    def _rejected(
        self, request: IngestRequest, rejections: Sequence[Rejection], checked: Validated | None
    ) -> tuple[IngestResult, dict[str, Any]]:
        upload = request.upload
        prefix = quarantine_prefix(request.model, upload.id)
        reasons = self._files.reject(prefix, request.model, upload, rejections)
        read = checked.read if checked else 0
        findings = [f.to_dict(read) for f in checked.findings] if checked else []
        result = IngestResult(
            "rejected", request.model, upload.id, "", "", Rows(read=read), tuple(reasons), self._report_key(request)
        )
        contract = self._registry.contract(request.model) if checked else None
        columns = _profile(checked, contract) if checked and contract else ()
        return result, self._report(request, result, findings, checked.notes if checked else (), columns)

    def _accepted(
        self, request: IngestRequest, contract: Contract, checked: Validated
    ) -> tuple[IngestResult, dict[str, Any]]:
        upload = request.upload
        apart = checked.apart
        if apart:
            self._files.set_apart(quarantine_prefix(request.model, upload.id), request.model, upload, checked)
        findings = [f.to_dict(checked.read) for f in checked.findings]
        rows = Rows(checked.read, checked.accepted.count, apart)
        status: Status = "partial" if apart else "accepted"
        draft = IngestResult(
            status, request.model, upload.id, "", "", rows, tuple(checked.reasons()), self._report_key(request)
        )

        columns = _profile(checked, contract)

        def extras(added: stored.AddressedRows, part_id: str) -> dict[str, bytes]:
            part = replace(draft, part_id=part_id, rows=replace(rows, new=added.count))
            report = self._report(request, part, findings, checked.notes, columns)
            return _monitor_files(contract, added) | {
                "constraint_violations.json": constraint_violations(findings, ()),
                "report.json": _dump(report),
                "report.html": reports.page(report).encode(),
            }

        growth = add_rows(
            checked.accepted.addressed(),
            upload_id=upload.id,
            contract=contract,
            objects=self._objects,
            registry=self._registry,
            clock=self._clock,
            extras=extras,
        )
        notes = [*checked.notes, *_growth_notes(growth)]
        result = replace(
            draft,
            status=status if growth.new else "duplicate",
            part_id=growth.part_id,
            dataset_version=growth.version,
            rows=replace(rows, new=growth.new),
        )
        return result, self._report(request, result, findings, notes, columns)

    # What is told -----------------------------------------------------------------------------------

    def _report_key(self, request: IngestRequest) -> str:
        return f"{report_prefix('ingest', request.model)}{request.upload.id}.html"

    def _stored(self, request: IngestRequest) -> IngestResult | None:
        try:
            body = self._objects.get(self._report_key(request).removesuffix("html") + "json")
        except NotFoundError:
            return None
        return IngestResult.from_dict(json.loads(body)["result"])

    def _keep(self, result: IngestResult, report: Mapping[str, Any]) -> bool:
        """Store the result and its report. False when that was done before: the first writer's holds."""
        self._objects.put(
            result.report_key, reports.page(report).encode(), content_type="text/html; charset=utf-8", if_absent=True
        )
        stem = result.report_key.removesuffix("html")
        violations = constraint_violations(report["findings"], result.reasons)
        self._objects.put(stem + "constraint_violations.json", violations, content_type=_JSON, if_absent=True)
        key = stem + "json"
        body = {**report, "result": result.to_dict()}
        return self._objects.put(key, _dump(body), content_type=_JSON, if_absent=True)

    def _tell(self, request: IngestRequest, result: IngestResult, *, first: bool) -> None:
        """Ledger, event and record of a result. ``first``: nobody can have told of it yet."""
        main = result.reasons[0] if result.reasons else None
        inputs = {
            "upload_id": result.upload_id,
            "key": request.upload.key,
            "version_id": request.upload.version_id,
            "part_id": result.part_id,
            "dataset_version": result.dataset_version,
            "rows": asdict(result.rows),
            "codes": [r["code"] for r in result.reasons],
        }
        self._ledger.append(
            LedgerDraft(
                actor=_ACTOR,
                action=f"upload.{result.status}",
                subject=f"upload/{result.upload_id}",
                reason=str(main["message"]) if main else "every row keeps the contract",
                outcome=result.status,
                inputs={"model": result.model, **inputs},
                id=f"upload-{result.upload_id}",
            )
        )
        if first:
            self._alert(request, result)
        fresh = self._registry.put_record(
            Record(result.model, "upload", result.upload_id, self._clock().isoformat(), result.to_dict())
        )
        if fresh and not first:  # the run that wrote the result broke off before it told of it
            self._alert(request, result)

    def _alert(self, request: IngestRequest, result: IngestResult) -> None:
        if result.status != "rejected" and not result.rows.quarantined:
            return
        detail = {
            "model": result.model,
            "upload_id": result.upload_id,
            "key": request.upload.key,
            "status": result.status,
            "rows": asdict(result.rows),
            "reasons": [dict(r) for r in result.reasons[:5]],
            "quarantine": quarantine_prefix(result.model, result.upload_id),
            "report_key": result.report_key,
        }
        self._events.put("UploadQuarantined", detail)

    def _report(
        self,
        request: IngestRequest,
        result: IngestResult,
        findings: list[dict[str, Any]],
        notes: Sequence[str],
        columns: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        contract = self._registry.contract(result.model) if result.model != UNASSIGNED else None
        return {
            "schema": "mlops.ingest-report.v1",
            "model": result.model,
            "upload_id": result.upload_id,
            "source": request.upload.key,
            "status": result.status,
            "part_id": result.part_id,
            "dataset_version": result.dataset_version,
            "rows": asdict(result.rows),
            "reasons": [dict(r) for r in result.reasons],
            "findings": findings,
            "notes": list(notes),
            "columns": list(columns),
            "contract_digest": contract.digest() if contract else "",
            "created_at": self._clock().isoformat(),
        }


def latest_rows(registry: Registry, model: str, but: str) -> list[int]:
    """Rows of the model's latest uploads that were taken in, at most ten; ``but`` is not one of them."""
    bodies = [r.body for r in registry.records(model, "upload", 20) if r.id != but]
    return [int(b["rows"]["read"]) for b in bodies if b.get("status") in ("accepted", "partial")][:10]


def _profile(checked: Validated, contract: Contract) -> list[dict[str, Any]]:
    return profile(checked.accepted.sample(PROFILE_ROWS)[0], contract)


def _growth_notes(growth: Growth) -> list[str]:
    if growth.restarted:
        return [
            "the contract's columns or types changed, so a new data set begins with this upload; "
            "upload the earlier files again to have their rows in it"
        ]
    return []


def _monitor_files(contract: Contract, rows: stored.AddressedRows) -> dict[str, bytes]:
    """Statistics and constraints of a part in the layout of SageMaker Model Monitor."""
    target = contract.target.name
    sample = rows.first(SAMPLE_ROWS)
    frame = baseline.build(contract.features, sample, target=sample[target])
    if rows.count > sample.rows:
        frame = baseline.recount(frame, rows.blocks)
    return {
        "statistics.json": model_monitor.dump(model_monitor.statistics(frame)),
        "constraints.json": model_monitor.dump(model_monitor.constraints(frame)),
    }


def _dump(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, indent=1, default=str).encode()
