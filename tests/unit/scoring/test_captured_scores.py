"""Batch predictions that are captured: once whatever is run again, by the rules of live captures, judged by labels."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlops.capture import columns
from mlops.inference.hashing import entity_name, pseudonym
from mlops.objects import batch_captures
from mlops.quality.check import QualityCheck
from mlops.registry.entities import ModelVersion
from mlops.scoring import preparing
from tests.fakes import MemoryEvents
from tests.unit.inference.small_models import MIXED, MIXED_RECORD, regressor
from tests.unit.scoring.runner import PSEUDONYM, World
from tests.unit.scoring.test_batch_scoring import as_jsonl

ROWS = [{**MIXED_RECORD, "amount": float(i), "customer": f"c-{i}"} for i in range(1, 8)]


@pytest.fixture
def price(tmp_path: Path) -> World:
    world = World(tmp_path, regressor(), MIXED, quality={"min_rows": 2, "metric": "mae", "bound": 1e9})
    world.data.put("scoring/in/a.jsonl", as_jsonl(ROWS))
    return world


def captured(world: World, name: str = "") -> list[dict[str, Any]]:
    """Each captured record with its time, as a reader of two days sees it."""
    since, until = world.clock() - timedelta(days=1), world.clock() + timedelta(days=1)
    blocks = columns.read(world.data, name or batch_captures(world.manifest.model), since, until)
    return [
        {"id": b.ids[i], "entity": b.entities[i], "time": b.times[i], "scores": b.champion_scores[i],
         "version": b.champion, **b.features_of(i)}
        for b in blocks for i in range(len(b))
    ]  # fmt: skip


def cut(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(preparing, "MIN_CHUNK", size)
    monkeypatch.setattr(preparing, "MAX_CHUNK", size)


def test_a_row_is_captured_as_a_request_would_be_under_the_id_beside_its_prediction(price: World) -> None:
    price.data.put("scoring/in/a.jsonl", as_jsonl([*ROWS, {**ROWS[0], "amount": None, "customer": "bad"}]))
    summary = price.run(capture=True)
    lines = price.predictions(summary, "a.jsonl")
    assert (summary["captured"], summary["rows"]) == (True, {"scored": 7, "errors": 1})
    rows = {row["id"]: row for row in captured(price)}
    assert [line.get("id") in rows for line in lines] == [True] * 7 + [False]
    first = rows[lines[0]["id"]]
    assert first["scores"] == [lines[0]["value"]]
    assert first["entity"] == entity_name(PSEUDONYM, ["c-1"])
    assert (first["time"], first["version"]) == (price.clock(), price.manifest.version)
    assert first["age"] == pseudonym(PSEUDONYM, "age", 40)
    assert "email" not in first
    assert "customer" not in first
    assert captured(price, price.manifest.model) == [], "drift and releases look at live traffic alone"


def test_without_being_asked_nothing_is_captured(price: World) -> None:
    summary = price.run()
    assert all("id" not in line for line in price.predictions(summary, "a.jsonl"))
    assert not any(key.startswith("captures/") for key in price.data.versions)


def test_rows_count_once_whatever_stopped_and_is_run_again(price: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, 3)
    planned = price.plan(capture=True)
    item = json.loads(price.data.get(planned["items_key"]))
    price.score(planned, item)
    (mark,) = [k for k in price.data.versions if "_objects/" in k]
    price.data.delete(mark)  # the run died before it marked the file
    price.clock.forward(hours=5)
    again = price.run(capture=True, run_id="run-2")
    assert again["objects"]["scored"] == 1
    cut(monkeypatch, 2)  # and elsewhere, cut otherwise
    price.clock.forward(hours=5)
    other = price.run(capture=True, run_id="run-3", output="s3://theirs/else/")
    assert other["objects"]["scored"] == 1
    rows = captured(price)
    assert len(rows) == len({row["id"] for row in rows}) == len(ROWS)
    assert {row["time"] for row in rows} == {price.clock() - timedelta(hours=10)}


def test_what_was_scored_without_is_scored_again_to_be_captured_and_then_left_alone(price: World) -> None:
    assert price.run()["objects"]["scored"] == 1
    summary = price.run(capture=True, run_id="run-2")
    assert (summary["objects"]["scored"], len(captured(price))) == (1, len(ROWS))
    assert [line["row"] for line in price.predictions(summary, "a.jsonl")] == list(range(1, 8))
    for number, capture in ((3, True), (4, False)):
        left = price.run(capture=capture, run_id=f"run-{number}")
        assert (left["objects"]["scored"], left["objects"]["skipped"]) == (0, 1)


def test_the_rate_of_the_contract_holds_here_too(tmp_path: Path) -> None:
    world = World(tmp_path, regressor(capture_rate=0.5), MIXED)
    world.data.put("scoring/in/a.jsonl", as_jsonl([{**ROWS[0], "customer": str(i)} for i in range(200)]))
    summary = world.run(capture=True)
    told = [line["id"] for line in world.predictions(summary, "a.jsonl") if "id" in line]
    assert 60 < len(told) < 140
    assert sorted(told) == sorted(row["id"] for row in captured(world))


def test_labels_judge_them_by_id_and_by_entity_beside_live_predictions(price: World) -> None:
    lines = price.predictions(price.run(capture=True), "a.jsonl")
    model, version = price.manifest.model, price.manifest.version
    price.registry.put_version(ModelVersion(model, version, "champion", price.clock().isoformat(), "d", "c"))
    check = QualityCheck(
        data=price.data, artifacts=price.artifacts, registry=price.registry, ledger=price.ledger,
        events=MemoryEvents(), hashed=partial(entity_name, PSEUDONYM), clock=price.clock, capture_days=90,
    )  # fmt: skip
    by_id = [{"inference_id": line["id"], "price": line["value"] + 1} for line in lines[:3]]
    by_entity = [{"customer": f"c-{i}", "price": lines[i - 1]["value"] + 3} for i in (4, 5, 6)]
    price.data.put(f"labels/{model}/a.jsonl", as_jsonl([*by_id, *by_entity, {"customer": "c-99", "price": 1.0}]))
    price.clock.forward(minutes=1)
    outcome = check.check(model)
    assert (outcome.rows, outcome.labelled) == (7, 6)
    assert outcome.realised == pytest.approx(2.0, rel=1e-6)
