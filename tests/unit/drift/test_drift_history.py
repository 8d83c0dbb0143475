"""Drift over months: windows, debounce in order of time, the timeline; and what goes to people as news."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import yaml

from functions.drift_check import app
from mlops.contract import Drift
from mlops.drift import history
from mlops.errors import MlopsError
from tests.cloudformation import ROOT, template
from tests.unit.drift.test_drift_check import CONTRACT, MODEL, World

SINCE, UNTIL = datetime(2026, 2, 24, 12, tzinfo=UTC), datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Six days of traffic: two quiet, an empty one, one of drift by itself, and two of drift at the end."""
    made = World(replace(CONTRACT, drift=Drift(confirmations=2, windows=2)))
    for days_ago, shift in ((5.5, 0.0), (4.5, 2.0), (2.5, 0.0), (1.5, 2.0), (0.5, 2.0)):
        made.capture(150, shift=shift, hours_ago=days_ago * 24, seed=int(days_ago * 10))
    monkeypatch.setattr(app, "service", lambda: made.check)
    return made


def run(world: World, **more: object) -> dict:
    """As the state machine does."""
    request = {"model": MODEL, "since": SINCE.isoformat(), "until": UNTIL.isoformat(), "every": 24} | more
    plan: dict = app.handler({"task": "plan", **request}, None)
    if plan["status"] != "planned":
        return plan
    for window in reversed(plan["windows"]):  # children run in any order
        app.handler({"task": "past", "model": MODEL, **window}, None)
    answer: dict = app.handler({"task": "timeline", **{k: plan[k] for k in ("model", "since", "until", "every")}}, None)
    return answer


def test_a_history_is_a_timeline_with_the_debounce_in_order_of_time(world):
    answer = run(world)
    assert (answer["status"], answer["windows"], answer["compared"]) == ("drift", 6, 5)
    assert (answer["drifted"], answer["confirmed"]) == (3, 1)
    assert answer["first"] == "2026-03-01T12:00:00+00:00"
    assert "1 windows had too few" in answer["explanation"]
    assert "first from 2026-03-01 12:00: " in answer["explanation"]
    document = world.data.json(answer["report_key"].replace(".html", ".json"))
    told = [(c["status"], c["confirmed"]) for c in document["checks"]]
    assert told == [
        ("ok", False), ("drift", False), ("insufficient", False), ("ok", False), ("drift", False), ("drift", True),
    ]  # fmt: skip
    page = world.data.get(answer["report_key"]).decode()
    assert "Every column, window by window" in page
    assert "radius" in page
    assert [e.action for e in world.ledger.entries()] == ["drift.backfilled"]


def test_history_is_no_check_of_the_present(world):
    run(world)
    assert world.registry.records(MODEL, "drift") == []
    assert world.events.put_events == []


def test_a_window_that_is_written_down_is_not_counted_again(world):
    first = run(world)
    for key in [i.key for i in world.data.list("captures/")]:
        world.data.delete(key)
    assert run(world) == first


def test_a_history_without_rows_or_champion():
    empty = World()
    empty.check.past(MODEL, SINCE, UNTIL)
    answer = empty.check.timeline(MODEL, SINCE, UNTIL, 144.0)
    assert (answer["status"], answer["compared"]) == ("insufficient", 0)
    none = World(champion=False)
    assert none.check.past(MODEL, SINCE, UNTIL)["status"] == "no_champion"
    assert none.check.timeline(MODEL, SINCE, UNTIL, 144.0)["status"] == "no_champion"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"since": "2026-03-02T06:00:00Z"}, "no window of 24 hours"),
        ({"since": "2026-04-01T06:00:00Z"}, "no window"),
        ({"every": 0.01}, "at most 1000"),
        ({"every": -1}, "longer than -1 hours"),
        ({"until": "2027-01-01T00:00:00Z"}, "not be in the future"),
    ],
)
def test_a_plan_that_makes_no_sense_is_a_result(world, change, words):
    answer = run(world, **change)
    assert answer["status"] == "invalid"
    assert words in answer["explanation"]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"task": "plan", "model": MODEL}, "'since' must be a time"),
        ({"task": "past", "model": MODEL, "since": "x"}, "ISO 8601"),
        ({"task": "timeline", "model": MODEL, "since": "2026-01-01", "until": "2026-01-02"}, "'every'"),
        ({"task": "fail", "model": MODEL}, "'run_id'"),
    ],
)
def test_a_step_that_lacks_something_says_what(world, event, words):
    with pytest.raises(MlopsError, match=words):
        app.handler(event, None)


def test_a_run_that_failed_is_in_the_ledger_by_the_name_of_its_error_alone(world):
    error = {"Error": "States.TaskFailed", "Cause": "a row of ada@example.org"}
    app.handler({"task": "fail", "model": MODEL, "run_id": "bf-1", "error": error}, None)
    (entry,) = world.ledger.entries()
    assert entry.action == "drift.backfill_failed"
    assert "States.TaskFailed" in entry.reason
    assert "ada" not in entry.reason


def test_steps_of_a_plan_meet_without_gap_and_overlap():
    answer = history.plan(MODEL, SINCE, None, 7.0, now=UNTIL)
    edges = [(w["since"], w["until"]) for w in answer["windows"]]
    until = datetime.fromisoformat(answer["until"])
    assert len(edges) == 20
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    assert until == SINCE + timedelta(hours=140)
    assert [(a.isoformat(), b.isoformat()) for a, b in history.windows(SINCE, until, 7)] == edges


def test_drift_is_news_once_and_the_notice_says_what_matters():
    """People are told when drift that counts begins; what the rule takes from the event is there."""
    world = World()
    seen = []
    for hour, shift in enumerate((0.0, 2.0, 2.0, 0.0, 2.0)):
        world.clock.forward(hours=24)
        world.capture(150, shift=shift, seed=hour)
        seen.append(world.check.window(MODEL).news)
    assert seen == [False, True, False, False, True]
    detail = json.loads(json.dumps(world.events.put_events[1][1] | {"stack": "s"}))
    rule = template()["Resources"]["DriftNotice"]["Properties"]
    pattern = rule["EventPattern"]["detail"]
    assert (pattern["status"], pattern["news"]) == ([detail["status"]], [detail["news"]])
    transformer = rule["Targets"][0]["InputTransformer"]
    found = {name: detail[path.removeprefix("$.detail.")] for name, path in transformer["InputPathsMap"].items()}
    assert found["features"] == ["radius", "texture"]
    text = transformer["InputTemplate"]["Fn::Sub"].replace("<key>", found.pop("key"))
    for name, value in found.items():
        text = text.replace(f"<{name}>", json.dumps(value))
    message = json.loads(text)
    assert message["drift"] == MODEL
    assert message["report"].endswith(detail["report_key"])


def test_a_window_that_ends_in_the_future_says_so():
    world = World()
    world.capture(300)
    until = world.clock() + timedelta(hours=3)
    outcome = world.check.window(MODEL, hours=6, until=until)
    assert (outcome.status, outcome.rows) == ("ok", 300)
    notes = world.data.json(outcome.report_key.replace(".html", ".json"))["notes"]
    assert any("in the future by this function's clock" in note for note in notes)


def test_the_machine_gives_children_what_the_function_takes():
    machine = yaml.safe_load((ROOT / "statemachines" / "backfill.asl.json").read_text())
    windows = machine["States"]["Windows"]
    assert windows["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED"
    assert windows["ResultPath"] is None, "results of a thousand windows do not fit into one payload"
    assert windows["ItemProcessor"]["States"]["Check"]["Output"] == {}
    assert set(windows["ItemProcessor"]["States"]["Check"]["Arguments"]) - {"correlation_id"} == {
        "task", "model", "since", "until",
    }  # fmt: skip
