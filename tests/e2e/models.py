"""A champion for tests that need one: the shared stack's own, or one that a first upload brings."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from local.demo import samples
from mlops.contract.source import load
from tests.cloudformation import ROOT
from tests.deployment import Deployed

MODEL = "breast-cancer"


def serving(deployed: Deployed, folder: Path) -> str:
    """The version that serves."""
    bench = deployed.bench
    if bench.registry.in_state(MODEL, "champion") is None:
        contract = load(ROOT / "models" / f"{MODEL}.yaml")
        quick = replace(contract.training, families=("forest",), time_budget_seconds=5)
        bench.push_contract(replace(contract, training=quick), actor="user:test", reason="tests")
        path = samples.write_csv(folder / "rows.csv", samples.breast_cancer().usual)
        ended = bench.wait(bench.pipeline_of(bench.upload(MODEL, path)), seconds=240)
        assert ended.status == "SUCCEEDED", ended
        deadline = time.monotonic() + 120
        while bench.registry.in_state(MODEL, "champion") is None and time.monotonic() < deadline:
            time.sleep(0.5)
    champion = bench.registry.in_state(MODEL, "champion")
    assert champion
    return champion.version
