"""Captures: stored once however often they are delivered, read back as typed lines."""

from __future__ import annotations

import base64
import gzip
import json
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.capture_writer import app
from mlops.capture.fetching import AT_ONCE
from mlops.capture.reading import CaptureLine, parse, read
from mlops.capture.writing import BatchError, LogEvent, decode, write
from mlops.errors import NotFoundError
from tests.fakes import MemoryObjects

START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def line(i: int, model: str = "tumour", time: datetime = START, **changes: Any) -> str:
    row = {
        "id": f"{i:032x}-0",
        "entity": None,
        "features": {"radius": i / 7, "site": "ü"},
        "answered": "champion",
        "champion": [0.9, 0.1],
        "challenger": None,
    }
    body = {
        "kind": "mlops.capture.v1",
        "model": model,
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "request_id": f"req-{i}",
        "step": None,
        "release": None,
        "rows": [row],
        "champion": {"version": "v1", "us": 41, "error": None},
        "challenger": None,
    }
    return json.dumps({**body, **changes}, ensure_ascii=False)


def events(messages: list[str]) -> list[LogEvent]:
    return [LogEvent(f"id-{hash(m)}-{i}", START, m) for i, m in enumerate(messages)]


def delivery(messages: list[str], kind: str = "DATA_MESSAGE") -> dict[str, Any]:
    data = {
        "messageType": kind,
        "logEvents": [{"id": f"{i:056d}", "timestamp": 1795341600000, "message": m} for i, m in enumerate(messages)],
    }
    return {"awslogs": {"data": base64.b64encode(gzip.compress(json.dumps(data).encode())).decode()}}


def everything(objects: MemoryObjects, model: str) -> list[CaptureLine]:
    return list(read(objects, model, START - timedelta(days=1), START + timedelta(days=3)))


def test_lines_come_back_as_they_were_printed() -> None:
    objects = MemoryObjects()
    release = {"step": "canary-1", "release": "r", "challenger": {"version": "v2", "us": 9, "error": "budget"}}
    write(objects, events([line(1), line(2, **release)]))
    first, second = everything(objects, "tumour")
    assert first == CaptureLine.from_dict(json.loads(line(1)))
    assert first.rows[0].features == {"radius": 1 / 7, "site": "ü"}
    assert (second.step, second.release) == ("canary-1", "r")
    assert second.challenger is not None
    assert second.challenger.error == "budget"
    assert not first.is_replay
    assert CaptureLine.from_dict(json.loads(line(3, request_id="replay-1"))).is_replay


def test_a_second_delivery_changes_nothing() -> None:
    objects = MemoryObjects()
    batch = delivery([line(i) for i in range(5)])
    first = write(objects, decode(batch))
    before = {key: bodies[-1] for key, bodies in objects.versions.items()}
    assert write(objects, decode(batch)) == first
    assert {key: bodies[-1] for key, bodies in objects.versions.items()} == before
    assert len(everything(objects, "tumour")) == 5


def test_several_models_and_hours_share_a_batch() -> None:
    objects = MemoryObjects()
    later = START + timedelta(hours=14, minutes=1)
    written = write(objects, events([line(1), line(2, "price"), line(3, time=later), line(4)]))
    assert written.lines == 4
    prefixes = [key.rsplit("/", 1)[0] for key in written.keys]
    assert prefixes == [
        "captures/price/dt=2026-11-22/hh=10",
        "captures/tumour/dt=2026-11-22/hh=10",
        "captures/tumour/dt=2026-11-23/hh=00",
    ]
    assert [x.request_id for x in everything(objects, "tumour")] == ["req-1", "req-4", "req-3"]


@pytest.mark.parametrize(
    "message",
    [
        '{"kind":"mlops.capture.v1"',
        '{"kind":"mlops.capture.v1"}',
        '"mlops.capture.v1"',
        line(1, model="../../other"),
        line(1, model=""),
        line(1, model="_malformed"),
        line(1, rows="none"),
        line(1).replace("Z", ""),
        line(1, time=START).replace("2026-11-22T", "2026-13-22T"),
        "[" * 5000 + "mlops.capture.v1",
    ],
)
def test_malformed_lines_are_counted_and_put_aside(message: str) -> None:
    objects = MemoryObjects()
    written = write(objects, events([line(1), message]))
    assert (written.lines, written.malformed) == (1, 1)
    (aside,) = (key for key in written.keys if "_malformed" in key)
    assert aside.startswith("captures/_malformed/dt=2026-11-22/hh=10/")
    assert gzip.decompress(objects.get(aside)).decode().strip() == message.strip()
    assert len(everything(objects, "tumour")) == 1


def test_other_log_lines_are_ignored() -> None:
    objects = MemoryObjects()
    assert write(objects, events(["START RequestId: 1", "REPORT"])).ignored == 2
    assert objects.versions == {}


def test_control_messages_hold_nothing() -> None:
    assert decode(delivery(["CWL CONTROL MESSAGE"], kind="CONTROL_MESSAGE")) == []


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"awslogs": {}},
        {"awslogs": {"data": "***"}},
        {"awslogs": {"data": base64.b64encode(b"plain").decode()}},
        {"awslogs": {"data": base64.b64encode(gzip.compress(b"[]")).decode()}},
        {"awslogs": None},
    ],
)
def test_an_event_that_is_no_delivery_is_an_error(event: dict[str, Any]) -> None:
    with pytest.raises(BatchError):
        decode(event)


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.capture.writing.MAX_BYTES", 1000)
    with pytest.raises(BatchError, match="inflates"):
        decode(delivery(["x" * 100_000]))


def test_the_same_line_in_two_batches_is_read_once() -> None:
    objects = MemoryObjects()
    write(objects, events([line(1), line(2)]))
    write(objects, events([line(2), line(3)]))
    assert sorted(x.request_id for x in everything(objects, "tumour")) == ["req-1", "req-2", "req-3"]


def test_the_parts_of_one_large_request_are_all_read() -> None:
    objects = MemoryObjects()
    second = json.loads(line(1))
    second["rows"][0]["id"] = f"{1:032x}-900"
    write(objects, events([line(1), json.dumps(second)]))
    assert len(everything(objects, "tumour")) == 2


class _Slow(MemoryObjects):
    """Gives objects when all that can be asked for at once are asked for; counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.waiting, self.most = threading.Lock(), 0, 0

    def get(self, key: str, *, version_id: str | None = None) -> bytes:
        with self.lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        time.sleep(0.002)
        with self.lock:
            self.waiting -= 1
        return super().get(key)


def test_many_objects_are_fetched_at_once_and_read_in_their_order() -> None:
    objects = _Slow()
    for i in range(150):
        write(objects, events([line(i)]))
    order = [parse(objects.versions[key][-1]) for key in sorted(objects.versions)]
    assert [x.request_id for x in everything(objects, "tumour")] == [x.request_id for lines in order for x in lines]
    assert 1 < objects.most <= AT_ONCE


def test_a_fault_while_reading_is_raised_and_a_reader_may_stop() -> None:
    objects = MemoryObjects()
    for i in range(5):
        write(objects, events([line(i)]))
    assert next(iter(read(objects, "tumour", START, START + timedelta(hours=1)))).model == "tumour"
    listed = list(objects.list("captures/"))
    gone = replace(listed[0], key=listed[0].key.replace("hh=10/", "hh=10/gone-"))
    objects.list = lambda prefix: iter([*listed, gone])  # type: ignore[method-assign]
    with pytest.raises(NotFoundError):
        list(read(objects, "tumour", START, START + timedelta(hours=1)))


def test_the_window_is_half_open_and_needs_a_zone() -> None:
    objects = MemoryObjects()
    times = [START, START + timedelta(minutes=59, seconds=59), START + timedelta(hours=1)]
    write(objects, events([line(i, time=t) for i, t in enumerate(times)]))
    found = read(objects, "tumour", START, START + timedelta(hours=1))
    assert [x.request_id for x in found] == ["req-0", "req-1"]
    with pytest.raises(ValueError, match="time zone"):
        next(read(objects, "tumour", START.replace(tzinfo=None), START))


def test_damaged_objects_and_lines_are_skipped() -> None:
    objects = MemoryObjects()
    write(objects, events([line(1)]))
    objects.put("captures/tumour/dt=2026-11-22/hh=10/zz.jsonl.gz", b"\x1f\x8bdamaged")
    objects.put("captures/tumour/dt=2026-11-22/hh=10/zy.jsonl.gz", b'{"kind": 1}\n[]\nnot json\n')
    assert len(everything(objects, "tumour")) == 1


@given(st.lists(st.text(max_size=20), max_size=5))
@settings(deadline=None)
def test_parse_never_raises(texts: list[str]) -> None:
    assert list(parse("\n".join(texts).encode("utf-8", "surrogatepass"))) == []


@given(st.permutations(range(6)), st.integers(1, 5))
@settings(deadline=None, max_examples=50)
def test_any_split_into_batches_gives_the_same_lines(order: list[int], cut: int) -> None:
    objects = MemoryObjects()
    messages = [line(i, time=START + timedelta(minutes=17 * i)) for i in order]
    write(objects, events(messages[:cut]))
    write(objects, events(messages[cut:]))
    assert sorted(x.request_id for x in everything(objects, "tumour")) == [f"req-{i}" for i in range(6)]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=60)
def test_any_deliveries_in_any_order_with_faults_between_count_each_line_once(
    plan: list[tuple[int, int, int]], random: Any
) -> None:
    """A delivery is a run of the log, may come again, may overlap others, may die between two objects and be retried.
    What is read then is exactly the lines that some delivery held."""
    messages = [
        line(i, model="tumour" if i % 3 else "price", time=START + timedelta(minutes=25 * i)) for i in range(15)
    ]
    log = [LogEvent(f"{i:056d}", START, m) for i, m in enumerate(messages)]
    objects, sent = MemoryObjects(), set[int]()
    deliveries = [(log[first : first + size], dies_after) for first, size, dies_after in plan] * 2
    random.shuffle(deliveries)
    for batch, dies_after in deliveries:
        sent |= {int(e.id) for e in batch}
        dying = _Dying(objects, dies_after)
        try:
            write(dying, batch)
        except OSError:
            write(objects, batch)  # Lambda's retry of the same event
    found = [x.request_id for m in ("tumour", "price") for x in everything(objects, m)]
    assert sorted(found) == sorted(f"req-{i}" for i in sent)


class _Dying:
    """A store that breaks after some objects."""

    def __init__(self, objects: MemoryObjects, puts: int) -> None:
        self.objects, self.left = objects, puts

    def put(self, key: str, body: bytes, **options: Any) -> bool:
        if not self.left:
            raise OSError("the network is gone")
        self.left -= 1
        return self.objects.put(key, body, **options)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("two_models", (3, 0, 0)), ("malformed", (1, 1, 1)), ("control_message", (0, 0, 0))],
)
def test_event_files_are_stored(name: str, expected: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    objects = MemoryObjects()
    monkeypatch.setattr(app, "objects", lambda: objects)
    result = app.handler(json.loads(Path(f"events/capture_writer/{name}.json").read_text()), None)
    assert (result["lines"], result["malformed"], result["ignored"]) == expected
    assert sorted(objects.versions) == sorted(result["keys"])


def test_every_event_file_is_tested() -> None:
    assert {p.stem for p in Path("events/capture_writer").glob("*.json")} == {
        "two_models",
        "malformed",
        "control_message",
    }
