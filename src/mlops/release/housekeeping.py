"""What is done every day so that a stack stays in order: the ledger's head is anchored, versions beyond the policy are
put aside, and what the account's code storage no longer needs is deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlops.errors import ConflictError, MlopsError
from mlops.objects import ObjectStore
from mlops.registry import anchors, retention
from mlops.registry.entities import LedgerDraft, ModelVersion
from mlops.registry.naming import Naming
from mlops.registry.ports import Ledger, Registry
from mlops.release import cleaning
from mlops.release.approval import Approvals
from mlops.release.ports import Serving
from mlops.release.state import LOCK, STACK

ACTOR = "function:housekeeping"

_LOCK_SECONDS = 600
_RECORDS = 1000


@dataclass(frozen=True)
class Housekeeping:
    """``anchorage`` is the bucket of anchors; ``deployed`` gives the function versions that the stack itself made."""

    stack: str
    registry: Registry
    ledger: Ledger
    serving: Serving
    approvals: Approvals
    anchorage: ObjectStore
    deployed: Callable[[], set[str]]
    clock: Callable[[], datetime]

    def run(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """``{"task": "daily"}`` does everything, ``{"task": "plan"}`` only says what it would do. Either may name who
        asked, and why: ``actor``, ``reason``.

        Returns
        -------
        ``{status, anchored, moves: [{model, version, source, target, reason}], functions, layers}``; status is
        ``done``, ``planned`` or ``busy``. ``busy``: a release is under way, and nothing of what serves was deleted.

        Raises
        ------
        MlopsError
            ``invalid_task`` for another task.
        """
        task = event.get("task")
        if task not in ("daily", "plan"):
            raise MlopsError("task must be daily or plan", code="invalid_task")
        actor, reason = str(event.get("actor") or ACTOR), str(event.get("reason") or "the daily order")
        if task == "plan":
            found = cleaning.look(self.registry, self.serving, self.deployed())
            return self._answer("planned", False, self._due(), found)
        moves = self._put_aside(actor)
        run_id = f"housekeeping-{self.clock().isoformat()}"
        if self.registry.acquire(STACK, LOCK, run_id, _LOCK_SECONDS):
            try:
                found = cleaning.look(self.registry, self.serving, self.deployed())
                cleaning.carry_out(self.serving, found)
            finally:
                self.registry.let_go(STACK, LOCK, run_id)
            status = "done"
        else:
            found, status = cleaning.Cleaning((), (), {}), "busy"
        if found.functions or found.layers:
            inputs = {
                "functions": list(found.functions)[:200],
                "layers": [a.rsplit(":", 1)[-1] for a in found.layers][:200],
            }
            draft = LedgerDraft(actor, "serving.cleaned", "serving", reason, "deleted", inputs, run_id)
            self.ledger.append(draft)
        anchored = anchors.drop(self.anchorage, self.stack, self.ledger.head(), self.clock().isoformat())
        return self._answer(status, anchored, moves, found)

    def _due(self) -> list[retention.Move]:
        return [move for model in self.registry.models() for move in self._due_of(model)]

    def _due_of(self, model: str) -> list[retention.Move]:
        contract = self.registry.contract(model)
        rules = contract.retention if contract else None
        policy = retention.Policy(rules.candidate_days, rules.keep_versions, rules.served_days) if rules else None
        return retention.plan(
            self.registry.versions(model),
            self.registry.records(model, "serving", _RECORDS),
            [w.version for w in self.approvals.waiting(model)],
            policy or retention.Policy(),
            self.clock(),
        )

    def _put_aside(self, actor: str) -> list[retention.Move]:
        done = []
        for move in self._due():
            try:
                self.registry.move(move.model, move.version, (move.source,), move.target, move.reason)
            except ConflictError:  # a release has begun with it: the next day looks again
                continue
            done.append(move)
        naming = Naming(self.registry, self.ledger, self.clock)
        for model in self.registry.models():
            naming.settle(model)
            for version in self.registry.versions(model):
                if retention.is_ours(version):  # also one that was moved just before a run broke off
                    self._note(version, actor)
        return done

    def _note(self, version: ModelVersion, actor: str) -> None:
        known_as = f"retention/{version.model}/{version.version}/{version.state}/{version.updated_at}"
        subject = f"model/{version.model}/{version.version}"
        self.ledger.append(
            LedgerDraft(actor, f"version.{version.state}", subject, version.reason, version.state, {}, known_as)
        )

    def _answer(
        self, status: str, anchored: bool, moves: list[retention.Move], found: cleaning.Cleaning
    ) -> dict[str, Any]:
        told = [
            {"model": m.model, "version": m.version, "source": m.source, "target": m.target, "reason": m.reason}
            for m in moves
        ]
        return {
            "status": status,
            "anchored": anchored,
            "moves": told,
            "functions": list(found.functions),
            "layers": list(found.layers),
        }
