"""The end of a bulk upload: judged as a whole, the data set moved on once, and what is told of it.

The order of effects makes it safe to repeat from anywhere: parts are copied (content-addressed), the manifest written,
the data set moved on under the condition that it is still what was compared with, then result, ledger, event and record
follow as for a single upload. Whoever comes later finds the parts of this upload in the data set, or its result.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from mlops.bulk.comparing import REPEATED, outcomes_of
from mlops.bulk.entities import Bulk, FileOutcome, Listing, bodies, contract_of, dump, uploads_of
from mlops.bulk.parts import PLACES, axes
from mlops.bulk.planning import changed, is_wanted
from mlops.bulk.telling import Teller
from mlops.contract import Contract
from mlops.data import outliers, whole_file
from mlops.data import report as reports
from mlops.data.checks import DUPLICATE
from mlops.data.dataset import part_info
from mlops.data.ingest import latest_rows
from mlops.data.outcome import EXAMPLES, Finding
from mlops.data.part_files import WRITERS
from mlops.data.validation import reasons_of, rejected_for, too_few
from mlops.data.violations import constraint_violations
from mlops.data.whole_file import Facts
from mlops.errors import ConflictError, NotFoundError
from mlops.objects import ObjectStore, dataset_manifest_key, part_prefix
from mlops.registry.entities import DatasetVersion
from mlops.registry.ports import Registry
from mlops.statistics import baseline, model_monitor
from mlops.statistics.baseline import Baseline, Counts

_JSON, _HTML = "application/json", "text/html; charset=utf-8"
#: Failed files named in a result; the report names all.
NAMED = 20

Result = dict[str, Any]


class Finishing:
    """Ends bulk uploads."""

    def __init__(
        self,
        objects: ObjectStore,
        listing: Listing,
        registry: Registry,
        teller: Teller,
        clock: Callable[[], datetime],
    ) -> None:
        self._objects = objects
        self._listing = listing
        self._registry = registry
        self._teller = teller
        self._clock = clock

    def finish(self, bulk: Bulk, base: str | None) -> Result:
        """Judge, move the data set on, report.

        Parameters
        ----------
        base : the version that was compared with; None when the result is known already.

        Returns
        -------
        what :meth:`mlops.data.ingest.IngestResult.to_dict` has, with ``upload_id`` the bulk upload's id, and besides
        ``parts`` (all of them), ``files`` (counts by status), ``failures`` and ``explanation``; or
        ``{status: "moved"}`` when the data set is not what was compared with any more.
        """
        stored = self._stored(bulk)
        if stored is None and base is not None:
            ended = self._ended(bulk, base)
            if ended is None:
                return {"status": "moved"}
            result, report = ended
            mine = self._keep(bulk, result, report)
            stored = result if mine else self._stored(bulk) or result
            self._teller.tell(bulk, stored, first=mine)
            return stored
        if stored is None:
            raise NotFoundError(f"the bulk upload {bulk.bulk_id} has no result")
        self._teller.tell(bulk, stored, first=False)
        return stored

    def _stored(self, bulk: Bulk) -> Result | None:
        try:
            found: Result = json.loads(self._objects.get(bulk.report_key.removesuffix("html") + "json"))["result"]
        except NotFoundError:
            return None
        return found

    def _ended(self, bulk: Bulk, base: str) -> tuple[Result, Result] | None:
        contract, prefix = contract_of(self._objects, bulk), bulk.against(base)
        plan = json.loads(self._objects.get(f"{prefix}plan.json"))
        outcomes = outcomes_of(self._objects, bulk)
        read = sum(o.read for o in outcomes)
        found = _row_findings(outcomes)
        if plan["rejection"]:
            return self._rejected(bulk, contract, outcomes, plan, found, plan["rejection"])
        keys = [f"{prefix}group-{i}.json" for i in range(plan["groups"])]
        groups = [json.loads(body) for body in bodies(self._objects, keys)]
        if plan["repeated"]:
            _add(found, Finding(DUPLICATE, None, "quarantine", REPEATED, plan["repeated"]))
        whole = self._whole(bulk, contract, plan, groups, read)
        findings = _sorted([*found.values(), *whole])
        refused = rejected_for(_sorted(whole), read) or too_few(plan["accepted"], read, contract)
        if refused:
            return self._rejected(bulk, contract, outcomes, plan, found, refused.to_dict(), whole)
        made = [g for g in groups if g["part"]]
        counted = self._counted(bulk, prefix, made)
        current = self._registry.current_dataset(bulk.model)
        infos = {p: part_info(self._objects, bulk.model, p) for p in (current.parts if current else ())}
        own = [p for p, info in infos.items() if info["upload_id"] == bulk.bulk_id]
        if not own and (current.version if current else "") != base:
            return None
        parts = own or [g["part"]["part_id"] for g in made]
        new = sum(int(infos[p]["rows"]) for p in own) if own else plan["new"]
        kept = sum(o.quarantined for o in outcomes if o.taken) + plan["repeated"]
        status = "duplicate" if not new else "partial" if kept or any(not o.taken for o in outcomes) else "accepted"
        version = current.version if current and (own or not new) else plan["version"] if new else ""
        result = self._result(bulk, outcomes, status)
        result |= {
            "part_id": parts[0] if parts else "",
            "parts": parts,
            "dataset_version": version,
            "rows": {"read": read, "accepted": plan["accepted"], "quarantined": kept, "new": new},
            "reasons": reasons_of(findings),
        }
        result["explanation"] = _explained(result)
        report = self._report(bulk, contract, outcomes, plan, result, findings)
        if new and not own:
            extras = {
                "constraint_violations.json": constraint_violations(report["findings"], ()),
                "report.json": dump(report),
                "report.html": reports.page(report).encode(),
            }
            if not self._advance(bulk, contract, base, plan, made, counted, extras):
                return None
        if counted:
            self._statistics(bulk.report_key.removesuffix("html"), baseline.widened(counted))
        return result, report

    def _whole(
        self, bulk: Bulk, contract: Contract, plan: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], read: int
    ) -> list[Finding]:
        """What the files show together that no single row does."""
        counted = Facts()
        for group in groups:
            counted = counted.plus(Facts(**group["facts"]))
        history = latest_rows(self._registry, bulk.model, bulk.bulk_id)
        found = whole_file.judged(counted, contract, read=read, now=self._clock(), history=history)
        if plan["accepted"] <= whole_file.MAX_KEYED:
            prefix = bulk.against(plan["base"])
            found += self._conflicts(
                bulk, contract, [f"{prefix}keyed-{i}.npy" for i, g in enumerate(groups) if g["keyed"]]
            )
        return whole_file.graded([*found, *(Finding(**f) for f in plan["findings"])], contract)

    def _conflicts(self, bulk: Bulk, contract: Contract, keys: list[str]) -> Iterable[Finding]:
        if not keys:
            return
        arrays = [np.load(io.BytesIO(body), allow_pickle=False) for body in bodies(self._objects, keys)]
        names = ("k0", "k1", "target", "row")
        frame = pl.DataFrame(dict(zip(names, np.concatenate(arrays).T.copy(), strict=True)))
        uploads = uploads_of(self._objects, bulk)
        for finding, places in whole_file.contradictions(frame, contract):
            for place in places.head(EXAMPLES).to_list():
                name = uploads[place // PLACES].key.rsplit("/", 1)[-1]
                finding.examples.append(f"{name} row {place % PLACES}")
            yield finding

    def _counted(self, bulk: Bulk, prefix: str, made: Sequence[Mapping[str, Any]]) -> Baseline | None:
        """The new rows' statistics: those of the parts, added up."""
        if not made:
            return None
        frame = axes(self._objects, bulk, prefix)
        return replace(frame, counts=baseline.merge_all(frame, (Counts.from_dict(g["counts"]) for g in made)))

    def _advance(
        self,
        bulk: Bulk,
        contract: Contract,
        base: str,
        plan: Mapping[str, Any],
        made: Sequence[Mapping[str, Any]],
        counted: Baseline | None,
        extras: Mapping[str, bytes],
    ) -> bool:
        """Put the parts in their place and move the data set on; False when somebody else was faster."""
        for group in made:
            self._put_part(bulk, contract, base, plan, group, counted, extras)
        version = DatasetVersion(
            model=bulk.model,
            version=plan["version"],
            parts=(*plan["parts"], *(g["part"]["part_id"] for g in made)),
            rows=plan["rows"],
            new_rows=plan["new"],
            created_at=self._clock().isoformat(),
            contract_digest=bulk.contract_digest,
            source=bulk.bulk_id,
        )
        key = dataset_manifest_key(bulk.model, version.version)
        self._objects.put(key, dump(asdict(version)), content_type=_JSON, if_absent=True)
        try:
            self._registry.advance_dataset(version, base or None)
        except ConflictError:
            return False
        return True

    def _put_part(
        self,
        bulk: Bulk,
        contract: Contract,
        base: str,
        plan: Mapping[str, Any],
        group: Mapping[str, Any],
        counted: Baseline | None,
        extras: Mapping[str, bytes],
    ) -> None:
        part = group["part"]
        source, target = f"{bulk.against(base)}parts/{part['part_id']}/", part_prefix(bulk.model, part["part_id"])
        for name in WRITERS:
            self._objects.copy(source + name, target + name)
        if counted:
            # All parts have the bins of the whole upload, so that their counts add up to its own.
            mine = replace(counted, counts=Counts.from_dict(group["counts"]))
            self._statistics(target, baseline.widened(mine, counted.counts))
        for name, body in extras.items():
            self._objects.put(target + name, body, content_type=_HTML if name.endswith("html") else _JSON)
        info = {
            "schema": "mlops.part.v1",
            "model": bulk.model,
            "part_id": part["part_id"],
            "rows": part["rows"],
            "schema_digest": plan["schema"],
            "contract_digest": contract.digest(),
            "upload_id": bulk.bulk_id,
            "created_at": self._clock().isoformat(),
            "columns": part["columns"],
            "files": part["files"],
        }
        # Last, because a part counts as whole once this exists.
        self._objects.put(target + "part.json", json.dumps(info).encode(), content_type=_JSON)

    def _statistics(self, stem: str, counted: Baseline) -> None:
        for name, body in monitor_files(counted).items():
            self._objects.put(stem + name, body, content_type=_JSON)

    def _rejected(
        self,
        bulk: Bulk,
        contract: Contract,
        outcomes: Sequence[FileOutcome],
        plan: Mapping[str, Any],
        found: Mapping[Any, Finding],
        why: Mapping[str, Any],
        whole: Sequence[Finding] = (),
    ) -> tuple[Result, Result]:
        result = self._result(bulk, outcomes, "rejected")
        result["rows"]["read"] = sum(o.read for o in outcomes)
        result["reasons"] = [dict(why)]
        result["explanation"] = str(why["message"])
        report = self._report(bulk, contract, outcomes, plan, result, _sorted([*found.values(), *whole]))
        reason = {
            "schema": "mlops.quarantine.v1",
            "model": bulk.model,
            "upload": bulk.to_dict(),
            "reasons": result["reasons"],
            "files": [asdict(o.upload) for o in outcomes],
            "time": self._clock().isoformat(),
        }
        self._objects.put(f"{bulk.quarantine()}reason.json", dump(reason), content_type=_JSON)
        return result, report

    def _result(self, bulk: Bulk, outcomes: Sequence[FileOutcome], status: str) -> Result:
        by_status = {s: sum(o.status == s for o in outcomes) for s in ("accepted", "partial", "rejected", "failed")}
        failures = [
            {"key": o.upload.key, "code": o.reasons[0]["code"], "message": o.reasons[0]["message"]}
            for o in outcomes
            if not o.taken
        ]
        return {
            "status": status,
            "model": bulk.model,
            "upload_id": bulk.bulk_id,
            "part_id": "",
            "parts": [],
            "dataset_version": "",
            "rows": {"read": 0, "accepted": 0, "quarantined": 0, "new": 0},
            "reasons": [],
            "report_key": bulk.report_key,
            "files": {"total": len(outcomes), **by_status},
            "failures": failures[:NAMED],
            "explanation": "",
        }

    def _report(
        self,
        bulk: Bulk,
        contract: Contract,
        outcomes: Sequence[FileOutcome],
        plan: Mapping[str, Any],
        result: Result,
        findings: Sequence[Finding],
    ) -> Result:
        read = result["rows"]["read"]
        return {
            "schema": "mlops.ingest-report.v1",
            "model": bulk.model,
            "upload_id": bulk.bulk_id,
            "source": bulk.prefix,
            "status": result["status"],
            "part_id": result["part_id"],
            "parts": result["parts"],
            "dataset_version": result["dataset_version"],
            "rows": result["rows"],
            "reasons": result["reasons"],
            "findings": [f.to_dict(read) for f in findings],
            "notes": self._notes(bulk, contract, plan, outcomes),
            "columns": plan.get("columns", []),
            "files": [_line(o, plan) for o in outcomes],
            "contract_digest": contract.digest(),
            "created_at": self._clock().isoformat(),
        }

    def _notes(
        self, bulk: Bulk, contract: Contract, plan: Mapping[str, Any], outcomes: Sequence[FileOutcome]
    ) -> list[str]:
        notes = list(dict.fromkeys(f"{note} (in {_name(o)})" for o in outcomes for note in o.notes))[:NAMED]
        if plan.get("restarted"):
            notes.append(
                "the contract's columns or types changed, so a new data set begins with this upload; "
                "upload the earlier files again to have their rows in it"
            )
        if outliers.wanted(contract) and not plan.get("held", True):
            notes.append(outliers.NOT_JUDGED)
        if plan.get("repeated", 0) > plan.get("listed", 0):
            notes.append(f"of the rows that equal one of an earlier file, {plan['listed']:,} are listed in quarantine")
        now = [u for u in self._listing.latest(bulk.prefix) if is_wanted(u.key, bulk.only)]
        for what, count in changed(uploads_of(self._objects, bulk), now).items():
            if count:
                notes.append(
                    f"since the upload began, {count:,} objects were {what}: it has the objects as they were. Upload "
                    "the folder again to have them as they are"
                )
        return notes

    def _keep(self, bulk: Bulk, result: Result, report: Result) -> bool:
        """Store result and report. False when that was done before: the first writer's holds."""
        self._objects.put(bulk.report_key, reports.page(report).encode(), content_type=_HTML, if_absent=True)
        stem = bulk.report_key.removesuffix("html")
        violations = constraint_violations(report["findings"], result["reasons"])
        self._objects.put(stem + "constraint_violations.json", violations, content_type=_JSON, if_absent=True)
        return self._objects.put(stem + "json", dump({**report, "result": result}), content_type=_JSON, if_absent=True)


def monitor_files(counted: Baseline) -> dict[str, bytes]:
    """Statistics and constraints in the layout of SageMaker Model Monitor."""
    return {
        "statistics.json": model_monitor.dump(model_monitor.statistics(counted)),
        "constraints.json": model_monitor.dump(model_monitor.constraints(counted)),
    }


def _row_findings(outcomes: Sequence[FileOutcome]) -> dict[Any, Finding]:
    """What is wrong with rows, of all files that were taken, added up. Row numbers stay in the files' own reports."""
    found: dict[Any, Finding] = {}
    for outcome in outcomes:
        for told in outcome.findings if outcome.taken else ():
            values = {k: told[k] for k in ("code", "column", "severity", "message", "count", "examples")}
            if told["code"] == DUPLICATE:
                values["message"] = REPEATED
            _add(found, Finding(**values))
    return found


def _add(found: dict[Any, Finding], more: Finding) -> None:
    known = found.setdefault((more.code, more.column, more.message), more)
    if known is not more:
        known.count += more.count
        known.examples = list(dict.fromkeys([*known.examples, *more.examples]))[:EXAMPLES]


def _sorted(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda f: (-f.count, f.column or "", f.code, f.message))


def _name(outcome: FileOutcome) -> str:
    return outcome.upload.key.rsplit("/", 1)[-1]


def _line(outcome: FileOutcome, plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a report says of one file."""
    counts = plan.get("files", {}).get(str(outcome.number), {"new": 0, "known": 0, "repeated": 0})
    copy = plan.get("copies", {}).get(str(outcome.number))
    reason = outcome.reasons[0]["message"] if outcome.reasons and not outcome.taken else ""
    return {
        "key": outcome.upload.key,
        "upload_id": outcome.upload.id,
        "version_id": outcome.upload.version_id,
        "status": outcome.status,
        "read": outcome.read,
        "quarantined": outcome.quarantined,
        **counts,
        "why": f"its rows are those of {copy}, so it counts as sent twice" if copy else reason,
        "report_key": outcome.report_key,
    }


def _explained(result: Result) -> str:
    rows, files = result["rows"], result["files"]
    failed = files["rejected"] + files["failed"]
    text = f"{files['total'] - failed:,} of {files['total']:,} files were taken: {rows['new']:,} new rows"
    if rows["quarantined"]:
        text += f", {rows['quarantined']:,} kept apart"
    return text + (f"; {failed:,} files failed" if failed else "")
