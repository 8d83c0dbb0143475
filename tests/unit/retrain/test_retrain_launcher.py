"""The launcher in memory: one run per cause, every decision written down."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from functions.retrain_launcher import app
from mlops.contract import Contract, Drift, Retrain, Target, Training
from mlops.cost.prices import snapshot
from mlops.errors import MlopsError, NotFoundError
from mlops.features.spec import Feature
from mlops.registry.entities import DatasetVersion, ModelVersion, Record
from mlops.retrain.launch import LOCK_SECONDS, Launcher, run_id_of
from mlops.retrain.place import INSTANCES, Offers
from tests.fakes import Clock, MemoryEvents, MemoryLedger, MemoryRegistry, MemoryStateMachine

MODEL, VERSION = "breast-cancer", "4be1a7c0d2f3"
CONTRACT = Contract(
    MODEL,
    "classification",
    Target("y", ("no", "yes"), "yes"),
    (Feature("x", "number"),),
    training=Training(min_rows=50),
    drift=Drift(),
    retrain=Retrain(),
)
DRIFTED = {"status": "drift", "model": MODEL, "task": "window", "check_id": "w1", "confirmed": True, "share": 0.6,
           "version": VERSION, "drifted": [{"feature": "radius"}]}  # fmt: skip


class World:
    def __init__(self, contract: Contract = CONTRACT, champion: bool = True, rows: int = 400) -> None:
        self.clock = Clock()
        self.registry, self.ledger = MemoryRegistry(self.clock), MemoryLedger(self.clock)
        self.events, self.pipeline = MemoryEvents(), MemoryStateMachine()
        self.registry.put_contract(contract)
        if rows:
            self.data("d1", rows)
        if champion:
            made = ModelVersion(MODEL, VERSION, "champion", self.clock().isoformat(), "d1", contract.digest())
            self.registry.put_version(made)
        self.launcher = Launcher(
            registry=self.registry, ledger=self.ledger, events=self.events, pipeline=self.pipeline, clock=self.clock
        )

    def data(self, version: str, rows: int) -> None:
        current = self.registry.current_dataset(MODEL)
        self.registry.advance_dataset(
            DatasetVersion(MODEL, version, ("p",), rows), current.version if current else None
        )

    def decisions(self) -> list[Record]:
        return self.registry.records(MODEL, "decision")


def test_the_first_upload_goes_on_to_train():
    world = World(champion=False)
    answer = world.launcher.decide(MODEL, "up-1", drift={"status": "no_champion"}, dataset_version="d1")
    assert (answer["launch"], answer["reason"], answer["where"]) == (True, "first_model", "lambda")
    assert {"launch", "reason", "explanation", "where", "run_id", "model"} <= set(answer)
    assert world.registry.holder(MODEL, "train") == "up-1"
    assert world.pipeline.started == {}  # it is running already: the pipeline asked
    assert world.ledger.actions() == ["retrain.decided"]
    assert world.events.put_events[0][0] == "RetrainDecided"
    assert world.decisions()[0].id == "up-1"


def test_a_no_is_written_down_too():
    world = World()
    world.data("d2", 450)
    answer = world.launcher.decide(MODEL, "up-2", drift={"status": "ok"})
    assert (answer["launch"], answer["reason"]) == (False, "none")
    assert next(world.ledger.entries()).outcome == "no:none"
    assert world.events.put_events[0][1]["launch"] is False
    assert world.registry.holder(MODEL, "train") is None


def test_asking_again_gives_the_same_answer_and_one_entry():
    world = World(champion=False)
    first = world.launcher.decide(MODEL, "up-1")
    assert world.launcher.decide(MODEL, "up-1") == first
    assert len(world.ledger.kept) == len(world.decisions()) == len(world.events.put_events) == 1


def test_a_retry_after_the_lock_was_taken_is_not_blocked_by_itself():
    world = World(champion=False)
    assert world.registry.acquire(MODEL, "train", "up-1", 60)
    assert world.launcher.decide(MODEL, "up-1")["launch"]


def test_two_uploads_start_one_run():
    world = World(champion=False)
    assert world.launcher.decide(MODEL, "up-1")["launch"]
    second = world.launcher.decide(MODEL, "up-2")
    assert (second["launch"], second["holds"]) == (False, ["running"])
    assert "up-1 is in progress" in second["explanation"]


def test_losing_the_race_for_the_lock_is_a_no(monkeypatch):
    world = World(champion=False)
    holders = iter([None, "up-9"])
    monkeypatch.setattr(world.registry, "holder", lambda model, purpose: next(holders))
    monkeypatch.setattr(world.registry, "acquire", lambda *args: False)
    answer = world.launcher.decide(MODEL, "up-1")
    assert (answer["launch"], answer["holds"]) == (False, ["running"])


def test_a_drift_event_starts_the_pipeline_once():
    world = World()
    world.data("d2", 450)
    answers = [world.launcher.event(DRIFTED, f"event {i}") for i in range(3)]
    assert answers[0] == answers[1] == answers[2]
    ((name, payload),) = world.pipeline.started.items()
    assert name == answers[0]["run_id"]
    assert (payload["kind"], payload["model"], payload["reason"]) == ("retrain", MODEL, "drift")
    assert payload["run_id"] == name
    assert payload["dataset_version"] == "d2"
    assert world.registry.holder(MODEL, "train") == name
    assert len(world.ledger.kept) == 1


def test_drift_without_new_rows_would_train_the_same_model_again():
    world = World()
    answer = world.launcher.event(DRIFTED, "e")
    assert answer["holds"] == ["nothing_new"]
    assert VERSION in answer["explanation"]
    assert world.pipeline.started == {}


def test_drift_event_without_a_check_id_is_told_apart_by_the_event():
    world = World(replace(CONTRACT, retrain=Retrain(cooldown_hours=0)))
    world.data("d2", 450)
    detail = {k: v for k, v in DRIFTED.items() if k != "check_id"}
    assert world.launcher.event(detail, "a")["run_id"] != world.launcher.event(detail, "b")["run_id"]


def test_a_start_that_was_lost_is_made_up_by_the_retry():
    world = World()
    world.data("d2", 450)
    answer = world.launcher.event(DRIFTED, "e")
    world.pipeline.started.clear()
    world.launcher.event(DRIFTED, "e")
    assert list(world.pipeline.started) == [answer["run_id"]]


def test_a_start_that_was_lost_is_made_up_by_the_sweep():
    world = World()
    world.data("d2", 450)
    answer = world.launcher.event(DRIFTED, "e")
    world.pipeline.started.clear()
    world.launcher.sweep("2026-03-02T13")
    assert list(world.pipeline.started) == [answer["run_id"]]


def test_a_fault_while_starting_is_repeated_without_a_second_decision(monkeypatch):
    world = World()
    world.data("d2", 450)
    start = world.pipeline.start

    def broken(name, payload):
        raise ConnectionError("no route")

    monkeypatch.setattr(world.pipeline, "start", broken)
    with pytest.raises(ConnectionError):
        world.launcher.event(DRIFTED, "e")
    assert world.ledger.kept == []
    monkeypatch.setattr(world.pipeline, "start", start)
    assert world.launcher.event(DRIFTED, "e")["launch"]
    assert len(world.ledger.kept) == 1


def test_the_cooldown_counts_from_the_last_launch():
    world = World()
    world.data("d2", 450)
    first = world.launcher.event(DRIFTED, "e1")
    world.registry.let_go(MODEL, "train", first["run_id"])
    world.data("d3", 500)
    world.clock.forward(hours=23)
    assert world.launcher.event({**DRIFTED, "check_id": "w2"}, "e2")["holds"] == ["cooldown"]
    world.clock.forward(hours=2)
    third = world.launcher.event({**DRIFTED, "check_id": "w3"}, "e3")
    assert third["launch"]
    assert third["new_rows"] == 50


def test_a_clock_that_is_set_back_launches_nothing_early():
    world = World()
    world.data("d2", 450)
    first = world.launcher.event(DRIFTED, "e1")
    world.registry.let_go(MODEL, "train", first["run_id"])
    world.data("d3", 500)
    world.clock.forward(hours=-5)
    second = world.launcher.event({**DRIFTED, "check_id": "w2"}, "e2")
    assert second["holds"] == ["cooldown"], "it counts from the launch, wherever the clock is"
    assert second["launch"] is False


def test_at_most_so_many_a_week():
    world = World(replace(CONTRACT, retrain=Retrain(cooldown_hours=0, max_per_week=2)))
    answers = []
    for i in range(3):
        world.data(f"d{i + 2}", 450 + i)
        answer = world.launcher.event({**DRIFTED, "check_id": f"w{i}"}, "e")
        world.registry.let_go(MODEL, "train", answer["run_id"])
        world.clock.forward(hours=1)
        answers.append(answer)
    assert [a["launch"] for a in answers] == [True, True, False]
    assert answers[2]["holds"] == ["weekly"]
    world.clock.forward(days=7)
    assert world.launcher.event({**DRIFTED, "check_id": "w9"}, "e")["launch"]


def test_the_budget_of_this_month_is_obeyed():
    world = World()
    world.data("d2", 450)
    body = {"over_budget": True}
    world.registry.put_record(Record("_stack", "cost", "c1", world.clock().isoformat(), body))
    assert world.launcher.event(DRIFTED, "e")["holds"] == ["budget"]
    world.clock.forward(days=31)
    assert world.launcher.event({**DRIFTED, "check_id": "w2"}, "e")["launch"]


def test_a_dead_run_does_not_hold_the_lock_for_ever():
    world = World(champion=False)
    world.launcher.decide(MODEL, "up-1")
    world.clock.forward(seconds=LOCK_SECONDS + 1)
    assert world.launcher.decide(MODEL, "up-2")["launch"]


def test_the_sweep_keeps_the_schedule():
    world = World(replace(CONTRACT, retrain=Retrain(every_days=7)))
    world.data("d2", 450)
    assert world.launcher.sweep() == {"status": "swept", "models": 1, "results": [], "jobs": []}
    world.clock.forward(days=8)
    (result,) = world.launcher.sweep()["results"]
    assert (result["launch"], result["reason"]) == (True, "schedule")
    assert list(world.pipeline.started) == [result["run_id"]]
    world.launcher.sweep()
    assert len(world.pipeline.started) == 1


def test_the_sweep_writes_nothing_when_nothing_is_due():
    world = World()
    for _ in range(3):
        world.clock.forward(hours=1)
        world.launcher.sweep()
    assert (world.ledger.kept, world.decisions(), world.events.put_events) == ([], [], [])


def test_drift_that_was_held_back_is_taken_up_by_the_sweep():
    world = World(replace(CONTRACT, retrain=Retrain(quiet_hours="11-14")))
    world.data("d2", 450)
    world.registry.put_record(Record(MODEL, "drift", "w1", world.clock().isoformat(), DRIFTED))
    assert world.launcher.event(DRIFTED, "e")["holds"] == ["quiet_hours"]
    world.clock.forward(hours=1)
    assert world.launcher.sweep()["results"][0]["holds"] == ["quiet_hours"]
    assert len(world.ledger.kept) == 1  # the same "no" again is no news
    world.clock.forward(hours=2)
    (result,) = world.launcher.sweep()["results"]
    assert (result["launch"], result["reason"]) == (True, "drift")


def test_drift_of_an_earlier_champion_is_history():
    world = World()
    world.data("d2", 450)
    world.registry.put_record(Record(MODEL, "drift", "w1", world.clock().isoformat(), {**DRIFTED, "version": "0" * 12}))
    assert world.launcher.sweep()["results"] == []


def test_a_person_launches_and_is_named():
    world = World()
    answer = world.launcher.launch(MODEL, actor="user:ada", explanation="new scanner", request_id="r1")
    assert (answer["launch"], answer["reason"]) == (True, "manual")
    entry = next(world.ledger.entries())
    assert entry.actor == "user:ada"
    assert "new scanner" in entry.reason
    assert world.launcher.launch(MODEL, actor="user:ada", explanation="new scanner", request_id="r1") == answer
    assert len(world.pipeline.started) == 1


def test_a_manual_launch_needs_a_name_and_a_why():
    with pytest.raises(MlopsError, match="actor"):
        World().launcher.launch(MODEL, actor=" ", explanation="x", request_id="r")


def test_a_version_of_ones_own_is_imported():
    world = World()
    answer = world.launcher.launch(
        MODEL, actor="user:ada", explanation="by hand", request_id="r1", version="0a1b2c3d4e5f"
    )
    assert (answer["launch"], answer["reason"]) == (True, "import")
    ((_, payload),) = world.pipeline.started.items()
    assert (payload["kind"], payload["version"]) == ("import", "0a1b2c3d4e5f")
    blocked = world.launcher.launch(MODEL, actor="user:ada", explanation="again", request_id="r2", version="f" * 12)
    assert (blocked["launch"], blocked["holds"]) == (False, ["running"])


def test_an_import_is_no_training_for_the_cooldown():
    world = World()
    first = world.launcher.launch(MODEL, actor="user:ada", explanation="x", request_id="r1", version="0a1b2c3d4e5f")
    world.registry.let_go(MODEL, "train", first["run_id"])
    world.data("d2", 450)
    assert world.launcher.event(DRIFTED, "e")["launch"]


def test_the_last_training_tells_how_long_the_next_takes():
    world = World()
    world.data("d2", 800)
    body = {"seconds": 30.0, "rows": 400, "peak_mb": 300}
    world.registry.put_record(Record(MODEL, "training", "r0", world.clock().isoformat(), body))
    answer = world.launcher.event(DRIFTED, "e")
    assert answer["estimated_seconds"] == 60.0
    (option,) = answer["options"]
    assert (option["where"], option["seconds"], option["possible"]) == ("lambda", 60.0, True)


DEGRADED = {"status": "degraded", "model": MODEL, "version": VERSION, "check_id": "q1", "metric": "roc_auc",
            "realised": 0.71, "bound": 0.8, "lower": 0.68, "upper": 0.74, "rows": 900, "reasons": []}  # fmt: skip


def test_a_drop_in_quality_starts_a_run_once_and_says_by_how_much():
    world = World()
    world.data("d2", 450)
    first = world.launcher.quality_event(DEGRADED, "e1")
    assert (first["launch"], first["reason"]) == (True, "quality")
    assert "roc_auc 0.71, the bound is 0.8" in first["explanation"]
    assert world.launcher.quality_event(DEGRADED, "e2") == first
    assert len(world.pipeline.started) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "0" * 12}, "no quality check has been made of the version that serves"),
        ({"status": "insufficient"}, "says 'insufficient'"),
        ({"confirmed": False}, "not confirmed"),
    ],
)
def test_quality_that_is_no_reason_is_a_no_in_the_ledger(change, words):
    world = World()
    world.data("d2", 450)
    answer = world.launcher.quality_event({**DEGRADED, **change}, "e")
    assert (answer["launch"], answer["reason"]) == (False, "none")
    assert words in answer["explanation"]
    assert world.ledger.actions() == ["retrain.decided"]


def test_quality_that_was_held_back_is_taken_up_by_the_sweep():
    world = World(replace(CONTRACT, retrain=Retrain(quiet_hours="11-13")))
    world.data("d2", 450)
    world.registry.put_record(Record(MODEL, "quality", "q1", world.clock().isoformat(), DEGRADED))
    assert world.launcher.quality_event(DEGRADED, "e")["holds"] == ["quiet_hours"]
    world.clock.forward(hours=2)
    (swept,) = world.launcher.sweep("2026-03-02T14")["results"]
    assert (swept["launch"], swept["reason"]) == (True, "quality")


def test_what_is_left_of_the_budget_must_be_enough_for_the_run():
    world = World()
    world.data("d2", 450)
    body = {"over_budget": False, "budget_usd": "5", "month_spent_usd": "4.9999"}
    world.registry.put_record(Record("_stack", "cost", "c", world.clock().isoformat(), body))
    world.launcher.offers = lambda: Offers(prices=snapshot())
    answer = world.launcher.event(DRIFTED, "e")
    assert answer["holds"] == ["budget"]
    assert "of this month's budget are left" in answer["explanation"]
    world.registry.kept[0].body["month_spent_usd"] = "4"
    assert world.launcher.event({**DRIFTED, "check_id": "w2"}, "e")["launch"]


def test_explain_shows_every_place_and_changes_nothing(monkeypatch):
    world = World()
    world.launcher.offers = lambda: Offers(prices=snapshot(), instances=tuple(INSTANCES))
    monkeypatch.setattr(app, "service", lambda: world.launcher)
    answer = app.handler({"task": "explain", "model": MODEL}, None)
    assert [o["where"] for o in answer["options"]] == ["lambda", "sagemaker", "sagemaker_spot"]
    assert all(o["usd"] and "USD" in o["basis"] for o in answer["options"])
    assert (world.decisions(), world.ledger.kept, world.pipeline.started) == ([], [], {})


def test_a_model_that_nobody_knows():
    with pytest.raises(NotFoundError, match="no model 'nobody'"):
        World().launcher.decide("nobody", "up-1")


def test_run_ids_are_valid_execution_names():
    name = run_id_of("sweep", "a model/with $igns" * 9, "x")
    assert len(name) <= 80
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")


EVENTS = sorted((Path(__file__).parents[3] / "events" / "retrain_launcher").glob("*.json"))


@pytest.mark.parametrize("path", EVENTS, ids=lambda p: p.stem)
def test_every_event_file_is_handled(monkeypatch, path):
    world = World(champion=path.stem != "decide")
    if path.stem in ("drift_checked", "quality_checked"):
        world.data("d2", 450)
    monkeypatch.setattr(app, "service", lambda: world.launcher)
    event = json.loads(path.read_text())
    answer = app.handler(event, None)
    if path.stem == "sweep":
        assert answer == {"status": "swept", "models": 1, "results": [], "jobs": []}
    elif path.stem == "explain":
        assert (answer["launch"], answer["reason"], world.decisions()) == (False, "none", [])
    elif path.stem == "job_changed":
        assert answer["status"] == "not_ours"
    else:
        assert answer["launch"] is True
        assert len(world.pipeline.started) == (0 if path.stem == "decide" else 1)
        assert app.handler(event, None) == answer


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({}, "'task' must be"),
        ({"task": "decide", "model": MODEL}, "'run_id'"),
        ({"task": "decide", "model": MODEL, "run_id": "u", "drift": "yes"}, "'drift' must be"),
        ({"task": "launch", "model": MODEL, "explanation": "x", "request_id": "r"}, "'actor'"),
        ({"task": "launch", "model": MODEL, "actor": "a", "explanation": "x"}, "'request_id'"),
        ({"detail-type": "DriftChecked"}, "no detail"),
        ({"detail-type": "QualityChecked"}, "no detail"),
        ({"task": "submit", "model": MODEL, "run_id": "r"}, "'token'"),
        ({"task": "submit", "model": MODEL, "run_id": "r", "token": "t"}, "was not decided on"),
        ({"detail-type": "DriftChecked", "detail": {}}, "'model' is missing"),
    ],
)
def test_a_request_that_makes_no_sense_says_what_is_wrong(monkeypatch, bad, words):
    monkeypatch.setattr(app, "service", lambda: World().launcher)
    with pytest.raises(MlopsError, match=words):
        app.handler(bad, None)


def test_the_invocation_names_a_launch_without_a_request_id(monkeypatch):
    world = World()
    monkeypatch.setattr(app, "service", lambda: world.launcher)
    event = {"task": "launch", "model": MODEL, "actor": "user:ada", "explanation": "x"}
    context = SimpleNamespace(aws_request_id="abc")
    assert app.handler(event, context) == app.handler(event, context)
    assert len(world.pipeline.started) == 1


def test_the_launcher_needs_no_numpy():
    """Its function has the service layer only."""
    code = (
        "import sys, mlops.retrain.request, mlops.report.html, mlops.report.svg\n"
        "bad = {'numpy', 'orjson', 'polars', 'boto3'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
