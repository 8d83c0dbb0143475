"""What a query finds."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import MlopsError
from mlops.registry.entities import ModelVersion
from mlops.registry.search import MAX_QUERY, find, parse, period
from tests.fakes import MemoryRegistry

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
CHAMPION = ModelVersion(
    "credit", "3f9c1f0a2b77", "champion", "2026-10-04T10:00:00.5+00:00", "d1", "c1", {"roc_auc": 0.93, "loss": -1.5},
    parent_version="p1", reason="all gates passed", updated_at="2026-10-31T00:00:00+00:00", aliases=("blessed", "eu"),
    tags={"team": "risk", "cost centre": "a=b"},
)  # fmt: skip
REJECTED = ModelVersion("churn", "b0b0b0b0b0b0", "rejected", "2025-12-31T23:59:59+00:00", "d2", "c2", {"rmse": 4.0})


TIMES = st.integers(946_684_800_000_000, 1_893_456_000_000_000).map(
    lambda microseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)


def found(query: str) -> list[str]:
    registry = MemoryRegistry()
    registry.put_version(CHAMPION)
    registry.put_version(REJECTED)
    return [v.model for v in find(registry, ["churn", "credit"], query, NOW)]


@pytest.mark.parametrize(
    ("query", "models"),
    [
        ("", ["credit", "churn"]),
        ("auc>0.9 state=champion tag.team=risk trained>=2026-10", ["credit"]),
        ("roc_auc > 0.93", []),
        ("roc_auc>=0.93  loss<-1", ["credit"]),
        ("metric.rmse=4", ["churn"]),
        ("auc!=0.5", ["credit", "churn"]),
        ("version=3f9c* alias=blessed alias=eu", ["credit"]),
        ("alias!=blessed", ["churn"]),
        ('tag."cost centre"="a=b"', ["credit"]),
        ("tag.team=*", ["credit"]),
        ("tag.team!=risk", ["churn"]),
        ("data=d2 contract=c2", ["churn"]),
        ("parent=p1", ["credit"]),
        ('reason="all gates*"', ["credit"]),
        ("trained=2026", ["credit"]),
        ("trained<2026", ["churn"]),
        ("trained>2025", ["credit"]),
        ("trained=2026-10-04T10:00:00", ["credit"]),
        ("changed>=2d", ["credit"]),
        ("changed!=2026-10-31", ["churn"]),
        ("model!=credit state=rej*", ["churn"]),
    ],
)
def test_what_is_found(query: str, models: list[str]) -> None:
    assert found(query) == models


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("state=gone", "no state 'gone'"),
        ("state>champion", "takes = and !="),
        ("roc_auk>0.9", "did you mean roc_auc"),
        ("auc>good", "compared with a number"),
        ("trained>yesterday", "no time such as"),
        ("trained=9999", "no time such as"),
        ("just words", "cannot read 'just words'"),
        ("auc>0.9state=champion", "cannot read"),
        ("auc>>0.9", "cannot read"),
        ('reason="open', "cannot read"),
        ("a" * (MAX_QUERY + 1), "may have 500 characters"),
    ],
)
def test_what_cannot_be_asked_says_why(query: str, message: str) -> None:
    with pytest.raises(MlopsError, match=message) as caught:
        found(query)
    assert caught.value.code == "invalid_query"


@given(
    TIMES,
    TIMES,
    st.sampled_from(["%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%dT%H", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]),
)
def test_a_time_is_before_within_or_after_a_period(made: datetime, named: datetime, form: str) -> None:
    version = ModelVersion("m", "v", "candidate", made.isoformat(), "d", "c")
    text = named.strftime(form)
    holds = {op: parse(f"trained{op}{text}", NOW).holds(version) for op in ("<", "<=", "=", ">=", ">", "!=")}
    assert holds["<"] + holds["="] + holds[">"] == 1
    assert holds["<="] is (holds["<"] or holds["="])
    assert holds[">="] is (holds[">"] or holds["="])
    assert holds["!="] is not holds["="]
    assert holds["="] is (made.strftime(form) == text)
    start, end = period(text, NOW)
    assert (end + timedelta(microseconds=1)).strftime(form) != start.strftime(form)


@given(st.text(max_size=60))
def test_any_text_is_a_query_or_is_refused(text: str) -> None:
    with contextlib.suppress(MlopsError):
        parse(text, NOW).holds(CHAMPION)
