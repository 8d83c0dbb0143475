"""What may be asked of retrain_launcher, and which method answers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops.errors import MlopsError
from mlops.retrain.launch import Launcher

#: SageMaker's event about a training job.
JOB_CHANGED = "SageMaker Training Job State Change"


def answer(launcher: Launcher, event: Mapping[str, Any], *, request_id: str = "") -> dict[str, Any]:
    """Answer one event.

    Parameters
    ----------
    event : ``{task: "decide", model, run_id, dataset_version?, drift?}``, ``{task: "sweep", time?}``,
        ``{task: "launch", model, actor, explanation, request_id?, version?}``, ``{task: "explain", model}``,
        ``{task: "submit", model, run_id, token, dataset_version?}``, or one of EventBridge's ``DriftChecked``,
        ``QualityChecked`` and ``SageMaker Training Job State Change``.
    request_id : of the invocation; names a manual launch that has no id of its own.

    Raises
    ------
    MlopsError
        naming the field that is missing or wrong, and what it should be.
    """
    kind = event.get("detail-type")
    if kind in ("DriftChecked", "QualityChecked", JOB_CHANGED):
        return _heard(launcher, str(kind), event)
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
    if task in ("explain", "submit"):
        return _more(launcher, str(task), event)
    raise _invalid(f"'task' must be 'decide', 'submit', 'sweep', 'launch' or 'explain', not {task!r}")


def _heard(launcher: Launcher, kind: str, event: Mapping[str, Any]) -> dict[str, Any]:
    detail = event.get("detail")
    if not isinstance(detail, Mapping):
        raise _invalid(f"the event {kind} has no detail")
    if kind == JOB_CHANGED:
        return launcher.job_event(detail)
    told = launcher.event if kind == "DriftChecked" else launcher.quality_event
    return told(detail, str(event.get("id") or ""))


def _more(launcher: Launcher, task: str, event: Mapping[str, Any]) -> dict[str, Any]:
    model = _text(event, "model")
    if task == "explain":
        return launcher.explain(model)
    dataset = event.get("dataset_version")
    return launcher.submit(model, _text(event, "run_id"), _text(event, "token"), str(dataset) if dataset else None)


def _text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _invalid(f"'{name}' must be a text that is not empty")
    return value


def _invalid(message: str) -> MlopsError:
    return MlopsError(f"retrain_launcher: {message}", code="invalid_request")
