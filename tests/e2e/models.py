"""A model that serves, for tests that need one on a deployed stack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from local.demo import samples
from mlops.contract import Contract
from mlops.contract.source import load
from tests.cloudformation import ROOT
from tests.deployment import Deployed
from tests.e2e.waiting import until

#: None of the story's models: those begin without a champion, and what happens to them is the story.
MODEL = "tested"
SAMPLES = {"breast-cancer": samples.breast_cancer, "diabetes": samples.diabetes}


def serving(deployed: Deployed, folder: Path, name: str = MODEL, *, like: str = "breast-cancer") -> str:
    """The version that serves: the model's own, or the champion that a first upload brings.

    Rows and contract are those of ``like``. No drift launches a retraining: these tests are not about it.
    """
    bench = deployed.bench
    if bench.registry.in_state(name, "champion") is None:
        contract = Contract.from_dict({**load(ROOT / "models" / f"{like}.yaml").to_dict(), "name": name})
        quick = replace(
            contract,
            training=replace(contract.training, families=("forest",), time_budget_seconds=5),
            retrain=replace(contract.retrain, on_drift=False),
        )
        bench.push_contract(quick, actor="user:test", reason="tests")
        path = samples.write_csv(folder / "rows.csv", SAMPLES[like]().usual)
        ended = bench.wait(bench.pipeline_of(bench.upload(name, path)), seconds=240)
        assert ended.status == "SUCCEEDED", ended
        until(lambda: bench.registry.in_state(name, "champion"))
    champion = bench.registry.in_state(name, "champion")
    assert champion
    return champion.version
