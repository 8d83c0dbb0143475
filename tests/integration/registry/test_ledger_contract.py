"""One suite for every answer to the ledger port: in memory and in DynamoDB."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mlops.aws.ledger import DynamoLedger
from mlops.errors import ConflictError
from mlops.registry import chain
from mlops.registry.entities import LedgerDraft, LedgerEntry
from mlops.registry.ports import Ledger
from tests.fakes import Clock, MemoryLedger


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "dynamodb"])
def ledger(request: pytest.FixtureRequest, clock: Clock) -> Ledger:
    if request.param == "memory":
        return MemoryLedger(clock)
    return DynamoLedger("registry", "stack", request.getfixturevalue("dynamodb"), clock)


def draft(number: int = 1, subject: str = "model/iris/v1", *, known_as: str = "") -> LedgerDraft:
    inputs = {"number": number, "share": 0.1, "nested": {"ids": ["a", None, True]}, "text": "é"}
    return LedgerDraft("user:ann", "version.registered", subject, "because", "registered", inputs, known_as)


def test_an_empty_ledger(ledger: Ledger) -> None:
    assert ledger.head() == (0, chain.GENESIS)
    assert list(ledger.entries()) == []
    assert chain.verify(ledger.entries(), ledger.head()).intact


def test_entries_are_chained_and_come_back_as_they_were(ledger: Ledger, clock: Clock) -> None:
    written = []
    for number in range(12):
        clock.forward(seconds=1)
        written.append(ledger.append(draft(number)))
    assert list(ledger.entries()) == written
    assert [e.sequence for e in written] == list(range(1, 13))
    assert ledger.head() == (12, written[-1].hash)
    assert chain.verify(ledger.entries(), ledger.head()).intact


def test_a_known_id_is_one_entry(ledger: Ledger) -> None:
    first = ledger.append(draft(1, known_as="release/r1/started"))
    ledger.append(draft(2))
    assert ledger.append(draft(3, known_as="release/r1/started")) == first
    assert ledger.head()[0] == 2


def test_entries_go_on_behind_a_sequence(ledger: Ledger) -> None:
    for i in range(5):
        ledger.append(LedgerDraft("user:ana", "version.registered", f"model/iris/v{i}", "x", "y"))
    assert [e.sequence for e in ledger.entries(after=2)] == [3, 4, 5]
    assert [e.sequence for e in ledger.entries(subject="model/iris/v3", after=2)] == [4]
    assert list(ledger.entries(after=5)) == list(ledger.entries(after=99)) == []


def test_entries_of_a_subject(ledger: Ledger) -> None:
    for subject in ("model/iris/v1", "upload/u1", "model/iris", "model/other/v1"):
        ledger.append(draft(subject=subject))
    assert [e.subject for e in ledger.entries(subject="model/iris")] == ["model/iris/v1", "model/iris"]


def test_an_edited_table_fails_the_verification(dynamodb: Any, clock: Clock) -> None:
    ledger = DynamoLedger("registry", "stack", dynamodb, clock)
    for number in range(3):
        ledger.append(draft(number))
    key = {"pk": {"S": "LEDGER"}, "sk": {"S": "ENTRY#000000000002"}}
    dynamodb.update_item(
        TableName="registry",
        Key=key,
        UpdateExpression="SET #r = :r",
        ExpressionAttributeNames={"#r": "reason"},
        ExpressionAttributeValues={":r": {"S": "another"}},
    )
    assert [p.kind for p in chain.verify(ledger.entries(), ledger.head()).problems] == ["edited"]
    dynamodb.delete_item(TableName="registry", Key=key)
    assert [p.kind for p in chain.verify(ledger.entries(), ledger.head()).problems] == ["gap"]


def test_an_entry_is_never_overwritten(dynamodb: Any, clock: Clock) -> None:
    """A head that was set back (by hand) cannot make the ledger write over what it has."""
    ledger = DynamoLedger("registry", "stack", dynamodb, clock, sleep=lambda seconds: None)
    first, second = ledger.append(draft(1)), ledger.append(draft(2))
    head = {"pk": "LEDGER", "sk": "HEAD", "hash": first.hash}
    dynamodb.put_item(TableName="registry", Item={**{k: {"S": v} for k, v in head.items()}, "sequence": {"N": "1"}})
    with pytest.raises(ConflictError, match="too busy"):
        ledger.append(draft(3))
    assert list(ledger.entries()) == [first, second]


class OneCallAtATime:
    """DynamoDB's calls are serialisable; moto's are not when threads share it. Calls still interleave freely."""

    def __init__(self, dynamodb: Any) -> None:
        self._dynamodb, self._lock = dynamodb, threading.Lock()

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            with self._lock:
                return getattr(self._dynamodb, name)(**arguments)

        return call


def test_writers_at_once_make_one_chain(dynamodb: Any) -> None:
    """Eight writers, released together, some with the same id: one chain, nothing lost, nothing twice."""
    writers, each = 8, 6
    start = threading.Barrier(writers)
    shared = OneCallAtATime(dynamodb)

    def write(writer: int) -> list[int]:
        ledger = DynamoLedger("registry", "stack", shared)
        start.wait()
        return [ledger.append(draft(i, known_as=f"shared/{i}" if i < 2 else "")).sequence for i in range(each)]

    with ThreadPoolExecutor(writers) as pool:
        written = list(pool.map(write, range(writers)))
    ledger = DynamoLedger("registry", "stack", dynamodb)
    found = chain.verify(ledger.entries(), ledger.head())
    assert found.intact
    assert found.entries == writers * (each - 2) + 2
    assert len({sequences[0] for sequences in written}) == 1
    assert len({s for sequences in written for s in sequences[2:]}) == writers * (each - 2)


def test_the_slower_writer_links_to_the_faster_ones_entry(dynamodb: Any, clock: Clock, monkeypatch: Any) -> None:
    """Deterministic form of the race: another writer appends between reading the head and writing."""
    slow = DynamoLedger("registry", "stack", dynamodb, clock, sleep=lambda seconds: None)
    fast = DynamoLedger("registry", "stack", dynamodb, clock)
    raced: list[LedgerEntry] = []
    writes = slow._writes

    def after_the_other(entry: Any) -> Any:
        if not raced:
            raced.append(fast.append(draft(1)))
        return writes(entry)

    monkeypatch.setattr(slow, "_writes", after_the_other)
    entry = slow.append(draft(2))
    assert (entry.sequence, entry.previous) == (2, raced[0].hash)
    assert chain.verify(fast.entries(), fast.head()).intact
