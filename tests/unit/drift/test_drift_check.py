"""The check as a whole, in memory: what it reads, what it writes, what happens twice."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from functions.drift_check import app
from mlops.contract import Contract, Drift, Target
from mlops.drift.check import DriftCheck
from mlops.drift.learning import learn
from mlops.errors import MlopsError, NotFoundError
from mlops.features.columns import Column, Columns, category_column
from mlops.features.spec import Feature
from mlops.objects import capture_prefix, part_prefix, version_prefix
from mlops.registry.entities import ModelVersion
from mlops.statistics.baseline import build
from tests.fakes import Clock, MemoryEvents, MemoryLedger, MemoryObjects, MemoryRegistry

MODEL, VERSION = "breast-cancer", "4be1a7c0d2f3"
FEATURES = (Feature("radius", "number"), Feature("texture", "number"), Feature("site", "category"))
CONTRACT = Contract(
    MODEL, "classification", Target("diagnosis", ("benign", "malignant"), "malignant"), FEATURES, key=("patient",)
)


def data(n: int, shift: float = 0.0, seed: int = 1) -> Columns:
    rng = np.random.default_rng(seed)
    return Columns(
        (
            Column("radius", "number", rng.normal(14 + shift * 3, 3, n)),
            Column("texture", "number", rng.normal(19 + shift * 4, 4, n)),
            category_column("site", [str(s) for s in rng.choice(["left", "right"], n)]),
            category_column("diagnosis", [str(s) for s in rng.choice(["benign", "malignant"], n)]),
            category_column("patient", [f"p{i}" for i in range(n)]),
        )
    )


class World:
    """A stack in memory with a champion, unless told otherwise."""

    def __init__(self, contract: Contract = CONTRACT, champion: bool = True) -> None:
        self.clock = Clock()
        self.data, self.artifacts = MemoryObjects(), MemoryObjects()
        self.registry, self.ledger = MemoryRegistry(self.clock), MemoryLedger(self.clock)
        self.events = MemoryEvents()
        self.registry.put_contract(contract)
        if champion:
            self.registry.put_version(ModelVersion(MODEL, VERSION, "champion", self.clock().isoformat(), "d1", "c1"))
            table = data(600)
            baseline = build(
                FEATURES, table, predictions=scores(600), target=table["diagnosis"], classes=("benign", "malignant")
            )
            self.put_baseline(baseline.labelled(MODEL, VERSION).to_dict())
        self.check = DriftCheck(
            data=self.data,
            artifacts=self.artifacts,
            registry=self.registry,
            ledger=self.ledger,
            events=self.events,
            clock=self.clock,
        )

    def put_baseline(self, document: object) -> None:
        self.artifacts.put(version_prefix(MODEL, VERSION) + "baseline.json", json.dumps(document).encode())

    def put_part(self, part_id: str, table: Columns) -> None:
        self.data.put(part_prefix(MODEL, part_id) + "columns.npz", table.save())

    def capture(
        self, n: int, shift: float = 0.0, hours_ago: float = 1.0, seed: int = 2, version: str = VERSION
    ) -> None:
        moment = self.clock() - timedelta(hours=hours_ago)
        table, answers = data(n, shift, seed), scores(n, seed)
        lines = []
        for i in range(n):
            features = {
                "radius": float(table["radius"].values[i]),
                "texture": float(table["texture"].values[i]),
                "site": table["site"].levels[int(table["site"].values[i])],
            }
            row = {"id": f"{seed}-{i}", "entity": None, "features": features, "answered": "champion",
                   "champion": answers[i].tolist(), "challenger": None}  # fmt: skip
            lines.append(
                {
                    "kind": "mlops.capture.v1",
                    "model": MODEL,
                    "time": moment.isoformat(),
                    "request_id": f"{seed}-{i}",
                    "step": None,
                    "release": None,
                    "rows": [row],
                    "champion": {"version": version, "us": 40, "error": None},
                    "challenger": None,
                }
            )
        body = gzip.compress("\n".join(json.dumps(line) for line in lines).encode())
        self.data.put(
            f"{capture_prefix(MODEL, moment.strftime('%Y-%m-%d'), moment.strftime('%H'))}{seed}.jsonl.gz", body
        )


def scores(n: int, seed: int = 1) -> np.ndarray:
    p = np.random.default_rng(seed + 100).beta(2, 3, n)
    return np.column_stack([1 - p, p])


def test_quiet_traffic_is_ok_and_everything_is_written_down():
    world = World()
    world.capture(300)
    outcome = world.check.window(MODEL)
    assert (outcome.status, outcome.rows, outcome.confirmed) == ("ok", 300, False)
    assert world.ledger.actions() == ["drift.checked"]
    assert [r.id for r in world.registry.records(MODEL, "drift")] == [outcome.check_id]
    ((kind, detail),) = world.events.put_events
    assert (kind, detail["model"], detail["status"], detail["task"]) == ("DriftChecked", MODEL, "ok", "window")
    document = world.data.json(outcome.report_key.replace(".html", ".json"))
    assert document["verdict"]["status"] == "ok"
    assert document["counts"]["rows"] == 300
    page = world.data.get(outcome.report_key).decode()
    assert page.startswith("<!doctype html>")
    assert "radius" in page


def test_shifted_traffic_is_drift_with_the_features_that_matter_first():
    world = World()
    world.capture(300, shift=2.0)
    outcome = world.check.window(MODEL, hours=6)
    assert (outcome.status, outcome.confirmed) == ("drift", True)
    assert {d["feature"] for d in outcome.drifted} == {"radius", "texture"}
    assert outcome.share == pytest.approx(2 / 3)
    entry = next(world.ledger.entries())
    assert entry.outcome == "drift_confirmed"
    assert entry.subject == f"model/{MODEL}/{VERSION}"
    page = world.data.get(outcome.report_key).decode()
    assert "What matters first" in page
    json.dumps(outcome.to_dict(), allow_nan=False)


def test_traffic_outside_the_window_does_not_count():
    world = World()
    world.capture(300, shift=2.0, hours_ago=30)
    outcome = world.check.window(MODEL)
    assert (outcome.status, outcome.rows) == ("insufficient", 0)


def test_an_empty_window_is_insufficient_and_has_a_report():
    world = World()
    outcome = world.check.window(MODEL)
    assert outcome.status == "insufficient"
    assert "0 rows" in outcome.explanation
    assert world.data.exists(outcome.report_key)


def test_without_a_champion_there_is_nothing_to_compare_with():
    world = World(champion=False)
    assert world.check.window(MODEL).status == "no_champion"
    assert world.check.dataset(MODEL, "p1").status == "no_champion"


def test_a_data_set_is_checked_against_the_champion_labels_included():
    world = World()
    world.put_part("p1", data(400, seed=8))
    world.put_part("p2", data(400, shift=2.0, seed=9))
    quiet, moved = world.check.dataset(MODEL, "p1"), world.check.dataset(MODEL, "p2")
    assert (quiet.status, moved.status) == ("ok", "drift")
    document = world.data.json(quiet.report_key.replace(".html", ".json"))
    assert "diagnosis" in {f["feature"] for f in document["verdict"]["findings"]}
    assert "patient" not in document["counts"]["unknown"]
    assert world.events.put_events == []  # the pipeline hands the answer on itself


def test_the_season_of_an_upload_is_that_of_its_rows_and_of_a_window_its_own():
    """Radius follows the hour. An upload of nights, and a window of one, are compared with nights."""

    def timed(days: np.ndarray, seed: int) -> Columns:
        table = data(len(days), seed=seed)
        radius = Column("radius", "number", table["radius"].values + 6 * np.sin(2 * np.pi * days))
        return Columns((Column("at", "date", days), radius, *table.columns[1:]))

    world = World(replace(CONTRACT, timestamp="at"))
    days = 20_000 + np.arange(0, 20, 1 / 200)
    table = timed(days, 1)
    baseline = learn(
        build(FEATURES, table, target=table["diagnosis"]), table, days, None, window_days=1.0, min_rows=100
    )
    world.put_baseline(baseline.labelled(MODEL, VERSION).to_dict())
    night = timed(20_030 + np.arange(0, 0.25, 1 / 1200), 2)
    world.put_part("night", night)
    world.put_part("untimed", night.select([n for n in night.names if n != "at"]))
    assert [world.check.dataset(MODEL, p).status for p in ("night", "untimed")] == ["ok", "drift"]
    world.capture(300, hours_ago=11)
    outcome = world.check.window(MODEL, hours=6, until=datetime(2026, 3, 2, 6, tzinfo=UTC))
    document = world.data.json(outcome.report_key.replace(".html", ".json"))
    assert any("same hours: 00:00" in note for note in document["notes"])


def test_an_upload_of_several_parts_is_one_check_with_the_counts_of_all_its_rows():
    world = World()
    whole = data(500, shift=1.0, seed=6)
    world.put_part("all", whole)
    for i, part in enumerate(np.array_split(np.arange(whole.rows), 3)):
        world.put_part(f"part{i}", whole.take(part))
    one, many = world.check.dataset(MODEL, "all"), world.check.dataset(MODEL, "part0", "part1", "part2")
    assert (many.status, many.rows, many.drifted, many.effects) == (one.status, 500, one.drifted, one.effects)
    counted = [world.data.json(str(o.report_key).replace(".html", ".json"))["counts"] for o in (one, many)]
    assert counted[0] == counted[1]
    assert len(world.registry.records(MODEL, "drift")) == 2
    assert world.check.dataset(MODEL, "part0", "part1", "part2") == many


def test_a_check_asked_twice_is_one_check():
    world = World()
    world.put_part("p1", data(400, shift=2.0))
    first = world.check.dataset(MODEL, "p1")
    world.data.delete(part_prefix(MODEL, "p1") + "columns.npz")
    assert world.check.dataset(MODEL, "p1") == first
    assert len(world.ledger.kept) == 1


def test_a_window_asked_twice_has_one_record_and_one_ledger_entry():
    world = World()
    world.capture(300, shift=2.0)
    assert world.check.window(MODEL) == world.check.window(MODEL)
    assert len(world.ledger.kept) == 1
    assert len(world.registry.records(MODEL, "drift")) == 1


def test_drift_counts_when_enough_windows_agree():
    world = World(replace(CONTRACT, drift=Drift(confirmations=2, windows=3)))
    world.capture(300, shift=2.0)
    first = world.check.window(MODEL)
    assert (first.status, first.confirmed) == ("drift", False)
    assert "Not confirmed yet" in first.explanation
    world.clock.forward(hours=1)
    second = world.check.window(MODEL)
    assert (second.status, second.confirmed) == ("drift", True)


def test_checks_of_an_earlier_champion_do_not_confirm():
    world = World(replace(CONTRACT, drift=Drift(confirmations=2, windows=3)))
    world.capture(300, shift=2.0)
    world.check.window(MODEL)
    world.registry.move(MODEL, VERSION, ("champion",), "archived", "test")
    world.registry.put_version(ModelVersion(MODEL, "0" * 12, "champion", world.clock().isoformat(), "d2", "c1"))
    body = world.artifacts.get(version_prefix(MODEL, VERSION) + "baseline.json")
    document = json.loads(body) | {"version": "0" * 12}
    world.artifacts.put(version_prefix(MODEL, "0" * 12) + "baseline.json", json.dumps(document).encode())
    world.clock.forward(hours=1)
    assert world.check.window(MODEL).confirmed is False


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"not json", "not JSON"),
        (b'{"schema": "mlops.baseline.v0"}', "schema"),
        (None, "no object"),
    ],
)
def test_a_baseline_that_cannot_be_used_is_a_result(body, words):
    world = World()
    key = version_prefix(MODEL, VERSION) + "baseline.json"
    world.artifacts.delete(key)
    if body is not None:
        world.artifacts.put(key, body)
    outcome = world.check.window(MODEL)
    assert outcome.status == "insufficient"
    assert words in outcome.explanation


def test_a_baseline_of_another_version_is_a_result():
    world = World()
    document = json.loads(world.artifacts.get(version_prefix(MODEL, VERSION) + "baseline.json"))
    world.put_baseline(document | {"version": "f" * 12})
    outcome = world.check.window(MODEL)
    assert outcome.status == "insufficient"
    assert "is of version ffffffffffff" in outcome.explanation


def test_scores_of_another_version_are_not_compared():
    world = World()
    world.capture(300, version="9" * 12)
    outcome = world.check.window(MODEL)
    document = world.data.json(outcome.report_key.replace(".html", ".json"))
    assert {f["role"] for f in document["verdict"]["findings"]} == {"feature"}


@pytest.mark.parametrize("hours", [0, -1, 1e6])
def test_hours_must_make_sense(hours):
    with pytest.raises(MlopsError, match="hours must be"):
        World().check.window(MODEL, hours=hours)


def test_a_model_that_nobody_knows():
    with pytest.raises(NotFoundError, match="no model 'nobody'"):
        World().check.window("nobody")
    with pytest.raises(NotFoundError, match="no model 'nobody'"):
        World().check.dataset("nobody", "p1")


@pytest.fixture
def handled(monkeypatch):
    world = World()
    monkeypatch.setattr(app, "service", lambda: world.check)
    return world


def event(name: str) -> dict:
    from pathlib import Path

    found: dict = json.loads((Path(__file__).parents[3] / "events" / "drift_check" / f"{name}.json").read_text())
    return found


def test_the_dataset_event_is_handled(handled):
    handled.put_part("3f1c0a9b7d2e4c58", data(400))
    answer = app.handler(event("dataset"), None)
    assert {"status", "model", "share", "rows", "drifted", "report_key"} <= set(answer)
    assert answer["status"] == "ok"


@pytest.mark.parametrize("name", ["window", "window_one_model"])
def test_the_window_events_are_handled(handled, name):
    handled.capture(300)
    (answer,) = app.handler(event(name), None)["results"]
    assert (answer["model"], answer["status"]) == (MODEL, "ok")


def test_every_model_with_rows_enough_has_its_share_as_a_metric(handled, capsys):
    handled.capture(300, shift=0.8)
    app.handler(event("window"), None)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    (of_model,) = [line for line in lines if "DriftShare" in line]
    assert (of_model["model"], of_model["function"]) == (MODEL, "drift_check")
    assert of_model["DriftShare"] == [pytest.approx(2 / 3)]
    (told,) = of_model["_aws"]["CloudWatchMetrics"]
    assert [sorted(names) for names in told["Dimensions"]] == [["function", "model", "service"]]
    (whole,) = [line for line in lines if "ModelsDrifted" in line]
    assert whole["ModelsDrifted"] == [1.0]
    assert "model" not in whole
    handled.clock.forward(hours=48)
    app.handler(event("window"), None)  # no rows
    assert "DriftShare" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({}, "'task' must be"),
        ({"task": "dataset", "model": "m"}, "'part_id'"),
        ({"task": "dataset", "part_id": "p"}, "'model'"),
        ({"task": "window", "hours": "many"}, "'hours' must be a number"),
        ({"task": "window", "until": "soon"}, "ISO 8601"),
        ({"task": "window", "model": 3}, "'model'"),
    ],
)
def test_a_request_that_makes_no_sense_says_what_is_wrong(handled, bad, words):
    with pytest.raises(MlopsError, match=words):
        app.handler(bad, None)


def test_until_without_a_zone_is_utc(handled):
    handled.capture(300)
    (answer,) = app.handler({"task": "window", "until": "2026-03-02T12:00:00"}, None)["results"]
    assert answer["rows"] == 300
    assert datetime(2026, 3, 2, 12, tzinfo=UTC) == handled.clock()
