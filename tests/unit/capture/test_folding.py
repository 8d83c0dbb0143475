"""Folding small objects, reading columns: every line once, before, during and after, whatever dies or runs twice."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.capture import blocks, columns, folding, reading
from mlops.capture.folding import CLOSED, DAYS, LEAST, fold
from mlops.capture.writing import LogEvent, write
from mlops.objects import ObjectInfo, is_folded
from mlops.release import traffic
from tests.fakes import MemoryObjects
from tests.unit.capture.test_capture import START, events, line

LATER = START + timedelta(hours=6)
ALL = (START - timedelta(days=1), START + timedelta(days=3))
HOUR = "captures/tumour/dt=2026-11-22/hh=10/"


Row = tuple[Any, ...]


def simple(objects: Any, since: datetime = ALL[0], until: datetime = ALL[1]) -> list[Row]:
    rows = [
        (row.id, row.entity, json.dumps(row.features, sort_keys=True), row.champion, row.challenger, found.time,
         found.champion.version, found.challenger and found.challenger.version, found.is_replay)
        for found in reading.read(objects, "tumour", since, until) for row in found.rows
    ]  # fmt: skip
    return sorted(rows, key=repr)


def quick(objects: Any, since: datetime = ALL[0], until: datetime = ALL[1]) -> list[Row]:
    def scores(given: Sequence[float] | None) -> tuple[float, ...] | None:
        return None if given is None else tuple(map(float, given))

    rows = [
        (block.ids[i], block.entities[i], json.dumps(block.features_of(i), sort_keys=True),
         scores(block.champion_scores[i]), scores(block.challenger_scores[i]), block.times[i],
         block.champion, block.challenger, block.is_replay)
        for block in columns.read(objects, "tumour", since, until) for i in range(len(block))
    ]  # fmt: skip
    return sorted(rows, key=repr)


cells = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=3)
odd = st.sampled_from(["", "x", 1, None, True, [], {}, [None], ["1"], 1.5])


@st.composite
def messages(draw: st.DrawFn, number: int = 0) -> str:
    """A capture line, now and then with one thing about it that it should not have."""
    names = st.dictionaries(st.sampled_from("abc"), cells, max_size=3)
    rows: list[dict[str, Any]] = [
        {"id": f"{number}-{i}", "entity": draw(st.sampled_from([None, "e"])), "features": draw(names),
         "answered": "champion", "champion": draw(st.sampled_from([None, [0.5, 0.5], [1]])), "challenger": None}
        for i in range(draw(st.integers(0, 3)))
    ]  # fmt: skip
    time = START + timedelta(minutes=draw(st.integers(-5, 70)))
    second = {"version": "v2", "us": 9, "error": None}
    changes: dict[str, Any] = {"rows": rows, "challenger": draw(st.sampled_from([None, second]))}
    changes["request_id"] = draw(st.sampled_from(["req-", "replay-"])) + str(number)
    value = json.loads(line(number, time=time, **changes))
    if draw(st.integers(0, 3)) == 0:
        target = draw(st.sampled_from([value, value["champion"], *value["rows"]]))
        name = draw(st.sampled_from([*sorted(target), "stranger"]))
        if draw(st.booleans()):
            target[name] = draw(odd)
        else:
            target.pop(name, None)
    return json.dumps(value)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_columns_say_what_the_simple_reader_says_before_and_after_folding(data: st.DataObject) -> None:
    """Lines in any objects, some of them in several: no two different lines name the same request."""
    texts = [data.draw(messages(number)) for number in range(data.draw(st.integers(0, 12)))]
    objects = MemoryObjects()
    for i in range(data.draw(st.integers(0, 8)) if texts else 0):
        part = data.draw(st.lists(st.sampled_from(texts), max_size=5))
        objects.put(f"{HOUR}{i}.jsonl.gz", gzip.compress("\n".join(part).encode()))
    since = START + timedelta(minutes=data.draw(st.integers(-10, 60)))
    windows = [ALL, (since, since + timedelta(minutes=data.draw(st.integers(1, 90))))]
    expected = [simple(objects, *window) for window in windows]
    assert [quick(objects, *window) for window in windows] == expected
    fold(objects, "tumour", LATER, keep_days=90)
    assert [simple(objects, *window) for window in windows] == expected
    assert [quick(objects, *window) for window in windows] == expected


@given(st.lists(messages(), max_size=12))
@settings(deadline=None, max_examples=100)
def test_a_block_gives_back_its_lines(texts: list[str]) -> None:
    lines = [json.loads(text) for text in texts]
    packed, others = blocks.pack(lines)
    again = [found for block in json.loads(json.dumps(packed)) for found in blocks.unpack(block)]

    def written(values: list[Any]) -> list[str]:
        return sorted(json.dumps(v, sort_keys=True) for v in values)

    assert written([*again, *others]) == written(lines)


class _Stop(Exception):
    """Where a run dies."""


class _Stepwise(MemoryObjects):
    """A bucket that others see between any two of its changes. ``before``: called before each change."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Any = lambda: None

    def put(self, key: str, body: bytes, **options: Any) -> bool:
        self.before()
        return super().put(key, body, **options)

    def delete_many(self, keys: Sequence[str]) -> None:
        for key in keys:  # DeleteObjects is many deletions, not one
            self.before()
            super().delete(key)


def ids(objects: Any) -> list[str]:
    assert quick(objects) == simple(objects)
    return [row[0] for row in simple(objects)]


@given(st.lists(st.integers(0, 25), max_size=6), st.integers(0, 30), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=12)
def test_each_line_is_read_once_at_every_moment_and_wherever_runs_die(
    deaths: list[int], late: int, random: Any
) -> None:
    objects = _Stepwise()
    for i in range(12):
        write(objects, events([line(i, time=START + timedelta(minutes=i))]))
    expected = sorted(f"{i:032x}-0" for i in range(12))

    def watched(dies_after: int | None) -> None:
        left = [dies_after]

        def before() -> None:
            assert ids(objects) == expected
            if left[0] is not None:
                if left[0] == 0:
                    raise _Stop
                left[0] -= 1

        objects.before = before
        try:
            fold(objects, "tumour", LATER, keep_days=90)
        except _Stop:
            pass
        finally:
            objects.before = lambda: None

    for dies_after in deaths:
        watched(dies_after)
        # Deliveries come again, and late ones come at all.
        again = random.sample(range(12), 3)
        write(objects, events([line(i, time=START + timedelta(minutes=i)) for i in again]))
    for i in range(12, 12 + late % (LEAST + 2)):
        write(objects, events([line(i, time=START)]))
        expected = sorted([*expected, f"{i:032x}-0"])
    watched(None)
    assert ids(objects) == expected
    small = [i for i in objects.list("captures/") if not is_folded(i.key)]
    assert len(small) < LEAST
    before = dict(objects.versions)
    assert fold(objects, "tumour", LATER, keep_days=90).objects == 0, "a second run has nothing to do"
    assert objects.versions == before


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(0, 10))
@settings(deadline=None, max_examples=20)
def test_several_folders_at_once_lose_nothing(turns: list[int], extra: int) -> None:
    """Three runs, each stopped before every change it makes and let go on in any order."""
    objects = MemoryObjects()
    for i in range(9):
        write(objects, events([line(i)]))
    runs = [_steps(objects) for _ in range(3)]
    for n, turn in enumerate(turns):
        if n == extra:
            write(objects, events([line(9), line(10)]))
        next(runs[turn], None)
        found = ids(objects)
        assert found == sorted(set(found))
        assert set(found) >= {f"{i:032x}-0" for i in range(9)}
    for run in runs:
        list(run)
    assert set(ids(objects)) >= {f"{i:032x}-0" for i in range(9)}


def _steps(objects: MemoryObjects) -> Iterator[None]:
    """A run of folding over and over, as a generator: it waits after looking and before each change. It does what
    ``merge`` does with a bucket, which collects what it wants to change."""
    for _ in range(3):
        seen = MemoryObjects()
        seen.versions = {key: list(bodies) for key, bodies in objects.versions.items()}
        changes: list[tuple[str, Any]] = []
        seen.put = lambda key, body, changes=changes, **_: changes.append((key, body)) or True  # type: ignore[method-assign,assignment]
        seen.delete_many = lambda keys, changes=changes: changes.extend((key, None) for key in keys)  # type: ignore[method-assign]
        fold(seen, "tumour", LATER, keep_days=90)
        for key, body in changes:
            yield
            if body is None:
                objects.delete(key)
            else:
                objects.put(key, body)
        yield


def test_an_object_that_is_folded_away_while_it_is_read_is_found_in_the_other() -> None:
    objects = MemoryObjects()
    for i in range(20):
        write(objects, events([line(i)]))
    original, count = objects.get, [0]

    def get(key: str, *, version_id: str | None = None) -> bytes:
        count[0] += 1
        if count[0] == 5:
            objects.get = original  # type: ignore[method-assign]
            fold(objects, "tumour", LATER, keep_days=90)
        return original(key, version_id=version_id)

    objects.get = get  # type: ignore[method-assign]
    rows = quick(objects)
    assert [row[0] for row in rows] == [f"{i:032x}-0" for i in range(20)]


def test_only_closed_hours_of_the_last_days_are_folded() -> None:
    objects = MemoryObjects()
    old = START - timedelta(days=DAYS + 1)
    for time in (START, START + timedelta(hours=1), old):
        for i in range(LEAST):
            write(objects, events([line(i, time=time)]))
    found = fold(objects, "tumour", START + timedelta(hours=1) + CLOSED, keep_days=90)
    assert (found.hours, found.objects) == (1, LEAST)
    assert [i.key.split("/")[2:4] for i in objects.list("captures/") if is_folded(i.key)] == [
        ["dt=2026-11-22", "hh=10"]
    ]
    assert fold(objects, "price", LATER, keep_days=90).to_dict() == {
        "hours": 0,
        "objects": 0,
        "expired": 0,
        "left": False,
    }


def test_folded_captures_are_kept_no_longer_than_captures_are() -> None:
    objects = MemoryObjects()
    for day in range(10):
        write(objects, events([line(day, time=START + timedelta(days=day))]))
    now = START + timedelta(days=9, hours=6)
    assert fold(objects, "tumour", now, keep_days=5).expired == 4
    assert [row[0][-3] for row in simple(objects, START, now)] == list("456789"), "every one for five whole days"


def test_a_damaged_object_stays_and_the_others_are_folded() -> None:
    objects = MemoryObjects()
    for i in range(LEAST):
        write(objects, events([line(i)]))
    objects.put(f"{HOUR}zz.jsonl.gz", b"\x1f\x8bdamaged")
    objects.put(f"{HOUR}zy.jsonl.gz", b"not json\n")
    objects.put("captures/tumour/dt=2026-11-22/stray", b"a person's")
    assert fold(objects, "tumour", LATER, keep_days=90).objects == LEAST
    left = [i.key.rsplit("/", 1)[-1] for i in objects.list("captures/") if not is_folded(i.key)]
    assert left == ["zy.jsonl.gz", "zz.jsonl.gz", "stray"]
    assert len(simple(objects)) == LEAST


def test_time_that_runs_out_leaves_the_rest_to_the_next_run() -> None:
    objects = MemoryObjects()
    for hour in range(3):
        for i in range(LEAST):
            write(objects, events([line(10 * hour + i, time=START + timedelta(hours=hour))]))
    answers = iter([True, False])
    found = fold(objects, "tumour", LATER, keep_days=90, may_go_on=lambda: next(answers))
    assert (found.hours, found.left) == (1, True)
    assert fold(objects, "tumour", LATER, keep_days=90).hours == 2
    assert len(simple(objects)) == 3 * LEAST


def test_groups_are_bounded_and_a_large_folded_object_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "MAX_BYTES", 100)
    monkeypatch.setattr(folding, "GROWING", 50)
    infos = [ObjectInfo(f"{HOUR}{i}.jsonl.gz", 30, "") for i in range(9)] + [ObjectInfo(f"{HOUR}folded-a", 60, "")]
    found = [[i.key[len(HOUR)] for i in group] for group in folding.groups(infos)]
    assert found == [list("0123"), list("4567")]
    assert list(folding.groups(infos[-1:] + infos[:3])) == []


def test_a_release_and_the_cost_report_read_folded_hours() -> None:
    objects = MemoryObjects()
    for i in range(8):
        write(objects, [LogEvent(str(i), START, line(i, request_id=f"{'replay' if i == 3 else 'req'}-{i}"))])
    before = traffic.recent_records(objects, "tumour", LATER, 20)
    fold(objects, "tumour", LATER, keep_days=90)
    after = traffic.recent_records(objects, "tumour", LATER, 20)
    assert len(after) == 7
    assert sorted(r["radius"] for r in after) == sorted(r["radius"] for r in before)
    assert after[0]["site"] == "ü"


def test_half_a_block_is_damaged() -> None:
    packed, _ = blocks.pack([json.loads(line(1)), json.loads(line(2))])
    objects = MemoryObjects()
    for broken in ({"id": []}, {"time": None}, {"rows": [1, "x"]}, {"absent": [], "champion": 1}):
        objects.put(f"{HOUR}{len(objects.versions)}", json.dumps(packed[0] | broken).encode())
    assert quick(objects) == simple(objects) == []
