"""What goes wrong around a release, on the deployed stack: two at once, an alarm that fires in the middle, labels that
come meanwhile, a deleted layer, and a person who ends it all. In the end callers get the bytes that they got before."""

from __future__ import annotations

import json
import re
import tempfile
import time
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.demo import samples
from mlops.aws.clients import client
from mlops.aws.workbench import Workbench
from mlops.data.validation import Validated, validate_file
from mlops.objects import label_prefix
from mlops.release.doctor import diagnose
from mlops.release.state import LOCK, STACK
from mlops.training.local import train_files
from tests.e2e.conftest import Deployed
from tests.e2e.models import MODEL, serving
from tests.e2e.waiting import until

USER = "user:test"


def candidate(bench: Workbench, folder: Path) -> str:
    """Another version, accepted by the gates; its release is begun by the pipeline and never has enough requests."""
    contract = bench.registry.contract(MODEL)
    assert contract is not None
    rules = replace(contract.release, steps=(0.5,), min_requests=50_000, min_seconds=1, check_seconds=1)
    rules = replace(rules, min_labels=20)
    bench.push_contract(replace(contract, release=rules), actor=USER, reason="a release that waits")
    quick = replace(contract, training=replace(contract.training, families=("linear",), time_budget_seconds=2))
    path = samples.write_csv(folder / "others.csv", samples.breast_cancer().usual)
    with tempfile.TemporaryDirectory() as work:
        checked = validate_file(path, contract, Path(work))
        assert isinstance(checked, Validated)
        version = train_files(checked.accepted.table(), quick, folder).manifest.version
    ended = bench.wait(bench.import_model(folder / version, actor=USER, reason="another"), seconds=120)
    assert ended.output["outcome"] == "release_started", ended
    return version


def answers(bench: Workbench, records: list[dict[str, Any]], token: str) -> bytes:
    """The body of an answer as callers get it; only ids are new each time."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    body = json.dumps({"model": MODEL, "records": records}).encode()
    request = urllib.request.Request(f"{bench.api_url}/predict", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return re.sub(rb'"(id|inference_id)": ?"[^"]*"', b"", answer.read())


def releases(bench: Workbench) -> list[str]:
    return [e.name for e in bench.executions("ReleaseArn", 50) if e.status == "RUNNING"]


def checks_since(bench: Workbench, release_id: str, moment: datetime) -> int:
    """Checks of a release that began after ``moment``."""
    arn = f"{bench._output('ReleaseArn').replace(':stateMachine:', ':execution:')}:{release_id}"
    events = client("stepfunctions").get_execution_history(executionArn=arn, reverseOrder=True, maxResults=100)[
        "events"
    ]
    entered = [e for e in events if e.get("stateEnteredEventDetails", {}).get("name") == "Check"]
    return sum(e["timestamp"] > moment for e in entered)


def test_faults_around_a_release_end_in_what_served_before(deployed: Deployed, tmp_path: Path) -> None:
    bench = deployed.bench
    champion = serving(deployed, tmp_path)
    sample = samples.breast_cancer()
    records, token = sample.records(sample.usual[:40]), bench.token(subject="e2e")
    before = answers(bench, records, token)
    version = candidate(bench, tmp_path)
    (first,) = until(lambda: [r for r in releases(bench) if bench.release_state(r).get("function_version")])

    # Two releases at once: the second waits its turn.
    second = bench.release(MODEL, version, actor=USER, reason="at the same time")
    until(lambda: bench.release_state(second).get("status") == "busy")
    assert bench.registry.holder(STACK, LOCK) == first

    # An alarm that fires after the release began stops it at the next check, and nothing else is to blame.
    until(lambda: bench.release_state(first).get("rules"))
    alarm = next(a for a in client("cloudwatch").describe_alarms()["MetricAlarms"] if "PredictErrors" in a["AlarmName"])
    fired = datetime.now(UTC)
    client("cloudwatch").set_alarm_state(AlarmName=alarm["AlarmName"], StateValue="ALARM", StateReason="a test")
    stopped = bench.wait(first, "ReleaseArn", seconds=60)
    client("cloudwatch").set_alarm_state(AlarmName=alarm["AlarmName"], StateValue="OK", StateReason="a test")
    assert (stopped.output["outcome"], len(stopped.output["reasons"])) == ("rolled_back", 1)
    assert alarm["AlarmName"] in stopped.output["reasons"][0]
    assert checks_since(bench, first, fired) <= 1
    assert b"alarm since this release began" in bench.data.get(f"reports/release/{MODEL}/{first}.html")

    # The second has its turn now. Answers, then their labels: quality is part of the evidence.
    until(lambda: bench.release_state(second).get("step_started"))
    assert bench.registry.in_state(MODEL, "challenger").version == version  # type: ignore[union-attr]
    answer = bench.predict(MODEL, records, token)
    ids = [p["id"] for p in answer.body["predictions"]]
    rows = [{"inference_id": i, "diagnosis": r["diagnosis"]} for i, r in zip(ids, sample.usual[:40], strict=True)]
    body = "".join(json.dumps(row) + "\n" for row in rows)
    bench.data.put(f"{label_prefix(MODEL)}{second}.jsonl", body.encode())
    until(lambda: bench.release_state(second)["realised"]["rows"] == len(ids))
    found = {rule["name"]: rule for rule in bench.release_state(second)["rules"]}
    assert {"prediction_drift", "expected_loss", "realised_loss"} <= found.keys()
    assert found["realised_loss"]["result"] != "too few"

    # Somebody deletes the layer that a rollback needs, then a person ends the release.
    before_release = bench.serving.published(bench.release_state(second)["previous"])
    assert before_release is not None
    bench.serving.delete_layer(before_release.layer)
    started = time.monotonic()
    done = bench.rollback(MODEL, actor=USER, reason="end of the test")
    seconds = time.monotonic() - started
    assert (done["status"], done["to"]) == ("rolled_back", champion), f"after {seconds:.1f} s"
    assert answers(bench, records, token) == before
    ended = bench.wait(second, "ReleaseArn", seconds=60)
    assert ended.status == "SUCCEEDED"
    assert answers(bench, records, token) == before
    assert bench.registry.version(MODEL, version).state == "archived"  # type: ignore[union-attr]
    assert bench.registry.holder(STACK, LOCK) is None
    assert [f for f in diagnose(bench.examine()) if f.subject.startswith(("serving/", f"model/{MODEL}"))] == []
