"""Single values: dates and category levels, and feature specifications."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.features.parse import category_text, format_date, parse_date
from mlops.features.spec import FEATURE_TYPES, Feature

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAIVE = st.datetimes(EPOCH.replace(year=1900, tzinfo=None), EPOCH.replace(year=2200, tzinfo=None))


@given(st.dates())
def test_a_date_is_whole_days_since_1970(day: date) -> None:
    days = parse_date(day.isoformat())
    assert days == day.toordinal() - EPOCH.toordinal()
    assert format_date(days) == day.isoformat()


@given(NAIVE, st.integers(-14 * 60, 14 * 60))
def test_a_moment_is_the_same_in_any_zone(moment: datetime, offset: int) -> None:
    utc = moment.replace(tzinfo=UTC)
    elsewhere = utc.astimezone(timezone(timedelta(minutes=offset)))
    assert parse_date(utc.isoformat()) == parse_date(elsewhere.isoformat()) == parse_date(moment.isoformat())


@given(NAIVE.map(lambda d: d.replace(microsecond=0, tzinfo=UTC)))
def test_format_is_the_inverse_to_the_second(moment: datetime) -> None:
    again = format_date(parse_date(moment.isoformat()))
    assert parse_date(again) == parse_date(moment.isoformat())


@pytest.mark.parametrize(
    "value", ["", "today", "2026", "2026-13-01", "2026-02-30", "01.02.2026", 20260101, None, True, "2" * 41]
)
def test_what_is_no_date(value: object) -> None:
    with pytest.raises(ValueError):
        parse_date(value)


@given(st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text())
def test_levels_are_known_by_their_json_text(value: object) -> None:
    text = category_text(value)
    if isinstance(value, str):
        assert text == value
    elif isinstance(value, float) and value == int(value):
        assert int(text) == value
    else:
        assert json.loads(text) == value


def test_numbers_that_are_equal_are_one_level() -> None:
    assert category_text(1) == category_text(1.0) == "1"
    assert category_text(-0.0) == "0"
    assert category_text(True) == "true"


@pytest.mark.parametrize("value", [None, [], {}, math.nan, math.inf, b"x"])
def test_what_is_no_level(value: object) -> None:
    with pytest.raises(ValueError, match="not a category"):
        category_text(value)


@given(
    st.builds(
        Feature,
        name=st.text(min_size=1),
        type=st.sampled_from(FEATURE_TYPES),
        nullable=st.booleans(),
        minimum=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        maximum=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        categories=st.lists(st.text()).map(tuple),
        on_unknown=st.sampled_from(["other", "reject"]),
        pooled=st.lists(st.text()).map(tuple),
        severity=st.sampled_from(["warn", "quarantine", "reject"]),
        pii=st.sampled_from(["none", "drop", "pseudonymise"]),
        description=st.text(),
    )
)
def test_a_feature_survives_json(feature: Feature) -> None:
    assert Feature.from_dict(json.loads(json.dumps(feature.to_dict()))) == feature
