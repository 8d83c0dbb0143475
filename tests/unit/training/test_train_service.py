from __future__ import annotations

import itertools
import json
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from functions.train import app
from mlops.contract.recipe import digest
from mlops.errors import NotFoundError
from mlops.features.columns import Columns, category_column
from mlops.manifest import Manifest
from mlops.objects import dataset_manifest_key, part_prefix, recipe_key
from mlops.registry.datasets import read_dataset
from mlops.registry.entities import DatasetVersion, ModelVersion, Record
from mlops.training.progress import MOST_LINES, Progress, Trace
from mlops.training.service import Train
from tests.fakes import Clock, MemoryLedger, MemoryObjects, MemoryRegistry
from tests.unit.training import tables
from tests.unit.training.test_time_limit import Stepping

EVENTS = Path(__file__).parents[3] / "events" / "train"
MODEL = "breast-cancer"


class World:
    """A data set of two parts in memory buckets, and the service over them."""

    def __init__(self, rows: int = 240) -> None:
        self.clock = Clock()
        self.data, self.artifacts = MemoryObjects(), MemoryObjects()
        self.registry, self.ledger = MemoryRegistry(self.clock), MemoryLedger(self.clock)
        contract = tables.contract("binary", tables.NUMBERS, families=("linear",))
        self.contract = type(contract).from_dict(contract.to_dict() | {"name": MODEL})
        self.registry.put_contract(self.contract)
        self.table = tables.table("binary", tables.NUMBERS, rows)
        for part, index in (("p1", np.arange(rows // 2)), ("p2", np.arange(rows // 2, rows))):
            self.data.put(part_prefix(MODEL, part) + "columns.npz", self.table.take(index).save())
        self.dataset = DatasetVersion(MODEL, "5b1f0c7a92de", ("p1", "p2"), rows)
        self.store(self.dataset)
        self.registry.advance_dataset(self.dataset, None)

    def store(self, dataset: DatasetVersion) -> None:
        self.data.put(dataset_manifest_key(MODEL, dataset.version), json.dumps(asdict(dataset)).encode())

    def service(self) -> Train:
        lineage = {"code": "c0ffee", "lock": "10cc"}
        return Train(self.data, self.artifacts, self.registry, self.ledger, self.clock, lineage)


@pytest.fixture
def world() -> World:
    return World()


def test_a_data_set_becomes_a_version_with_lineage(world: World) -> None:
    world.registry.put_version(ModelVersion(MODEL, "parent", "candidate", "t", "d", "c"))
    world.registry.promote(MODEL, "parent", None, "first")

    result = world.service().run(MODEL, "run-1", world.dataset.version)

    assert result["status"] == "trained"
    assert result["prefix"] == f"models/{MODEL}/{result['version']}/"
    assert result["metrics"]["roc_auc"] > 0.9
    json.dumps(result)
    manifest = Manifest.from_dict(world.artifacts.json(result["prefix"] + "manifest.json"))
    assert manifest.lineage["dataset_version"] == world.dataset.version
    assert manifest.lineage["contract_digest"] == world.contract.digest()
    assert (manifest.lineage["code"], manifest.lineage["lock"]) == ("c0ffee", "10cc")
    assert (manifest.lineage["parent_version"], manifest.lineage["run_id"]) == ("parent", "run-1")
    assert manifest.lineage["parts"] == ["p1", "p2"]
    names = [k.removeprefix(result["prefix"]) for k in world.artifacts.versions]
    assert names[-1] == "manifest.json"  # written last: it stands for a complete folder
    assert len(names) == 8


def test_every_part_is_used(world: World) -> None:
    result = world.service().run(MODEL, "run-1")
    manifest = world.artifacts.json(result["prefix"] + "manifest.json")
    assert manifest["lineage"]["rows"] == {"train": 180, "holdout": 60, "dropped": 0}


def test_a_registered_version_is_unchanged_and_nothing_is_written(world: World) -> None:
    first = world.service().run(MODEL, "run-1")
    world.registry.put_version(
        ModelVersion(MODEL, first["version"], "candidate", "t", "d", "c", metrics={"roc_auc": 0.9})
    )
    before = {k: len(v) for k, v in world.artifacts.versions.items()}

    again = world.service().run(MODEL, "run-2")

    assert (again["status"], again["version"], again["metrics"]) == ("unchanged", first["version"], {"roc_auc": 0.9})
    assert "trained on this data set and contract already" in again["explanation"]
    assert {k: len(v) for k, v in world.artifacts.versions.items()} == before


def test_an_older_data_set_version_is_read_from_its_manifest(world: World) -> None:
    world.store(DatasetVersion(MODEL, "older", ("p1",), 120))
    result = world.service().run(MODEL, "run-1", "older")
    manifest = world.artifacts.json(result["prefix"] + "manifest.json")
    assert manifest["lineage"]["dataset_version"] == "older"
    assert sum(manifest["lineage"]["rows"].values()) == 120


def test_too_few_rows_is_a_result_with_a_reason() -> None:
    world = World(rows=40)
    result = world.service().run(MODEL, "run-1")

    assert (result["status"], result["version"], result["prefix"]) == ("not_trainable", None, None)
    assert "40 rows with a target" in result["explanation"]
    assert not world.artifacts.versions
    assert world.ledger.actions() == ["version.not_trained"]


def test_the_ledger_says_what_was_trained_on_what_once(world: World) -> None:
    result = world.service().run(MODEL, "run-1")
    world.service().run(MODEL, "run-1")  # a retry

    (entry,) = world.ledger.entries()
    assert (entry.actor, entry.action, entry.outcome) == ("function:train", "version.trained", "trained")
    assert entry.subject == f"model/{MODEL}/{result['version']}"
    assert entry.inputs["dataset_version"] == world.dataset.version
    assert entry.inputs["family"] == "linear"


def test_progress_is_kept_in_records(world: World) -> None:
    world.service().run(MODEL, "run-1")
    kept = world.registry.records(MODEL, "run")
    assert {r.body["stage"] for r in kept} == {"loading", "searching", "fitting", "exporting", "done"}
    assert all(r.body["run_id"] == "run-1" and r.body["step"] == "train" for r in kept)
    assert max(r.body["percent"] for r in kept) == 100


def test_how_it_went_is_in_the_result_and_so_in_the_history(world: World) -> None:
    moments = itertools.count()
    service = replace(world.service(), clock=lambda: world.clock() + timedelta(seconds=next(moments)))
    result = service.run(MODEL, "run-1")

    lines = result["progress"]
    stages = [line["stage"] for line in lines]
    assert list(dict.fromkeys(stages)) == ["loading", "searching", "fitting", "exporting", "done"]
    for key in ("after_seconds", "percent"):
        assert [line[key] for line in lines] == sorted(line[key] for line in lines)
    assert lines[-1]["after_seconds"] > lines[0]["after_seconds"]
    best = world.artifacts.json(result["prefix"] + "training.json")["best"]["name"]
    told = [line["best"] for line in lines]
    assert (told[0], told[-1]) == (None, best)
    assert stages.count("searching") == len(
        {(line["best"], line["score"]) for line in lines if line["stage"] == "searching"}
    )
    assert lines[-1]["message"] == result["explanation"]
    again = world.service().run(MODEL, "run-1")
    assert [{**a, "after_seconds": 0} for a in again["progress"]] == [{**a, "after_seconds": 0} for a in lines]


def test_a_trace_stays_small() -> None:
    heard: list[Progress] = []
    trace = Trace(heard.append, lambda: 0.0)
    for i in range(3 * MOST_LINES):
        trace(Progress("searching", 5, "a", "x", float(i // 2)))
    assert (len(heard), len(trace.lines)) == (3 * MOST_LINES, MOST_LINES)
    assert [line["score"] for line in trace.lines[:3]] == [0.0, 1.0, 2.0]


def test_a_run_that_is_told_to_stop_keeps_its_best(world: World) -> None:
    world.registry.put_record(Record(MODEL, "stop", "run-1", "2026-03-02T12:00:00+00:00"))
    result = world.service().run(MODEL, "run-1")
    assert result["status"] == "trained"
    report = world.artifacts.json(result["prefix"] + "training.json")
    assert report["stopped"] == "asked to stop"
    assert len(report["leaderboard"]) == 1


def test_a_run_that_is_stopped_for_good_leaves_nothing_but_its_reason(world: World) -> None:
    body = {"keep_best": False, "reason": "wrong file"}
    world.registry.put_record(Record(MODEL, "stop", "run-1", "2026-03-02T12:00:00+00:00", body))
    result = world.service().run(MODEL, "run-1")
    assert (result["status"], result["version"], result["prefix"]) == ("stopped", None, None)
    assert "wrong file" in result["explanation"]
    assert [line["stage"] for line in result["progress"]] == ["loading"]
    assert not world.artifacts.versions
    (entry,) = world.ledger.entries()
    assert (entry.action, entry.outcome) == ("version.not_trained", "stopped")


def test_a_run_near_the_limit_ends_with_its_best_so_far(world: World) -> None:
    result = replace(world.service(), seconds=Stepping(6)).run(MODEL, "run-1", limit=20.0)
    assert result["status"] == "trained"
    report = world.artifacts.json(result["prefix"] + "training.json")
    assert report["stopped"] == "time limit"
    assert len(report["leaderboard"]) == 1
    assert "the search ended early (time limit)" in result["explanation"]


def test_what_a_run_cost_is_in_its_lineage_and_the_ledger(world: World) -> None:
    service = replace(world.service(), price=lambda seconds: "0.000123")
    result = service.run(MODEL, "run-1")
    assert world.artifacts.json(result["prefix"] + "manifest.json")["lineage"]["list_usd"] == "0.000123"
    (entry,) = world.ledger.entries()
    assert entry.inputs["list_usd"] == "0.000123"


RECIPE = b"""
from sklearn.ensemble import ExtraTreesClassifier

def estimator(seed, task):
    assert task == "classification"
    return ExtraTreesClassifier(n_estimators=15, min_samples_leaf=3)
"""


def with_recipe(world: World, source: bytes = RECIPE, *, stored: bytes | None = None) -> World:
    plain = world.contract.to_dict()
    plain["training"]["recipe"] = digest(source)
    world.registry.put_contract(type(world.contract).from_dict(plain))
    world.artifacts.put(recipe_key(MODEL, digest(source).removeprefix("sha256:")), source if stored is None else stored)
    return world


def test_a_recipe_is_trained_with_its_digest_and_source_kept(world: World) -> None:
    result = with_recipe(world).service().run(MODEL, "run-1")
    assert result["status"] == "trained", result["explanation"]
    lineage = world.artifacts.json(result["prefix"] + "manifest.json")["lineage"]
    assert (lineage["family"], lineage["estimator"]) == ("recipe", "ExtraTreesClassifier")
    assert lineage["recipe"] == digest(RECIPE)
    assert (lineage["parameters"]["min_samples_leaf"], lineage["parameters"]["random_state"]) == (3, 7)
    assert world.artifacts.get(result["prefix"] + "recipe.py") == RECIPE
    (entry,) = world.ledger.entries()
    assert entry.inputs["recipe"] == digest(RECIPE)
    again = world.service().run(MODEL, "run-2")
    assert again["metrics"] == result["metrics"]


def test_a_recipe_that_was_changed_in_the_bucket_is_not_run(world: World) -> None:
    result = with_recipe(world, stored=RECIPE + b"# changed").service().run(MODEL, "run-1")
    assert result["status"] == "not_trainable"
    assert "not the file that the contract names" in result["explanation"]


def test_a_recipe_that_is_not_in_the_stack_is_asked_for(world: World) -> None:
    with_recipe(world).artifacts.versions.clear()
    assert "put the contract in force with `mlops push`" in world.service().run(MODEL, "run-1")["explanation"]
    plain = world.contract.to_dict()
    plain["training"]["recipe"] = "mine.py"
    world.registry.put_contract(type(world.contract).from_dict(plain))
    assert "names recipe 'mine.py', which is not in the stack" in world.service().run(MODEL, "run-2")["explanation"]


def test_another_runs_stop_does_not_count(world: World) -> None:
    world.registry.put_record(Record(MODEL, "stop", "run-0", "2026-03-02T12:00:00+00:00"))
    result = world.service().run(MODEL, "run-1")
    assert world.artifacts.json(result["prefix"] + "training.json")["stopped"] is None


def test_what_does_not_exist_is_named(world: World) -> None:
    with pytest.raises(NotFoundError, match="model 'unheard-of' has no contract"):
        world.service().run("unheard-of", "run-1")
    with pytest.raises(NotFoundError):
        world.service().run(MODEL, "run-1", "no-such-version")
    world.registry.datasets.clear()
    with pytest.raises(NotFoundError, match="has no data set; upload a file first"):
        world.service().run(MODEL, "run-1")


def test_a_data_set_manifest_with_later_fields_still_reads(world: World) -> None:
    body = asdict(world.dataset) | {"schema": "mlops.dataset.v2", "digest": "…"}
    world.data.put(dataset_manifest_key(MODEL, "v"), json.dumps(body).encode())
    assert read_dataset(world.data, MODEL, "v").parts == ("p1", "p2")


@pytest.mark.parametrize("event", sorted(EVENTS.glob("*.json")), ids=lambda p: p.stem)
def test_every_event_file_is_handled(event: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "service", world.service)
    body: dict[str, Any] = json.loads(event.read_text())
    context = SimpleNamespace(aws_request_id="r", get_remaining_time_in_millis=lambda: 900_000)
    if event.stem == "no_contract":
        with pytest.raises(NotFoundError):
            app.handler(body, context)
        return
    assert app.handler(body, context)["status"] == "trained"


def test_a_key_that_only_some_parts_have_is_left_out(world: World) -> None:
    keyed = type(world.contract).from_dict(world.contract.to_dict() | {"key": ["id"]})
    world.registry.put_contract(keyed)
    assert world.service().run(MODEL, "run-1")["status"] == "trained"


def test_keys_do_not_leave_the_data_bucket(world: World) -> None:
    keyed = type(world.contract).from_dict(world.contract.to_dict() | {"key": ["id"]})
    world.registry.put_contract(keyed)
    for part in ("p1", "p2"):
        name = part_prefix(MODEL, part) + "columns.npz"
        table = Columns.load(world.data.get(name))
        ids = category_column("id", [f"{part}-{i}" for i in range(table.rows)])
        world.data.put(name, Columns((*table.columns, ids)).save())
    result = world.service().run(MODEL, "run-1")
    assert Columns.load(world.artifacts.get(result["prefix"] + "holdout.npz")).names == ("a", "b", "y")
