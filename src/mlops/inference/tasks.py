"""Tasks that only a direct invocation can ask for: the release asks for them before and while it moves traffic.

``describe``: which versions this function version carries. ``golden``: does a version still give the answers that
were stored with it. ``replay``: score given records by both models and print them as captures, for a release on
thin traffic.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from mlops.errors import fault, hide_traces, where
from mlops.inference.emit import log_line, write
from mlops.inference.errors import ApiError
from mlops.inference.models import Model

if TYPE_CHECKING:
    from mlops.inference.application import Application

#: Request ids of replayed records start with this, so that nobody takes them for live traffic.
REPLAY = "replay-"
#: Answers may differ by this much between processors of different kinds; ``exact`` tells whether they did at all.
TOLERANCE = 1e-6
MAX_MISMATCHES = 10

Result = dict[str, Any]


def run(application: Application, event: Any, context: Any) -> Result:
    """Run the task that ``event["task"]`` names. What cannot be done is a value of ``status``, not an exception.

    Raises
    ------
    Exception
        as :func:`mlops.errors.fault` makes it of anything unexpected; the log has its type and place as well.
    """
    name = event.get("task") if isinstance(event, Mapping) else None
    task = TASKS.get(name) if isinstance(name, str) else None
    if task is None:
        return {"status": "invalid", "message": f"the event needs a task: {', '.join(sorted(TASKS))}"}
    try:
        return task(application, event, context)
    except ApiError as error:
        return {"status": error.code, "message": error.message, "details": error.details}
    except Exception as error:
        write([log_line("ERROR", "fault", context, type=type(error).__name__, place=where(error), task=name)])
        hide_traces()
        raise fault(error) from None


def describe(application: Application, event: Mapping[str, Any], context: Any) -> Result:
    """Versions and routes in force in this function version."""
    models = application.models
    found: dict[str, Any] = {}
    for entry in models.entries.values():
        versions = [v for v in (entry.champion, entry.challenger) if v]
        loaded = {version: models.try_load(entry.name, version) is not None for version in versions}
        reasons = {v: models.failed[(entry.name, v)] for v in versions if not loaded[v]}
        found[entry.name] = {
            "champion": entry.champion,
            "challenger": entry.challenger,
            "loaded": loaded,
            "failed": reasons,
        }
    settings = application.settings
    routes = {n: {"share": r.share, "step": r.step, "release": r.release} for n, r in settings.routes.items()}
    return {
        "status": "ok" if not models.error and not settings.routes_error else "degraded",
        "function_version": getattr(context, "function_version", ""),
        "models": found,
        "routes": routes,
        "set_error": models.error,
        "routes_error": settings.routes_error,
    }


def golden(application: Application, event: Mapping[str, Any], context: Any) -> Result:
    """Compare a version's answers with those stored beside it.

    ``{"model", "version", "tolerance"?}`` gives ``{"status": "ok" | "mismatch" | "missing", "compared", "exact",
    "max_difference", "mismatches": [{"record", "expected", "answered"}], "message"}``. The model file must also be
    the one that its manifest names by SHA-256.
    """
    result: Result = {"compared": 0, "exact": False, "max_difference": None, "mismatches": [], "message": ""}
    name, version = str(event.get("model", "")), str(event.get("version", ""))
    if (name, version) not in application.models.versions():
        return {**result, "status": "missing", "message": "the model set does not hold this version"}
    model = application.models.try_load(name, version)
    if model is None:
        return {**result, "status": "missing", "message": application.models.failed[(name, version)]}
    try:
        with open(os.path.join(model.folder, "golden.json"), "rb") as stream:
            stored = orjson.loads(stream.read())
        records, expected = stored["records"], np.array(stored["expected"], dtype=np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {**result, "status": "missing", "message": f"golden.json cannot be used ({type(error).__name__})"}
    if not _is_the_registered_file(model):
        return {**result, "status": "mismatch", "message": "model.onnx is not the file that its manifest names"}
    return {**result, **compare(model, records, expected, float(event.get("tolerance", TOLERANCE)))}


def compare(model: Model, records: list[Any], expected: Any, tolerance: float) -> Result:
    """Score ``records`` and compare with ``expected`` (float64, (records, classes) or (records, 1))."""
    batch = model.parser.parse(records)
    if batch.problem_count or not records:
        message = batch.problems[0]["message"] if batch.problems else "golden.json holds no records"
        return {"status": "mismatch", "message": message}
    answered = model.run(batch.matrix).astype(np.float64)
    if answered.shape != expected.shape:
        return {"status": "mismatch", "message": f"{answered.shape} answers, {expected.shape} expected"}
    difference = np.abs(answered - expected)
    wrong = ~(difference <= tolerance * np.maximum(1.0, np.abs(expected))).all(axis=1)  # NaN is wrong
    mismatches = [
        {"record": int(i), "expected": expected[i].tolist(), "answered": answered[i].tolist()}
        for i in np.flatnonzero(wrong)[:MAX_MISMATCHES]
    ]
    largest = float(difference.max())
    return {
        "status": "mismatch" if wrong.any() else "ok",
        "compared": len(records),
        "exact": bool((answered == expected.astype(np.float32)).all()),
        "max_difference": largest if np.isfinite(largest) else None,
        "mismatches": mismatches,
        "message": f"{int(wrong.sum())} of {len(records)} answers differ" if wrong.any() else "",
    }


def _is_the_registered_file(model: Model) -> bool:
    from hashlib import sha256  # noqa: PLC0415

    if not model.manifest.onnx_sha256:
        return True
    with open(os.path.join(model.folder, "model.onnx"), "rb") as stream:
        return sha256(stream.read()).hexdigest() == model.manifest.onnx_sha256


def replay(application: Application, event: Mapping[str, Any], context: Any) -> Result:
    """Score records by champion and challenger and print them as captures of the release's step.

    ``{"model", "records"}`` gives ``{"status": "ok" | "no_release" | "invalid_records", "rows", "champion",
    "challenger"}``. Nothing is printed outside a release: replayed records are not traffic.
    """
    name, records = str(event.get("model", "")), event.get("records")
    if type(records) is not list:
        return {"status": "invalid", "message": "'records' must be an array of objects"}
    if name not in application.settings.routes or not application.models.entry(name).challenger:
        return {"status": "no_release", "message": f"the model '{name[:80]}' is not under release here", "rows": 0}
    outcome = application.scorer.score(name, records)
    request_id = REPLAY + str(getattr(context, "aws_request_id", ""))
    write(application.capture.lines(outcome, request_id, always=True))
    sides = {"champion": outcome.champion, "challenger": outcome.challenger}
    return {
        "status": "invalid_records" if outcome.batch.problem_count else "ok",
        "rows": len(outcome.champion.rows),
        "problems": outcome.batch.problems,
        **{
            role: {"version": s.model.version, "us": s.us, "error": s.error, "scores": s.rows} if s else None
            for role, s in sides.items()
        },
    }


TASKS: dict[str, Callable[[Application, Mapping[str, Any], Any], Result]] = {
    "describe": describe,
    "golden": golden,
    "replay": replay,
}
