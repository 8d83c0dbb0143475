from __future__ import annotations

import pytest

from mlops.errors import MlopsError, NotFoundError
from mlops.registry.entities import Record
from mlops.retrain.runs import Runs, told
from tests.fakes import Clock, MemoryLedger, MemoryRegistry
from tests.unit.training import tables


@pytest.fixture
def runs() -> Runs:
    clock = Clock()
    registry = MemoryRegistry(clock)
    registry.put_contract(tables.contract("binary", tables.NUMBERS))
    registry.acquire("example", "train", "rt-1", 600)
    return Runs(registry, MemoryLedger(clock), clock)


def test_a_run_is_found_by_itself_and_by_its_model(runs: Runs) -> None:
    assert runs.find("rt-1") == runs.find("example") == ("example", "rt-1")
    with pytest.raises(NotFoundError, match="no run 'rt-2' is in progress"):
        runs.find("rt-2")


@pytest.mark.parametrize("keep_best", [True, False])
def test_a_stop_is_a_record_that_the_training_reads_and_an_entry_of_the_ledger(runs: Runs, keep_best: bool) -> None:
    first = runs.stop("example", keep_best=keep_best, actor="user:ann", reason="wrong file")
    again = runs.stop("rt-1", keep_best=not keep_best, actor="user:ann", reason="once more")

    assert (first["run_id"], first["asked"], again["asked"]) == ("rt-1", True, False)
    (record,) = runs.registry.records("example", "stop")
    assert (record.id, record.body["keep_best"], record.body["reason"]) == ("rt-1", keep_best, "wrong file")
    (entry,) = runs.ledger.entries()
    assert (entry.actor, entry.action, entry.reason) == ("user:ann", "run.stop_asked", "wrong file")


def test_a_stop_needs_a_reason(runs: Runs) -> None:
    with pytest.raises(MlopsError, match="needs a reason"):
        runs.stop("example", keep_best=False, actor="user:ann", reason=" ")


def test_the_newest_word_of_a_run_is_its_progress(runs: Runs) -> None:
    assert runs.progress("example", "rt-1") is None
    for i, run in enumerate(("rt-1", "rt-1", "rt-0")):
        body = {"run_id": run, "step": "train", "stage": "searching", "percent": 10 * i, "message": "m", "best": None}
        runs.registry.put_record(Record("example", "run", f"{run}.train.{i}", f"2026-03-02T12:00:0{i}+00:00", body))
    found = runs.progress("example", "rt-1")
    assert found is not None
    assert found["percent"] == 10
    assert told(found) == "searching 10 %: m"
