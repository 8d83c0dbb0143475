"""What is done every day so that a stack stays in order: the ledger is checked and its head anchored, versions beyond
the policy are put aside and their files deleted, what the account's code storage no longer needs is deleted,
and captured traffic is folded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from math import inf
from typing import Any

from mlops.capture.folding import Foldable, Folded, fold
from mlops.contract.model import Retention
from mlops.errors import ConflictError, MlopsError
from mlops.objects import ObjectStore
from mlops.registry import clearing, retention
from mlops.registry.entities import LedgerDraft, ModelVersion
from mlops.registry.naming import Naming
from mlops.registry.ports import Ledger, Registry
from mlops.registry.watch import ACTOR, Watch
from mlops.release import cleaning
from mlops.release.approval import Approvals
from mlops.release.ports import Serving
from mlops.release.state import LOCK, STACK

_LOCK_SECONDS = 600
_RECORDS = 1000
#: With less than this left no further group of captures is folded; one takes about ten seconds.
_FOLD_SECONDS = 60
_TASKS = ("daily", "plan", "anchor")

Answer = dict[str, Any]


@dataclass(frozen=True)
class Housekeeping:
    """``artifacts`` is the bucket of models and layers; ``deployed`` gives the function versions that the stack itself
    made; ``captures`` holds captured traffic, which is kept for ``capture_days``."""

    registry: Registry
    ledger: Ledger
    serving: Serving
    approvals: Approvals
    artifacts: ObjectStore
    watch: Watch
    deployed: Callable[[], set[str]]
    clock: Callable[[], datetime]
    captures: Foldable
    capture_days: int

    def run(self, event: Mapping[str, Any], seconds_left: Callable[[], float] = lambda: inf) -> Answer:
        """``{"task": "daily"}`` does everything, ``{"task": "plan"}`` only says what it would do, and
        ``{"task": "anchor"}`` checks and anchors the ledger alone. Any may name who asked, and why: ``actor``,
        ``reason``.

        Returns
        -------
        ``{status, ledger, anchored, moves: [{model, version, source, target, reason}], files: [{model, version, files,
        bytes}], functions, layers, archives, captures}``; ``captures`` is ``{hours, objects, expired, left}``, see
        :class:`mlops.capture.folding.Folded`; status is ``done``, ``planned`` or ``busy``. ``busy``: a release is
        under way, and nothing of what serves was deleted. ``ledger`` is ``intact``, ``broken``, or for a plan
        ``not checked``.

        Raises
        ------
        MlopsError
            ``invalid_task`` for another task.
        """
        task = event.get("task")
        if task not in _TASKS:
            raise MlopsError(f"task must be one of {', '.join(_TASKS)}", code="invalid_task")
        if task == "anchor":
            checked, anchored = self.watch.anchor()
            return {"status": "done", "ledger": _verdict(checked.intact), "anchored": anchored}
        actor, reason = str(event.get("actor") or ACTOR), str(event.get("reason") or "the daily order")
        if task == "plan":
            found = cleaning.look(self.registry, self.serving, self.artifacts, self.deployed())
            return _answer("planned", "not checked", False, self._due(), self._files(), found, Folded())
        intact = self.watch.daily().intact  # first: what follows are entries of today
        moves = self._put_aside(actor)
        files = self._clear(actor, reason)
        found, status = self._clean(actor, reason)
        # A chain that is broken is not anchored: the next check would begin behind the place.
        anchored = intact and self.watch.drop()
        folded = self._fold(seconds_left)  # last: it may take all the time there is, and goes on the next day
        return _answer(status, _verdict(intact), anchored, moves, files, found, folded)

    def _fold(self, seconds_left: Callable[[], float]) -> Folded:
        """Fold the captures of every model of which no release is under way: a release counts the lines of each object
        once, by the time at which it was stored."""
        done = Folded()
        for model in self.registry.models():
            if self.registry.in_state(model, "challenger") is not None:
                continue
            done += fold(
                self.captures, model, self.clock(), keep_days=self.capture_days,
                may_go_on=lambda: seconds_left() > _FOLD_SECONDS,
            )  # fmt: skip
        return done

    def _rules(self, model: str) -> Retention:
        contract = self.registry.contract(model)
        return contract.retention if contract else Retention()

    def _due(self) -> list[retention.Move]:
        return [move for model in self.registry.models() for move in self._due_of(model)]

    def _due_of(self, model: str) -> list[retention.Move]:
        rules = self._rules(model)
        return retention.plan(
            self.registry.versions(model),
            self.registry.records(model, "serving", _RECORDS),
            [w.version for w in self.approvals.waiting(model)],
            retention.Policy(rules.candidate_days, rules.keep_versions, rules.served_days),
            self.clock(),
        )

    def _put_aside(self, actor: str) -> list[retention.Move]:
        done = []
        for move in self._due():
            try:
                self.registry.move(move.model, move.version, (move.source,), move.target, move.reason)
            except ConflictError:  # a release has begun with it, or it was given a name: the next day looks again
                continue
            done.append(move)
        naming = Naming(self.registry, self.ledger, self.clock)
        for model in self.registry.models():
            naming.settle(model)
            for version in self.registry.versions(model):
                if retention.is_ours(version):  # also one that was moved just before a run broke off
                    self._note(version, actor)
        return done

    def _files(self) -> list[clearing.Clearing]:
        now = self.clock()
        return [
            found
            for model in self.registry.models()
            for found in clearing.plan(self.registry, self.artifacts, model, self._rules(model).files_days, now)
        ]

    def _clear(self, actor: str, reason: str) -> list[clearing.Clearing]:
        done = self._files()
        for found in done:
            why = f"{reason}: retired for {self._rules(found.model).files_days} days"
            now = self.clock().isoformat()
            clearing.carry_out(self.registry, self.ledger, self.artifacts, found, actor=actor, reason=why, now=now)
        return done

    def _clean(self, actor: str, reason: str) -> tuple[cleaning.Cleaning, str]:
        run_id = f"housekeeping-{self.clock().isoformat()}"
        if not self.registry.acquire(STACK, LOCK, run_id, _LOCK_SECONDS):
            return cleaning.Cleaning((), (), {}), "busy"
        try:
            found = cleaning.look(self.registry, self.serving, self.artifacts, self.deployed())
            cleaning.carry_out(self.serving, self.artifacts, found)
        finally:
            self.registry.let_go(STACK, LOCK, run_id)
        if found.functions or found.layers:
            inputs = {
                "functions": list(found.functions)[:200],
                "layers": [a.rsplit(":", 1)[-1] for a in found.layers][:200],
            }
            draft = LedgerDraft(actor, "serving.cleaned", "serving", reason, "deleted", inputs, run_id)
            self.ledger.append(draft)
        return found, "done"

    def _note(self, version: ModelVersion, actor: str) -> None:
        known_as = f"retention/{version.model}/{version.version}/{version.state}/{version.updated_at}"
        subject = f"model/{version.model}/{version.version}"
        self.ledger.append(
            LedgerDraft(actor, f"version.{version.state}", subject, version.reason, version.state, {}, known_as)
        )


def _verdict(intact: bool) -> str:
    return "intact" if intact else "broken"


def _answer(
    status: str,
    ledger: str,
    anchored: bool,
    moves: list[retention.Move],
    files: list[clearing.Clearing],
    found: cleaning.Cleaning,
    folded: Folded,
) -> Answer:
    return {
        "status": status,
        "ledger": ledger,
        "anchored": anchored,
        "moves": [asdict(move) for move in moves],
        "files": [{**asdict(f), "files": list(f.files)} for f in files],
        "functions": list(found.functions),
        "layers": list(found.layers),
        "archives": list(found.archives),
        "captures": folded.to_dict(),
    }
