"""What the function ``score`` is asked to do, by the state machine alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops.scoring.chunks import Chunks
from mlops.scoring.entities import Run, SourceObject
from mlops.scoring.run import Runs


@dataclass(frozen=True)
class Scoring:
    """The two services of the function ``score``."""

    runs: Runs
    chunks: Chunks

    def run(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Do the task that the event names; an unknown one is answered, not raised."""
        task = _TASKS.get(str(event.get("task")))
        if task is None:
            return {"status": "invalid", "explanation": f"task must be one of {', '.join(sorted(_TASKS))}"}
        return task(self, event)

    def _plan(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return self.runs.plan(event["request"])

    def _fail(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return self.runs.fail(event["request"], event.get("error") or {})

    def _finish(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return self.runs.finish(Run.from_dict(event["run"]))

    def _chunk(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return self.chunks.score(*_what(event), int(event["chunk"]))

    def _close(self, event: Mapping[str, Any]) -> dict[str, Any]:
        run, source = _what(event)
        counts = {name: int(event[name]) for name in ("chunks", "expected", "rows", "errors")}
        self.chunks.close(run, source, **counts)
        return {"status": "scored"}

    def _object_failed(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return self.runs.object_failed(*_what(event), event.get("error") or {})


def _what(event: Mapping[str, Any]) -> tuple[Run, SourceObject]:
    return Run.from_dict(event["run"]), SourceObject(**event["object"])


_TASKS = {
    "plan": Scoring._plan,
    "chunk": Scoring._chunk,
    "close": Scoring._close,
    "object_failed": Scoring._object_failed,
    "finish": Scoring._finish,
    "fail": Scoring._fail,
}
