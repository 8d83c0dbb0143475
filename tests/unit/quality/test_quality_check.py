"""The quality check end to end on stores in memory: what it decides, records and tells."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from functions.quality_check import app
from mlops.capture.reading import CaptureLine, CaptureRow, CaptureSide
from mlops.contract import Contract
from mlops.errors import MlopsError, NotFoundError
from mlops.evaluation.metrics import Task
from mlops.features.columns import Column, Columns, category_column
from mlops.features.spec import Feature
from mlops.inference.models import load_model
from mlops.manifest import Manifest
from mlops.objects import labelled_key
from mlops.quality import labelled, slices
from mlops.quality.check import QualityCheck
from mlops.quality.joining import Rows
from mlops.registry.entities import ModelVersion
from tests.fakes import Clock, MemoryEvents, MemoryLedger, MemoryObjects, MemoryRegistry, blocks
from tests.unit.inference.small_models import linear, put_version

VERSION, UNTIL = "aaaaaaaaaaaa", datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FEATURES = (
    Feature("x", "number"),
    Feature("z", "number"),
    Feature("region", "category", categories=("north", "south")),
    Feature("email", "category", categories=("a", "b"), on_unknown="other", pii="drop"),
)


class World:
    """A model whose probabilities are true on the hold-out rows, and traffic that a test draws."""

    def __init__(self, tmp_path: Path, task: str = "classification", **sections: Any) -> None:
        self.random = np.random.default_rng(4)
        self.classification = task == "classification"
        target: dict[str, Any] = {"name": "y"}
        if self.classification:
            target |= {"classes": ["no", "yes"], "positive": "yes"}
        self.contract = Contract.from_dict(
            {
                "name": "m", "task": task, "target": target, "key": ["who"],
                "features": [f.to_dict() for f in FEATURES], "training": {"metric": "accuracy"}
                if self.classification else {"metric": "mae"}, **sections,
            }
        )  # fmt: skip
        classes = tuple(target.get("classes", ()))
        manifest = Manifest(
            model="m", version=VERSION, task=task, features=FEATURES, target="y", classes=classes,
            positive=target.get("positive"),
        )  # fmt: skip
        put_version(tmp_path, manifest, graph=lambda c, o: linear(c, o, 3))
        self.model = load_model(str(tmp_path / "m" / VERSION))
        self.data, self.artifacts = MemoryObjects(), MemoryObjects()
        for path in (tmp_path / "m" / VERSION).iterdir():
            self.artifacts.put(f"models/m/{VERSION}/{path.name}", path.read_bytes())
        records = self.records(1500)
        self.artifacts.put(f"models/m/{VERSION}/holdout.npz", self.table(records, self.truth(records)).save())
        self.registry, self.ledger, self.events = MemoryRegistry(Clock()), MemoryLedger(Clock()), MemoryEvents()
        self.registry.put_contract(self.contract)
        self.registry.put_version(ModelVersion("m", VERSION, "champion", UNTIL.isoformat(), "d", "c"))
        self.lines: list[CaptureLine] = []
        self.check = QualityCheck(
            data=self.data, artifacts=self.artifacts, registry=self.registry, ledger=self.ledger, events=self.events,
            hashed=lambda values: "", clock=Clock(UNTIL), capture_days=90,
            reader=lambda _, name, *__: blocks(self.lines if name == "m" else []),
        )  # fmt: skip

    def records(self, n: int, shift: float = 0.0) -> list[dict[str, Any]]:
        x, z = self.random.normal(0, 40, n) + shift, self.random.normal(0, 1, n)
        south = self.random.random(n) < 0.3
        rows = [
            {"x": float(a), "z": float(b), "region": "south" if s else "north", "email": "a"}
            for a, b, s in zip(x, z, south, strict=True)
        ]
        return [{f.name: row[f.name] for f in FEATURES} for row in rows]

    def scores(self, records: list[dict[str, Any]]) -> np.ndarray:
        return self.model.run(self.model.parser.parse(records).matrix).astype(np.float64)

    def truth(self, records: list[dict[str, Any]]) -> list[Any]:
        scores = self.scores(records)
        if self.classification:
            return [
                "yes" if u < p else "no" for u, p in zip(self.random.random(len(scores)), scores[:, 1], strict=True)
            ]
        return (scores[:, 0] + self.random.normal(0, 1, len(scores))).tolist()

    @staticmethod
    def table(records: list[dict[str, Any]], truth: list[Any]) -> Columns:
        columns = [
            category_column(f.name, [r[f.name] for r in records]) if f.type == "category"
            else Column(f.name, "number", np.array([r[f.name] for r in records]))
            for f in FEATURES
        ]  # fmt: skip
        is_text = isinstance(truth[0], str)
        return Columns((*columns, category_column("y", truth) if is_text else Column("y", "number", np.array(truth))))

    def traffic(self, n: int = 600, shift: float = 0.0) -> list[dict[str, Any]]:
        """Captured as predict does: without what is dropped."""
        records = self.records(n, shift)
        side = CaptureSide(VERSION, 1, None)
        for i, (record, score) in enumerate(zip(records, self.scores(records).tolist(), strict=True)):
            kept = {k: v for k, v in record.items() if k != "email"}
            row = CaptureRow(f"id-{i}", None, kept, "champion", tuple(score), None)
            time = UNTIL - timedelta(hours=2)
            self.lines.append(CaptureLine("m", time, f"r-{i}", None, None, (row,), side, None))
        return records

    def label(self, truth: list[Any], name: str = "a") -> None:
        text = "".join(json.dumps({"inference_id": f"id-{i}", "y": y}) + "\n" for i, y in enumerate(truth))
        self.data.put(f"labels/m/{name}.jsonl", text.encode())

    def run(self, **asked: Any) -> dict[str, Any]:
        return self.check.check("m", **asked).to_dict()

    def report(self, outcome: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.data.json(outcome["report_key"].replace(".html", ".json"))
        return found


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., World]:
    return lambda *arguments, **sections: World(tmp_path, *arguments, **sections)


def test_good_predictions_are_ok_realised_and_estimated_agree(world: Callable[..., World]) -> None:
    found = world()
    found.label(found.truth(found.traffic()))
    outcome = found.run()
    assert (outcome["status"], outcome["reasons"]) == ("ok", [])
    assert outcome["lower"] < outcome["realised"] < outcome["upper"]
    assert abs(outcome["gap"]) < 0.05
    assert outcome["bound"] == pytest.approx(outcome["reference"] - 0.05)
    assert (outcome["rows"], outcome["labelled"]) == (600, 600)
    ((kind, detail),) = found.events.put_events
    assert kind == "QualityChecked"
    assert detail == outcome
    record, (entry,) = found.registry.records("m", "quality")[0], found.ledger.kept
    assert (record.body["status"], entry.action, entry.outcome) == ("ok", "quality.checked", "ok")
    page = found.data.get(outcome["report_key"]).decode()
    assert "Quality of m" in page
    assert "NaN" not in found.data.get(outcome["report_key"].replace(".html", ".json")).decode()


def test_a_change_of_meaning_is_seen_by_labels_and_by_the_gap_alone(world: Callable[..., World]) -> None:
    found = world()
    truth = found.truth(found.traffic())
    before = found.run()
    assert (before["status"], before["reasons"]) == ("ok", ["no_labels"])
    found.label([{"yes": "no", "no": "yes"}[y] for y in truth])
    found.check.clock.forward(minutes=1)  # type: ignore[attr-defined]
    after = found.run()
    assert after["status"] == "degraded"
    assert after["reasons"][:2] == ["realised_below_bound", "gap"]
    assert after["gap"] > 0.2
    assert after["check_id"] != before["check_id"], "new labels make another check of the same window"
    assert len(found.registry.records("m", "quality")) == 2
    assert (before["news"], after["news"]) == (False, True)
    found.label(truth, "0")  # arrives in between, but the file that came last wins: still degraded, and no news
    found.check.clock.forward(minutes=1)  # type: ignore[attr-defined]
    assert (found.run()["status"], found.run()["news"]) == ("degraded", False)


def test_a_shift_to_where_the_model_is_unsure_is_seen_without_labels(world: Callable[..., World]) -> None:
    found = world()
    records = found.records(4000, 0)
    unsure = [r for r, s in zip(records, found.scores(records)[:, 1], strict=True) if 0.35 < s < 0.65]
    assert len(unsure) > 120
    found.records = lambda n, shift=0.0: unsure  # type: ignore[method-assign]
    found.traffic()
    outcome = found.run()
    assert outcome["status"] == "degraded"
    assert outcome["reasons"] == ["estimated_below_bound", "no_labels"]
    assert outcome["estimated_upper"] < outcome["bound"]


def test_labels_have_the_last_word_over_an_estimate(world: Callable[..., World]) -> None:
    found = world()
    records = found.records(4000, 0)
    unsure = [r for r, s in zip(records, found.scores(records)[:, 1], strict=True) if 0.35 < s < 0.65]
    found.records = lambda n, shift=0.0: unsure  # type: ignore[method-assign]
    rows = found.traffic()
    found.label(["yes" if s >= 0.5 else "no" for s in found.scores(rows)[:, 1]])
    outcome = found.run()
    assert (outcome["status"], outcome["realised"]) == ("ok", 1.0)
    assert "estimated_below_bound" in outcome["reasons"]


def test_the_same_check_again_is_one_check_told_again(world: Callable[..., World]) -> None:
    found = world()
    found.traffic()
    assert found.run(until=UNTIL) == found.run(until=UNTIL)
    assert (len(found.registry.kept), len(found.ledger.kept), len(found.events.put_events)) == (1, 1, 2)


def test_the_page_draws_windows_over_time_with_their_intervals(world: Callable[..., World]) -> None:
    found = world()
    truth = found.truth(found.traffic(200))
    found.run(until=UNTIL - timedelta(days=7))
    found.run(until=UNTIL)
    found.label(truth)
    page = found.data.get(str(found.run(until=UNTIL)["report_key"])).decode()
    # Two windows, three checks: the estimate is a band over two, what was realised one interval.
    (band,) = re.findall(r'<polygon class="(s\d)"[^>]* points="([^"]*)"', page)
    assert (band[0], len(band[1].split())) == ("s1", 4)
    assert len(re.findall(r'<line class="l0"', page)) == 1
    assert "2026-02-23" in page


def test_files_without_a_label_are_named_with_what_they_should_hold(world: Callable[..., World]) -> None:
    found = world()
    found.label(found.truth(found.traffic(200)))
    for name, body in (("damaged.gz", b"\x1f\x8b.."), ("empty", b""), ("other.csv", b"inference_id,z\nid-1,yes\n")):
        found.data.put(f"labels/m/{name}", body)
    found.data.put("labels/m/strangers.jsonl", b'{"inference_id": "never-seen", "y": "yes"}\n')
    notes = found.report(found.run())["notes"]
    named = [note for note in notes if "holds no label" in note]
    assert [note.split()[0] for note in named] == ["labels/m/damaged.gz", "labels/m/empty", "labels/m/other.csv"]
    assert all("with 'y' and inference_id or who" in note for note in named)
    assert "1 labels belong to no prediction of this version in this window" in notes


def test_few_rows_say_so(world: Callable[..., World]) -> None:
    found = world()
    assert found.run()["status"] == "insufficient"
    found.label(found.truth(found.traffic(30)))
    outcome = found.run()
    assert (outcome["status"], outcome["reasons"]) == ("insufficient", ["no_labels", "few_rows"])
    assert "100 are needed" in outcome["explanation"]


def test_what_cannot_be_checked_is_an_answer(world: Callable[..., World]) -> None:
    found = world()
    del found.artifacts.versions[f"models/m/{VERSION}/holdout.npz"]
    found.label(found.truth(found.traffic()))
    outcome = found.run()
    assert (outcome["status"], outcome["bound"], outcome["estimated"]) == ("insufficient", None, None)
    assert outcome["realised"] is not None
    assert "no_holdout" in outcome["reasons"]
    found.registry.model_versions.clear()
    assert found.run()["status"] == "no_champion"
    with pytest.raises(NotFoundError, match="there is no model 'other'"):
        found.check.check("other")
    with pytest.raises(MlopsError, match="hours must be above 0"):
        found.run(hours=0)


def test_a_fixed_bound_goes_before_the_hold_out(world: Callable[..., World]) -> None:
    found = world(quality={"bound": 0.999, "min_rows": 50})
    found.label(found.truth(found.traffic(200)))
    outcome = found.run()
    assert (outcome["bound"], outcome["status"]) == (0.999, "degraded")


def test_groups_of_the_contract_and_the_worst_slice_are_named(world: Callable[..., World]) -> None:
    rules = [
        {"attribute": "region", "metric": "accuracy_difference", "bound": 0.1},
        {"attribute": "email", "metric": "accuracy_difference", "bound": 0.1},
        {"attribute": "member", "metric": "accuracy_difference", "bound": 0.1},
    ]
    found = world(gates={"fairness": rules}, attributes=[{"name": "member", "type": "boolean"}])
    rows = found.traffic(800)
    truth = ["yes" if s >= 0.5 else "no" for s in found.scores(rows)[:, 1]]
    flip = [r["region"] == "south" and r["z"] > 0 for r in rows]
    found.label([{"yes": "no", "no": "yes"}[y] if f else y for y, f in zip(truth, flip, strict=True)])
    outcome = found.run()
    report = found.report(outcome)
    assert {"fairness", "worst_slice"} <= set(outcome["reasons"])
    assert [(f["attribute"], f["lowest"]) for f in report["fairness"]] == [("region", "south")]
    assert any("'email' cannot be seen" in note for note in report["notes"])
    assert any("'member' cannot be seen: requests do not have it" in note for note in report["notes"])
    assert set(report["worst"][0]["features"]) == {"z", "region"}
    assert {g["group"]: g["value"] for g in report["groups"]}["north"] == 1.0
    page = found.data.get(outcome["report_key"]).decode()
    assert "region = south" in page
    assert "email" not in json.dumps(report["worst"])


def test_a_regression(world: Callable[..., World]) -> None:
    found = world("regression")
    truth = found.truth(found.traffic())
    found.label(truth)
    outcome = found.run()
    assert (outcome["metric"], outcome["status"]) == ("mae", "ok")
    assert outcome["realised"] == pytest.approx(np.sqrt(2 / np.pi), rel=0.15)
    assert outcome["estimated"] == pytest.approx(outcome["realised"], rel=0.15)
    found.label([y + 10 for y in truth], "b")
    worse = found.run()
    assert (worse["status"], worse["reasons"][0]) == ("degraded", "realised_below_bound")
    assert found.report(worse)["labels"]["conflicting"] == 600


def test_every_model_is_checked_and_one_can_be_asked_for(world: Callable[..., World], monkeypatch: Any) -> None:
    found = world()
    monkeypatch.setattr(app, "service", lambda: found.check)
    for name, models in (("quiet_window", None), ("wrong_hours", None)):
        event = {**json.loads(Path(f"events/quality_check/{name}.json").read_text()), "model": models}
        if name == "wrong_hours":
            with pytest.raises(MlopsError, match="quality_check: 'hours' must be a number"):
                app.handler(event, None)
        else:
            assert [r["model"] for r in app.handler(event, None)["results"]] == ["m"]
    with pytest.raises(MlopsError, match="'task' must be 'check'"):
        app.handler({"task": "window"}, None)


def test_nothing_is_found_where_errors_fall_anywhere() -> None:
    """Whatever is looked at, false alarms stay rare: 40 windows in which no slice is worse than another."""
    task, alarms = Task(2, 1, 0.5), 0
    features = (Feature("a", "number"), Feature("b", "category", categories=("p", "q", "r")), Feature("c", "number"))
    for seed in range(40):
        random = np.random.default_rng(seed)
        n = 500
        table = Columns(
            (
                Column("a", "number", random.normal(size=n)),
                category_column("b", random.choice(["p", "q", "r"], n).tolist()),
                Column("c", "number", random.normal(size=n)),
            )
        )
        scores = np.column_stack([np.full(n, 0.4), np.full(n, 0.6)])
        rows = Rows(table, scores, (random.random(n) < 0.8).astype(np.int64))
        found, looked = slices.find(features, rows, task)
        assert looked > 30
        alarms += bool(found)
    assert alarms <= 4


def test_labelled_rows_are_handed_on_to_the_gate_latest_last(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled, "MOST", 150)
    monkeypatch.setitem(globals(), "FEATURES", FEATURES[:3])
    found = world()
    records = found.traffic(200)
    found.lines = [replace(line, time=UNTIL - timedelta(minutes=200 - i)) for i, line in enumerate(found.lines)]
    truth = found.truth(records)
    found.label(truth)
    found.run()
    kept = Columns.load(found.data.get(labelled_key("m")))
    assert (kept.names, kept.rows) == (("x", "z", "region", "y", "inference_id", "time"), 150)
    assert kept["x"].values.tolist() == [r["x"] for r in records[50:]]
    assert kept["y"].levels == ("no", "yes")
    assert [kept["y"].levels[code] for code in kept["y"].values] == truth[50:]
    last = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=float(kept["time"].values[-1]))
    assert abs(last - (UNTIL - timedelta(minutes=1))) < timedelta(seconds=1)


def test_rows_that_cannot_be_scored_again_are_not_handed_on(world: Callable[..., World]) -> None:
    found = world()
    found.label(found.truth(found.traffic()))
    notes = found.report(found.run())["notes"]
    assert not found.data.exists(labelled_key("m"))
    assert any("captures do not hold 'email' as the model gets it" in note for note in notes)


@pytest.mark.parametrize("days", [90, 3])
def test_checks_add_to_what_is_handed_on_each_prediction_once_and_no_old_ones(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    monkeypatch.setitem(globals(), "FEATURES", FEATURES[:3])
    found = world()
    found.check = replace(found.check, capture_days=days)
    records = found.traffic(90)
    truth = found.truth(records)
    lines = [replace(line, time=UNTIL - timedelta(days=40 - i * 0.44)) for i, line in enumerate(found.lines)]
    found.label(truth)
    for first in (0, 20, 20, 60):  # windows that overlap, and one again; fewer labels than a check needs to speak
        found.lines = lines[first : first + 30]
        found.run(until=UNTIL - timedelta(minutes=first))
    found.lines = lines[60:70]
    corrected = ["no" if y == "yes" else "yes" for y in truth]
    found.label(corrected, "b")
    found.run(until=UNTIL - timedelta(minutes=5))
    kept = Columns.load(found.data.get(labelled_key("m")))
    expected = [i for i in [*range(50), *range(60, 90)] if 40 - i * 0.44 <= min(28, days)]
    assert kept["x"].values.tolist() == [records[i]["x"] for i in expected]
    answers = [corrected[i] if 60 <= i < 70 else truth[i] for i in expected]
    assert [kept["y"].levels[code] for code in kept["y"].values] == answers


@pytest.mark.parametrize("body", [b"", b"PK damaged", b"x" * 100])
def test_a_damaged_file_of_labelled_rows_is_begun_anew_and_said(
    world: Callable[..., World], body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "FEATURES", FEATURES[:3])
    found = world()
    found.data.put(labelled_key("m"), body)
    found.label(found.truth(found.traffic(120)))
    notes = found.report(found.run())["notes"]
    assert any("are damaged: it was begun anew" in note for note in notes)
    assert Columns.load(found.data.get(labelled_key("m"))).rows == 120


def test_rows_of_another_shape_are_not_merged() -> None:
    def rows(*columns: Column) -> Columns:
        n = len(columns[0].values)
        return Columns(
            (
                *columns,
                Column("inference_id", "number", np.arange(n) * 1.0),
                Column("time", "date", np.full(n, 20_000.0)),
            )
        )

    now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=20_001)
    new = rows(Column("x", "number", np.array([1.0, 2.0])))
    assert labelled.merged(rows(category_column("x", ["a"] * 5)), new, now, 90).rows == 2
    assert labelled.merged(rows(Column("x", "number", np.zeros(5))), new, now, 90)["x"].values.tolist() == [
        0,
        0,
        0,
        1,
        2,
    ]
