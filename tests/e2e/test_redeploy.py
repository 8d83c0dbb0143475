"""Invariant 1: deploying code in the middle of a canary changes neither the serving version nor its share. On the way
people decide about both releases, by link and by hand, and in the end the doctor finds nothing."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from local import stack
from local.demo import samples, story
from local.demo.traffic import Traffic
from mlops.aws.clients import client
from mlops.aws.workbench import Workbench
from mlops.contract import Contract
from mlops.contract.source import load
from mlops.data.validation import Validated, validate_file
from mlops.release.approval_page import PATH
from mlops.release.doctor import diagnose
from mlops.training.local import train_files
from tests.cloudformation import ROOT
from tests.e2e.conftest import Deployed
from tests.e2e.waiting import until

MODEL = "redeployed"


def contract() -> Contract:
    short = story.for_a_short_story(load(ROOT / "models" / "diabetes.yaml"))
    # More answers than arrive between the canary's beginning and the end of the traffic: it stays a canary.
    rules = replace(short.release, steps=(0.5,), min_requests=240, max_seconds=900, max_disagreement=0.9)
    gates = replace(short.gates, approval=True)
    return replace(Contract.from_dict({**short.to_dict(), "name": MODEL}), release=rules, gates=gates)


def train(folder: Path, family: str) -> Path:
    rules = contract()
    rules = replace(rules, training=replace(rules.training, families=(family,), time_budget_seconds=4))
    path = samples.write_csv(folder / "rows.csv", samples.diabetes().usual)
    with tempfile.TemporaryDirectory() as work:
        checked = validate_file(path, rules, Path(work))
        assert isinstance(checked, Validated)
        return folder / train_files(checked.accepted.addressed().table(), rules, folder).manifest.version


def decided_by_link(bench: Workbench) -> None:
    """Somebody opens the address, which changes nothing, and sends the form."""
    (waiting,) = until(lambda: bench.approvals.waiting(MODEL))
    link = bench.approval_link(waiting, name="Dr. Ames", issuer="user:test").removeprefix(bench.api_url)
    assert "You decide as Dr. Ames" in bench.request("GET", link).body
    assert bench.request("GET", link[:-4] + "AAAA").status == 403
    assert bench.approvals.waiting(MODEL) == [waiting]
    form = {"link": link.partition("?link=")[2], "decision": "approved", "reason": "as expected"}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = bench.request("POST", PATH, body=urlencode(form).encode(), headers=headers)
    assert (answer.status, "was approved by user:Dr. Ames" in answer.body) == (200, True)


def test_a_deployment_in_a_canary_keeps_version_and_share(deployed: Deployed, tmp_path: Path) -> None:
    bench = deployed.bench
    bench.push_contract(contract(), actor="user:test", reason="test")
    first, second = train(tmp_path, "linear"), train(tmp_path, "forest")
    bench.wait(bench.import_model(first, actor="user:test", reason="the first"), seconds=120)
    decided_by_link(bench)
    until(lambda: bench.registry.in_state(MODEL, "champion"))
    ended = bench.wait(bench.import_model(second, actor="user:test", reason="the second"), seconds=120)
    assert ended.output["outcome"] == "needs_approval"
    (waiting,) = until(lambda: bench.approvals.waiting(MODEL))
    assert bench.decide(waiting, "approved", actor="user:test", reason="go")["status"] == "approved"

    def routes() -> dict[str, Any]:
        found: dict[str, Any] = bench.invoke("predict:live", {"task": "describe"})["routes"].get(MODEL, {})
        return found

    token = bench.token(subject="test")
    records = samples.diabetes().records(samples.diabetes().usual)
    with Traffic(bench, MODEL, records, token):
        until(lambda: routes().get("step") == "canary-1")
    # Without traffic the canary waits for evidence; now somebody deploys.
    before = bench.invoke("predict:live", {"task": "describe"})
    alias_before = client("lambda").get_alias(FunctionName=f"{bench.stack}-predict", Name="live")
    stack.build("local")
    # A parameter that reaches the function alone: a changed API has another address on the local engine.
    stack.deploy(deployed.running, {**story.PARAMETERS, "MaxRows": "9000"})
    after = bench.invoke("predict:live", {"task": "describe"})
    alias_after = client("lambda").get_alias(FunctionName=f"{bench.stack}-predict", Name="live")
    assert alias_after["FunctionVersion"] != alias_before["FunctionVersion"], "the deployment published nothing"
    assert after["routes"] == before["routes"]
    assert after["routes"][MODEL]["share"] == 0.5
    assert after["models"] == before["models"]
    answer = bench.predict(MODEL, [{}] * 9001, token)
    assert (answer.status, answer.body["error"]["code"]) == (413, "batch_too_large"), "the new code is not live"

    # And the release can still be ended by a person: the champion serves alone, as before it.
    done = bench.rollback(MODEL, actor="user:test", reason="end of the test")
    assert done["status"] == "rolled_back"
    assert routes() == {}
    found = bench.predict(MODEL, records[:1], token)
    assert found.body["version"] == first.name
    bench.wait(waiting.release_id, "ReleaseArn", seconds=60)
    assert [f for f in diagnose(bench.examine()) if f.subject.endswith(("alias", "parameters", "$LATEST"))] == []
