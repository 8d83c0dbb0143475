"""An upload ends accepted, in part accepted, or in quarantine with a reason; it counts once; nothing is lost."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from mlops.contract import Checks, Contract, Target
from mlops.data.ingest import Ingest, IngestRequest, IngestResult, RequestError
from mlops.data.intake import UNASSIGNED, Upload, upload_id
from mlops.errors import NotFoundError
from mlops.features.columns import Columns
from mlops.features.spec import Feature
from tests.fakes import Clock, MemoryEvents, MemoryLedger, MemoryObjects, MemoryRegistry
from tests.rows import FATAL_PARQUET

CONTRACT = Contract(
    "shop",
    "classification",
    Target("bought", ("no", "yes")),
    (
        Feature("age", "integer", minimum=0, maximum=120),
        Feature("name", "category", nullable=True, categories=("Ada", "Bob"), pii="pseudonymise"),
    ),
)
GOOD = b"age,name,bought\n1,Ada,no\n2,Bob,yes\n3,,no\n"
MIXED = b"age,name,bought\n1,Ada,no\n-5,Eve Secret,yes\n3,,no\n"
BAD = b"age,name,bought\n-1,Ada,no\nx,Bob,yes\n3,,no\n"


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.objects = MemoryObjects()
        self.registry = MemoryRegistry(self.clock)
        self.ledger = MemoryLedger(self.clock)
        self.events = MemoryEvents()
        self.registry.put_contract(CONTRACT)

    @property
    def ingest(self) -> Ingest:
        return Ingest(self.objects, self.registry, self.ledger, self.events, self.clock)

    def uploaded(self, body: bytes, key: str = "incoming/shop/rows.csv", model: str = "shop") -> IngestRequest:
        self.objects.put(key, body)
        version = str(len(self.objects.versions[key]))
        return IngestRequest(model, Upload(upload_id("data", key, version, ""), "data", key, version, "", len(body)))

    def take(self, body: bytes, **where: str) -> IngestResult:
        return self.ingest.run(self.uploaded(body, **where))

    def dataset(self) -> Columns:
        current = self.registry.current_dataset("shop")
        assert current is not None
        parts = [self.objects.get(f"datasets/shop/parts/{p}/columns.npz") for p in current.parts]
        return Columns.concat([Columns.load(p) for p in parts])


@pytest.fixture
def world() -> World:
    return World()


def quarantined(world: World, result: IngestResult, name: str) -> bytes:
    return world.objects.get(f"quarantine/{result.model}/{result.upload_id}/{name}")


def test_accepted(world: World) -> None:
    result = world.take(GOOD)
    assert (result.status, result.rows.read, result.rows.accepted, result.rows.new) == ("accepted", 3, 3, 3)
    current = world.registry.current_dataset("shop")
    assert current is not None
    assert (current.version, current.parts, current.rows) == (result.dataset_version, (result.part_id,), 3)
    assert sorted(world.dataset()["age"].values.tolist()) == [1, 2, 3]
    assert world.ledger.actions() == ["upload.accepted"]
    assert world.events.put_events == []
    assert not any(k.startswith("quarantine/") for k in world.objects.versions)
    (record,) = world.registry.records("shop", "upload")
    assert record.body == result.to_dict()
    assert IngestResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_accepted_in_part(world: World) -> None:
    result = world.take(MIXED)
    assert (result.status, result.rows.accepted, result.rows.quarantined) == ("partial", 2, 1)
    assert [(r["code"], r["column"], r["count"]) for r in result.reasons] == [
        ("below_minimum", "age", 1),
        ("unknown_category", "name", 1),
    ]
    line = json.loads(quarantined(world, result, "rows.jsonl"))
    assert line["values"] == {"age": "-5", "name": "Eve Secret", "bought": "yes"}
    reason = json.loads(quarantined(world, result, "reason.json"))
    assert reason["upload"]["key"] == "incoming/shop/rows.csv"
    ((kind, detail),) = world.events.put_events
    assert kind == "UploadQuarantined"
    assert detail["status"] == "partial"
    assert detail["rows"]["quarantined"] == 1
    assert world.ledger.actions() == ["upload.partial"]


def test_rejected(world: World) -> None:
    result = world.take(BAD)
    assert (result.status, result.dataset_version, result.rows.read) == ("rejected", "", 3)
    assert result.reasons[0]["code"] == "too_many_bad_rows"
    assert quarantined(world, result, "file") == BAD
    reason = json.loads(quarantined(world, result, "reason.json"))
    assert reason["reasons"] == [dict(r) for r in result.reasons]
    assert world.registry.current_dataset("shop") is None
    assert [kind for kind, _ in world.events.put_events] == ["UploadQuarantined"]
    assert world.ledger.actions() == ["upload.rejected"]


NOT_TABLES = {
    "empty": (b"", "empty"),
    "binary": (b"\x89PNG\r\n\x1a\n\0\0", "not_a_table"),
    "another encoding": ("age,name,bought\n1,Zoë,no\n".encode("latin-1"), "bad_encoding"),
    "names twice": (b"age,name,bought,age\n1,Ada,no,1\n", "duplicate_columns"),
    "no header": (b"1,Ada,no\n2,Bob,yes\n", "missing_header"),
    "another schema": (b"age,bought\n1,no\n", "missing_columns"),
    "cut gzip": (gzip.compress(GOOD)[:-9], "truncated"),
    "cut parquet": (b"PAR1" + bytes(50), "truncated"),
    "encrypted parquet": (b"PAR1" + bytes(50) + b"PARE", "encrypted"),
}


@pytest.mark.parametrize(("body", "code"), NOT_TABLES.values(), ids=NOT_TABLES.keys())
def test_what_is_no_table_of_this_model_is_kept_with_a_reason(world: World, body: bytes, code: str) -> None:
    result = world.take(body)
    assert (result.status, result.reasons[0]["code"]) == ("rejected", code)
    assert quarantined(world, result, "file") == body
    assert json.loads(quarantined(world, result, "reason.json"))["reasons"][0]["message"]
    page = world.objects.get(result.report_key).decode()
    assert "rejected" in page


def test_a_mark_of_byte_order_changes_nothing(world: World) -> None:
    first = world.take(GOOD)
    again = world.take(b"\xef\xbb\xbf" + GOOD, key="incoming/shop/marked.csv")
    assert (again.status, again.dataset_version) == ("duplicate", first.dataset_version)


def test_a_model_without_contract_and_a_file_of_no_model(world: World) -> None:
    result = world.take(GOOD, key="incoming/other/x.csv", model="other")
    assert result.reasons[0]["code"] == "no_contract"
    assert "shop" in result.reasons[0]["message"]
    assert quarantined(world, result, "file") == GOOD
    lost = world.take(GOOD, key="incoming/x.csv", model=UNASSIGNED)
    assert lost.reasons[0]["code"] == "no_model"
    assert "incoming/<model>/<file>" in lost.reasons[0]["message"]
    assert quarantined(world, lost, "file") == GOOD
    assert world.ledger.actions() == ["upload.rejected"] * 2


def test_too_large_is_seen_before_it_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.registry.put_contract(replace(CONTRACT, checks=Checks(max_bytes=10)))
    monkeypatch.setattr(MemoryObjects, "download", None)
    result = world.take(GOOD)
    assert result.reasons[0]["code"] == "too_large"
    assert quarantined(world, result, "file") == GOOD


# Objects that change under the run ------------------------------------------------------------------


def test_deleted_before_it_is_read(world: World) -> None:
    request = world.uploaded(GOOD)
    world.objects.delete(request.upload.key)
    result = world.ingest.run(request)
    assert result.reasons[0]["code"] == "object_missing"
    assert "file" not in {k.rsplit("/", 1)[1] for k in world.objects.versions}


def test_overwritten_while_reading_reads_the_version_that_the_event_named(world: World) -> None:
    request = world.uploaded(GOOD)
    world.uploaded(BAD)
    assert world.ingest.run(request).status == "accepted"


def test_overwritten_without_versions_is_seen_by_its_size(world: World) -> None:
    request = world.uploaded(GOOD)
    unversioned = replace(request, upload=replace(request.upload, version_id=""))
    world.objects.put(request.upload.key, GOOD + b"4,,no\n")
    result = world.ingest.run(unversioned)
    assert result.reasons[0]["code"] == "object_changed"


def test_overwritten_without_versions_is_seen_by_its_etag(world: World) -> None:
    request = world.uploaded(GOOD)
    etag = hashlib.md5(GOOD).hexdigest()
    unversioned = replace(request, upload=replace(request.upload, version_id="", etag=etag))
    world.objects.put(request.upload.key, GOOD.replace(b"1,Ada", b"2,Ada"))  # of the same size
    result = world.ingest.run(unversioned)
    assert result.reasons[0]["code"] == "object_changed"
    again = replace(
        unversioned,
        upload=replace(
            unversioned.upload, id="f" * 16, etag=hashlib.md5(world.objects.get(request.upload.key)).hexdigest()
        ),
    )
    assert world.ingest.run(again).status == "accepted"


def test_deleted_between_reading_and_quarantine(world: World) -> None:
    request = world.uploaded(BAD)

    class Vanishing(MemoryObjects):
        def copy(self, source: str, target: str, *, version_id: str | None = None) -> None:
            raise NotFoundError("gone")

    vanishing = Vanishing()
    vanishing.versions = world.objects.versions
    world.objects = vanishing
    result = world.ingest.run(request)
    assert result.status == "rejected"
    assert json.loads(quarantined(world, result, "reason.json"))["file"] is None


# Deliveries -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [GOOD, MIXED, BAD])
def test_a_second_delivery_has_no_second_effect(world: World, body: bytes) -> None:
    request = world.uploaded(body)
    first = world.ingest.run(request)
    before = {k: len(v) for k, v in world.objects.versions.items()}
    dataset, events = world.registry.current_dataset("shop"), list(world.events.put_events)
    world.clock.forward(hours=1)
    assert world.ingest.run(request) == first
    assert {k: len(v) for k, v in world.objects.versions.items()} == before
    assert world.registry.current_dataset("shop") == dataset
    assert world.events.put_events == events
    assert len(world.ledger.kept) == 1
    assert len(world.registry.records("shop", "upload")) == 1


def test_the_same_rows_again_are_a_duplicate(world: World) -> None:
    first = world.take(GOOD)
    lines = GOOD.splitlines()
    again = world.take(b"\n".join([lines[0], *lines[:0:-1]]), key="incoming/shop/reversed.csv")
    assert (again.status, again.part_id, again.rows.new) == ("duplicate", "", 0)
    assert again.dataset_version == first.dataset_version
    assert world.ledger.actions() == ["upload.accepted", "upload.duplicate"]


def test_two_deliveries_at_once(world: World) -> None:
    request = world.uploaded(MIXED)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: world.ingest.run(request), range(4)))
    assert all(r == results[0] for r in results)
    assert world.dataset().rows == 2
    assert results[0].rows.new == 2


class BrokenOnce:
    """Fails at the n-th call of a method, as a process does that is ended in between."""

    def __init__(self, target: Any, calls: int) -> None:
        self._target, self._left = target, calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                raise TimeoutError("the process was ended here")
            return method(*args, **kwargs)

        return call


@pytest.mark.parametrize("part", ["objects", "registry", "ledger", "events"])
@pytest.mark.parametrize("body", [GOOD, MIXED, BAD])
def test_a_run_that_breaks_off_anywhere_is_completed_by_the_next(part: str, body: bytes) -> None:
    expected = World()
    wanted = expected.take(body)
    for calls in range(1, 40):
        world = World()
        request = world.uploaded(body)
        parts = {n: getattr(world, n) for n in ("objects", "registry", "ledger", "events")}
        broken = Ingest(**parts | {part: BrokenOnce(parts[part], calls)}, clock=world.clock)
        try:
            broken.run(request)
        except TimeoutError:
            assert world.ingest.run(request) == wanted, f"broken at call {calls} of {part}"
        else:
            assert calls > 1 or part == "events"
            break
        assert world.ledger.actions() == expected.ledger.actions()
        assert len(world.registry.records("shop", "upload")) == 1
        mine, theirs = world.registry.current_dataset("shop"), expected.registry.current_dataset("shop")
        assert (mine and (mine.version, mine.rows)) == (theirs and (theirs.version, theirs.rows))
        kinds = [kind for kind, _ in world.events.put_events]
        assert set(kinds) == {kind for kind, _ in expected.events.put_events}
        assert set(expected.objects.versions) <= set(world.objects.versions)
    else:
        pytest.fail(f"{part} was still called after 40 calls")


# What is told ---------------------------------------------------------------------------------------


def test_reports_for_tools_and_people(world: World) -> None:
    result = world.take(MIXED)
    report = json.loads(world.objects.get(result.report_key.replace(".html", ".json")))
    assert report["schema"] == "mlops.ingest-report.v1"
    assert report["result"] == result.to_dict()
    finding = next(f for f in report["findings"] if f["column"] == "age")
    assert (finding["code"], finding["count"], finding["rows"], finding["examples"]) == (
        "below_minimum",
        1,
        [2],
        ["-5"],
    )
    assert finding["share"] == pytest.approx(1 / 3)
    assert [(c["name"], c["bins"]) for c in report["columns"]] == [
        ("bought", [{"label": "no", "count": 2}]),
        ("age", [{"label": "1", "count": 1}, {"label": "3", "count": 1}]),
    ]  # and no name, which is personal
    page = world.objects.get(result.report_key).decode()
    assert page.startswith("<!doctype html>")
    assert "below_minimum" in page
    assert page.count("<svg") == 3
    prefix = f"datasets/shop/parts/{result.part_id}/"
    part = json.loads(world.objects.get(prefix + "report.json"))
    assert part["rows"] == report["rows"]
    assert world.objects.get(prefix + "report.html").startswith(b"<!doctype html>")


def test_no_personal_value_leaves_the_quarantined_rows(world: World) -> None:
    result = world.take(MIXED)
    told = [json.dumps(result.to_dict()), json.dumps(world.events.put_events), repr(world.ledger.kept)]
    told += [repr(world.registry.kept)]
    told += [v[-1].decode() for k, v in world.objects.versions.items() if k.endswith((".json", ".html"))]
    assert not any("Eve" in text for text in told)
    assert not any("-5" in text for text in told[:4])


def test_files_of_model_monitor(world: World) -> None:
    result = world.take(GOOD)
    prefix = f"datasets/shop/parts/{result.part_id}/"
    statistics = json.loads(world.objects.get(prefix + "statistics.json"))
    constraints = json.loads(world.objects.get(prefix + "constraints.json"))
    assert statistics["dataset"]["item_count"] == 3
    assert "age" in {f["name"] for f in statistics["features"]}
    assert "age" in {f["name"] for f in constraints["features"]}
    assert "Ada" not in json.dumps(statistics) + json.dumps(constraints)


def test_a_new_contract_is_told_to_begin_a_new_data_set(world: World) -> None:
    world.take(GOOD)
    world.registry.put_contract(replace(CONTRACT, features=CONTRACT.features[:1]))
    result = world.take(GOOD.replace(b"1,", b"4,"), key="incoming/shop/later.csv")
    assert result.rows.new == 3
    report = json.loads(world.objects.get(result.report_key.replace(".html", ".json")))
    assert any("a new data set begins" in note for note in report["notes"])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "no 'upload'"),
        ({"upload": {"id": "x", "bucket": "b"}, "model": "m"}, "upload.key"),
        ({"upload": {"id": "x", "bucket": "b", "key": "k"}}, "no 'model'"),
        ({"upload": {"id": "x", "bucket": "b", "key": "k", "size": "many"}, "model": "m"}, "upload.size"),
        ({"upload": {"id": "x", "bucket": "b", "key": "k"}, "model": "m", "attempt": "2"}, "attempt"),
    ],
)
def test_requests_that_are_none(request_: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        IngestRequest.from_dict(request_)


def test_a_file_that_ended_the_first_attempt_is_quarantined_by_the_second(world: World) -> None:
    body = FATAL_PARQUET.read_bytes()
    request = replace(world.uploaded(body, key="incoming/shop/rows.parquet"), attempt=1)
    result = world.ingest.run(request)
    assert (result.status, [r["code"] for r in result.reasons]) == ("rejected", ["damaged"])
    assert quarantined(world, result, "file") == body
    assert world.ingest.run(replace(request, attempt=0)) == result


def test_a_full_disk_is_an_outcome(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mlops.data.checking.validate_file", full)
    result = world.take(GOOD)
    assert (result.status, result.reasons[0]["code"]) == ("rejected", "too_large")
    assert "IngestDisk" in result.reasons[0]["message"]
    assert quarantined(world, result, "file") == GOOD
