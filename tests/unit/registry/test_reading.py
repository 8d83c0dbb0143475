"""What the API tells of models and of the ledger, and to whom."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions.registry_api import app
from mlops.contract import Contract
from mlops.contract.source import load
from mlops.registry.entities import DatasetVersion, LedgerDraft, ModelVersion, Tagging
from mlops.registry.reading import MAX_PAGE, Reading
from tests.fakes import MemoryLedger, MemoryRegistry

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def reading() -> Reading:
    registry, ledger = MemoryRegistry(), MemoryLedger()
    contract = load(ROOT / "models" / "diabetes.yaml")
    for name in ("diabetes", "secret"):
        registry.put_contract(Contract.from_dict({**contract.to_dict(), "name": name}))
        ledger.append(LedgerDraft("user:ana", "contract.accepted", f"model/{name}", "it is time", "in force"))
    version = ModelVersion("diabetes", "a" * 12, "candidate", "2026-01-01", "d1", "c1", {"rmse": 50.0})
    registry.put_version(version)
    registry.put_version(replace(version, version="b" * 12, state="champion"))
    registry.put_version(replace(version, model="secret", version="c" * 12))
    registry.put_tags(Tagging("diabetes", None, {"team": "risk"}, {}, (), "user:ana", "x", "t"), None)
    registry.advance_dataset(DatasetVersion("diabetes", "d1", ("p1",), 442), None)
    for i in range(5):
        ledger.append(LedgerDraft("function:release", "release.started", f"model/diabetes/v{i}", "x", "y"))
    ledger.append(LedgerDraft("user:ana", "client.created", "client/shop", "x", "y"))
    return Reading(registry, ledger, cors_origin="https://app.example.com")


def get(reading: Reading, path: str, models: str = "*", **query: str) -> tuple[int, Any]:
    event = {
        "httpMethod": "GET",
        "path": path,
        "queryStringParameters": query or None,
        "requestContext": {"requestId": "r-1", "authorizer": {"models": models}},
    }
    answer = reading.respond(event)
    assert answer["headers"]["Access-Control-Allow-Origin"] == "https://app.example.com"
    return answer["statusCode"], json.loads(answer["body"])


def test_models_and_what_serves(reading: Reading) -> None:
    status, body = get(reading, "/models")
    assert (status, [m["name"] for m in body["models"]]) == (200, ["diabetes", "secret"])
    assert body["models"][0] == {
        "name": "diabetes", "task": "regression", "target": "progression", "champion": "b" * 12, "challenger": None,
        "tags": {"team": "risk"},
    }  # fmt: skip
    status, body = get(reading, "/models/diabetes")
    assert body["dataset"] == {"version": "d1", "rows": 442}
    assert {v["version"]: v["state"] for v in body["versions"]} == {"a" * 12: "candidate", "b" * 12: "champion"}


def test_a_token_sees_its_own_models_and_what_is_about_them(reading: Reading) -> None:
    assert [m["name"] for m in get(reading, "/models", "diabetes")[1]["models"]] == ["diabetes"]
    assert get(reading, "/models", "")[1] == {"models": []}
    status, body = get(reading, "/models/secret", "diabetes")
    assert (status, body["error"]["code"]) == (403, "model_not_allowed")
    assert get(reading, "/models/nobody", "diabetes")[0] == 403, "whether or not it exists"
    subjects = {e["subject"] for e in get(reading, "/ledger", "diabetes")[1]["entries"]}
    assert subjects == {"model/diabetes", *(f"model/diabetes/v{i}" for i in range(5))}
    assert get(reading, "/ledger", "diab")[1]["entries"] == []


def test_versions_are_searched_page_by_page_within_what_the_token_permits(reading: Reading) -> None:
    def versions(models: str = "*", **query: str) -> list[str]:
        return [v["version"] for v in get(reading, "/versions", models, **query)[1]["versions"]]

    assert versions() == ["c" * 12, "b" * 12, "a" * 12]
    assert versions("diabetes", query="rmse<60 trained=2026-01-01") == ["b" * 12, "a" * 12]
    assert versions("diabetes", query="state=champion") == ["b" * 12]
    assert versions("", query="state=champion") == []
    assert versions("diabetes", query="model=secret") == []
    pages = [get(reading, "/versions", limit="2", after=after)[1] for after in ("0", "2")]
    assert [(len(p["versions"]), p["total"], p["next"]) for p in pages] == [(2, 3, 2), (1, 3, None)]


def test_the_ledger_comes_page_by_page_without_gap_or_repetition(reading: Reading) -> None:
    whole = get(reading, "/ledger")[1]
    assert (len(whole["entries"]), whole["next"]) == (8, None)
    for limit in (1, 3, 8, MAX_PAGE):
        found, after = [], 0
        while after is not None:
            page = get(reading, "/ledger", after=str(after), limit=str(limit))[1]
            assert len(page["entries"]) <= limit
            found += page["entries"]
            after = page["next"]
        assert found == whole["entries"]
    assert len(get(reading, "/ledger", subject="model/diabetes/")[1]["entries"]) == 5


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("/models/nobody", {}, 404, "unknown_model"),
        ("/models/a/b", {}, 404, "unknown_route"),
        ("/else", {}, 404, "unknown_route"),
        ("/versions", {"query": "state>champion"}, 400, "invalid_request"),
        ("/versions", {"query": "nonsense"}, 400, "invalid_request"),
        ("/versions", {"limit": "1001"}, 400, "invalid_request"),
        ("/ledger", {"limit": "0"}, 400, "invalid_request"),
        ("/ledger", {"limit": "1001"}, 400, "invalid_request"),
        ("/ledger", {"limit": "ten"}, 400, "invalid_request"),
        ("/ledger", {"limit": "²"}, 400, "invalid_request"),
        ("/ledger", {"after": "-1"}, 400, "invalid_request"),
        ("/ledger", {"after": "9" * 40}, 400, "invalid_request"),
    ],
)
def test_requests_that_are_refused(reading: Reading, path: str, query: dict[str, str], status: int, code: str) -> None:
    found, body = get(reading, path, **query)
    assert (found, body["error"]["code"], body["error"]["request_id"]) == (status, code, "r-1")


def test_a_browser_that_asks_first(reading: Reading) -> None:
    event = {"httpMethod": "OPTIONS", "path": "/models", "requestContext": {}}
    assert reading.respond(event)["headers"]["Access-Control-Allow-Methods"] == "GET"
    closed = Reading(MemoryRegistry(), MemoryLedger()).respond(event)
    assert (closed["statusCode"], closed["headers"]["Allow"]) == (405, "GET")


@pytest.mark.parametrize("path", sorted((ROOT / "events" / "registry_api").glob("*.json")), ids=lambda p: p.stem)
def test_event_files(path: Path, reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "service", lambda: reading)
    answer = app.handler(json.loads(path.read_text()), None)
    wanted = {"unknown_model": 404, "another_model": 403, "ledger_bad_limit": 400, "versions_bad_query": 400}
    assert answer["statusCode"] == wanted[path.stem]
