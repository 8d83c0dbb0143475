"""The register function's work: the end of a pipeline run, kept in the registry and the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlops.errors import MlopsError
from mlops.manifest import Manifest
from mlops.objects import ObjectStore, version_prefix
from mlops.registry.entities import LedgerDraft, ModelVersion, Record, State
from mlops.registry.ports import Ledger, Registry

ACTOR = "function:register"
LOCK = "train"

_MAX_REASON = 1900


@dataclass(frozen=True)
class Register:
    """Registers an evaluated version, and ends a run. ``artifacts`` is the bucket with the versions' folders."""

    registry: Registry
    ledger: Ledger
    artifacts: ObjectStore
    clock: Callable[[], datetime]

    def run(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Do what ``event["task"]`` says: ``register``, ``close`` or ``fail``.

        Raises
        ------
        MlopsError
            ``invalid_task`` for another task or a missing field.
        """
        tasks = {"register": self.register, "close": self.close, "fail": self.fail}
        task = tasks.get(str(event.get("task")))
        if task is None:
            raise MlopsError(f"task must be one of {', '.join(tasks)}", code="invalid_task")
        for name in ("model", "run_id"):
            if not isinstance(event.get(name), str) or not event[name]:
                raise MlopsError(f"task {event['task']}: field '{name}' is missing", code="invalid_task")
        return task(event)

    def register(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Register ``version`` as a candidate, or as rejected with the reasons of ``evaluation``.

        Returns
        -------
        ``{status: registered | rejected | unchanged, model, version, state, reason}``; ``unchanged``: the version
        was registered before and has moved on since.
        """
        model, version, evaluation = event["model"], event["version"], event["evaluation"]
        manifest = Manifest.from_dict(json.loads(self.artifacts.get(version_prefix(model, version) + "manifest.json")))
        accepted = evaluation["status"] in ("accepted", "needs_approval")
        state: State = "candidate" if accepted else "rejected"
        reason = _reason(evaluation)
        now = self.clock().isoformat()
        lineage = manifest.lineage
        new = ModelVersion(
            model=model,
            version=version,
            state=state,
            created_at=manifest.created_at or now,
            dataset_version=str(lineage.get("dataset_version") or ""),
            contract_digest=str(lineage.get("contract_digest") or ""),
            metrics=dict(evaluation.get("metrics") or manifest.metrics),
            parent_version=lineage.get("parent_version"),
            reason=reason,
            updated_at=now,
        )
        if not self.registry.put_version(new):
            known = self.registry.version(model, version)
            if known is None or known.state not in ("candidate", "rejected"):
                return {**_about(known or new), "status": "unchanged"}
            new = known
        inputs = {
            "run_id": event["run_id"],
            "requested_by": event.get("actor"),
            "evaluation": evaluation["status"],
            "champion": evaluation.get("champion"),
            "dataset_version": new.dataset_version,
            "contract_digest": new.contract_digest,
            "onnx_sha256": manifest.onnx_sha256,
            "parent_version": new.parent_version,
        }
        subject = f"model/{model}/{version}"
        self._note(event, "version.registered", subject=subject, reason=new.reason, outcome=new.state, inputs=inputs)
        return {**_about(new), "status": "registered" if new.state == "candidate" else "rejected"}

    def close(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """A run came to its end with ``outcome``; its lock is free. ``{status: "closed", outcome, …}``."""
        outcome = str(event.get("outcome") or "closed")
        return self._end(event, "run.closed", outcome, str(event.get("explanation") or outcome), "closed")

    def fail(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """A run ended by a fault; its lock is free. ``{status: "failed", …}``."""
        return self._end(event, "run.failed", "failed", f"fault: {fault(event.get('error'))}", "failed")

    def _end(self, event: Mapping[str, Any], action: str, outcome: str, reason: str, status: str) -> dict[str, Any]:
        model, run_id = event["model"], event["run_id"]
        version = event.get("version")
        subject = f"model/{model}/{version}" if version else f"model/{model}"
        inputs = {"run_id": run_id, "requested_by": event.get("actor"), "kind": event.get("kind")}
        self._note(event, action, subject=subject, reason=reason, outcome=outcome, inputs=inputs)
        body = {"run_id": run_id, "step": "end", "outcome": outcome, "version": version, "explanation": reason}
        self.registry.put_record(Record(model, "run", f"{run_id}.end", self.clock().isoformat(), body))
        self.registry.let_go(model, LOCK, run_id)
        return {"status": status, "model": model, "version": version, "run_id": run_id, "outcome": outcome}

    def _note(
        self,
        event: Mapping[str, Any],
        action: str,
        *,
        subject: str,
        reason: str,
        outcome: str,
        inputs: Mapping[str, Any],
    ) -> None:
        known_as = f"run/{event['run_id']}/{action}"
        self.ledger.append(LedgerDraft(ACTOR, action, subject, reason[:_MAX_REASON], outcome, inputs, known_as))


def fault(error: Any) -> str:
    """The name of a state machine's error, and the exception's type. Messages and traces stay in the log."""
    if not isinstance(error, Mapping):
        return "unknown"
    name = str(error.get("Error") or "unknown")[:100]
    try:
        kind = json.loads(error.get("Cause") or "{}").get("errorType")
    except (ValueError, TypeError, AttributeError):
        kind = None
    return f"{name} ({str(kind)[:100]})" if kind and kind != name else name


def _reason(evaluation: Mapping[str, Any]) -> str:
    if evaluation.get("reasons"):
        return "; ".join(map(str, evaluation["reasons"]))[:_MAX_REASON]
    failed = [c for c in evaluation.get("checks", ()) if not c["passed"]]
    words = "; ".join(str(c.get("message") or c["name"]) for c in failed)
    return words[:_MAX_REASON] or f"evaluation: {evaluation['status']}"


def _about(version: ModelVersion) -> dict[str, Any]:
    return {"model": version.model, "version": version.version, "state": version.state, "reason": version.reason}
