"""The retrain-launcher: gathers the facts, has the policy decide, writes the decision down, starts the run.

What asks may ask twice (events are delivered at least once, people press buttons twice). A run's id is made from
what asked, the lock ``train`` is taken in its name, and the state machine takes a name once, so a cause starts at
most one run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol

from mlops.contract import Contract
from mlops.cost.money import decimal, plain
from mlops.errors import MlopsError, NotFoundError
from mlops.registry.entities import LedgerDraft, Record
from mlops.registry.ports import Ledger, Registry
from mlops.retrain.place import Experience, Offers
from mlops.retrain.policy import WEEK, Decision, DriftFacts, Facts, QualityFacts, Trigger, decide
from mlops.retrain.runner import END, TRAINING, JobRunner

ACTOR = "function:retrain_launcher"
KIND = "decision"
EVENT = "RetrainDecided"

#: A run that has not freed the lock ``train`` by then has died; the next one may start.
LOCK_SECONDS = 3 * 3600
#: Decisions looked at for cool-down, launches this week and rows at the last launch.
HISTORY = 200
STACK = "_stack"


class Events(Protocol):
    """Where an event is put."""

    def put(self, detail_type: str, detail: Mapping[str, Any]) -> None: ...


class Pipeline(Protocol):
    """The state machine that a retraining runs in."""

    def start(self, name: str, payload: Mapping[str, Any]) -> bool:
        """Start the execution ``name``; False when that name was started before."""
        ...


class Launcher:
    """Decides and launches; every method returns ``{launch, reason, explanation, where, run_id, model, …}``.

    Parameters
    ----------
    offers : says where a training can run now, and at which price.
    runner : carries training jobs; None where the stack has no training image.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        ledger: Ledger,
        events: Events,
        pipeline: Pipeline,
        clock: Callable[[], datetime],
        offers: Callable[[], Offers] = Offers,
        runner: JobRunner | None = None,
    ) -> None:
        self.offers = offers
        self.runner = runner
        self.registry = registry
        self.ledger = ledger
        self.events = events
        self.pipeline = pipeline
        self.clock = clock

    def decide(
        self,
        model: str,
        run_id: str,
        *,
        drift: Mapping[str, Any] | None = None,
        dataset_version: str | None = None,
    ) -> dict[str, Any]:
        """For the pipeline of an upload: whether it goes on to train. Takes the lock when it does; starts nothing.

        ``drift``: what drift_check returned. ``dataset_version``: what the upload made current.

        Raises
        ------
        NotFoundError
            for a model without a contract.
        """
        return self._once(model, run_id, "upload", drift=_drift(drift), dataset_version=dataset_version, start=False)

    def event(self, detail: Mapping[str, Any], event_id: str) -> dict[str, Any]:
        """For a ``DriftChecked`` event."""
        model = _text(detail, "model")
        return self._once(
            model, run_id_of("drift", model, str(detail.get("check_id") or event_id)), "drift", drift=_drift(detail)
        )

    def quality_event(self, detail: Mapping[str, Any], event_id: str) -> dict[str, Any]:
        """For a ``QualityChecked`` event; one about a version that does not serve any more is no reason."""
        model = _text(detail, "model")
        run_id = run_id_of("quality", model, str(detail.get("check_id") or event_id))
        return self._once(model, run_id, "quality", quality=self._current_quality(model, detail))

    def explain(self, model: str) -> dict[str, Any]:
        """What would be decided if a person asked now, with the table of places. Nothing is written or started."""
        contract = self._contract(model)
        facts = self.facts(
            model, "", "sweep", contract, drift=self._last_drift(model), quality=self._last_quality(model)
        )
        decision = decide(facts, contract, self.clock())
        return self._result(model, "", facts, decision, contract)

    def submit(self, model: str, run_id: str, token: str, dataset_version: str | None = None) -> dict[str, Any]:
        """For the pipeline: start the training job that was decided on. The answer comes by ``token``.

        Raises
        ------
        MlopsError
            when no such decision is known, or the stack has no training image.
        """
        known = self._known(model, run_id)
        if known is None or not known.get("launch"):
            raise MlopsError(f"run {run_id} of {model} was not decided on", code="invalid_request")
        if self.runner is None:
            raise MlopsError(Offers().reason, code="no_training_image")
        return self.runner.submit(
            model, run_id, token, instance=str(known["instance"]), spot=known["where"] == "sagemaker_spot",
            seconds=float(known["estimated_seconds"]), dataset_version=dataset_version,
        )  # fmt: skip

    def job_event(self, detail: Mapping[str, Any]) -> dict[str, Any]:
        """For SageMaker's event about a training job; of other jobs in the account nothing is done."""
        if self.runner is None:
            return {"status": "not_ours", "job": str(detail.get("TrainingJobName") or "")}
        return self.runner.event(detail)

    def launch(
        self, model: str, *, actor: str, explanation: str, request_id: str, version: str | None = None
    ) -> dict[str, Any]:
        """For a person. ``request_id`` makes asking twice harmless. With ``version`` nothing is trained: the
        pipeline judges and registers that version of the person's own (kind ``import``).

        Raises
        ------
        MlopsError
            without an actor or an explanation: the ledger has to name both.
        """
        if not actor.strip() or not explanation.strip():
            raise MlopsError("a manual launch needs 'actor' (who) and 'explanation' (why)", code="invalid_request")
        run_id = run_id_of("import" if version else "manual", model, request_id)
        if version is not None:
            return self._import(model, run_id, version, actor, explanation)
        return self._once(model, run_id, "manual", actor=actor, request=explanation)

    def sweep(self, stamp: str = "") -> dict[str, Any]:
        """For the schedule: every model that is due, or whose drift was held back, or whose start was lost.

        ``stamp``: the scheduled time; by default the hour. Decisions without any reason are not written down here,
        there would be one a model and hour.
        """
        stamp = stamp or self.clock().astimezone(UTC).strftime("%Y-%m-%dT%H")
        results = []
        for model in self.registry.models():
            self._start_again(model)
            result = self._once(
                model, run_id_of("sweep", model, stamp), "sweep",
                drift=self._last_drift(model), quality=self._last_quality(model),
            )  # fmt: skip
            if result["reason"] != "none":
                results.append(result)
        jobs = self.runner.sweep() if self.runner else []
        return {"status": "swept", "models": len(self.registry.models()), "results": results, "jobs": jobs}

    def facts(
        self,
        model: str,
        run_id: str,
        trigger: Trigger,
        contract: Contract,
        *,
        drift: DriftFacts | None = None,
        quality: QualityFacts | None = None,
        dataset_version: str | None = None,
    ) -> Facts:
        """What is known now. A lock that ``run_id`` itself holds is no run in progress."""
        now = self.clock()
        dataset = self.registry.current_dataset(model)
        champion = self.registry.in_state(model, "champion")
        launched = [r for r in self.registry.records(model, KIND, HISTORY) if r.body.get("launch") and r.id != run_id]
        trained = [r for r in launched if r.body.get("kind", "train") == "train"]
        digest, version = contract.digest(), dataset_version or (dataset.version if dataset else None)
        same = [
            r for r in trained if r.body.get("dataset_version") == version and r.body.get("contract_digest") == digest
        ]
        already = next(
            (
                v.version
                for v in self.registry.versions(model)
                if v.dataset_version == version and v.contract_digest == digest
            ),
            None,
        )
        holder = self.registry.holder(model, "train")
        rows = dataset.rows if dataset else 0
        over, left = self._budget(now)
        return Facts(
            trigger=trigger,
            champion_since=_time(champion.created_at, now) if champion else None,
            dataset_version=version,
            rows=rows,
            new_rows=max(0, rows - int(trained[0].body.get("rows", 0))) if trained else rows,
            trained_already=already,
            attempts=len(same),
            running=holder if holder != run_id else None,
            last_launch=_time(trained[0].time, now) if trained else None,
            launches_this_week=sum(1 for r in trained if now - _time(r.time, now) < WEEK),
            over_budget=over,
            budget_left=left,
            drift=drift,
            quality=quality,
            experience=self._experience(model),
            offers=self.offers(),
        )

    def _once(
        self,
        model: str,
        run_id: str,
        trigger: Trigger,
        *,
        drift: DriftFacts | None = None,
        quality: QualityFacts | None = None,
        dataset_version: str | None = None,
        actor: str = "",
        request: str = "",
        start: bool = True,
    ) -> dict[str, Any]:
        contract = self._contract(model)
        known = self._known(model, run_id)
        if known is not None:
            if known["launch"] and start:
                self._start(model, known)
            return known
        facts = self.facts(
            model, run_id, trigger, contract, drift=drift, quality=quality, dataset_version=dataset_version
        )
        facts = replace(facts, actor=actor, request=request)
        decision = decide(facts, contract, self.clock())
        if decision.launch and not self.registry.acquire(model, "train", run_id, _lock_seconds(decision, contract)):
            facts = replace(facts, running=self.registry.holder(model, "train") or "of another request")
            decision = decide(facts, contract, self.clock())
        result = self._result(model, run_id, facts, decision, contract)
        if trigger == "sweep" and not decision.launch and not self._news(model, result):
            return result
        if decision.launch and start:
            self._start(model, result)
        self._write(model, run_id, result, actor or ACTOR)
        return result

    def _result(self, model: str, run_id: str, facts: Facts, decision: Decision, contract: Contract) -> dict[str, Any]:
        return {
            "launch": decision.launch,
            "reason": decision.reason,
            "explanation": decision.explanation,
            "where": decision.where,
            "run_id": run_id,
            "model": model,
            "kind": "train",
            "trigger": facts.trigger,
            "reasons": list(decision.reasons),
            "holds": list(decision.holds),
            "dataset_version": facts.dataset_version,
            "contract_digest": contract.digest(),
            "rows": facts.rows,
            "new_rows": facts.new_rows,
            "estimated_seconds": round(decision.place.seconds, 1),
            "instance": decision.place.instance,
            "expected_usd": plain(decision.place.usd),
            "options": [option.to_dict() for option in decision.place.options],
            "drift": asdict(facts.drift) if facts.drift else None,
            "quality": asdict(facts.quality) if facts.quality else None,
            "actor": facts.actor or ACTOR,
        }

    def _import(self, model: str, run_id: str, version: str, actor: str, explanation: str) -> dict[str, Any]:
        self._contract(model)
        known = self._known(model, run_id)
        if known is not None:
            if known["launch"]:
                self._start(model, known)
            return known
        free = self.registry.acquire(model, "train", run_id, LOCK_SECONDS)
        held = "" if free else self.registry.holder(model, "train") or "of another request"
        asked = f"{actor} brought version {version} ({explanation})"
        result = {
            "launch": free,
            "reason": "import",
            "explanation": f"Launched: {asked}."
            if free
            else f"Not launched, although {asked}: run {held} is in progress.",
            "where": "lambda",
            "run_id": run_id,
            "model": model,
            "kind": "import",
            "trigger": "manual",
            "version": version,
            "holds": [] if free else ["running"],
            "actor": actor,
        }
        if free:
            self._start(model, result)
        self._write(model, run_id, result, actor)
        return result

    def _start(self, model: str, result: Mapping[str, Any]) -> bool:
        payload = {
            "kind": "import" if result["kind"] == "import" else "retrain",
            "model": model,
            "run_id": result["run_id"],
            "actor": result["actor"],
            "reason": result["reason"],
            "decision": dict(result),
        }
        if result.get("version"):
            payload["version"] = result["version"]
        if result.get("dataset_version"):
            payload["dataset_version"] = result["dataset_version"]
        return self.pipeline.start(str(result["run_id"]), payload)

    def _write(self, model: str, run_id: str, result: Mapping[str, Any], actor: str) -> None:
        """Ledger, then event, then record: a retry after a crash in between does what is missing, once each but
        for the event, which is delivered at least once anyway."""
        kept = (
            "trigger",
            "holds",
            "dataset_version",
            "rows",
            "new_rows",
            "where",
            "instance",
            "expected_usd",
            "version",
        )
        self.ledger.append(
            LedgerDraft(
                actor=actor,
                action="retrain.decided",
                subject=f"model/{model}",
                reason=str(result["explanation"]),
                outcome=f"launch:{result['reason']}" if result["launch"] else f"no:{result['reason']}",
                inputs={"run_id": run_id, **{k: result[k] for k in kept if k in result}},
                id=f"decision/{model}/{run_id}",
            )
        )
        self.events.put(EVENT, dict(result))
        time = self.clock().astimezone(UTC).isoformat()
        self.registry.put_record(Record(model, KIND, run_id, time, dict(result)))

    def _known(self, model: str, run_id: str) -> dict[str, Any] | None:
        """The decision that this cause had before."""
        return next((dict(r.body) for r in self.registry.records(model, KIND, HISTORY) if r.id == run_id), None)

    def _news(self, model: str, result: Mapping[str, Any]) -> bool:
        """Whether a "no" of the sweep says something that the last decision did not."""
        if result["reason"] == "none":
            return False
        last = next(iter(self.registry.records(model, KIND, 1)), None)
        same = ("launch", "reason", "holds", "dataset_version", "contract_digest")
        return last is None or any(last.body.get(k) != result[k] for k in same)

    def _start_again(self, model: str) -> None:
        """A run that holds the lock, was decided here and never started: the launcher died in between."""
        holder = self.registry.holder(model, "train")
        known = self._known(model, holder) if holder else None
        if known is not None and known["launch"] and known["trigger"] != "upload":
            self._start(model, known)

    def _last_drift(self, model: str) -> DriftFacts | None:
        """The newest check that says anything, if it was of the version that serves now."""
        champion = self.registry.in_state(model, "champion")
        for record in self.registry.records(model, "drift", 20):
            if record.body.get("status") in ("ok", "drift"):
                current = champion is not None and record.body.get("version") == champion.version
                return _drift(record.body) if current else None
        return None

    def _last_quality(self, model: str) -> QualityFacts | None:
        """The newest check that says anything, if it was of the version that serves now."""
        for record in self.registry.records(model, "quality", 20):
            if record.body.get("status") in ("ok", "degraded"):
                return self._current_quality(model, record.body)
        return None

    def _current_quality(self, model: str, data: Mapping[str, Any]) -> QualityFacts | None:
        champion = self.registry.in_state(model, "champion")
        if champion is None or data.get("version", champion.version) != champion.version:
            return None
        realised, bound = data.get("realised"), data.get("bound")
        return QualityFacts(
            status=str(data.get("status") or ""),
            confirmed=bool(data.get("confirmed", True)),
            metric=str(data.get("metric") or ""),
            realised=float(realised) if isinstance(realised, int | float) else None,
            bound=float(bound) if isinstance(bound, int | float) else None,
            check_id=str(data.get("check_id") or ""),
        )

    def _experience(self, model: str) -> Experience:
        """What this model's trainings took: the last one's time and memory, and how spot went."""
        found = [r.body for r in self.registry.records(model, TRAINING, 50)]
        last = next((b for b in found if b.get("seconds") and b.get("rows")), {})
        ends = [r.body for r in self.registry.records(model, END, 50) if r.body.get("where") == "sagemaker_spot"]
        seconds = sum(int(b.get("training_seconds") or 0) for b in ends)
        billed = sum(int(b.get("billable_seconds") or 0) for b in ends)
        return Experience(
            seconds=float(last["seconds"]) if last else None,
            rows=int(last["rows"]) if last else None,
            peak_mb=int(last["peak_mb"]) if last.get("peak_mb") else None,
            spot_hours=seconds / 3600,
            spot_interruptions=sum(int(b.get("interruptions") or 0) for b in ends),
            spot_paid=(Decimal(billed) / seconds).quantize(Decimal("0.001")) if seconds and billed else None,
        )

    def _budget(self, now: datetime) -> tuple[bool | None, Decimal | None]:
        """Whether this month's budget is spent, and what is left of it, by the newest cost report that knows."""
        for record in self.registry.records(STACK, "cost", 10):
            over = record.body.get("over_budget")
            if isinstance(over, bool):
                made = _time(record.time, now)
                if (made.year, made.month) != (now.year, now.month):
                    return None, None
                limit, spent = record.body.get("budget_usd"), record.body.get("month_spent_usd")
                left = decimal(limit, "budget") - decimal(spent, "spent") if limit and spent is not None else None
                return over, left
        return None, None

    def _contract(self, model: str) -> Contract:
        contract = self.registry.contract(model)
        if contract is None:
            raise NotFoundError(f"there is no model '{model}' in this stack; its contract has to be uploaded first")
        return contract


def run_id_of(kind: str, model: str, cause: str) -> str:
    """The id of a run, made from what caused it; a valid execution name.

    >>> run_id_of("drift", "iris", "window-1") == run_id_of("drift", "iris", "window-1")
    True
    """
    digest = hashlib.sha256(f"{kind}\n{model}\n{cause}".encode()).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9-]", "-", model)[:40]
    return f"rt-{name}-{kind}-{digest}"


def _lock_seconds(decision: Decision, contract: Contract) -> int:
    """A job may wait for a machine; its lock outlives its deadline by what the gates take."""
    if decision.where == "lambda":
        return LOCK_SECONDS
    return LOCK_SECONDS + round(contract.retrain.deadline_hours * 3600)


def _drift(data: Mapping[str, Any] | None) -> DriftFacts | None:
    if not data or "status" not in data:
        return None
    status = str(data["status"])
    return DriftFacts(
        status=status,
        confirmed=bool(data.get("confirmed", status == "drift")),
        share=float(data.get("share") or 0.0),
        features=tuple(dict.fromkeys(str(d.get("feature")) for d in data.get("drifted") or ()))[:5],
        check_id=str(data.get("check_id") or ""),
    )


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise MlopsError(f"'{name}' is missing", code="invalid_request")
    return value


def _time(text: str, fallback: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return fallback
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
