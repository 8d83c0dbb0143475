"""The model card: SageMaker's schema, SageMaker's API, and a page that needs nothing else."""

from __future__ import annotations

import functools
import json
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from jsonschema import Draft7Validator

from mlops.contract import Contract
from tests.unit.evaluation.model_card_schema import SCHEMA
from tests.unit.evaluation.test_evaluate_service import MODEL, World
from tests.unit.training import tables

SAID = {
    "owner": "risk team", "purpose": "Decide whom to call.", "intended_uses": "Calls. Not: prices.",
    "risk_rating": "Medium", "risk_explanation": "Calls cost money.", "caveats": "x" * 2048,
}  # fmt: skip


@functools.cache
def judged(task: str, family: str = "linear", said: bool = True) -> tuple[dict[str, Any], str, str]:
    world = World(task, family)
    body = world.contract.to_dict() | ({"card": SAID, "description": "An example."} if said else {})
    world.contract = Contract.from_dict(body)
    world.registry.put_contract(world.contract)
    version = world.train(tables.table(task, world.contract.features, rows=400))
    world.evaluate(version)
    return json.loads(world.file(version, "model_card.json")), world.file(version, "model_card.html").decode(), version


def metrics(card: dict[str, Any], group: str) -> dict[str, Any]:
    (found,) = [g for g in card["evaluation_details"][0]["metric_groups"] if g["name"] == group]
    return {m["name"]: m for m in found["metric_data"]}


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("task", tables.CLASSES)
def test_a_card_is_in_sagemakers_schema(task: str, said: bool) -> None:
    card, _, _ = judged(task, said=said)
    Draft7Validator.check_schema(SCHEMA)
    assert [e.message for e in Draft7Validator(SCHEMA).iter_errors(card)] == []


def test_the_schema_refuses_what_sagemaker_refuses() -> None:
    card, _, _ = judged("binary")
    for change in ({"model_overview": {"owner": "x"}}, {"intended_uses": {"risk_rating": "low"}}, {"extra": {}}):
        assert not Draft7Validator(SCHEMA).is_valid({**card, **change})


def test_sagemakers_own_api_takes_it() -> None:
    card, _, version = judged("binary")
    shape = botocore.session.get_session().get_service_model("sagemaker").operation_model("CreateModelCard").input_shape
    content = json.dumps(card)
    request = {"ModelCardName": f"{MODEL}-{version}", "Content": content, "ModelCardStatus": "Draft"}
    assert not ParamValidator().validate(request, shape).has_errors()
    assert len(content) <= shape.members["Content"].metadata["max"]


def test_a_card_says_what_was_found_and_what_people_said() -> None:
    card, page, version = judged("binary")
    overview, uses = card["model_overview"], card["intended_uses"]
    assert (overview["model_id"], overview["model_owner"]) == (f"{MODEL}/{version}", "risk team")
    assert overview["algorithm_type"] == "LogisticRegression"
    assert (uses["purpose_of_model"], uses["risk_rating"]) == ("Decide whom to call.", "Medium")
    assert card["training_details"]["objective_function"]["function"]["function"] == "Maximize"
    parameters = card["training_details"]["training_job_details"]["user_provided_hyper_parameters"]
    assert [p["name"] for p in parameters] == ["C"]
    auc = metrics(card, "metrics")["roc_auc"]
    assert auc["value"] > 0.9
    assert auc["notes"].startswith("95% interval")
    assert metrics(card, "gates")["parity"]["value"] is True
    assert metrics(card, "ROC curve")["ROC curve"]["value"][0] == [0.0, 0.0]
    assert any(name.startswith("g=") for name in metrics(card, "slices"))
    details = card["additional_information"]["custom_details"]
    assert details["dataset_version"] == "d1"
    assert {"contract_digest", "seed", "parameters", "libraries", "onnx_sha256"} <= details.keys()
    for words in (
        "Medium. Calls cost money.",
        "data set",
        "model.onnx (SHA-256)",
        "risk team",
        "Decide whom to call.",
        "What it looks at",
        "Slices",
        "Checks",
        "<svg",
    ):
        assert words in page
    assert "<script" not in page
    assert "dataset_version" not in page


def test_nothing_is_made_up_where_the_contract_is_silent() -> None:
    card, page, _ = judged("regression", said=False)
    assert card["intended_uses"] == {"risk_rating": "Unknown"}
    assert "model_owner" not in card["model_overview"]
    assert "not said in the contract" in page


def test_a_version_that_was_refused_has_a_card_too() -> None:
    world = World()
    version = world.train()
    world.change(version, "model.onnx", b"no model")
    world.evaluate(version)
    card = json.loads(world.file(version, "model_card.json"))
    assert Draft7Validator(SCHEMA).is_valid(card)
    assert card["evaluation_details"][0]["evaluation_observation"].startswith("rejected: ")
