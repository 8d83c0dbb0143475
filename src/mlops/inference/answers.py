"""Scores as answers: the records of ``POST /predict``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlops.inference.errors import FIELD_ERRORS, ApiError
from mlops.inference.models import Model
from mlops.inference.scoring import Outcome, Row


def label_index(model: Model, row: Sequence[float]) -> int:
    """Position of the class that is answered: by the threshold for two classes, else the most probable one."""
    manifest = model.manifest
    if manifest.positive is not None and len(row) == 2:
        positive = manifest.classes.index(manifest.positive)
        return positive if row[positive] >= manifest.threshold else 1 - positive
    return max(range(len(row)), key=row.__getitem__)


def answered_rows(outcome: Outcome) -> list[tuple[Model, Row]]:
    """Per scored record: the version that answers and its scores.

    A challenger without an answer is replaced by the champion, unless it was asked for by name.
    """
    champion = outcome.champion
    challenger = outcome.challenger
    if outcome.answered is None or challenger is None:
        return [(champion.model, row) for row in champion.rows]
    return [
        (challenger.model, second) if role == "challenger" else (champion.model, first)
        for role, first, second in zip(outcome.answered, champion.rows, challenger.rows, strict=True)
    ]


def require_valid(outcome: Outcome) -> None:
    """Refuse a request of which a record is wrong.

    Raises
    ------
    ApiError
        ``invalid_records``.
    """
    batch = outcome.batch
    if not batch.problem_count:
        return
    wrong = len(outcome.records) - len(batch.matrix)
    first = batch.problems[0]["message"]
    message = f"{wrong} of {len(outcome.records)} records do not match the contract of '{outcome.entry.name}': {first}"
    if batch.problem_count > 1:
        message += f" (and {batch.problem_count - 1} more)"
    raise ApiError("invalid_records", message, batch.problems)


def prediction(model: Model, row: Sequence[float], *, interval: bool = False) -> dict[str, Any]:
    """``{"label", "probabilities"}`` or ``{"value"}``; with ``interval`` the latter has ``{"interval": {"low", "high",
    "coverage"}}``, null for a version that has none."""
    manifest = model.manifest
    if manifest.task == "classification":
        label = manifest.classes[label_index(model, row)]
        return {"label": label, "probabilities": dict(zip(manifest.classes, row, strict=True))}
    if interval:
        return {"value": row[0], "interval": _interval(model, row[0])}
    return {"value": row[0]}


def _interval(model: Model, value: float) -> dict[str, float] | None:
    known = model.manifest.interval
    if known is None:
        return None
    half = known.half_width(value)
    return {"low": value - half, "high": value + half, "coverage": known.coverage}


def records_answer(outcome: Outcome, *, partial: bool = False, interval: bool = False) -> dict[str, Any]:
    """The body of the answer to ``POST /predict``.

    Every record has its prediction at its own position. With ``partial`` a wrong record has
    ``{"id", "error": {"code", "message", "details"}}`` there and the others are answered. ``interval``: values come
    with their prediction intervals.

    Raises
    ------
    ApiError
        ``invalid_records`` or ``model_failed``, without ``partial``.
    """
    if not partial:
        require_valid(outcome)
    prefix = outcome.inference_id
    versions = outcome.versions()
    predictions: list[dict[str, Any] | None] = [None] * len(outcome.records)
    for index, (model, row) in zip(outcome.positions(), answered_rows(outcome), strict=True):
        if row is None:
            predictions[index] = {"id": f"{prefix}-{index}", "error": _failed(outcome, partial)}
        else:
            answer = {"id": f"{prefix}-{index}", **prediction(model, row, interval=interval)}
            if model.version != versions[0]:
                answer["version"] = model.version
            predictions[index] = answer
    if partial and outcome.batch.problem_count:
        _add_problems(outcome, predictions)
    answer = {"model": outcome.entry.name, "version": versions[0], "inference_id": prefix, "predictions": predictions}
    if outcome.batch.warnings:
        answer["warnings"] = outcome.batch.warnings
    return answer


def _failed(outcome: Outcome, partial: bool) -> dict[str, Any]:
    if not partial:
        raise ApiError("model_failed", f"the model '{outcome.entry.name}' gave no usable answer for this input")
    return {"code": "model_failed", "message": FIELD_ERRORS["model_failed"], "details": []}


def _add_problems(outcome: Outcome, predictions: list[dict[str, Any] | None]) -> None:
    by_record: dict[int, list[dict[str, Any]]] = {}
    for problem in outcome.batch.problems:
        by_record.setdefault(problem["record"], []).append(problem)
    for index, answer in enumerate(predictions):
        if answer is None:
            details = by_record.get(index, [])
            message = details[0]["message"] if details else "the record does not match the model's contract"
            error = {"code": "invalid_records", "message": message, "details": details}
            predictions[index] = {"id": f"{outcome.inference_id}-{index}", "error": error}
