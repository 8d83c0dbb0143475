"""What may be asked of retrain_launcher, and which method answers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops.errors import MlopsError
from mlops.retrain.launch import Launcher


def answer(launcher: Launcher, event: Mapping[str, Any], *, request_id: str = "") -> dict[str, Any]:
    """Answer one event.

    Parameters
    ----------
    event : ``{task: "decide", model, run_id, dataset_version?, drift?}``, ``{task: "sweep", time?}``,
        ``{task: "launch", model, actor, explanation, request_id?, version?}``, or EventBridge's ``DriftChecked``.
    request_id : of the invocation; names a manual launch that has no id of its own.

    Raises
    ------
    MlopsError
        naming the field that is missing or wrong, and what it should be.
    """
    if event.get("detail-type") == "DriftChecked":
        detail = event.get("detail")
        if not isinstance(detail, Mapping):
            raise _invalid("the event DriftChecked has no detail")
        return launcher.event(detail, str(event.get("id") or ""))
    task = event.get("task")
    if task == "decide":
        drift = event.get("drift")
        if drift is not None and not isinstance(drift, Mapping):
            raise _invalid("'drift' must be what drift_check returned")
        dataset = event.get("dataset_version")
        return launcher.decide(
            _text(event, "model"),
            _text(event, "run_id"),
            drift=drift,
            dataset_version=str(dataset) if dataset else None,
        )
    if task == "sweep":
        return launcher.sweep(str(event.get("time") or ""))
    if task == "launch":
        version = event.get("version")
        identity = str(event.get("request_id") or request_id)
        if not identity:
            raise _invalid("'request_id' is missing; it makes asking twice harmless")
        return launcher.launch(
            _text(event, "model"),
            actor=_text(event, "actor"),
            explanation=_text(event, "explanation"),
            request_id=identity,
            version=str(version) if version else None,
        )
    raise _invalid(f"'task' must be 'decide', 'sweep' or 'launch', not {task!r}")


def _text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _invalid(f"'{name}' must be a text that is not empty")
    return value


def _invalid(message: str) -> MlopsError:
    return MlopsError(f"retrain_launcher: {message}", code="invalid_request")
