"""The register function on its event files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import MlopsError, NotFoundError
from mlops.features.spec import Feature
from mlops.manifest import Manifest
from mlops.registry.register import Register, fault
from tests.fakes import Clock, MemoryLedger, MemoryObjects, MemoryRegistry

EVENTS = Path(__file__).parents[3] / "events" / "register"
MODEL, VERSION = "breast-cancer", "3f2a9c0d1e4b"


def event(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return loaded


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Register:
    from functions.register import app

    clock, artifacts = Clock(), MemoryObjects()
    lineage = {"dataset_version": "d7", "contract_digest": "c7", "parent_version": "a1b2c3d4e5f6"}
    manifest = Manifest(
        MODEL, VERSION, "classification", (Feature("mean radius", "number"),), "diagnosis", ("b", "m"), "m",
        created_at="2026-03-02T11:59:00+00:00", onnx_sha256="e" * 64, lineage=lineage,
    )  # fmt: skip
    artifacts.put(f"models/{MODEL}/{VERSION}/manifest.json", json.dumps(manifest.to_dict()).encode())
    made = Register(MemoryRegistry(clock), MemoryLedger(clock), artifacts, clock)
    monkeypatch.setattr(app, "service", lambda: made)
    return made


def call(name: str) -> dict[str, Any]:
    from functions.register.app import handler

    answer: dict[str, Any] = handler(event(name), None)
    json.dumps(answer)
    return answer


def test_an_accepted_version_is_a_candidate_with_its_lineage(service: Register) -> None:
    assert call("accepted")["status"] == "registered"
    found = service.registry.version(MODEL, VERSION)
    assert found is not None
    assert (found.state, found.dataset_version, found.contract_digest) == ("candidate", "d7", "c7")
    assert (found.parent_version, found.metrics) == ("a1b2c3d4e5f6", {"roc_auc": 0.991})
    entry = next(iter(service.ledger.entries()))
    assert (entry.action, entry.outcome) == ("version.registered", "candidate")
    assert entry.inputs["onnx_sha256"] == "e" * 64


def test_a_rejected_version_is_kept_with_its_reasons(service: Register) -> None:
    answer = call("rejected")
    assert answer["status"] == "rejected"
    assert "worse than the champion" in answer["reason"]
    found = service.registry.version(MODEL, VERSION)
    assert found is not None
    assert found.state == "rejected"


@pytest.mark.parametrize("name", ["accepted", "rejected", "close", "fail"])
def test_the_same_event_again_changes_nothing(service: Register, name: str) -> None:
    first = call(name)
    kept = list(service.ledger.entries())
    assert call(name) == first
    assert list(service.ledger.entries()) == kept


def test_a_version_that_moved_on_is_left_alone(service: Register) -> None:
    call("accepted")
    service.registry.promote(MODEL, VERSION, None, "release")
    assert call("accepted")["status"] == "unchanged"
    found = service.registry.version(MODEL, VERSION)
    assert found is not None
    assert found.state == "champion"


@pytest.mark.parametrize("name", ["close", "fail"])
def test_the_end_of_a_run_frees_its_lock_and_no_other(service: Register, name: str) -> None:
    service.registry.acquire(MODEL, "train", "another-run", 60)
    call(name)
    assert service.registry.holder(MODEL, "train") == "another-run"
    service.registry.let_go(MODEL, "train", "another-run")
    service.registry.acquire(MODEL, "train", event(name)["run_id"], 60)
    call(name)
    assert service.registry.holder(MODEL, "train") is None
    assert service.registry.records(MODEL, "run")[0].body["outcome"] == {"close": "release_started"}.get(name, "failed")


def test_a_fault_is_told_without_its_trace() -> None:
    cause = json.dumps({"errorType": "KeyError", "errorMessage": "'secret'", "trace": ["/var/task/x.py"]})
    assert fault({"Error": "Runtime.HandlerError", "Cause": cause}) == "Runtime.HandlerError (KeyError)"
    assert fault({"Error": "States.Timeout", "Cause": "not json"}) == "States.Timeout"
    assert fault(None) == "unknown"


def test_what_is_no_task_is_refused_in_words(service: Register) -> None:
    with pytest.raises(MlopsError, match="task must be one of register, close, fail"):
        service.run({"task": "x"})
    with pytest.raises(MlopsError, match="field 'run_id' is missing"):
        service.run({"task": "close", "model": "m"})
    with pytest.raises(NotFoundError):
        service.run({**event("accepted"), "version": "unknown"})
