"""From a file to a registered version with every step in a container: each layer's heavy parts really run at /opt, on
Python 3.13."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local.demo import samples
from mlops.contract import Contract
from mlops.contract.source import load
from tests.cloudformation import ROOT
from tests.container.conftest import Containers, deployed_answer
from tests.deployment import Deployed

MODEL, RUN = "made-in-containers", "up-00c0ffee00c0ffee"


@pytest.fixture
def contract(serving: Deployed) -> Contract:
    found = load(ROOT / "models" / "breast-cancer.yaml")
    renamed = Contract.from_dict({**found.to_dict(), "name": MODEL})
    quick = replace(renamed, training=replace(renamed.training, families=("forest",), time_budget_seconds=5))
    serving.bench.push_contract(quick, actor="user:test", reason="container tests")
    return quick


def test_a_file_becomes_a_registered_version(
    warm: Containers, serving: Deployed, contract: Contract, tmp_path: Path
) -> None:
    sample = samples.breast_cancer()
    path = samples.write_csv(tmp_path / "rows.csv", [*sample.usual, *(row for _, row in sample.spoiled)])
    # Not below incoming/, where the deployed pipeline would take it.
    key = "container-tests/rows.csv"
    serving.bench.data.put(key, path.read_bytes())
    upload = {"id": RUN.removeprefix("up-"), "bucket": serving.bench.outputs["DataBucket"], "key": key}

    def ask(function: str, **request: Any) -> Any:
        return warm.invoke(function, json.dumps({"model": MODEL, **request}).encode())

    ingested = ask("ingest_validate", upload=upload)
    assert ingested["status"] == "partial", ingested
    assert ingested["rows"]["accepted"] == len(sample.usual)
    assert ingested["rows"]["quarantined"] == len(sample.spoiled)

    drift = ask("drift_check", task="dataset", part_id=ingested["part_id"])
    assert drift["status"] == "no_champion", drift

    trained = ask("train", run_id=RUN, dataset_version=ingested["dataset_version"])
    assert trained["status"] == "trained", trained

    evaluated = ask("evaluate", version=trained["version"], run_id=RUN)
    assert evaluated["status"] == "accepted", evaluated
    # What was trained on Python 3.13 passes the deployed stack's gates too, which run on another one.
    request = json.dumps({"model": MODEL, "version": trained["version"], "run_id": RUN}).encode()
    assert deployed_answer(serving, "evaluate", request)["status"] == "accepted"

    registered = ask(
        "register", task="register", version=trained["version"], run_id=RUN, evaluation=evaluated, actor="user:test"
    )
    assert registered["status"] == "registered", registered
    version = serving.bench.registry.version(MODEL, trained["version"])
    assert version is not None
    assert version.state == "candidate"
