"""The actions of the release machine (statemachines/release.asl.yaml), each of which may be run twice.

``prepare`` takes the lock, plans, and notes what serves; when a person must decide first, ``ask`` and ``decision`` wait
for that. ``deploy_step`` makes the next step live. ``check`` reads
evidence and decides. ``finish`` makes the challenger champion, ``rollback`` restores what served before, ``fail`` does
that after a fault. Order within an action is chosen so that stopping between any two calls leaves callers with a
whole state, and running the action again completes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from mlops.contract import Contract
from mlops.errors import MlopsError, NotFoundError
from mlops.manifest import Manifest
from mlops.objects import ObjectStore, report_prefix, version_prefix
from mlops.registry.entities import LedgerDraft, Record, State
from mlops.registry.ports import Ledger, Registry
from mlops.release import plan, report, traffic
from mlops.release.approval import Approvals, Callbacks
from mlops.release.evidence import Evidence, Judge, median_us
from mlops.release.labelled import LabelSource
from mlops.release.losses import Expectation, floor_of
from mlops.release.modelset import ArtifactError, ModelSet, Pair, oversize
from mlops.release.ports import Alarms, Serving, StorageFullError, Switched
from mlops.release.preflight import golden_failures, replay, routes_failure
from mlops.release.shift import cells_of
from mlops.release.state import LOCK, STACK, ReleaseState
from mlops.release.switching import Switcher, route
from mlops.release.verdict import Compared, Verdict, decide

ACTOR = "function:release"

#: Waits for a deployment that is under way, half a minute each, before a step is given up.
MAX_BUSY = 20
BUSY_SECONDS = 30

#: Records replayed when traffic is too thin.
MAX_REPLAY = 1000

TAKEN_OVER = "another release or a rollback took over"

Answer = dict[str, Any]


class EndedError(MlopsError):
    """The release was ended from outside while a step was being made live."""


class Events(Protocol):
    """Where an event is put."""

    def put(self, detail_type: str, detail: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Releases:
    """Everything a release works with. ``artifacts`` and ``data`` are the two buckets; ``clock`` gives UTC."""

    registry: Registry
    ledger: Ledger
    serving: Serving
    artifacts: ObjectStore
    data: ObjectStore
    events: Events
    clock: Callable[[], datetime]
    callbacks: Callbacks
    alarms: Alarms

    @property
    def approvals(self) -> Approvals:
        return Approvals(self.registry, self.ledger, self.callbacks, self.clock)

    @property
    def switcher(self) -> Switcher:
        return Switcher(self.serving, self.artifacts)

    # The machine's actions ----------------------------------------------------------------------

    def prepare(self, state: ReleaseState) -> Answer:
        """``ready`` with a plan; ``busy`` while another release holds the stack; ``unchanged`` or ``refused``."""
        found = self.registry.version(state.model, state.version)
        contract = self.registry.contract(state.model)
        if found is None or contract is None:
            return self._refuse(state, f"{state.model}/{state.version} is not registered")
        if found.state == "champion":
            return self._answer("unchanged", state.with_(reasons=("it is the champion already",)))
        refused = self._unfit(state, found.state)
        if refused:
            return self._refuse(state, refused)
        if self._asks(state, contract):
            return self._answer("needs_approval", state.with_(tries=0))
        if not self._lock(state, plan.lock_seconds(contract.release.check_seconds)):
            wait = min(15 * 2 ** min(state.tries, 6), 600)
            return self._answer("busy", state.with_(tries=state.tries + 1), wait_seconds=wait)
        self._clear_leftovers(state)
        champion = self.registry.in_state(state.model, "champion")
        steps = plan.steps(contract.release, has_champion=champion is not None)
        if champion is not None and found.state != "challenger":
            self.registry.move(
                state.model, state.version, ("candidate", "archived"), "challenger", f"release {state.release_id}"
            )
        ready = state.with_(
            started_at=state.started_at or self._now(),
            champion=champion.version if champion else None,
            previous=self.serving.live().snapshot.version,
            steps=tuple(steps),
            tries=0,
        )
        inputs: dict[str, Any] = {
            "champion": ready.champion,
            "steps": [s.to_dict() for s in steps],
            "live": ready.previous,
        }
        firing = [alarm.name for alarm in self.alarms.firing()]
        if firing:
            inputs["firing"] = firing
        if ready.approved_by:
            inputs["approved_by"] = ready.approved_by
        self._note(ready, "release.started", "started", state.reason, inputs, actor=state.actor)
        return self._answer("ready", ready)

    def ask(self, state: ReleaseState, token: str) -> Answer:
        """A person is asked; the machine waits for the task ``token``."""
        waiting = self.approvals.ask(
            model=state.model,
            version=state.version,
            release_id=state.release_id,
            token=token,
            hours=self._contract(state).gates.approval_hours,
            actor=state.actor,
            reason=state.reason,
            turn=state.tries,
        )
        if state.tries == 0:
            detail = {"model": state.model, "version": state.version, "release_id": state.release_id}
            self.events.put("ApprovalRequested", {**detail, "deadline": waiting.deadline, "why": waiting.why})
        else:
            self.approvals.remind(waiting, self.events.put)
        return {"status": "asked", "deadline": waiting.deadline}

    def decision(self, state: ReleaseState) -> Answer:
        """``approved``, ``waiting``, or the end: ``declined``, also when nobody decided in time."""
        found = self.approvals.decision(state.model, state.release_id)
        if found is None:
            return self._answer("waiting", state.with_(tries=state.tries + 1))
        if found["decision"] == "approved":
            return self._answer("approved", state.with_(approved_by=found["actor"], tries=0))
        reason = f"{found['decision']} by {found['actor']}: {found['reason']}"
        version = self.registry.version(state.model, state.version)
        if version is not None and version.state == "candidate":
            self.registry.move(state.model, state.version, ("candidate",), "rejected", reason[:1000])
        return self._end(state.with_(reasons=(reason,)), "declined")

    def deploy_step(self, state: ReleaseState) -> Answer:
        """``deployed`` (and ``final``), ``busy`` while a deployment is under way, or ``stopped`` with reasons."""
        contract = self._contract(state)
        if not self._lock(state, plan.lock_seconds(contract.release.check_seconds)):
            return self._stop(state, TAKEN_OVER, "archived")
        ended = self._ended(state)
        if ended:
            return self._stop(state, ended, "archived")
        step = state.step
        pair = Pair(state.version) if step.final else Pair(state.champion, state.version)
        wanted = ModelSet.of_champions(self.registry).with_pair(state.model, pair)
        routes = {} if step.final else route(state.model, step.share, step.name, state.release_id)

        def preflight(version: str) -> list[str]:
            if self.registry.holder(STACK, LOCK) != state.release_id:
                raise EndedError(TAKEN_OVER)
            return golden_failures(self.serving, version, wanted) or routes_failure(self.serving, version, routes)

        description = f"release {state.release_id} {step.name}"
        try:
            done = self.switcher.forward(wanted, routes, description, preflight)
        except (EndedError, StorageFullError, ArtifactError) as error:
            if isinstance(error, StorageFullError):
                self.switcher.settle()
            return self._stop(state, error.message, "archived")
        if done.status == "refused":
            return self._stop(state.with_(function_version=done.version), "; ".join(done.reasons), "rejected")
        if done.status == "busy":
            return self._busy(state, done)
        deployed = state.with_(
            function_version=done.version,
            step_started=self._now(),
            evidence=Evidence(),
            pending=None,
            rules=(),
            cursor={},
            replayed=False,
            tries=0,
        )
        inputs = {
            "step": step.to_dict(),
            "function_version": done.version,
            "layer": done.layer,
            "model_set": done.digest,
        }
        self._note(deployed, f"release.{step.name}", "live", f"step {step.name}", inputs)
        wait = plan.wait_seconds(contract.release, 0)
        return self._answer("deployed", deployed, final=step.final, wait_seconds=wait)

    def check(self, state: ReleaseState) -> Answer:
        """``continue`` after ``wait_seconds``, ``advance`` to the next step, or ``stopped`` with reasons."""
        contract = self._contract(state)
        rules = contract.release
        now = self.clock()
        elapsed = (now - datetime.fromisoformat(state.step_started)).total_seconds()
        wait = plan.wait_seconds(rules, elapsed)
        if not self._lock(state, plan.lock_seconds(wait)):
            return self._stop(state, TAKEN_OVER, "archived")
        ended = self._ended(state)
        if ended:
            return self._stop(state, ended, "archived")
        alarms = [alarm.name for alarm in self.alarms.firing() if alarm.since >= self._began(state)]
        if alarms:
            return self._stop(state, f"alarm since this release began: {', '.join(alarms)}", "archived")
        now_live = self.serving.live()
        live = now_live.snapshot
        expected = route(state.model, state.step.share, state.step.name, state.release_id)
        if now_live.others or live.routes.get(state.model) != expected[state.model]:
            return self._stop(state, "what is live was changed by somebody else", "archived")
        judge = self._judge(state, rules.max_disagreement)
        since = datetime.fromisoformat(state.step_started)
        lines, cursor = traffic.new_lines(self.data, state.model, since, now, state.cursor)
        mine = [n for n in lines if n.get("release") == state.release_id and n.get("step") == state.step.name]
        source = LabelSource(
            self.data, contract, judge.champion, judge.challenger, state.release_id, self._began(state)
        )  # fmt: skip
        realised, labels = source.realised(now, mine, state.realised, state.labels)
        compared = Compared(judge.cells, realised, floor_of(judge.challenger))
        state = state.with_(
            evidence=state.evidence + judge.evidence(mine), cursor=cursor, realised=realised, labels=labels
        )  # fmt: skip
        decision = partial(decide, contract=rules, elapsed=elapsed, regression=judge.is_regression, compared=compared)
        verdict = decision(state.evidence, pending=state.pending)
        if verdict.decision == "thin" and rules.if_thin == "replay":
            state = self._replay(state, judge, live.version, rules.min_requests)
            verdict = decision(state.evidence, pending=state.pending, last=True)
        found = tuple(rule.to_dict() for rule in verdict.rules)
        return self._act(state.with_(pending=verdict.pending, rules=found), verdict, rules.if_thin, wait)

    def finish(self, state: ReleaseState) -> Answer:
        """The challenger is champion; ``promoted``."""
        self._lock(state, 900)
        reason = f"release {state.release_id}: {state.reason}"
        promoted = self.registry.promote(state.model, state.version, state.champion, reason)
        self.switcher.settle()
        inputs = {
            "previous": state.champion,
            "dataset_version": promoted.dataset_version,
            "function_version": state.function_version,
            "evidence": list(state.history),
        }
        self._note(state, "version.promoted", "promoted", state.reason, inputs, actor=state.actor)
        self._record_serving(state, promoted.version, state.champion)
        return self._end(state, "promoted")

    def rollback(self, state: ReleaseState) -> Answer:
        """What served before serves again; ``rolled_back``."""
        self._restore(state, "rejected" if state.outcome == "rejected" else "archived")
        inputs = {
            "champion": state.champion,
            "evidence": [*state.history, _figures(state)],
            "function_version": state.previous,
        }
        self._note(state, "release.rolled_back", "rolled_back", "; ".join(state.reasons)[:1900], inputs)
        return self._end(state, "rolled_back")

    def fail(self, state: ReleaseState, error: str) -> Answer:
        """After a fault: as :meth:`rollback`, unless the version was promoted before the fault."""
        found = self.registry.version(state.model, state.version)
        if found is not None and found.state == "champion":
            return {**self.finish(state.with_(reasons=(f"{error} after the promotion",))), "status": "failed"}
        state = state.with_(reasons=(*state.reasons, f"fault: {error}"))
        if found is not None:
            self._restore(state, "archived")
        self._note(state, "release.failed", "failed", f"fault: {error}", {"champion": state.champion})
        return self._end(state, "failed")

    # Parts --------------------------------------------------------------------------------------

    def _act(self, state: ReleaseState, verdict: Verdict, if_thin: str, wait: int) -> Answer:
        words = "; ".join(verdict.reasons)
        if verdict.decision == "continue":
            return self._answer("continue", state, wait_seconds=wait, reasons=list(verdict.reasons))
        if verdict.decision == "thin" and if_thin != "promote":
            return self._stop(state, f"traffic was too thin: {words}", "archived")
        if verdict.decision == "rollback":
            breached = [rule for rule in verdict.rules if rule.breached]
            at_fault: State = "rejected" if any(rule.at_fault for rule in breached) else "archived"
            return self._stop(state, words, at_fault)
        figures = {**_figures(state), "reasons": list(verdict.reasons), "decision": verdict.decision}
        history = (*state.history, figures)
        return self._answer("advance", state.with_(index=state.index + 1, history=history, evidence=Evidence()))

    def _replay(self, state: ReleaseState, judge: Judge, live: str, wanted: int) -> ReleaseState:
        """Evidence from recent records, once. They show whether answers agree, not how traffic reacts."""
        if state.replayed:
            return state
        missing = min(max(wanted - state.evidence.rows, 0) + wanted, MAX_REPLAY)
        records = traffic.recent_records(self.data, state.model, self.clock(), missing)
        lines = list(replay(self.serving, live, state.model, records))
        return state.with_(evidence=state.evidence + judge.replayed(lines), replayed=True)

    def _restore(self, state: ReleaseState, target: State) -> None:
        """Champions alone serve, and the version is out of the release. Not while somebody else is at work."""
        if self._lock(state, 900):
            live = self.serving.live()
            if live.snapshot.version == state.previous and live.serves(live.snapshot.layer, {}):
                self.switcher.settle()  # the alias never moved
            else:
                wanted = ModelSet.of_champions(self.registry)
                self.switcher.back(wanted, {}, f"rollback of release {state.release_id}", state.previous or None)
        found = self.registry.version(state.model, state.version)
        if found is not None and found.state in ("challenger", "candidate"):
            reason = "; ".join(state.reasons)[:1000]
            self.registry.move(state.model, state.version, (found.state,), target, reason)

    def _clear_leftovers(self, state: ReleaseState) -> None:
        """Challengers of releases that were stopped from outside: we hold the lock, so nobody works on them."""
        for model in self.registry.models():
            stale = self.registry.in_state(model, "challenger")
            if stale is None or (model, stale.version) == (state.model, state.version):
                continue
            reason = f"its release ended without a result; found by release {state.release_id}"
            self.registry.move(model, stale.version, ("challenger",), "archived", reason)
            draft = LedgerDraft(
                ACTOR,
                "release.abandoned",
                f"model/{model}/{stale.version}",
                reason,
                "archived",
                {"found_by": state.release_id},
                f"release/{state.release_id}/abandoned/{model}/{stale.version}",
            )
            self.ledger.append(draft)

    def _ended(self, state: ReleaseState) -> str | None:
        """Why this release must not go on: a person took the version out of it, or changed the champion."""
        found = self.registry.version(state.model, state.version)
        champion = self.registry.in_state(state.model, "champion")
        current = champion.version if champion else None
        if current != state.champion:
            return f"the champion of {state.model} changed from {state.champion} to {current}"
        if found is None or found.state not in (("challenger",) if state.champion else ("candidate", "archived")):
            return f"{state.model}/{state.version} was taken out of the release"
        return None

    def _asks(self, state: ReleaseState, contract: Contract) -> bool:
        """Whether a person must decide first. One who starts a release by hand, with a reason, has decided."""
        by_hand = state.actor.startswith("user:") and not state.approval
        return (state.approval or contract.gates.approval) and not by_hand and not state.approved_by

    def _began(self, state: ReleaseState) -> datetime:
        return datetime.fromisoformat(state.started_at)

    def _unfit(self, state: ReleaseState, now: str) -> str | None:
        """Why the version cannot be released at all: it is in another state than ``now`` may be, or too large beside
        the champions in one layer."""
        if now not in ("candidate", "challenger", "archived"):
            return f"{state.model}/{state.version} is {now}"
        champions = ModelSet.of_champions(self.registry)
        own = champions.models.get(state.model, Pair()).champion
        pair = Pair(own, state.version) if own else Pair(state.version)
        return oversize(champions.with_pair(state.model, pair), self.artifacts)

    def _judge(self, state: ReleaseState, bound: float) -> Judge:
        def manifest(version: str) -> Manifest:
            body = self.artifacts.get(version_prefix(state.model, version) + "manifest.json")
            return Manifest.from_dict(json.loads(body))

        if state.champion is None:
            raise NotFoundError(f"{state.model} has no champion to compare with")
        own, its = manifest(state.champion), manifest(state.version)
        expects = (Expectation.load(self.artifacts, own), Expectation.load(self.artifacts, its))
        both = (expects[0], expects[1]) if expects[0] and expects[1] else None
        return Judge(own, its, bound, cells_of(own, self.artifacts), both)

    def _contract(self, state: ReleaseState) -> Contract:
        contract = self.registry.contract(state.model)
        if contract is None:
            raise NotFoundError(f"{state.model} has no contract")
        return contract

    def _lock(self, state: ReleaseState, seconds: int) -> bool:
        return self.registry.acquire(STACK, LOCK, state.release_id, seconds)

    def _refuse(self, state: ReleaseState, reason: str) -> Answer:
        self._note(state, "release.refused", "refused", reason, {}, actor=state.actor)
        return self._answer("refused", state.with_(reasons=(reason,)))

    def _stop(self, state: ReleaseState, reason: str, outcome: State) -> Answer:
        return self._answer("stopped", state.with_(reasons=(reason,), outcome=outcome))

    def _busy(self, state: ReleaseState, done: Switched) -> Answer:
        if state.tries >= MAX_BUSY:
            return self._stop(state, f"gave up waiting: {'; '.join(done.reasons)}", "archived")
        return self._answer("busy", state.with_(tries=state.tries + 1), wait_seconds=BUSY_SECONDS)

    def _note(
        self,
        state: ReleaseState,
        action: str,
        outcome: str,
        reason: str,
        inputs: Mapping[str, Any],
        *,
        actor: str = ACTOR,
    ) -> None:
        """One entry in the ledger, the same however often the action runs."""
        known_as = f"release/{state.release_id}/{action}"
        body = {"release_id": state.release_id, **inputs}
        self.ledger.append(LedgerDraft(actor, action, state.subject, reason, outcome, body, known_as))

    def _record_serving(self, state: ReleaseState, champion: str, previous: str | None) -> None:
        live = self.serving.live().snapshot
        body = {
            "champion": champion,
            "previous": previous,
            "function_version": live.version,
            "previous_function_version": state.previous,
            "layer": live.layer,
            "release_id": state.release_id,
        }
        self.registry.put_record(Record(state.model, "serving", state.release_id, self._now(), body))

    def _end(self, state: ReleaseState, outcome: str) -> Answer:
        body = {
            "outcome": outcome,
            "model": state.model,
            "version": state.version,
            "champion": state.champion,
            "release_id": state.release_id,
            "actor": state.actor,
            "reason": state.reason,
            "reasons": list(state.reasons),
            "started_at": state.started_at,
            "ended_at": self._now(),
            "steps": [*state.history, _figures(state)] if state.steps else [],
        }
        stem = f"{report_prefix('release', state.model)}{state.release_id}"
        key = f"{stem}.json"
        self.data.put(f"{stem}.html", report.page(body).encode(), content_type="text/html; charset=utf-8")
        text = json.dumps(body, ensure_ascii=False, indent=2).encode()
        self.data.put(key, text, content_type="application/json")
        self.registry.put_record(Record(state.model, "release", state.release_id, self._now(), body))
        detail = {name: body[name] for name in ("model", "version", "champion", "release_id", "outcome", "reasons")}
        self.events.put("ReleaseFinished", detail)
        self.registry.let_go(STACK, LOCK, state.release_id)
        return {"status": outcome, "report_key": key, **detail}

    def _answer(self, status: str, state: ReleaseState, **more: Any) -> Answer:
        return {**state.to_dict(), "status": status, **more}

    def _now(self) -> str:
        return self.clock().isoformat()


def _figures(state: ReleaseState) -> dict[str, Any]:
    """A step in a few numbers, for people and for the ledger."""
    seen = state.evidence
    step = state.steps[state.index].to_dict() if state.steps else {}
    return {
        "step": step.get("name"),
        "share": step.get("share"),
        "function_version": state.function_version,
        "started_at": state.step_started,
        "requests": seen.requests - seen.replayed_requests,
        "compared": seen.rows,
        "replayed_records": seen.replayed_rows,
        "labelled": state.realised.rows,
        "errors": seen.errors,
        "late": seen.late,
        "disagreements": seen.disagreements,
        "relative_difference": round(seen.gap / seen.size, 6) if seen.size else None,
        "out_of_range": seen.out_of_range,
        "champion_us": _rounded(median_us(seen.champion_us)),
        "challenger_us": _rounded(median_us(seen.challenger_us)),
        "replayed": state.replayed,
        "codes": dict(seen.codes),
        "rules": [dict(rule) for rule in state.rules],
        "warnings": [rule["text"] for rule in state.rules if rule["result"] == "warning"],
    }


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)
