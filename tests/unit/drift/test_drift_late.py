"""Captured rows that come late are in the next window, once."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.capture import folding
from mlops.capture.folding import fold
from mlops.drift import late
from mlops.objects import capture_prefix
from tests.fakes import MemoryObjects
from tests.unit.drift.test_drift_check import MODEL, World

START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(hours=24)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def put(objects: MemoryObjects, name: str, rows: list[tuple[str, datetime]]) -> None:
    """One delivery of lines, as the writer stores it: an object for every hour."""
    by_hour: dict[str, list[str]] = {}
    for identity, time in rows:
        line = {"kind": "mlops.capture.v1", "model": MODEL, "time": time.isoformat(), "request_id": identity,
                "rows": [{"id": identity, "features": {}, "answered": "champion"}],
                "champion": {"version": "v", "us": 1}}  # fmt: skip
        prefix = capture_prefix(MODEL, time.strftime("%Y-%m-%d"), time.strftime("%H"))
        by_hour.setdefault(prefix, []).append(json.dumps(line))
    for prefix, lines in by_hour.items():
        objects.put(f"{prefix}{name}.jsonl", "\n".join(lines).encode())


def taken(objects: MemoryObjects, since: datetime, until: datetime, before: late.Reading | None = None):
    captured = late.Captured(objects, MODEL, since, until, before)
    return [identity for block in captured for identity in block.ids], captured


gaps = st.sampled_from([0.0, 0.4, 5.0])
#: Around the ends of the windows, most of them.
moments = st.one_of(
    st.floats(0, 100),
    st.builds(lambda n, x: 24 * n + x, st.integers(1, 3), st.sampled_from([-0.1, 0.1, 0.45, 0.6, 5.2, 5.7])),
)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(moments, st.sampled_from([0.0, 0.2, 1.0, 6.0]), st.lists(st.floats(0, 9), max_size=2)), max_size=8
    ),
    between=st.tuples(gaps, gaps, gaps),
    lag=st.sampled_from([0.0, 0.5]),
    folded=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_every_row_that_is_at_most_six_hours_late_counts_once(rows, between, lag, folded):
    """Checks of a day each, by a schedule that leaves gaps, run a while after their windows end; rows that arrive up to
    six hours after they were captured, and some of them again, up to nine hours later, together with others."""
    known = [(f"r{i}", at(moment)) for i, (moment, _, _) in enumerate(rows)]
    deliveries = []
    for i, (moment, delay, again) in enumerate(rows):
        deliveries.append((moment + delay, f"m{i}", [known[i]]))
        # Again with what is captured in the same hour, in an object whose key comes before or after the first one's.
        mates = [row for j, row in enumerate(known) if abs(rows[j][0] - moment) < 0.5 and rows[j][1] <= delay]
        deliveries += [(moment + delay + more, f"{'az'[k]}{i}", mates) for k, more in enumerate(again)]
    objects, counted, end, before = MemoryObjects(), Counter[str](), 0.0, None
    for gap, is_folded in zip((0.0, *between), folded, strict=True):
        since, end = end + gap, end + gap + 24
        for arrives, name, lines in deliveries:
            if arrives <= end + lag:
                put(objects, name, lines)
        if is_folded:
            fold(objects, MODEL, at(end + lag), keep_days=90)
        ids, captured = taken(objects, at(since), at(end), before)
        counted.update(ids)
        before = late.Reading.from_dict(json.loads(json.dumps(captured.reading().to_dict())))
    arrived = {
        identity
        for arrives, _, lines in deliveries
        for identity, time in lines
        if arrives <= end + lag and time < at(end)
    }
    assert counted == Counter(arrived)


def test_hours_folded_between_two_checks_count_no_row_twice():
    objects = MemoryObjects()
    for i in range(folding.LEAST):
        put(objects, f"on-time-{i}", [(f"r{i}", at(22.5))])
    ids, first = taken(objects, at(0), at(24))
    assert len(ids) == folding.LEAST
    put(objects, "late", [("r-late", at(22.6)), ("r0", at(22.5))])
    assert fold(objects, MODEL, at(40), keep_days=90).objects == folding.LEAST + 1
    ids, second = taken(objects, at(24), at(48), first.reading())
    assert (ids, second.late) == (["r-late"], 1)


def test_rows_between_two_windows_count_in_the_second_also_from_objects_that_the_first_read():
    objects = MemoryObjects()
    put(objects, "both", [("inside", at(24.3)), ("between", at(24.6))])
    ids, first = taken(objects, at(0.4), at(24.4))
    assert ids == ["inside"]
    ids, second = taken(objects, at(24.7), at(48.7), first.reading())
    assert (ids, second.late) == (["between"], 1)


def test_only_hours_with_something_new_are_read_again():
    class Counting(MemoryObjects):
        reads = 0

        def get(self, key: str, *, version_id: str | None = None) -> bytes:
            self.reads += 1
            return super().get(key, version_id=version_id)

    objects = Counting()
    for hour in range(24):
        put(objects, "on-time", [(f"r{hour}", at(hour + 0.5))])
    _, first = taken(objects, at(0), at(24))
    put(objects, "late", [("r-late", at(22.5))])
    put(objects, "too-late", [("r-too-late", at(10.5))])
    objects.reads = 0
    ids, second = taken(objects, at(24), at(48), first.reading())
    assert (ids, second.late, objects.reads) == (["r-late"], 1, 2)  # hour 22 as a whole, and no other


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ([late.stamp(at(0), at(24)) + "-v1", late.stamp(at(-24), at(0)) + "-v1"], 0),
        ([late.stamp(at(1), at(23)) + "-v1", late.stamp(at(0), at(24.5)) + "-old"], 1),
        ([late.stamp(at(-12), at(12)) + "-v1"], None),  # twelve hours between them
        ([late.stamp(at(24), at(25)) + "-v1"], None),  # begins where this one does
        (["part-2026-v1", "window-x", late.stamp(at(0), at(24))], None),
    ],
)
def test_a_window_follows_the_one_that_ended_where_it_begins(ids, found):
    expected = None if found is None else ids[found]
    assert late.predecessor(ids, at(24), at(48)) == expected


def test_rows_that_came_late_are_in_the_next_check_and_its_notes():
    world = World()
    world.capture(200, hours_ago=3, seed=2)
    world.check.window(MODEL)
    world.capture(50, hours_ago=1, seed=3)  # written an hour ago, stored after the check
    world.clock.forward(hours=24)
    world.capture(200, hours_ago=5, seed=4)
    outcome = world.check.window(MODEL)
    assert outcome.rows == 250
    document = world.data.json(outcome.report_key.replace(".html", ".json"))
    assert "50 rows came too late for the window before and are counted in this one." in document["notes"]
    world.clock.forward(hours=24)
    assert world.check.window(MODEL).rows == 0
    past = world.check.past(MODEL, world.clock() - 3 * DAY, world.clock() - 2 * DAY)  # a history reads all there is
    assert world.data.json(past["key"])["rows"] == 250
