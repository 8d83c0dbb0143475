"""The drift check of a model: captured traffic of a window, or a new data set, against the champion's baseline."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

import numpy as np
import orjson

from mlops.contract import Contract
from mlops.drift import history, late, report, traffic
from mlops.drift.decision import Verdict, confirmed, decide, reference
from mlops.errors import MlopsError, NotFoundError
from mlops.features.columns import Columns
from mlops.objects import ObjectStore, part_prefix, report_prefix, version_prefix
from mlops.registry.entities import LedgerDraft, ModelVersion, Record
from mlops.registry.ports import Ledger, Registry
from mlops.statistics import season as seasons
from mlops.statistics.baseline import Baseline, BaselineError, Counts, accumulate, empty, merge
from mlops.statistics.season import Days, Slots, Unit

ACTOR = "function:drift_check"
KIND = "drift"
EVENT = "DriftChecked"

#: Longest window that may be asked for.
MAX_HOURS = 24.0 * 400
#: What clocks of the same cloud may differ by.
SKEW = timedelta(minutes=5)

Task = Literal["dataset", "window"]


class Events(Protocol):
    """Where an event is put."""

    def put(self, detail_type: str, detail: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What a check found, and where it is written.

    ``confirmed``: drift that counts, after the contract's debounce; ``news``: and did not before, so that people are
    told once. ``effects``: column -> how far it moved, as a multiple of its threshold, the furthest first.
    """

    model: str
    check_id: str
    status: str
    task: Task
    confirmed: bool = False
    news: bool = False
    share: float = 0.0
    rows: int = 0
    version: str | None = None
    drifted: tuple[Mapping[str, Any], ...] = ()
    effects: Mapping[str, float] = field(default_factory=dict)
    explanation: str = ""
    report_key: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "model": self.model,
            "task": self.task,
            "check_id": self.check_id,
            "confirmed": self.confirmed,
            "news": self.news,
            "share": self.share,
            "rows": self.rows,
            "version": self.version,
            "drifted": [dict(d) for d in self.drifted],
            "effects": dict(self.effects),
            "explanation": self.explanation,
            "report_key": self.report_key,
        }


@dataclass(frozen=True)
class _Job:
    """One check to do; ``what`` says in words which rows."""

    contract: Contract
    champion: ModelVersion
    check_id: str
    task: Task
    what: str


@dataclass(frozen=True)
class _Examined:
    """What one check found; only the outcome when the baseline cannot be used. ``baseline``: what was compared with."""

    outcome: Outcome
    verdict: Verdict | None = None
    baseline: Baseline | None = None
    counts: Counts | None = None
    notes: tuple[str, ...] = ()


Count = Callable[[Baseline], tuple[Counts, tuple[str, ...]]]


@dataclass(frozen=True, kw_only=True)
class DriftCheck:
    """Runs checks and writes down what they found.

    Parameters
    ----------
    data, artifacts : the two buckets.
    events : where ``DriftChecked`` goes.
    clock : the time, with a zone.
    """

    data: ObjectStore
    artifacts: ObjectStore
    registry: Registry
    ledger: Ledger
    events: Events
    clock: Callable[[], datetime]

    def dataset(self, model: str, *parts: str) -> Outcome:
        """Check the rows of one upload, part after part: one check, and memory for one part.

        Raises
        ------
        NotFoundError
            for a model without a contract, or a part that does not exist.
        """
        contract = self._contract(model)
        champion = self.registry.in_state(model, "champion")
        if champion is None:
            return self._no_champion(model, f"part-{parts[0]}", "dataset")
        check_id = f"part-{_together(parts)}-{champion.version}"
        known = self._known(model, check_id)
        if known is not None:
            return known
        unused = {*contract.key, contract.timestamp, *contract.ignore, *(a.name for a in contract.attributes)}
        days = list[Days]()

        def count(baseline: Baseline) -> tuple[Counts, tuple[str, ...]]:
            counts = empty(baseline)
            for part in parts:
                table = Columns.load(self.data.get(part_prefix(model, part) + "columns.npz"))
                days.extend(_times(table, contract.timestamp))
                counts = merge(counts, accumulate(baseline, table.select([n for n in table.names if n not in unused])))
            return counts, ()

        job = _Job(contract, champion, check_id, "dataset", f"rows of upload {_together(parts)}")
        # Asked for after the count, which meets the times.
        return self._check(job, count, lambda unit: seasons.of_rows(unit, np.concatenate(days)) if days else None)

    def window(self, model: str, hours: float | None = None, until: datetime | None = None) -> Outcome:
        """Check the traffic of the last ``hours`` (default: the contract's) before ``until`` (default: now), and
        put the event ``DriftChecked``.

        Raises
        ------
        NotFoundError
            for a model without a contract.
        MlopsError
            for hours outside (0, MAX_HOURS].
        """
        contract = self._contract(model)
        length = contract.drift.window_hours if hours is None else hours
        if not 0 < length <= MAX_HOURS:
            raise MlopsError(f"hours must be above 0 and at most {MAX_HOURS:g}, not {length:g}", code="invalid_request")
        end = (until or self.clock()).astimezone(UTC)
        start = end - timedelta(hours=length)
        stamp = late.stamp(start, end)
        champion = self.registry.in_state(model, "champion")
        if champion is None:
            outcome = self._no_champion(model, stamp, "window")
        else:
            check_id = f"{stamp}-{champion.version}"
            known = self._known(model, check_id)
            if known is not None:
                self._announce(known)  # the first attempt may have died before this; consumers take it once
                return known
            job = _Job(contract, champion, check_id, "window", _traffic(start, end))
            captured = late.Captured(self.data, model, start, end, self._before(model, start, end))
            outcome = self._check(
                job,
                lambda baseline: self._count(contract, baseline, captured, end, check_id),
                lambda unit: seasons.between(unit, start.timestamp() / 86_400, end.timestamp() / 86_400),
            )
        self._announce(outcome)
        return outcome

    def windows(
        self, model: str | None = None, hours: float | None = None, until: datetime | None = None
    ) -> list[Outcome]:
        """:meth:`window` for one model, or for all."""
        return [self.window(name, hours, until) for name in ([model] if model else self.registry.models())]

    def plan(self, model: str, since: datetime, until: datetime | None, hours: float | None) -> dict[str, Any]:
        """The windows of a history: ``{status: planned|invalid, windows: [{since, until}], …}``.

        Raises
        ------
        NotFoundError
            for a model without a contract.
        """
        length = self._contract(model).drift.window_hours if hours is None else hours
        return history.plan(model, since, until, length, now=self.clock())

    def past(self, model: str, since: datetime, until: datetime) -> dict[str, Any]:
        """Check one window of the past and write down what it counted, for :meth:`timeline`. It is no check of the
        champion's present: no record, no event. A window that is written down already is taken as it is.

        Returns
        -------
        ``{status, key}``.
        """
        contract = self._contract(model)
        champion = self.registry.in_state(model, "champion")
        if champion is None:
            return {"status": "no_champion", "key": None}
        key = history.window_key(model, champion.version, since, until)
        if self.data.exists(key) and until <= self.clock():  # a window that was not over is counted again
            return {"status": orjson.loads(self.data.get(key))["status"], "key": key}
        job = _Job(
            contract, champion, key, "window", f"traffic from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"
        )
        examined = self._examine(
            job,
            lambda baseline: self._count(contract, baseline, late.Captured(self.data, model, since, until), until),
            lambda unit: seasons.between(unit, since.timestamp() / 86_400, until.timestamp() / 86_400),
        )
        document = {"since": since.isoformat(), "until": until.isoformat(), **examined.outcome.to_dict()}
        self.data.put(key, orjson.dumps(document), content_type="application/json")
        return {"status": examined.outcome.status, "key": key}

    def timeline(
        self, model: str, since: datetime, until: datetime, hours: float, actor: str | None = None
    ) -> dict[str, Any]:
        """Put the windows of a history together: a page, its JSON, and an entry ``drift.backfilled`` in the ledger.

        Returns
        -------
        ``{status: ok|drift|insufficient|no_champion, windows, drifted, first, explanation, report_key}``.
        """
        contract = self._contract(model)
        champion = self.registry.in_state(model, "champion")
        if champion is None:
            return self._no_champion(model, "history", "window").to_dict()
        windows = []
        for start, end in history.windows(since, until, hours):
            key = history.window_key(model, champion.version, start, end)
            windows.append(orjson.loads(self.data.get(key)))
        told = history.debounced(windows, contract.drift)
        result = history.summary(model, champion.version, told)
        prefix = (
            f"{report_prefix('drift', model)}history-{since:%Y%m%dT%H%M%SZ}-{until:%Y%m%dT%H%M%SZ}-{champion.version}"
        )
        result["report_key"] = f"{prefix}.html"
        document = {"schema": "mlops.drift-history.v1", **result, "checks": told}
        self.data.put(f"{prefix}.json", orjson.dumps(document), content_type="application/json")
        page = history.page(result, told, every=hours, feature_share=contract.drift.feature_share)
        self.data.put(f"{prefix}.html", page.encode(), content_type="text/html; charset=utf-8")
        self._tell(model, champion.version, "drift.backfilled", result["status"], result["explanation"], actor, prefix)
        return result

    def failed(self, model: str, run_id: str, error: str) -> dict[str, Any]:
        """Write down that a history was not checked to its end."""
        self._tell(
            model, None, "drift.backfill_failed", "failed", f"The run {run_id} ended: {error}"[:500], None, run_id
        )
        return {"status": "recorded"}

    def _tell(
        self, model: str, version: str | None, action: str, outcome: str, reason: str, actor: str | None, identity: str
    ) -> None:
        self.ledger.append(
            LedgerDraft(
                actor=actor or ACTOR,
                action=action,
                subject=f"model/{model}/{version}" if version else f"model/{model}",
                reason=reason,
                outcome=outcome,
                inputs={},
                id=f"{action}/{model}/{identity}/{self.clock().astimezone(UTC):%Y%m%dT%H%M%SZ}",
            )
        )

    def _contract(self, model: str) -> Contract:
        contract = self.registry.contract(model)
        if contract is None:
            raise NotFoundError(f"there is no model '{model}' in this stack; its contract has to be uploaded first")
        return contract

    def _no_champion(self, model: str, check_id: str, task: Task) -> Outcome:
        text = f"{model} has no champion yet, so there is no baseline to compare with."
        return Outcome(model, check_id, "no_champion", task, explanation=text)

    def _known(self, model: str, check_id: str) -> Outcome | None:
        for record in self.registry.records(model, KIND, 50):
            if record.id == check_id:
                body = dict(record.body)
                body["drifted"] = tuple(body.get("drifted", ()))
                return Outcome(**body)
        return None

    def _before(self, model: str, start: datetime, end: datetime) -> late.Reading | None:
        """What the check read whose window ended where this one begins."""
        ids = [record.id for record in self.registry.records(model, KIND, 60)]
        found = late.predecessor(ids, start, end)
        key = late.reading_key(model, found) if found else None
        if key is None or not self.data.exists(key):
            return None
        return late.Reading.from_dict(orjson.loads(self.data.get(key)))

    def _count(
        self, contract: Contract, baseline: Baseline, lines: late.Captured, end: datetime, check_id: str | None = None
    ) -> tuple[Counts, tuple[str, ...]]:
        """``check_id``: of a check whose late rows the next one is to count."""
        counts, invalid = empty(baseline), dict[str, int]()
        for batch in traffic.batches(contract.features, lines, baseline.version):
            counts = merge(counts, accumulate(baseline, batch.table, batch.scores))
            for name, number in batch.invalid.items():
                invalid[name] = invalid.get(name, 0) + number
        if check_id is not None:  # before the record: what is counted of a check that has none is counted again
            body = orjson.dumps(lines.reading().to_dict())
            self.data.put(late.reading_key(contract.name, check_id), body, content_type="application/json")
        notes = [
            f"{name}: {n} captured values were not of its type and count as missing." for name, n in invalid.items()
        ]
        if lines.late:
            notes.append(f"{lines.late} rows came too late for the window before and are counted in this one.")
        if end > self.clock() + SKEW:
            notes.append(
                f"The window ends at {end:%Y-%m-%d %H:%M} UTC, in the future by this function's clock: rows that come "
                "later are not in it, and asking again gives this answer."
            )
        return counts, tuple(notes)

    def _check(self, job: _Job, count: Count, slots: Callable[[Unit], Slots | None]) -> Outcome:
        examined = self._examine(job, count, slots)
        outcome, verdict = examined.outcome, examined.verdict
        if verdict is None or examined.baseline is None or examined.counts is None:
            return self._keep(outcome)
        policy, earlier = job.contract.drift, self._earlier(job)
        counted = confirmed(
            verdict.status == "drift",
            [body["status"] == "drift" for body in earlier],
            needed=policy.confirmations,
            windows=policy.windows,
        )
        text = outcome.explanation
        if verdict.status == "drift" and not counted:
            text += f" Not confirmed yet: {policy.confirmations} of the last {policy.windows} checks must say so."
        key = f"{report_prefix('drift', outcome.model)}{job.check_id}"
        news = counted and not (earlier and earlier[0].get("confirmed"))
        outcome = replace(outcome, confirmed=counted, news=news, explanation=text, report_key=f"{key}.html")
        document = {
            "schema": "mlops.drift.v1",
            **outcome.to_dict(),
            "checked_at": self.clock().astimezone(UTC).isoformat(),
            "what": job.what,
            "verdict": verdict.to_dict(),
            "notes": [*verdict.notes, *examined.notes],
            "counts": examined.counts.to_dict(),
        }
        self.data.put(f"{key}.json", orjson.dumps(document), content_type="application/json")
        page = report.page(
            {**outcome.to_dict(), "time": document["checked_at"]},
            verdict,
            examined.baseline,
            examined.counts,
            what=job.what,
            notes=examined.notes,
            history=list(reversed(earlier)),
            feature_share=policy.feature_share,
        )
        self.data.put(f"{key}.html", page.encode(), content_type="text/html; charset=utf-8")
        return self._keep(outcome)

    def _examine(self, job: _Job, count: Count, slots: Callable[[Unit], Slots | None]) -> _Examined:
        """Count and decide; nothing is written."""
        model, version = job.contract.name, job.champion.version
        try:
            baseline = self._baseline(job.champion)
        except (NotFoundError, BaselineError) as error:
            text = f"Version {version} has no baseline that can be used: {error.message}"
            return _Examined(Outcome(model, job.check_id, "insufficient", job.task, version=version, explanation=text))
        counts, notes = count(baseline)
        of_window = slots(baseline.season.unit) if baseline.season else None
        verdict = decide(baseline, counts, job.contract.drift, of_window)
        outcome = Outcome(
            model=model,
            check_id=job.check_id,
            status=verdict.status,
            task=job.task,
            share=verdict.share,
            rows=verdict.rows,
            version=version,
            drifted=tuple(f.brief() for f in verdict.first(10)),
            effects=verdict.effects(20),
            explanation=verdict.explanation,
        )
        return _Examined(outcome, verdict, reference(baseline, job.contract.drift, of_window), counts, notes)

    def _baseline(self, champion: ModelVersion) -> Baseline:
        body = self.artifacts.get(version_prefix(champion.model, champion.version) + "baseline.json")
        try:
            baseline = Baseline.from_dict(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise BaselineError(f"baseline: not JSON ({error})") from error
        if baseline.version not in ("", champion.version):
            raise BaselineError(f"baseline: it is of version {baseline.version}, not of {champion.version}")
        return baseline.labelled(champion.model, champion.version)

    def _earlier(self, job: _Job) -> list[Mapping[str, Any]]:
        """Checks of the same kind of this champion that had rows enough, newest first; ``time``: when they were."""
        return [
            {**record.body, "time": record.time}
            for record in self.registry.records(job.contract.name, KIND, 60)
            if record.id != job.check_id
            and record.body.get("task") == job.task
            and record.body.get("version") == job.champion.version
            and record.body.get("status") in ("ok", "drift")
        ]

    def _keep(self, outcome: Outcome) -> Outcome:
        time = self.clock().astimezone(UTC).isoformat()
        self.registry.put_record(Record(outcome.model, KIND, outcome.check_id, time, outcome.to_dict()))
        self.ledger.append(
            LedgerDraft(
                actor=ACTOR,
                action="drift.checked",
                subject=f"model/{outcome.model}/{outcome.version}",
                reason=outcome.explanation,
                outcome=outcome.status if not outcome.confirmed else "drift_confirmed",
                inputs={
                    "check": outcome.check_id,
                    "rows": outcome.rows,
                    "share": round(outcome.share, 6),
                    "features": [str(d["feature"]) for d in outcome.drifted[:3]],
                    "report": outcome.report_key,
                },
                id=f"drift/{outcome.model}/{outcome.check_id}",
            )
        )
        return outcome

    def _announce(self, outcome: Outcome) -> None:
        detail = outcome.to_dict()
        detail["drifted"] = detail["drifted"][:3]
        detail["features"] = [d["feature"] for d in detail["drifted"]]
        self.events.put(EVENT, detail)


def _traffic(start: datetime, end: datetime) -> str:
    return f"traffic from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"


def _together(parts: Sequence[str]) -> str:
    """A part's id; of several parts, one for all of them."""
    return parts[0] if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _times(table: Columns, timestamp: str | None) -> list[Days]:
    """When each row is of, in days since 1970; nothing when the rows do not say."""
    if timestamp is None or timestamp not in table or table[timestamp].type != "date":
        return []
    return [table[timestamp].values]
