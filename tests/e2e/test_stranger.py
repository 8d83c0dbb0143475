"""A stranger's file goes from `mlops init` to a prediction by the command line alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from local import engine
from tests.e2e.conftest import Deployed

ROWS = 30_000


def with_holes(values: list[Any], rng: np.random.Generator, share: float) -> list[Any]:
    return [None if hole else value for value, hole in zip(values, rng.random(len(values)) < share, strict=True)]


def file_of_a_stranger(path: Path) -> dict[str, Any]:
    """Mixed columns with holes in them; returns a record to ask for."""
    rng = np.random.default_rng(5)
    age = rng.integers(18, 90, ROWS)
    plan = rng.choice(["basic", "plus", "premium"], ROWS, p=[0.6, 0.3, 0.1])
    spend = np.round(rng.gamma(2.0, 40.0, ROWS), 2)
    active = rng.random(ROWS) < 0.7
    since = np.datetime64("2019-01-01") + rng.integers(0, 2000, ROWS).astype("timedelta64[D]")
    score = 0.03 * (age - 50) + (plan == "premium") * 1.5 - (spend > 90) * 1.2 + rng.normal(0, 0.7, ROWS)
    frame = pl.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(ROWS)],
            "age": age,
            "plan": with_holes(plan.tolist(), rng, 0.03),
            "monthly_spend": with_holes(spend.tolist(), rng, 0.05),
            "active": active,
            "since": since,
            "churned": np.where(score > 0, "yes", "no"),
        }
    )
    frame.write_csv(path)
    return {"age": 70, "plan": "premium", "monthly_spend": 20.5, "active": True, "since": "2021-05-04"}


def mlops(deployed: Deployed, folder: Path, *arguments: str) -> Any:
    """Run the command with --json and return what it printed."""
    environment = {**os.environ, **engine.credentials_environment(deployed.running), "MLOPS_ACTOR": "stranger"}
    done = subprocess.run(
        [sys.executable, "-m", "mlops", "--stack", deployed.running.name, "--json", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_from_a_file_to_a_prediction(deployed: Deployed, tmp_path: Path) -> None:
    record = file_of_a_stranger(tmp_path / "customers.csv")
    inferred = mlops(deployed, tmp_path, "init", "customers.csv", "--target", "churned")
    types = {f["name"]: f["type"] for f in inferred["contract"]["features"]}
    assert types == {
        "age": "integer", "plan": "category", "monthly_spend": "number", "active": "boolean", "since": "date",
    }  # fmt: skip
    # A minute of search is for people who wait; the rest of the contract is as inferred.
    contract = tmp_path / "models" / "customers.yaml"
    contract.write_text(contract.read_text() + "\ntraining:\n  time_budget_seconds: 15\n")
    mlops(deployed, tmp_path, "push", "models/customers.yaml")
    uploaded = mlops(deployed, tmp_path, "upload", "customers", "customers.csv")
    assert uploaded["upload"]["rows"]["accepted"] == ROWS
    assert uploaded["execution"]["output"]["outcome"] == "release_started"
    version = uploaded["execution"]["output"]["version"]
    release = next(e for e in deployed.bench.executions("ReleaseArn", 50) if version in e.name)
    deployed.bench.wait(release.name, "ReleaseArn", seconds=300)
    answer = mlops(deployed, tmp_path, "predict", "customers", "--row", json.dumps(record), "--explain")
    assert answer["version"] == version
    prediction = answer["predictions"][0]
    assert prediction["label"] == "yes"
    explanation = prediction["explanation"]
    assert list(explanation["contributions"]) == ["age", "plan", "monthly_spend", "active", "since"]
    assert explanation["base"] + sum(explanation["contributions"].values()) == pytest.approx(explanation["score"])
    assert explanation["contributions"]["age"] > 0  # 70 is old there, and the old leave
    assert mlops(deployed, tmp_path, "ledger", "verify")["intact"] is True
    mlops(deployed, tmp_path, "models", "alias", "customers", "first", version[:6], "--reason", "it was the first")
    found = mlops(deployed, tmp_path, "models", "search", "alias=first state=champion auc>0.5 trained>=1d")
    assert [v["version"] for v in found["versions"]] == [version]
    same = mlops(deployed, tmp_path, "models", "compare", "customers", "first", "champion")
    assert {m["difference"] for m in same["metrics"]} == {0.0}
    assert [m["name"] for m in same["metrics"] if m["first_interval"]]
    assert {s["column"] for s in same["data"]} == {"age", "plan", "monthly_spend", "active", "since", "churned"}
    told = [act["what"] for act in mlops(deployed, tmp_path, "history", "customers")["acts"]]
    assert f"The name 'first' means version {version} from now on." in told
