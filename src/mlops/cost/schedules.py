"""How often a schedule fires in a month, from its expression.

Source: EventBridge Scheduler User Guide, "Schedule types": ``rate(value unit)`` and six-field
``cron(minutes hours day-of-month month day-of-week year)``.
"""

from __future__ import annotations

import re
from decimal import Decimal

from mlops.cost.usage import HOURS_PER_MONTH
from mlops.errors import MlopsError

_DAYS_PER_MONTH = HOURS_PER_MONTH / 24
_RATE = re.compile(r"rate\(\s*(\d+)\s+(minute|hour|day)s?\s*\)")
_MINUTES = {"minute": 1, "hour": 60, "day": 1440}
_MONTHS = {
    name: i
    for i, name in enumerate(("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), 1)
}
_WEEKDAYS = {name: i for i, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)}


def per_month(expression: str) -> Decimal:
    """Mean number of firings in a month of 730 hours.

    >>> per_month("rate(1 day)") == per_month("cron(0 6 * * ? *)")
    True

    Raises
    ------
    MlopsError
        for an expression that is neither.
    """
    text = expression.strip()
    rate = _RATE.fullmatch(text)
    if rate and int(rate[1]) > 0:
        return HOURS_PER_MONTH * 60 / (int(rate[1]) * _MINUTES[rate[2]])
    if text.startswith("at("):
        return Decimal(0)  # once, not every month
    if text.startswith("cron(") and text.endswith(")") and len(fields := text[5:-1].split()) == 6:
        minutes, hours, day, month, weekday, _ = fields
        days = _DAYS_PER_MONTH
        if weekday not in ("?", "*"):
            # "6L" and "2#1" are one day a month; a list or range is so many days a week.
            days = Decimal(1) if re.search(r"[L#]", weekday) else days * _size(weekday, 1, 7, text, _WEEKDAYS) / 7
        elif day not in ("?", "*"):
            days = Decimal(1) if re.search(r"[LW]", day) else Decimal(_size(day, 1, 31, text, {}))
        share = Decimal(_size(month, 1, 12, text, _MONTHS)) / 12
        return _size(minutes, 0, 59, text, {}) * _size(hours, 0, 23, text, {}) * days * share
    raise MlopsError(f"schedule '{expression}' is neither rate(…) nor cron(…)", code="invalid_schedule")


def _size(field: str, low: int, high: int, text: str, names: dict[str, int]) -> int:
    """How many values a cron field stands for."""
    chosen: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        try:
            if span in ("*", "?"):
                first, last = low, high
            elif "-" in span:
                first, last = (names.get(v.upper()) or int(v) for v in span.split("-", 1))
            else:
                first = names.get(span.upper()) or int(span)
                last = high if step else first
            chosen.update(range(first, last + 1, int(step) if step else 1))
        except ValueError:
            raise MlopsError(f"schedule '{text}': '{part}' cannot be read", code="invalid_schedule") from None
    chosen = {v for v in chosen if low <= v <= high}
    if not chosen:
        raise MlopsError(f"schedule '{text}': '{field}' stands for no value", code="invalid_schedule")
    return len(chosen)
