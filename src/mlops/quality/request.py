"""What may be asked of quality_check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops.drift.request import Window
from mlops.drift.request import parse as parse_drift
from mlops.errors import MlopsError


def parse(event: Mapping[str, Any]) -> Window:
    """The request in an event: ``{task: "check", model?, hours?, until?}``, as drift_check's window.

    Raises
    ------
    MlopsError
        naming the field that is missing or wrong, and what it should be.
    """
    try:
        found = parse_drift({**event, "task": "window"}) if event.get("task") == "check" else None
    except MlopsError as error:
        raise _invalid(error.message.removeprefix("drift_check: ")) from error
    if not isinstance(found, Window):
        raise _invalid(f"'task' must be 'check', not {event.get('task')!r}")
    return found


def _invalid(message: str) -> MlopsError:
    return MlopsError(f"quality_check: {message}", code="invalid_request")
