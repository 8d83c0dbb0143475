from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.evaluate import app
from mlops.contract import Contract
from mlops.errors import NotFoundError
from mlops.evaluation.recent import TRAINED_ON, StoredLabels, learned
from mlops.evaluation.recent import load as load_recent
from mlops.evaluation.records import decode
from mlops.evaluation.scoring import ModelRefusedError, OnnxScorer
from mlops.evaluation.service import Evaluate
from mlops.features.columns import Column, Columns, category_column
from mlops.features.encoding import encode, width
from mlops.manifest import Manifest
from mlops.objects import labelled_key, version_prefix
from mlops.registry.entities import ModelVersion
from mlops.training.fit import fit
from tests.fakes import Clock, MemoryLedger, MemoryObjects, MemoryRegistry
from tests.unit.training import tables

EVENTS = Path(__file__).parents[3] / "events" / "evaluate"
MODEL = "example"


class World:
    def __init__(self, task: str = "binary", family: str = "linear", **gates: Any) -> None:
        self.clock = Clock()
        self.artifacts = MemoryObjects()
        self.registry, self.ledger = MemoryRegistry(self.clock), MemoryLedger(self.clock)
        plain = tables.contract(task, tables.EVERYTHING, families=(family,), time_budget_seconds=1)
        self.contract = Contract.from_dict({**plain.to_dict(), "gates": gates})
        self.task = task
        self.registry.put_contract(self.contract)

    def train(self, table: Columns | None = None, dataset: str = "d1", contract: Contract | None = None) -> str:
        table = table or tables.table(self.task, self.contract.features)
        trained = fit(table, contract or self.contract, dataset_version=dataset, listen=lambda _: False)
        for name, body in trained.artifacts.items():
            self.artifacts.put(version_prefix(MODEL, trained.manifest.version) + name, body)
        return trained.manifest.version

    def champion(self, version: str) -> None:
        self.registry.put_version(ModelVersion(MODEL, version, "candidate", "t", "d", "c"))
        self.registry.promote(MODEL, version, None, "first")

    def service(self) -> Evaluate:
        return Evaluate(self.artifacts, self.registry, self.ledger, self.clock)

    def evaluate(self, version: str) -> dict[str, Any]:
        return self.service().run(MODEL, version, "run-1")

    def change(self, version: str, name: str, body: bytes) -> None:
        self.artifacts.put(version_prefix(MODEL, version) + name, body)

    def manifest(self, version: str) -> Manifest:
        return Manifest.from_dict(json.loads(self.file(version, "manifest.json")))

    def file(self, version: str, name: str) -> bytes:
        return self.artifacts.get(version_prefix(MODEL, version) + name)


def checks(result: dict[str, Any]) -> dict[str, bool]:
    return {c["name"]: c["passed"] for c in result["checks"]}


@pytest.mark.parametrize("task", tables.CLASSES)
def test_an_honest_model_is_accepted_with_reasons(task: str) -> None:
    world = World(task, "boosting")
    version = world.train()

    result = world.evaluate(version)

    assert result["status"] == "accepted", result["reasons"]
    json.dumps(result, allow_nan=False)
    assert all(checks(result).values())
    assert {"parity", "model_size", "valid_answers", "better_than_trivial", "robustness"} <= set(checks(result))
    body = json.loads(world.file(version, "evaluation.json"))
    assert body["interval"]["low"] <= body["metrics"][world.contract.metric] <= body["interval"]["high"]
    page = world.file(version, "evaluation.html").decode()
    assert result["report_key"] == version_prefix(MODEL, version) + "evaluation.html"
    assert "accepted" in page
    assert "<svg" in page
    assert "<script" not in page


def test_slices_intervals_and_fairness_are_in_the_result_and_on_the_page() -> None:
    rule = {"attribute": "g", "metric": "selection_rate_ratio", "bound": 0.01, "min_rows": 10}
    world = World(fairness=[rule], max_noise_change=0.5)
    version = world.train()

    found = checks(world.evaluate(version))

    assert found["fairness:g:selection_rate_ratio"]
    assert found["robustness:noise"]
    body = json.loads(world.file(version, "evaluation.json"))
    assert body["intervals"].keys() == body["metrics"].keys()
    assert {g["group"] for g in body["fairness"][0]["groups"]} == {"x", "y"}
    page = world.file(version, "evaluation.html").decode()
    assert "Fairness" in page
    assert "95% interval" in page


def test_each_version_is_judged_by_its_own_threshold() -> None:
    world = World()
    table = tables.table("binary", world.contract.features, rows=400)
    strict = Contract.from_dict({**world.contract.to_dict(), "decision": {"threshold": 0.999}})
    champion = world.train(table, contract=strict)
    world.champion(champion)
    same = {**world.contract.to_dict(), "training": {**world.contract.to_dict()["training"], "metric": "f1"}}
    world.contract = Contract.from_dict(same)
    world.registry.put_contract(world.contract)
    version = world.train(table, dataset="d2")
    result = world.evaluate(version)
    body = json.loads(world.file(version, "evaluation.json"))
    assert result["status"] == "accepted"
    assert body["champion_metrics"]["f1"] < body["metrics"]["f1"] - 0.2
    assert body["gain"]["value"] == pytest.approx(body["metrics"]["f1"] - body["champion_metrics"]["f1"])


DAY = 20_500.25  # 2026-02-16


class Traffic:
    """Live predictions whose truth is known, all captured on one day."""

    def __init__(self, table: Columns) -> None:
        self.table = Columns((*table.columns, Column("time", "date", np.full(table.rows, DAY))))

    def rows(self, model: str) -> Columns:
        assert model == MODEL
        return self.table


def turned(table: Columns) -> Columns:
    """The same rows with the opposite truth."""
    return Columns((*table.columns[:-1], replace(table["y"], values=1 - table["y"].values)))


def on_recent(result: dict[str, Any]) -> dict[str, Any]:
    (check,) = [c for c in result["checks"] if c["name"] == "no_worse_on_recent_traffic"]
    return check


def test_a_challenger_that_loses_on_recent_labelled_traffic_is_rejected() -> None:
    """The world has turned around since the data set: the old champion, by luck, knows it."""
    world = World()
    table = tables.table("binary", world.contract.features, rows=400)
    world.champion(world.train(turned(table)))
    version = world.train(table, dataset="d2")
    assert world.evaluate(version)["status"] != "rejected"

    recent = turned(tables.table("binary", world.contract.features, rows=120, seed=5))
    service = replace(world.service(), recent=Traffic(recent))
    result = service.run(MODEL, version, "run-2")
    assert result["status"] == "rejected"
    assert not on_recent(result)["passed"]
    where = "on 120 recent predictions whose truth is known (captured 2026-02-16 to 2026-02-16)"
    assert where in "; ".join(result["reasons"])

    few = replace(service, recent=Traffic(recent.take(np.arange(40)))).run(MODEL, version, "run-3")
    assert (on_recent(few)["passed"], on_recent(few)["effect"]) == (True, "report")
    assert "40 have a known truth, and 50 are needed" in on_recent(few)["message"]
    none = replace(service, recent=StoredLabels(MemoryObjects())).run(MODEL, version, "run-4")
    assert "0 have a known truth" in on_recent(none)["message"]

    data = MemoryObjects()
    stored = replace(service, recent=StoredLabels(data))
    data.put(labelled_key(MODEL), b"PK\x03\x04 cut off")
    damaged = on_recent(stored.run(MODEL, version, "run-5"))
    assert (damaged["passed"], damaged["effect"]) == (True, "report")
    assert "the stored predictions with known truth are damaged" in damaged["message"]
    name = recent.columns[0].name
    when = Column("time", "date", np.full(120, 20_500.0))
    data.put(labelled_key(MODEL), Columns((category_column(name, ["text"] * 120), *recent.columns[1:], when)).save())
    foreign = on_recent(stored.run(MODEL, version, "run-6"))["message"]
    assert f"column '{name}' of what is known is a category, not a number" in foreign


def test_recent_predictions_that_a_version_was_trained_on_do_not_count() -> None:
    world = World()
    old, new, fresh = (tables.table("binary", world.contract.features, rows=n, seed=n) for n in (300, 301, 70))
    champion = world.train(old)
    world.champion(champion)
    version = world.train(new, dataset="d2")
    held_out = sum(world.manifest(v).lineage["rows"]["holdout"] for v in (champion, version))
    # The truth of the rows does not matter: even turned around they are rows that a version knows.
    service = replace(world.service(), recent=Traffic(Columns.concat([turned(old), new, fresh])))
    message = on_recent(service.run(MODEL, version, "run-2"))["message"]
    assert f"on {70 + held_out} recent predictions" in message
    assert f"{601 - held_out} that a version was trained on left out" in message
    assert "not known" not in message

    trained = np.flatnonzero(learned(world.manifest(version), {TRAINED_ON: world.file(version, TRAINED_ON)}, new))
    known = replace(service, recent=Traffic(new.take(trained))).run(MODEL, version, "run-3")
    assert f"{len(trained)} have a known truth, and 0 of them are new" in on_recent(known)["message"]

    world.artifacts.delete(version_prefix(MODEL, champion) + TRAINED_ON)
    assert f"what {champion} was trained on is not known" in on_recent(service.run(MODEL, version, "run-4"))["message"]
    world.change(version, TRAINED_ON, b"no array")
    broken = on_recent(service.run(MODEL, version, "run-5"))
    assert (broken["effect"], broken["passed"]) == ("report", True)
    assert f"{TRAINED_ON} of version {version} is not readable" in broken["message"]


def test_golden_answers_and_metrics_become_those_of_onnx() -> None:
    world = World()
    version = world.train()
    before = json.loads(world.file(version, "golden.json"))
    world.evaluate(version)
    golden = json.loads(world.file(version, "golden.json"))
    manifest = Manifest.from_dict(json.loads(world.file(version, "manifest.json")))

    scorer = OnnxScorer(world.file(version, "model.onnx"), width(manifest.features), 2)
    answers = scorer(encode(manifest.features, decode(manifest.features, golden["records"])))
    assert golden["expected"] == answers.tolist()
    assert golden["records"] == before["records"]
    assert golden["expected"] != before["expected"]  # the estimator's were float64
    body = json.loads(world.file(version, "evaluation.json"))
    assert dict(manifest.metrics) == body["metrics"]


def test_evaluating_again_changes_no_file_but_the_report() -> None:
    world = World()
    version = world.train()
    world.evaluate(version)
    first = {n: world.file(version, n) for n in ("golden.json", "manifest.json")}
    world.evaluate(version)
    assert first == {n: world.file(version, n) for n in first}
    assert world.ledger.actions() == ["version.evaluated"]


def test_shuffled_labels_are_stopped() -> None:
    world = World()
    table = tables.table("binary", world.contract.features, rows=400)
    labels = table["y"].values[np.random.default_rng(5).permutation(400)]
    version = world.train(Columns((*table.columns[:-1], replace(table["y"], values=labels))))

    result = world.evaluate(version)

    assert result["status"] == "rejected"
    assert not checks(result)["better_than_trivial"]
    assert "no better than chance" in result["reasons"][0]
    (entry,) = world.ledger.entries()
    assert (entry.outcome, entry.inputs["failed"]) == ("rejected", ["better_than_trivial"])


def test_a_model_that_disagrees_with_its_estimator_is_refused_and_the_rows_are_named() -> None:
    world = World()
    version = world.train()
    other = world.train(tables.table("binary", world.contract.features, seed=9), dataset="d2")
    foreign = world.file(other, "model.onnx")
    manifest = json.loads(world.file(version, "manifest.json"))
    manifest["onnx_sha256"] = hashlib.sha256(foreign).hexdigest()
    world.change(version, "model.onnx", foreign)
    world.change(version, "manifest.json", json.dumps(manifest).encode())

    result = world.evaluate(version)

    assert result["status"] == "rejected"
    assert not checks(result)["parity"]
    assert "rows differ between the estimator and model.onnx" in result["reasons"][0]
    assert len(json.loads(world.file(version, "evaluation.json"))["parity"]["differing"]) == 10
    assert "Rows that differ" in world.file(version, "evaluation.html").decode()


@pytest.mark.parametrize("name", ["parity.npz", "holdout.npz"])
def test_a_folder_without_proof_is_rejected(name: str) -> None:
    world = World()
    version = world.train()
    world.artifacts.delete(version_prefix(MODEL, version) + name)
    result = world.evaluate(version)
    assert result["status"] == "rejected"
    assert result["reasons"] == [f"the version's folder lacks {name}, without which it cannot be judged"]


def test_a_swapped_file_is_noticed() -> None:
    world = World()
    version = world.train()
    world.change(version, "model.onnx", world.file(version, "model.onnx") + b"\0")
    result = world.evaluate(version)
    assert (result["status"], checks(result)) == ("rejected", {"loads": False})
    assert "SHA-256 differs" in result["reasons"][0]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("task", "regression", "the model's task is regression; the contract's is classification"),
        ("classes", ["yes", "no"], "are not the contract's"),
        ("features", [{"name": "a", "type": "number"}], "the model's features are not the contract's; they differ"),
    ],
)
def test_a_model_for_another_contract_is_rejected(field: str, value: object, message: str) -> None:
    world = World()
    version = world.train()
    manifest = json.loads(world.file(version, "manifest.json")) | {field: value}
    world.change(version, "manifest.json", json.dumps(manifest).encode())
    result = world.evaluate(version)
    assert result["status"] == "rejected"
    assert message in result["reasons"][0]


def test_gates_of_the_contract_reject() -> None:
    world = World(minimum={"roc_auc": 0.9999}, max_model_bytes=100)
    result = world.evaluate(world.train())
    assert result["status"] == "rejected"
    assert {n for n, passed in checks(result).items() if not passed} == {"minimum:roc_auc", "model_size"}
    assert len(result["reasons"]) == 2


def test_approval_is_asked_for_when_the_contract_says_so() -> None:
    world = World(approval=True)
    result = world.evaluate(world.train())
    assert result["status"] == "needs_approval"
    assert "the contract asks for a person's approval" in result["reasons"][0]


def test_the_first_version_has_no_champion() -> None:
    world = World()
    version = world.train()
    assert world.evaluate(version)["champion"] is None
    world.champion(version)
    assert "no_worse_than_champion" not in checks(world.evaluate(version))  # it is the champion itself


def test_a_better_challenger_is_compared_on_both_sets_of_rows() -> None:
    world = World()
    table = tables.table("binary", world.contract.features, rows=800)
    champion = world.train(table.take(np.arange(200)))
    world.champion(champion)
    version = world.train(table, dataset="d2")

    result = world.evaluate(version)

    assert result["champion"] == champion
    found = checks(result)
    assert found["no_worse_than_champion"]
    assert found["no_worse_on_champion_rows"]
    body = json.loads(world.file(version, "evaluation.json"))
    assert set(body["champion_metrics"]) == set(body["metrics"])
    assert body["gain"]["low"] <= body["gain"]["value"] <= body["gain"]["high"]
    assert "champion" in world.file(version, "evaluation.html").decode()


def test_a_challenger_worse_than_the_champion_is_rejected() -> None:
    world = World("regression")
    table = tables.table("regression", world.contract.features, rows=600)
    world.champion(world.train(table))
    noisy = table["y"].values.copy()
    train_noise = np.random.default_rng(0).normal(0, 2500, 600)
    version = world.train(Columns((*table.columns[:-1], Column("y", "number", noisy + train_noise))), dataset="d2")
    clean = tables.table("regression", world.contract.features, rows=200, seed=4)
    world.change(version, "holdout.npz", clean.save())

    result = world.evaluate(version)

    assert result["status"] == "rejected"
    assert not checks(result)["no_worse_than_champion"]


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_a_file_of_recent_rows_damaged_anywhere_is_rows_or_a_reason(data: st.DataObject) -> None:
    rows = Columns((category_column("c", ["a", None, "b"]), Column("time", "date", np.arange(3.0))))
    body = bytearray(rows.save())
    if data.draw(st.booleans()):
        body = body[: data.draw(st.integers(0, len(body) - 1))]
    for at in data.draw(st.lists(st.integers(0, max(0, len(body) - 1)), max_size=4)) if body else []:
        body[at] = data.draw(st.integers(0, 255))
    with suppress(ModelRefusedError):
        assert load_recent(bytes(body)).columns[-1].type == "date"


def test_spoiled_recent_rows_do_not_hide_a_loss_on_rows_that_were_trusted() -> None:
    """Labels turned around for part of the data: candidate and champion look alike on the candidate's own
    rows, the champion's rows show the loss."""
    world = World()
    table = tables.table("binary", world.contract.features, rows=900)
    world.champion(world.train(table))
    labels = table["y"].values.copy()
    labels[:420] = 1 - labels[:420]
    version = world.train(Columns((*table.columns[:-1], replace(table["y"], values=labels))), dataset="d2")
    trusted = tables.table("binary", world.contract.features, rows=300, seed=8)
    world.change(version, "holdout.npz", Columns((*trusted.columns[:-1], trusted["y"])).save())

    result = world.evaluate(version)
    assert not checks(result)["no_worse_on_champion_rows"]


def test_a_champion_of_another_shape_is_not_compared() -> None:
    world = World()
    classes = replace(world.contract, target=replace(world.contract.target, classes=("yes", "no")))
    old = world.train(contract=classes)
    world.champion(old)
    result = world.evaluate(world.train(dataset="d2"))
    assert result["status"] == "accepted"
    (check,) = [c for c in result["checks"] if c["name"] == "no_worse_than_champion"]
    assert check["effect"] == "report"
    assert "it predicts another target" in check["message"]


def test_the_ledger_says_what_was_decided() -> None:
    world = World()
    version = world.train()
    world.evaluate(version)
    (entry,) = world.ledger.entries()
    assert (entry.actor, entry.action, entry.outcome) == ("function:evaluate", "version.evaluated", "accepted")
    assert entry.subject == f"model/{MODEL}/{version}"
    assert entry.inputs["onnx_sha256"] == hashlib.sha256(world.file(version, "model.onnx")).hexdigest()


def test_what_does_not_exist_is_named() -> None:
    world = World()
    with pytest.raises(NotFoundError, match="model 'unheard-of' has no contract"):
        world.service().run("unheard-of", "v", "r")
    with pytest.raises(NotFoundError):
        world.evaluate("000000000000")


@pytest.mark.parametrize("event", sorted(EVENTS.glob("*.json")), ids=lambda p: p.stem)
def test_every_event_file_is_handled(event: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.loads(event.read_text())
    world = World()
    version = world.train()
    for name in ("model.onnx", "manifest.json", "parity.npz", "holdout.npz", "golden.json"):
        world.artifacts.put(version_prefix(body["model"], "3f9a0c51d7e2") + name, world.file(version, name))
    world.registry.put_contract(Contract.from_dict(world.contract.to_dict() | {"name": body["model"]}))
    monkeypatch.setattr(app, "service", world.service)
    context = SimpleNamespace(aws_request_id="r")
    if event.stem == "missing_version":
        with pytest.raises(NotFoundError):
            app.handler(body, context)
        return
    assert app.handler(body, context)["status"] == "accepted"
