"""A person decides before a release begins, when the contract or a gate asks for it.

The records are the truth: one request and at most one decision a release, each written once, so the first decision
wins and a signed link counts once. The state machine's task token only wakes the machine up at once. A callback that is
lost costs an hour at most: the machine looks at the records by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from mlops.errors import ConflictError, MlopsError, NotFoundError
from mlops.registry.entities import LedgerDraft, Record
from mlops.registry.ports import Ledger, Registry

#: Kinds of records: what is asked, which token wakes the machine up, what was decided, and that
#: people were reminded.
REQUEST, WAIT, DECISION, REMINDER = "approval", "approval-wait", "approval-decision", "approval-reminder"

Verdict = Literal["approved", "declined"]

#: Hours before the deadline at which people are reminded; half of the time that they have, when that is less.
REMIND_HOURS = 24.0

#: Who the ledger says it was when nobody decided in time.
ACTOR = "function:release"

_MAX_REASON = 1900


class Callbacks(Protocol):
    """The state machine, waiting."""

    def wake(self, token: str) -> bool:
        """Wake the task that waits with ``token``; False when none does (any more)."""
        ...


@dataclass(frozen=True)
class Waiting:
    """A release that waits for a decision. Times are ISO 8601 UTC; ``why`` is what the gates said."""

    model: str
    version: str
    release_id: str
    asked_at: str
    deadline: str
    requested_by: str
    reason: str
    why: str
    champion: str | None

    @classmethod
    def of(cls, record: Record) -> Waiting:
        return cls(model=record.model, release_id=record.id, asked_at=record.time, **record.body)


@dataclass(frozen=True)
class Approvals:
    """Requests and decisions."""

    registry: Registry
    ledger: Ledger
    callbacks: Callbacks
    clock: Callable[[], datetime]

    def ask(
        self, *, model: str, version: str, release_id: str, token: str, hours: float, actor: str, reason: str, turn: int
    ) -> Waiting:
        """Note that a release waits. The deadline counts from the first time it was asked.

        Parameters
        ----------
        token : of the waiting task; the newest is woken up.
        turn : how often the machine has asked before, so that asking again after a crash notes nothing twice.
        """
        now = self.clock()
        found, champion = self.registry.version(model, version), self.registry.in_state(model, "champion")
        body = {
            "version": version,
            "deadline": (now + timedelta(hours=hours)).isoformat(),
            "requested_by": actor,
            "reason": reason,
            "why": found.reason if found else "",
            "champion": champion.version if champion else None,
        }
        self.registry.put_record(Record(model, REQUEST, release_id, now.isoformat(), body))
        waiting = self.request(model, release_id)
        inputs = {"release_id": release_id, "deadline": waiting.deadline, "champion": waiting.champion}
        subject, known_as = f"model/{model}/{version}", f"approval/{release_id}/requested"
        why = waiting.why or reason
        self.ledger.append(LedgerDraft(ACTOR, "approval.requested", subject, why, "waiting", inputs, known_as))
        self.registry.put_record(Record(model, WAIT, f"{release_id}.{turn}", now.isoformat(), {"token": token}))
        if self.decision(model, release_id) is not None:
            self.callbacks.wake(token)
        return waiting

    def remind(self, waiting: Waiting, put: Callable[[str, dict[str, Any]], None]) -> bool:
        """Remind people once that a decision is due, when it is nearly too late: the event ``ApprovalExpiring``. The
        machine asks every hour, so there is a reminder for every deadline of more than an hour. True when there was."""
        asked, deadline = datetime.fromisoformat(waiting.asked_at), datetime.fromisoformat(waiting.deadline)
        before = min(timedelta(hours=REMIND_HOURS), (deadline - asked) / 2)
        left = deadline - self.clock()
        if not timedelta(0) < left <= before or self.decided(waiting.model, waiting.release_id) is not None:
            return False
        if self.registry.record(waiting.model, REMINDER, waiting.release_id) is not None:
            return False
        # First told, then noted: a crash between tells twice rather than never.
        detail = {"model": waiting.model, "version": waiting.version, "release_id": waiting.release_id}
        hours = round(left.total_seconds() / 3600, 1)
        put("ApprovalExpiring", {**detail, "deadline": waiting.deadline, "hours_left": hours, "why": waiting.why})
        now = self.clock().isoformat()
        self.registry.put_record(
            Record(waiting.model, REMINDER, waiting.release_id, now, {"deadline": waiting.deadline})
        )
        return True

    def request(self, model: str, release_id: str) -> Waiting:
        """What was asked.

        Raises
        ------
        NotFoundError
            when nothing was.
        """
        found = self.registry.record(model, REQUEST, release_id)
        if found is None:
            raise NotFoundError(f"{model}: no release {release_id} waits for a decision")
        return Waiting.of(found)

    def waiting(self, model: str) -> list[Waiting]:
        """Requests of a model that nobody has decided, newest first; those past their deadline are left out."""
        now = self.clock()
        asked = [Waiting.of(record) for record in self.registry.records(model, REQUEST)]
        still = [w for w in asked if datetime.fromisoformat(w.deadline) > now]
        return [w for w in still if self.decided(model, w.release_id) is None]

    def decision(self, model: str, release_id: str) -> Mapping[str, Any] | None:
        """What was decided: ``{decision: approved | declined | expired, actor, reason, via, decided_at}``; None while
        nothing was and the deadline has not passed. Past it, the answer is written down as ``expired``."""
        found = self.decided(model, release_id)
        if found is None and datetime.fromisoformat(self.request(model, release_id).deadline) <= self.clock():
            self._write(model, release_id, "expired", ACTOR, "nobody decided in time", "deadline")
            found = self.decided(model, release_id)
        if found is not None:
            self._note(self.request(model, release_id), found)
        return found

    def decide(
        self, *, model: str, release_id: str, verdict: Verdict, actor: str, reason: str, via: str
    ) -> dict[str, Any]:
        """A person's decision.

        Parameters
        ----------
        actor : ``user:<name>``.
        via : ``command`` or ``link``.

        Returns
        -------
        dict
            ``status``: ``approved``, ``declined``, or ``refused`` with ``reasons``: decided before, or too late.

        Raises
        ------
        MlopsError
            ``reason_required`` or ``actor_required``; NotFoundError when this release was not asked about.
        """
        if not reason.strip():
            raise MlopsError("a decision needs a reason", code="reason_required")
        if not actor.startswith("user:") or len(actor) <= len("user:"):
            raise MlopsError("a decision needs the person who takes it: actor 'user:<name>'", code="actor_required")
        request = self.request(model, release_id)
        before = self.decided(model, request.release_id)
        late = datetime.fromisoformat(request.deadline) <= self.clock()
        if before is None and not late:
            self._write(model, request.release_id, verdict, actor, reason[:_MAX_REASON], via)
        found = self.decision(model, request.release_id)
        if found is None:
            raise ConflictError(f"the decision on {model}/{request.version} could not be read back; try again")
        answer = {"model": model, "version": request.version, "release_id": request.release_id}
        if (found["decision"], found["actor"], found["reason"]) != (verdict, actor, reason[:_MAX_REASON]):
            told = f"{request.version} of {model} was {found['decision']} by {found['actor']} at {found['decided_at']}"
            return {"status": "refused", **answer, "reasons": [told]}
        woken = self._wake(model, request.release_id)
        return {"status": verdict, **answer, "reasons": [] if woken else ["it takes effect within an hour"]}

    def only(self, model: str, version: str | None = None) -> Waiting:
        """The one release of ``model`` that waits.

        Raises
        ------
        MlopsError
            NotFoundError when none does, ``ambiguous`` when several do.
        """
        found = [w for w in self.waiting(model) if version in (None, w.version)]
        if not found:
            raise NotFoundError(f"no release of {model} waits for a decision")
        if len(found) > 1:
            names = ", ".join(f"{w.release_id} (version {w.version})" for w in found)
            raise MlopsError(f"several releases of {model} wait: name a version; {names}", code="ambiguous")
        return found[0]

    def decided(self, model: str, release_id: str) -> Mapping[str, Any] | None:
        """What was decided, as :meth:`decision` gives it. Only looks."""
        found = self.registry.record(model, DECISION, release_id)
        return found.body if found else None

    def _write(self, model: str, release_id: str, decision: str, actor: str, reason: str, via: str) -> None:
        """The first one counts; a later one changes nothing."""
        now = self.clock().isoformat()
        body = {"decision": decision, "actor": actor, "reason": reason, "via": via, "decided_at": now}
        self.registry.put_record(Record(model, DECISION, release_id, now, body))

    def _note(self, request: Waiting, found: Mapping[str, Any]) -> None:
        subject = f"model/{request.model}/{request.version}"
        inputs = {"release_id": request.release_id, "via": found["via"], "asked_at": request.asked_at}
        self.ledger.append(
            LedgerDraft(
                found["actor"],
                f"approval.{found['decision']}",
                subject,
                found["reason"],
                found["decision"],
                inputs,
                f"approval/{request.release_id}/decided",
            )
        )

    def _wake(self, model: str, release_id: str) -> bool:
        tokens = [r for r in self.registry.records(model, WAIT, 200) if r.id.rsplit(".", 1)[0] == release_id]
        return bool(tokens) and self.callbacks.wake(str(tokens[0].body["token"]))
