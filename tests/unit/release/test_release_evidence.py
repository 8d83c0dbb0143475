"""Evidence from capture lines, and reading them once."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.features.spec import Feature
from mlops.manifest import Manifest
from mlops.objects import ObjectInfo
from mlops.release.evidence import Evidence, Judge, median_us, position
from mlops.release.traffic import decode, new_lines, recent_records
from tests.fakes import MemoryObjects

FEATURES = (Feature("width", "number"),)
BINARY = Manifest("m", "a", "classification", FEATURES, "y", ("no", "yes"), "yes", threshold=0.3)
MANY = Manifest("m", "a", "classification", FEATURES, "y", ("x", "y", "z"))
VALUE = Manifest("m", "a", "regression", FEATURES, "y", value_range=(0.0, 100.0))


def line(*pairs: Any, error: str | None = None, champion_error: str | None = None, us: int = 50) -> dict[str, Any]:
    return {
        "rows": [{"champion": a, "challenger": b} for a, b in pairs],
        "champion": {"us": 40, "error": champion_error},
        "challenger": {"us": us, "error": error},
    }


def judge(manifest: Manifest) -> Judge:
    return Judge(manifest, manifest, 0.2)


def test_labels_are_those_that_predict_answers() -> None:
    assert position(BINARY, [0.69, 0.31]) == 1
    assert position(BINARY, [0.71, 0.29]) == 0
    assert position(MANY, [0.2, 0.5, 0.3]) == 1


def test_disagreement_is_of_labels_not_of_probabilities() -> None:
    found = judge(BINARY).evidence([line(([0.6, 0.4], [0.1, 0.9]), ([0.8, 0.2], [0.6, 0.4]))])
    assert (found.requests, found.rows, found.disagreements, found.errors) == (1, 2, 1, 0)


@pytest.mark.parametrize(
    ("given_line", "errors", "late", "codes"),
    [
        (line(([0.9, 0.1], None), error="RuntimeError"), 1, 0, {"RuntimeError": 1}),
        (line(([0.9, 0.1], None), error="budget"), 0, 1, {"budget": 1}),
        (line(([0.9, 0.1], None)), 1, 0, {"not_finite": 1}),
        (line(([0.9, 0.1], [0.9, float("nan")])), 1, 0, {"not_finite": 1}),
        ({**line(([0.9, 0.1], None)), "challenger": None}, 1, 0, {"not_loaded": 1}),
    ],
)
def test_what_the_challenger_did_not_answer(given_line: Any, errors: int, late: int, codes: Any) -> None:
    found = judge(BINARY).evidence([given_line])
    assert (found.requests, found.errors, found.late, dict(found.codes), found.rows) == (1, errors, late, codes, 0)


def test_a_request_that_the_champion_failed_says_nothing() -> None:
    assert judge(BINARY).evidence([line((None, None), error="x", champion_error="x")]) == Evidence()


def test_regression_sums() -> None:
    found = judge(VALUE).evidence([line(([10.0], [12.0]), ([50.0], [109.0]), ([50.0], [111.0]))])
    assert (found.gap, found.size, found.out_of_range) == (2 + 59 + 61, 110.0, 1)
    assert found.excess == pytest.approx(122 - 0.2 * 110)


scores = st.lists(st.floats(0, 1), min_size=2, max_size=2)
lines = st.lists(
    st.builds(
        line,
        st.tuples(scores, st.none() | scores),
        error=st.sampled_from([None, "budget", "KeyError"]),
        us=st.integers(1, 10**6),
    ),
    max_size=12,
)


@given(lines, st.integers(0, 12))
def test_parts_add_up_to_the_whole(items: list[Any], at: int) -> None:
    whole, parts = (
        judge(BINARY).evidence(items),
        judge(BINARY).evidence(items[:at]) + judge(BINARY).evidence(items[at:]),
    )
    assert parts == whole
    assert Evidence.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole


def test_the_median_is_right_to_a_few_percent() -> None:
    found = judge(BINARY).evidence([line(([0.9, 0.1], [0.9, 0.1]), us=us) for us in range(900, 1101)])
    assert median_us(found.challenger_us) == pytest.approx(1000, rel=0.05)
    assert median_us({}) is None


# Reading ----------------------------------------------------------------------------------------


class Timed(MemoryObjects):
    """A bucket whose objects have times."""

    def __init__(self) -> None:
        super().__init__()
        self.times: dict[str, datetime] = {}

    def add(self, key: str, when: datetime, *numbers: int, request: str = "q") -> None:
        body = "".join(
            json.dumps(
                {"kind": "mlops.capture.v1", "request_id": request, "n": n, "rows": [{"features": {"n": n}}]}
            ) + "\n"
            for n in numbers
        )  # fmt: skip
        self.put(key, gzip.compress(body.encode()))
        self.times[key] = when

    def list(self, prefix: str) -> Any:
        for info in super().list(prefix):
            yield ObjectInfo(info.key, info.size, self.times[info.key].isoformat())


START = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)


def read(bucket: Timed, now: datetime, cursor: Any) -> tuple[list[int], Any]:
    found, cursor = new_lines(bucket, "m", START, now, cursor)
    return [n["n"] for n in found], json.loads(json.dumps(cursor))


def test_every_object_is_read_once_also_over_the_hour() -> None:
    bucket, cursor = Timed(), dict[str, Any]()
    bucket.add("captures/m/dt=2026-03-02/hh=12/b", START + timedelta(minutes=1), 1, 2)
    got, cursor = read(bucket, START + timedelta(minutes=2), cursor)
    assert got == [1, 2]
    assert read(bucket, START + timedelta(minutes=3), cursor)[0] == []
    bucket.add("captures/m/dt=2026-03-02/hh=12/a", START + timedelta(minutes=1, seconds=-5), 3)  # shown late
    bucket.add("captures/m/dt=2026-03-02/hh=13/c", START + timedelta(minutes=31), 4)
    got, cursor = read(bucket, START + timedelta(minutes=32), cursor)
    assert got == [3, 4]
    assert read(bucket, START + timedelta(minutes=33), cursor)[0] == []


def test_nothing_yet_is_no_fault() -> None:
    assert new_lines(Timed(), "m", START, START, {}) == ([], {})


def test_a_long_queue_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.release.traffic.MAX_OBJECTS", 3)
    bucket, cursor, got = Timed(), dict[str, Any](), list[int]()
    for i in range(8):
        bucket.add(f"captures/m/dt=2026-03-02/hh=12/{i}", START + timedelta(seconds=i // 2), i)
    for _ in range(4):
        numbers, cursor = read(bucket, START + timedelta(minutes=5), cursor)
        got += numbers
    assert got == list(range(8))


def test_damaged_objects_and_foreign_lines_are_left_out() -> None:
    assert decode(b"not gzip") == []
    assert decode(gzip.compress(b'{"kind": "other"}\n{half\n[]\n')) == []


def test_recent_records_are_the_newest_and_no_replays() -> None:
    bucket = Timed()
    bucket.add("captures/m/dt=2026-03-02/hh=11/x", START - timedelta(hours=1), 1, 2)
    bucket.add("captures/m/dt=2026-03-02/hh=12/y", START, 3, 4)
    bucket.add("captures/m/dt=2026-03-02/hh=12/z", START, 5, request="replay-1")
    assert recent_records(bucket, "m", START + timedelta(minutes=10), 3) == [{"n": 3}, {"n": 4}, {"n": 1}]
    assert len(recent_records(bucket, "m", START + timedelta(minutes=10), 99)) == 4
