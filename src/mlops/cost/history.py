"""Days gone by: a forecast to the end of the month, and days that stand out.

The forecast takes the rest of the month to be like the days seen, weekday by weekday once there are two weeks
of them, and gives a prediction interval for the sum of the remaining days, by Student's t (see Hahn and Meeker,
"Statistical Intervals", chapter 4: interval for the sum of m future observations). Anomalies are judged against
the same weekday by median and median absolute deviation (Iglewicz and Hoaglin's modified z-score, 1993).
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from statistics import median
from typing import Any

from mlops.cost.money import ZERO, plain, total

#: Two-sided 80 % quantiles of Student's t for 1 to 30 degrees of freedom, then the normal's.
# fmt: off
_T80 = (3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372,
        1.363, 1.356, 1.350, 1.345, 1.341, 1.337, 1.333, 1.330, 1.328, 1.325,
        1.323, 1.321, 1.319, 1.318, 1.316, 1.315, 1.314, 1.313, 1.311, 1.310)
# fmt: on
_Z80 = 1.282
LEVEL = 0.8
_TWO_WEEKS = 14
_MAD_TO_SIGMA = Decimal("0.6745")
_OUTLIER = Decimal("3.5")


@dataclass(frozen=True, slots=True)
class Forecast:
    """The cost of a whole month.

    ``spent``: up to now; ``expected``: spent plus the days to come; ``low``, ``high``: 80 % prediction interval,
    None when fewer than two whole days are known. ``basis`` says from what.
    """

    month: str
    spent: Decimal
    expected: Decimal | None
    low: Decimal | None
    high: Decimal | None
    days_seen: int
    days_left: Decimal
    basis: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "month": self.month,
            "spent_usd": plain(self.spent),
            "expected_usd": plain(self.expected),
            "low_usd": plain(self.low),
            "high_usd": plain(self.high),
            "level": LEVEL,
            "days_seen": self.days_seen,
            "days_left": plain(self.days_left),
            "basis": self.basis,
        }


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A day that differs from the same weekday before it. ``score``: modified z-score; above zero is dearer."""

    day: date
    usd: Decimal
    usual: Decimal
    score: Decimal
    seen: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "day": self.day.isoformat(),
            "usd": plain(self.usd),
            "usual_usd": plain(self.usual),
            "score": plain(self.score.quantize(Decimal("0.01"))),
            "same_weekdays_seen": self.seen,
        }


def forecast(today: date, spent: Decimal, day_share: Decimal, days: Mapping[date, Decimal]) -> Forecast:
    """Forecast the month of ``today``.

    Parameters
    ----------
    spent : since the first of the month, today's part included, USD.
    day_share : the part of today that has passed, 0 to 1.
    days : cost of whole days before today, USD; days of earlier months count as experience too.
    """
    length = calendar.monthrange(today.year, today.month)[1]
    seen = {d: usd for d, usd in days.items() if today - timedelta(days=56) <= d < today}
    ahead = [today + timedelta(days=i) for i in range(1, length - today.day + 1)]
    left = Decimal(len(ahead)) + (1 - day_share)
    month = today.strftime("%Y-%m")
    if not seen:
        passed = Decimal(today.day - 1) + day_share
        if passed < 1:
            return Forecast(month, spent, None, None, None, 0, left, "less than one day is known")
        return Forecast(
            month, spent, spent + spent / passed * left, None, None, 0, left,
            "the month so far, evenly; no whole days on record, so no interval",
        )  # fmt: skip
    values = list(seen.values())
    mean = total(values) / len(values)
    by_weekday = _weekday_means(seen, mean) if len(values) >= _TWO_WEEKS else {}
    expected = spent + total(by_weekday.get(d.weekday(), mean) for d in ahead)
    expected += by_weekday.get(today.weekday(), mean) * (1 - day_share)
    basis = f"{len(values)} whole days" + (", by weekday" if by_weekday else "")
    if len(values) < 2:
        return Forecast(month, spent, expected, None, None, 1, left, basis + "; two are needed for an interval")
    residuals = [usd - by_weekday.get(d.weekday(), mean) for d, usd in seen.items()]
    freedom = max(1, len(values) - max(1, len(by_weekday)))
    variance = total(r * r for r in residuals) / freedom
    spread = (variance * (left + left * left / len(values))).sqrt() * Decimal(str(_t80(freedom)))
    return Forecast(month, spent, expected, max(spent, expected - spread), expected + spread, len(values), left, basis)


def anomalies(days: Mapping[date, Decimal], last: int = 7) -> list[Anomaly]:
    """Among the ``last`` days those that stand out against the same weekday of the eight weeks before.

    At least three earlier same weekdays are needed. Where those do not differ at all, any change of more than
    10 % and a cent is one.
    """
    found = []
    for day in sorted(days)[-last:]:
        before = [days[d] for d in (day - timedelta(weeks=w) for w in range(1, 9)) if d in days]
        if len(before) < 3:
            continue
        usual = median(before)
        deviation = median(abs(v - usual) for v in before)
        change = days[day] - usual
        if abs(change) < Decimal("0.01"):
            continue
        if deviation == 0:
            if abs(change) > abs(usual) / 10:
                found.append(Anomaly(day, days[day], usual, Decimal(99).copy_sign(change), len(before)))
        elif abs(score := _MAD_TO_SIGMA * change / deviation) > _OUTLIER:
            found.append(Anomaly(day, days[day], usual, min(score, Decimal(99)), len(before)))
    return found


def _weekday_means(days: Mapping[date, Decimal], mean: Decimal) -> dict[int, Decimal]:
    groups: dict[int, list[Decimal]] = {}
    for day, usd in days.items():
        groups.setdefault(day.weekday(), []).append(usd)
    return {weekday: total(values) / len(values) if values else mean for weekday, values in groups.items()}


def _t80(freedom: int) -> float:
    return _T80[freedom - 1] if freedom <= len(_T80) else _Z80


def month_to_date(days: Mapping[date, Decimal], today: date) -> Decimal:
    """The sum of this month's whole days before ``today``."""
    return sum((usd for d, usd in days.items() if d.replace(day=1) == today.replace(day=1) and d < today), ZERO)
