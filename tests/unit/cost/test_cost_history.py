"""The forecast to the month's end and days that stand out."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.cost.history import anomalies, forecast
from mlops.cost.money import total

D = Decimal
DAY = date(2026, 11, 16)


def days(values: list[str], last: date) -> dict[date, Decimal]:
    return {last - timedelta(days=len(values) - 1 - i): D(v) for i, v in enumerate(values)}


def test_equal_days_go_on_and_leave_no_doubt() -> None:
    found = forecast(DAY, D("15.50"), D("0.5"), days(["1"] * 15, DAY - timedelta(days=1)))
    assert found.expected == D("30.00")
    assert (found.low, found.high) == (D("30.00"), D("30.00"))
    assert found.days_left == D("14.5")


def test_the_first_hours_of_a_month_say_nothing() -> None:
    found = forecast(date(2026, 11, 1), D("0.1"), D("0.2"), {})
    assert found.expected is None
    assert found.low is None
    assert "less than one day" in found.basis


def test_without_days_on_record_the_month_goes_on_evenly_without_an_interval() -> None:
    found = forecast(date(2026, 11, 11), D(10), D(0), {})
    assert found.expected == 30
    assert found.low is None


def test_one_day_gives_an_expectation_but_no_interval() -> None:
    found = forecast(DAY, D(15), D(0), {DAY - timedelta(days=1): D(1)})
    assert found.expected == 30
    assert found.high is None


@pytest.mark.parametrize(
    ("day", "length"), [(date(2026, 2, 28), 28), (date(2028, 2, 28), 29), (date(2026, 12, 31), 31)]
)
def test_the_days_left_are_those_of_this_month(day: date, length: int) -> None:
    found = forecast(day, D(1), D("0.25"), {day - timedelta(days=1): D(1), day - timedelta(days=2): D(1)})
    assert found.days_left == length - day.day + D("0.75")


def test_two_weeks_teach_the_weekdays() -> None:
    seen = {d: D(0 if d.weekday() >= 5 else 2) for d in (DAY - timedelta(days=i) for i in range(1, 29))}
    # From Monday 16 November to Monday 30: eleven working days, today whole.
    found = forecast(DAY, D(22), D(0), seen)
    assert found.expected == 22 + 11 * 2
    assert "by weekday" in found.basis
    assert found.low == found.high


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng, inside, trials = random.Random(7), 0, 400
    for _ in range(trials):
        series = [D(str(round(max(0.0, rng.gauss(1.0, 0.3)), 6))) for _ in range(30)]
        seen = days([str(v) for v in series[:10]], date(2026, 11, 10))
        found = forecast(date(2026, 11, 11), total(series[:10]), D(0), seen)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= total(series) <= found.high
    assert 0.74 <= inside / trials <= 0.86


@given(st.lists(st.decimals(0, 1000, places=4), min_size=2, max_size=40), st.decimals(0, 1, places=3))
def test_a_forecast_is_never_below_what_is_spent(values: list[Decimal], share: Decimal) -> None:
    seen = days([str(v) for v in values], DAY - timedelta(days=1))
    spent = total(v for d, v in seen.items() if d.month == DAY.month)
    found = forecast(DAY, spent, share, seen)
    assert found.expected is not None
    assert found.low is not None
    assert found.high is not None
    assert spent <= found.low <= found.expected <= found.high


def test_a_refund_makes_a_day_negative_and_the_forecast_goes_on() -> None:
    found = forecast(DAY, D("-3"), D(0), days(["1", "-5", "1"], DAY - timedelta(days=1)))
    assert found.expected == D("-3") + 15 * D("-1")


def test_a_day_unlike_the_same_weekday_before_stands_out() -> None:
    seen = {DAY - timedelta(weeks=w): D(v) for w, v in enumerate(["9", "1.0", "1.1", "0.9", "1.05"])}
    (found,) = anomalies(seen)
    assert found.day == DAY
    assert found.usual == D("1.025")
    assert found.score > 0
    assert found.seen == 4


def test_weekends_are_compared_with_weekends() -> None:
    seen = {d: D(1 if d.weekday() >= 5 else 10) for d in (DAY - timedelta(days=i) for i in range(60))}
    assert anomalies(seen) == []


def test_three_earlier_same_weekdays_are_needed() -> None:
    assert anomalies({DAY: D(9), DAY - timedelta(weeks=1): D(1), DAY - timedelta(weeks=2): D(1)}) == []


def test_a_change_below_a_cent_is_no_anomaly() -> None:
    assert anomalies({DAY - timedelta(weeks=w): D("0.001" if w else "0.009") for w in range(5)}) == []


def test_a_sudden_drop_is_one_too() -> None:
    (found,) = anomalies({DAY - timedelta(weeks=w): D(5 if w else 0) for w in range(5)})
    assert found.score < 0
