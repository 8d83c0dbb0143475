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
    """Check the rows of one upload."""

    model: str
    part_id: str


@dataclass(frozen=True)
class Window:
    """Check traffic; ``model`` None means every model, ``hours`` None the contract's, ``until`` None now."""

    model: str | None = None
    hours: float | None = None
    until: datetime | None = None


def parse(event: Mapping[str, Any]) -> Dataset | Window:
    """The request in an event.

    Raises
    ------
    MlopsError
        naming the field that is missing or wrong, and what it should be.
    """
    task = event.get("task")
    if task == "dataset":
        return Dataset(_text(event, "model"), _text(event, "part_id"))
    if task == "window":
        model = _text(event, "model") if event.get("model") is not None else None
        return Window(model, _hours(event.get("hours")), _until(event.get("until")))
    raise _invalid(f"'task' must be 'dataset' or 'window', not {task!r}")


def _text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value:
        raise _invalid(f"'{name}' must be a text that is not empty")
    return value


def _hours(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _invalid("'hours' must be a number")
    return float(value)


def _until(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise _invalid("'until' must be an ISO 8601 time such as 2026-03-02T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _invalid(message: str) -> MlopsError:
    return MlopsError(f"drift_check: {message}", code="invalid_request")
