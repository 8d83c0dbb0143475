"""Columns that a model never sees and is judged by, from the upload to the answer of ``predict``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest

from mlops.contract import Contract, Fairness, Gates, Rule, Target, Training
from mlops.contract.evolve import propose
from mlops.contract.infer import infer
from mlops.contract.source import InvalidContractError, dump, load_text
from mlops.data.ingest import Ingest, IngestRequest, IngestResult
from mlops.data.intake import Upload, upload_id
from mlops.drift.check import DriftCheck
from mlops.errors import ContractError
from mlops.evaluation.service import Evaluate
from mlops.features.spec import Feature
from mlops.manifest import Manifest
from mlops.registry.entities import ModelVersion
from mlops.statistics.baseline import Baseline
from mlops.training.service import Train
from tests.fakes import Clock, MemoryEvents, MemoryLedger, MemoryObjects, MemoryRegistry
from tests.unit.inference.small_models import application, proxy_event, put_set

SEX = Feature("sex", "category", categories=("f", "m"), nullable=True)
AGE = Feature("age", "integer", minimum=18, maximum=99)
RULE = Fairness("sex", "selection_rate_ratio", 0.8)
CONTRACT = Contract(
    "loan",
    "classification",
    Target("paid", ("no", "yes"), "yes"),
    (Feature("income", "number"), Feature("owner", "boolean")),
    attributes=(SEX, AGE),
    rules=(Rule("missing(sex) or age >= 18"),),
    training=Training(families=("linear",), time_budget_seconds=1),
    gates=Gates(fairness=(RULE, Fairness("age", "accuracy_difference", 0.5, (40.0,)))),
)


def people(rows: int = 600, *, gap: float = 1.5) -> pl.DataFrame:
    """Men earn ``gap`` deviations more, and who earns more pays: income stands for sex."""
    rng = np.random.default_rng(3)
    sex = rng.integers(0, 2, rows)
    income = rng.normal(0, 1, rows) + gap * sex
    return pl.DataFrame(
        {
            "income": income.round(6),
            "owner": rng.integers(0, 2, rows).astype(bool),
            "sex": np.where(sex == 1, "m", "f"),
            "age": rng.integers(18, 90, rows),
            "paid": np.where(income + rng.normal(0, 0.5, rows) > gap / 2, "yes", "no"),
        }
    )


class World:
    def __init__(self, contract: Contract = CONTRACT) -> None:
        self.clock = Clock()
        self.data, self.artifacts = MemoryObjects(), MemoryObjects()
        self.registry, self.ledger = MemoryRegistry(self.clock), MemoryLedger(self.clock)
        self.registry.put_contract(contract)

    def upload(self, table: pl.DataFrame) -> IngestResult:
        body, key = table.write_csv().encode(), "incoming/loan/rows.csv"
        self.data.put(key, body)
        version = str(len(self.data.versions[key]))
        upload = Upload(upload_id("data", key, version, ""), "data", key, version, "", len(body))
        ingest = Ingest(self.data, self.registry, self.ledger, MemoryEvents(), self.clock)
        return ingest.run(IngestRequest("loan", upload))

    def train(self) -> dict[str, Any]:
        return Train(self.data, self.artifacts, self.registry, self.ledger, self.clock, {}).run("loan", "run-1")

    def evaluate(self, version: str) -> dict[str, Any]:
        return Evaluate(self.artifacts, self.registry, self.ledger, self.clock).run("loan", version, "run-1")


def test_a_model_is_rejected_by_what_it_cannot_see_and_answers_without_it(tmp_path: Path) -> None:
    world = World()
    taken = world.upload(people())
    assert (taken.status, taken.rows.accepted) == ("accepted", 600)
    trained = world.train()
    prefix = trained["prefix"]
    manifest = Manifest.from_dict(world.artifacts.json(prefix + "manifest.json"))

    judged = world.evaluate(trained["version"])

    checks = {c["name"]: c for c in judged["checks"]}
    assert judged["status"] == "rejected"
    assert [n for n, c in checks.items() if not c["passed"]] == ["fairness:sex:selection_rate_ratio"]
    assert checks["fairness:age:accuracy_difference"]["passed"]
    assert "between 'f' and 'm'" in checks["fairness:sex:selection_rate_ratio"]["message"]
    report = world.artifacts.json(prefix + "evaluation.json")
    assert {(s["feature"], s["group"]) for s in report["slices"]} >= {("sex", "f"), ("sex", "m"), ("age", "below 40")}

    # Nothing of the model knows of them.
    assert [f.name for f in manifest.features] == ["income", "owner"]
    assert manifest.lineage["importance"].keys() == {"income", "owner"}
    baseline = world.artifacts.json(prefix + "baseline.json")
    assert {a.name for a in Baseline.from_dict(baseline).axes if a.role == "feature"} == {"income", "owner"}
    (golden, *_) = world.artifacts.json(prefix + "golden.json")["records"]
    assert golden.keys() == {"income", "owner"}
    graph = onnx.load_from_string(world.artifacts.get(prefix + "model.onnx")).graph
    assert [(i.name, i.type.tensor_type.shape.dim[1].dim_value) for i in graph.input] == [("input", 2)]

    # A request has only features; what the model cannot use is refused, as any other name is.
    folder = tmp_path / "loan" / trained["version"]
    folder.mkdir(parents=True)
    for name in ("model.onnx", "manifest.json", "golden.json", "baseline.json"):
        (folder / name).write_bytes(world.artifacts.get(prefix + name))
    put_set(tmp_path, {"loan": (trained["version"], None)})
    app = application(tmp_path)
    for record, status in (({"income": 1.5, "owner": True}, 200), ({"income": 1.5, "owner": True, "sex": "f"}, 422)):
        answer = app.handle(proxy_event("POST", "/predict", {"model": "loan", "records": [record]}), None)
        assert answer["statusCode"] == status, answer["body"]
    assert "'sex' is not a feature of this model" in answer["body"]


def test_a_model_that_treats_the_groups_alike_passes_the_same_gate() -> None:
    world = World()
    world.upload(people(gap=0.0))
    assert world.evaluate(world.train()["version"])["status"] == "accepted"


def test_cells_of_an_attribute_are_held_to_the_contract_like_those_of_a_feature() -> None:
    world = World()
    spoiled = people(100).with_columns(
        sex=pl.Series(["x", None, *["f"] * 98]), age=pl.Series([30, 40, 5, *range(20, 97), *[50] * 20])
    )
    taken = world.upload(spoiled)
    assert {(r["code"], r["column"], r["count"]) for r in taken.reasons} >= {
        ("unknown_category", "sex", 1),
        ("below_minimum", "age", 1),
    }
    assert taken.rows.accepted == 98
    assert {c["name"] for c in world.data.json(taken.report_key.replace(".html", ".json"))["columns"]} >= {"sex", "age"}
    missing = world.upload(people(100).drop("sex"))
    assert (missing.status, missing.reasons[0]["code"]) == ("rejected", "missing_columns")


def test_an_upload_s_attributes_are_no_drift_and_no_new_columns() -> None:
    world = World()
    part = world.upload(people()).part_id
    version = world.train()["version"]
    world.registry.put_version(ModelVersion("loan", version, "champion", world.clock().isoformat(), "d1", "c1"))
    check = DriftCheck(
        data=world.data, artifacts=world.artifacts, registry=world.registry, ledger=world.ledger,
        events=MemoryEvents(), clock=world.clock,
    )  # fmt: skip
    found = check.dataset("loan", part)
    assert found.status == "ok"
    assert found.report_key is not None
    assert world.data.json(found.report_key.replace(".html", ".json"))["counts"]["unknown"] == []


def test_a_version_from_before_the_attribute_says_that_it_must_be_trained_again() -> None:
    before = replace(CONTRACT, attributes=(AGE,), gates=Gates(), rules=())
    world = World(before)
    world.upload(people())
    version = world.train()["version"]
    world.registry.put_contract(CONTRACT)
    judged = world.evaluate(version)
    assert judged["status"] == "rejected"
    assert "holdout.npz lacks attribute 'sex' of type category" in judged["reasons"][0]
    again = world.train()
    assert again["status"] == "not_trainable"
    assert "the data set lacks column 'sex'" in again["explanation"]


def test_a_contract_without_attributes_keeps_its_digest() -> None:
    without = replace(CONTRACT, attributes=(), gates=Gates(), rules=())
    assert "attributes" not in without.to_dict()
    assert Contract.from_dict(without.to_dict()) == without
    assert Contract.from_dict(CONTRACT.to_dict()) == CONTRACT
    assert load_text(dump(CONTRACT)) == CONTRACT
    assert CONTRACT.digest() != without.digest()


def test_mistakes_in_attributes_are_named() -> None:
    text = dump(replace(CONTRACT, rules=(), gates=Gates()))
    for change, message in (
        (("name: sex", "name: income"), "attributes[0].name: 'income' is the name of features[0] already"),
        (("name: sex", "name: paid"), "attributes[0].name: 'paid' is the target"),
        (("type: category, ", "type: categorical, "), "attributes[0].type: 'categorical' is not allowed"),
        (("minimum: 18", "minimum: 100"), "attributes[1].minimum: 100 is above maximum (99)"),
        (("type: integer, minimum: 18, maximum: 99", "type: date"), "attributes[1].type: a date has no groups"),
        (("attributes:", "key: [sex]\nattributes:"), "key[0]: 'sex' is an attribute"),
        (("attributes:", "timestamp: sex\nattributes:"), "timestamp: 'sex' is an attribute"),
        (("attributes:", "ignore: [age]\nattributes:"), "ignore[0]: 'age' is used"),
        (("attributes:", "drift: {methods: {sex: psi}}\nattributes:"), "drift.methods.sex: 'sex' is not a feature"),
    ):
        with pytest.raises(InvalidContractError) as caught:
            load_text(text.replace(*change, 1))
        assert message in str(caught.value)


def test_a_first_contract_takes_attributes_as_told(tmp_path: Path) -> None:
    path = tmp_path / "loan.csv"
    people().with_columns(note=pl.lit("same"), day=pl.lit("2026-03-01")).write_csv(path)
    found = infer(path, "paid", attributes=("sex", "age"))
    assert [(f.name, f.type) for f in found.contract.attributes] == [("sex", "category"), ("age", "integer")]
    assert {"income", "owner"} == {f.name for f in found.contract.features}
    assert load_text(dump(found.contract, found.columns)) == found.contract
    for column, message in (
        ("note", "'note' cannot be an attribute: ignored: it has the same value"),
        ("paid", "'paid' is the target"),
        ("sexe", "no column 'sexe'. Did you mean 'sex'?"),
    ):
        with pytest.raises(ContractError) as caught:
            infer(path, "paid", attributes=(column,))
        assert message in str(caught.value)


def test_a_proposal_changes_attributes_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "march.csv"
    people().with_columns(
        sex=pl.Series(["f", "m", "d"] * 200), age=pl.Series([17, 30, 60] * 200), visits=pl.Series([*range(50)] * 12)
    ).write_csv(path)
    plain = replace(CONTRACT, gates=Gates(), rules=())
    found = propose(plain, path)
    assert [(c.kind, c.column) for c in found.changes] == [
        ("categories", "sex"), ("range", "age"), ("added", "visits"),
    ]  # fmt: skip
    assert [f.name for f in found.contract.features] == ["income", "owner", "visits"]
    assert found.contract.attributes[0].categories == ("f", "m", "d")
    people().rename({"sex": "Sex"}).write_csv(path)
    renamed = propose(plain, path)
    assert [(c.kind, c.column) for c in renamed.changes] == [("renamed", "sex")]
    assert [f.name for f in renamed.contract.attributes] == ["Sex", "age"]
    people().rename({"sex": "geschlecht"}).write_csv(path)
    hidden = propose(plain, path)
    assert [(c.kind, c.column) for c in hidden.changes] == [("removed", "sex"), ("ignored", "geschlecht")]
    assert (hidden.contract.features, hidden.contract.ignore) == (CONTRACT.features, ("geschlecht",))
