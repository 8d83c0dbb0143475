"""What may be asked of drift_check."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlops.errors import MlopsError


@dataclass(frozen=True)
class Dataset:
    """Check the rows of one upload, which may lie in several parts."""

    model: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Window:
    """Check traffic; ``model`` None means every model, ``hours`` None the contract's, ``until`` None now."""

    model: str | None = None
    hours: float | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Plan:
    """Cut a history into windows of ``hours`` (None: the contract's), up to ``until`` (None: now)."""

    model: str
    since: datetime
    until: datetime | None = None
    hours: float | None = None


@dataclass(frozen=True)
class Past:
    """Check one window of a history."""

    model: str
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Timeline:
    """Put the windows of a history together."""

    model: str
    since: datetime
    until: datetime
    hours: float
    actor: str | None = None


@dataclass(frozen=True)
class Failed:
    """A history was not checked to its end."""

    model: str
    run_id: str
    error: str


Request = Dataset | Window | Plan | Past | Timeline | Failed


def parse(event: Mapping[str, Any]) -> Request:
    """The request in an event.

    Raises
    ------
    MlopsError
        naming the field that is missing or wrong, and what it should be.
    """
    task = event.get("task")
    match task:
        case "dataset":
            return Dataset(_text(event, "model"), _parts(event))
        case "window":
            model = _text(event, "model") if event.get("model") is not None else None
            return Window(model, _number(event, "hours"), _time(event, "until"))
        case "plan":
            return Plan(_text(event, "model"), _needed(event, "since"), _time(event, "until"), _number(event, "every"))
        case "past":
            return Past(_text(event, "model"), _needed(event, "since"), _needed(event, "until"))
        case "timeline":
            every = _number(event, "every")
            if every is None:
                raise _invalid("'every' must be a number")
            actor = _text(event, "actor") if event.get("actor") is not None else None
            return Timeline(_text(event, "model"), _needed(event, "since"), _needed(event, "until"), every, actor)
        case "fail":
            return Failed(_text(event, "model"), _text(event, "run_id"), _error(event.get("error")))
    raise _invalid(f"'task' must be 'dataset', 'window', 'plan', 'past', 'timeline' or 'fail', not {task!r}")


def _text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value:
        raise _invalid(f"'{name}' must be a text that is not empty")
    return value


def _parts(event: Mapping[str, Any]) -> tuple[str, ...]:
    """``parts``, or else the one ``part_id``."""
    parts = event.get("parts")
    if not parts:
        return (_text(event, "part_id"),)
    if not isinstance(parts, list) or not all(isinstance(p, str) and p for p in parts):
        raise _invalid("'parts' must be a list of texts")
    return tuple(parts)


def _number(event: Mapping[str, Any], name: str) -> float | None:
    value = event.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _invalid(f"'{name}' must be a number")
    return float(value)


def _needed(event: Mapping[str, Any], name: str) -> datetime:
    moment = _time(event, name)
    if moment is None:
        raise _invalid(f"'{name}' must be a time such as 2026-03-02T12:00:00Z")
    return moment


def _time(event: Mapping[str, Any], name: str) -> datetime | None:
    value = event.get(name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise _invalid(f"'{name}' must be an ISO 8601 time such as 2026-03-02T12:00:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _error(value: Any) -> str:
    """The name of a state machine's error; its cause may hold data and is in the function's log."""
    return str(value.get("Error", "unknown")) if isinstance(value, Mapping) else "unknown"


def _invalid(message: str) -> MlopsError:
    return MlopsError(f"drift_check: {message}", code="invalid_request")
