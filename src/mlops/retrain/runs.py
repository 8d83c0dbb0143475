"""Runs as seen from outside: how far a training is, and telling it to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlops.errors import MlopsError, NotFoundError
from mlops.registry.entities import LedgerDraft, Record
from mlops.registry.ports import Ledger, Registry

LOCK = "train"


@dataclass(frozen=True)
class Runs:
    """The runs of one stack that hold a model's training lock."""

    registry: Registry
    ledger: Ledger
    clock: Callable[[], datetime]

    def find(self, named: str) -> tuple[str, str]:
        """(model, run) of a run in progress, named by its own id or by its model.

        Raises
        ------
        NotFoundError
            when no such run is in progress.
        """
        for model in self.registry.models():
            run = self.registry.holder(model, LOCK)
            if run is not None and named in (model, run):
                return model, run
        raise NotFoundError(f"no run '{named}' is in progress, nor one of a model of that name; see `mlops status`")

    def progress(self, model: str, run: str) -> Mapping[str, Any] | None:
        """The newest word of a run: ``stage``, ``percent``, ``message``, ``best``, ``score``; None before the first."""
        for record in self.registry.records(model, "run", 20):
            if record.body.get("run_id") == run and "percent" in record.body:
                return record.body
        return None

    def stop(self, named: str, *, keep_best: bool, actor: str, reason: str) -> dict[str, Any]:
        """Tell a run to stop: with its best so far, which the gates then judge, or with nothing.

        Returns
        -------
        ``{model, run_id, keep_best, asked}``; ``asked`` is False when it was told before.

        Raises
        ------
        NotFoundError
            when it is not in progress.
        MlopsError
            without a reason.
        """
        if not reason.strip():
            raise MlopsError("stopping a run needs a reason; it is kept in the ledger", code="invalid_request")
        model, run = self.find(named)
        body = {"keep_best": keep_best, "reason": reason, "actor": actor}
        self.ledger.append(
            LedgerDraft(
                actor=actor,
                action="run.stop_asked",
                subject=f"model/{model}",
                reason=reason,
                outcome="keep_best" if keep_best else "abandon",
                inputs={"run_id": run},
                id=f"stop-{run}",
            )
        )
        asked = self.registry.put_record(Record(model, "stop", run, self.clock().isoformat(), body))
        return {"model": model, "run_id": run, "keep_best": keep_best, "asked": asked}


def told(progress: Mapping[str, Any]) -> str:
    """Progress in one line.

    >>> told({"stage": "searching", "percent": 40, "message": "rung 1 of 2", "best": "forest-0", "score": 0.91234})
    'searching 40 %: rung 1 of 2; best forest-0 0.9123'
    """
    text = f"{progress['stage']} {progress['percent']} %: {progress['message']}"
    if progress.get("best") and isinstance(progress.get("score"), int | float):
        text += f"; best {progress['best']} {progress['score']:.4g}"
    return text
