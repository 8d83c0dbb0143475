"""Single values as JSON or text carries them, parsed by one set of rules for files, requests and captures."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_date(value: object) -> float:
    """Days since 1970-01-01T00:00Z of an ISO 8601 date or date-time (without offset: UTC).

    Raises
    ------
    ValueError
        when ``value`` is not such a text.
    """
    if not isinstance(value, str) or not 8 <= len(value) <= 40:
        raise ValueError("not an ISO 8601 date")
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH).total_seconds() / 86400.0


def format_date(days: float) -> str:
    """The inverse of :func:`parse_date`, to the second; a whole day gives a plain date."""
    if days == math.floor(days):
        return date.fromordinal(_EPOCH.toordinal() + int(days)).isoformat()
    return datetime.fromtimestamp(round(days * 86400), tz=UTC).isoformat()


def category_text(value: object) -> str:
    """The text by which a category level is known: strings as they are, numbers and booleans as JSON writes
    them, whole floats without a fraction (``1.0`` and ``1`` are one level).

    Raises
    ------
    ValueError
        for anything else.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value == int(value) else repr(value)
    raise ValueError("not a category")
