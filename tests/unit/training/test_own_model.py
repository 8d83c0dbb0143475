"""A model of somebody's own goes through the same gates as any other."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops.contract import Contract
from mlops.evaluation.scoring import ModelRefusedError
from mlops.training.own import wrap_file
from tests.unit.evaluation.test_evaluate_service import MODEL, World, checks
from tests.unit.training import tables

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("task", tables.CLASSES)
def test_an_own_file_is_judged_by_the_same_gates(task: str, tmp_path: Path) -> None:
    world = World(task, "linear")
    made_elsewhere = world.file(world.train(), "model.onnx")
    unseen = tables.table(task, world.contract.features, rows=200, seed=3)

    trained = wrap_file(unseen, world.contract, made_elsewhere, tmp_path, created=NOW)

    folder = tmp_path / trained.manifest.version
    for path in folder.iterdir():
        world.artifacts.put(f"models/{MODEL}/{trained.manifest.version}/{path.name}", path.read_bytes())
    result = world.evaluate(trained.manifest.version)
    assert result["status"] == "accepted", result["reasons"]
    assert {"parity", "better_than_trivial", "robustness", "valid_answers"} <= set(checks(result))
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["lineage"]["rows"]["holdout"] == 200
    assert manifest["lineage"]["parity"].startswith("against itself")
    assert wrap_file(unseen, world.contract, made_elsewhere, tmp_path, created=NOW).artifacts == trained.artifacts


def test_a_bad_own_model_is_rejected_like_any_other(tmp_path: Path) -> None:
    world = World("binary", "linear")
    other = tables.table("binary", world.contract.features, rows=240)
    other["y"].values[:] = 1 - other["y"].values
    wrong = world.file(world.train(other), "model.onnx")
    unseen = tables.table("binary", world.contract.features, rows=200, seed=3)
    trained = wrap_file(unseen, world.contract, wrong, tmp_path, created=NOW)
    for path in (tmp_path / trained.manifest.version).iterdir():
        world.artifacts.put(f"models/{MODEL}/{trained.manifest.version}/{path.name}", path.read_bytes())
    assert not checks(world.evaluate(trained.manifest.version))["better_than_trivial"]


def test_a_file_that_is_no_such_model_is_refused(tmp_path: Path) -> None:
    contract = tables.contract("binary", tables.NUMBERS)
    table = tables.table("binary", tables.NUMBERS)
    with pytest.raises(ModelRefusedError, match="does not load"):
        wrap_file(table, contract, b"no model", tmp_path)
    world = World("regression")
    body = world.file(world.train(), "model.onnx")
    with pytest.raises(ModelRefusedError, match="takes shape"):
        wrap_file(table, contract, body, tmp_path)


def test_the_threshold_of_an_own_model_is_the_contracts(tmp_path: Path) -> None:
    world = World("binary", "linear")
    body = world.file(world.train(), "model.onnx")
    table = tables.table("binary", world.contract.features, rows=200, seed=3)
    costs = {"false_positive": 1, "false_negative": 4}
    for decision, threshold in (({"threshold": 0.3}, 0.3), (costs, 0.2), ({}, 0.5)):
        contract = Contract.from_dict({**world.contract.to_dict(), "decision": decision})
        assert wrap_file(table, contract, body, tmp_path).manifest.threshold == pytest.approx(threshold)
