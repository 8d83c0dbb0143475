"""Every command on a stack that moto simulates: words, JSON, exit codes, refusals."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
import typer
import yaml
from botocore.exceptions import ClientError

from mlops.aws import clients, workbench
from mlops.cli.app import application, run
from mlops.cli.output import Output
from mlops.cli.runs import wait_for
from mlops.contract.recipe import digest
from mlops.errors import MlopsError, NotFoundError
from mlops.features.spec import Feature
from mlops.manifest import Manifest
from mlops.objects import recipe_key, report_prefix, version_prefix
from mlops.quality.labels import parse
from mlops.registry import anchors
from mlops.registry.entities import DatasetVersion, LedgerDraft, ModelVersion, Record
from mlops.release.evidence import Evidence
from mlops.release.losses import Paired
from mlops.release.plan import Step
from mlops.release.state import LOCK, ReleaseState
from mlops.release.state import STACK as SERVING
from mlops.release.verdict import Rule
from mlops.security import links
from mlops.security.keys import KeyRing
from mlops.security.tokens import Rules, Verifier
from tests.unit.cost.test_cost_tuning import Lambda
from tests.unit.registry.test_export import KEY

ROOT = Path(__file__).parents[3]
MODEL = "breast-cancer"
CONTRACT = str(ROOT / "models" / f"{MODEL}.yaml")
COST = {
    "status": "reported", "start": "2026-03-01T00:00:00+00:00", "end": "2026-03-02T00:00:00+00:00",
    "list_usd": "0.05", "complete": False, "unknown": ["kms-requests"], "billed_usd": None, "budget_state": "ok",
    "report_key": "reports/cost/a.json", "html_key": "reports/cost/a.html",
}  # fmt: skip
CARD = {
    "model_overview": {"model_id": f"{MODEL}/aaaaaaaaaaaa", "model_artifact": ["model.onnx"]},
    "intended_uses": {"risk_rating": "Low"},
    "evaluation_details": [
        {"metric_groups": [{"name": "metrics", "metric_data": [{"name": "roc_auc", "type": "number", "value": 0.9}]}]}
    ],
}
JUDGED = {
    "metric": "roc_auc", "interval": None, "intervals": {"roc_auc": {"value": 0.9, "low": 0.85, "high": 0.96}},
    "checks": [{"name": "latency", "value": 41.5}], "champion": "aaaaaaaaaaaa",
    "gain": {"value": 0.05, "low": 0.01, "high": 0.09, "confidence": 0.95},
}  # fmt: skip
DRIFT = {
    "results": [
        {
            "model": MODEL, "status": "drift", "share": 0.4, "rows": 200, "report_key": "",
            "drifted": [{"feature": "mean radius", "method": "psi", "value": 0.31, "threshold": 0.2, "p_value": None}],
        }
    ]
}  # fmt: skip

QUALITY = {
    "results": [
        {"model": MODEL, "status": "degraded", "explanation": "accuracy 0.7 is worse than the bound 0.9.",
         "report_key": "reports/quality/a.html"}
    ]
}  # fmt: skip


@pytest.fixture
def stack(account, capsys, monkeypatch):
    """A stack with a model, two versions, a data set, reports, a log."""
    account.results = {
        "housekeeping": {
            "status": "planned", "ledger": "not checked", "anchored": False, "functions": ["3"], "layers": [],
            "files": [{"model": MODEL, "version": "w", "files": ["model.onnx"], "bytes": 7}], "archives": [],
            "captures": {"hours": 2, "objects": 50, "expired": 0, "left": False},
            "moves": [{"model": MODEL, "version": "v", "source": "archived", "target": "retired", "reason": "old"}],
        },
        "release": {"status": "live", "reasons": []}, "drift_check": DRIFT, "cost_report": COST,
        "quality_check": QUALITY,
        "retrain_launcher": {"launch": False, "reason": "cool_down", "explanation": "it rests until noon"},
    }  # fmt: skip
    assert run(["push", CONTRACT]) == 0
    bench = account.bench
    for version, state, auc in (("aaaaaaaaaaaa", "archived", 0.9), ("bbbbbbbbbbbb", "champion", 0.95)):
        bench.registry.put_version(
            ModelVersion(
                MODEL, version, state, "2026-03-01T10:00:00+00:00", "cd80cc05ddd90604", "c" * 64,
                {"roc_auc": auc}, reason="all gates passed, and the words go on longer than a line",
            )
        )  # fmt: skip
        lineage = {"code": "abc", "seed": 1, "family": "forest", "parameters": {"trees": int(100 * auc)}}
        features = (Feature("age", "integer"),)
        manifest = Manifest(
            MODEL, version, "classification", features, "diagnosis", lineage=lineage, metrics={"roc_auc": auc}
        ).to_dict()
        bench.artifacts.put(version_prefix(MODEL, version) + "evaluation.json", json.dumps(JUDGED).encode())
        bench.artifacts.put(version_prefix(MODEL, version) + "manifest.json", json.dumps(manifest).encode())
        bench.artifacts.put(version_prefix(MODEL, version) + "evaluation.html", b"<!doctype html>judged")
        bench.artifacts.put(version_prefix(MODEL, version) + "model_card.json", json.dumps(CARD).encode())
        bench.artifacts.put(version_prefix(MODEL, version) + "model_card.html", b"<!doctype html>card")
    bench.registry.advance_dataset(DatasetVersion(MODEL, "cd80cc05ddd90604", ("p1",), 569), None)
    for name in ("old", "new"):
        bench.data.put(report_prefix("ingest", MODEL) + f"{name}.html", b"<!doctype html>" + name.encode())
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="/aws/lambda/trial-predict")
    logs.create_log_stream(logGroupName="/aws/lambda/trial-predict", logStreamName="s")
    now = int(datetime.now(UTC).timestamp() * 1000)
    events = [{"timestamp": now - age * 1000, "message": f"line of {age} s ago\n"} for age in (3600, 60, 30)]
    logs.put_log_events(logGroupName="/aws/lambda/trial-predict", logStreamName="s", logEvents=events)
    bench.approvals.ask(
        model=MODEL, version="aaaaaaaaaaaa", release_id="r1", token="t1", hours=72, actor="function:pipeline",
        reason="upload", turn=0,
    )  # fmt: skip
    capsys.readouterr()
    # moto runs functions in containers only: this one is a function in memory, as Lambda keeps it.
    monkeypatch.setattr("mlops.aws.tuning.client", lambda service: Lambda())
    Path("event.json").write_text("{}")
    bench.registry.put_record(Record(MODEL, "decision", "rt-1", "2026-03-01T10:00:00+00:00", DECIDED))
    took = {"run_id": "rt-1", "seconds": 812.5, "rows": 569, "where": "sagemaker_spot"}
    bench.registry.put_record(Record(MODEL, "training", "rt-1", "2026-03-01T11:00:00+00:00", took))
    ended = {"run_id": "rt-1", "where": "sagemaker_spot", "instance": "ml.m5.large", "cause": "interruptions",
             "interruptions": 2, "billable_seconds": 271}  # fmt: skip
    bench.registry.put_record(Record(MODEL, "job_end", "rt-1-1", "2026-03-01T11:00:00+00:00", ended))
    return account


@pytest.fixture
def said(stack, capsys) -> Callable[..., Any]:
    """Run a command; give what it printed, as JSON when that was asked for."""

    def call(*arguments: str, code: int = 0) -> Any:
        assert run(list(arguments)) == code, capsys.readouterr().err
        shown = capsys.readouterr().out
        return json.loads(shown) if "--json" in arguments else shown

    return call


#: A decision as the launcher keeps it.
DECIDED = {
    "launch": True, "reason": "drift", "where": "sagemaker_spot", "expected_usd": "0.016123", "run_id": "rt-1",
    "explanation": "Launched: the data drifted. It runs on SageMaker spot (ml.m5.large).",
    "options": [
        {"where": "lambda", "instance": "3008 MB", "possible": False, "seconds": 1200.0, "memory_mb": 3008,
         "usd": "0.05875", "basis": "the snapshot", "against": ["1200 s are more than the 780 s that it may take"]},
        {"where": "sagemaker_spot", "instance": "ml.m5.large", "possible": True, "seconds": 1680.0, "memory_mb": 7000,
         "usd": "0.0161", "basis": "0.115 USD an hour x 0.40 (assumed)", "against": []},
    ],
}  # fmt: skip

#: A call of every command, its exit code, and what its JSON must hold.
CALLS: dict[str, tuple[list[str], int, str]] = {
    "init": (["customers.csv", "--target", "churned"], 0, "notes"),
    "check": ([CONTRACT], 0, "digest"),
    "push": ([CONTRACT], 0, "changed"),
    "upload": ([MODEL, "customers.csv", "--no-wait"], 0, "key"),
    "status": ([], 0, "api_url"),
    "train": ([str(ROOT / "models" / "diabetes.yaml"), "absent.csv", "--out", "m"], 1, "error"),
    "retrain": ([MODEL, "--reason", "x"], 1, "explanation"),
    "runs": ([MODEL, "rt-1"], 0, "took"),
    "cost tune": (["predict", "--event", "event.json", "--memory", "512", "--rounds", "1", "--yes"], 0, "points"),
    "release": ([MODEL, "aaaaaaaaaaaa", "--reason", "x", "--no-wait"], 0, "execution"),
    "rollback": ([MODEL, "--reason", "x"], 1, "status"),
    "refresh": (["--reason", "x"], 0, "status"),
    "approvals list": ([], 0, "deadline"),
    "approvals approve": ([MODEL, "--reason", "x"], 1, "status"),
    "approvals decline": ([MODEL, "--reason", "x"], 1, "status"),
    "approvals link": ([MODEL, "--for", "Dr. Ames"], 0, "url"),
    "drift": ([], 0, "results"),
    "doctor": ([], 1, "findings"),
    "clean": (["--dry-run"], 0, "functions"),
    "history": ([MODEL], 0, "acts"),
    "models at": (["2026-03-02"], 0, "served"),
    "stop": ([MODEL, "--reason", "x"], 1, "error"),
    "predict": ([MODEL, "--row", "{}"], 0, "predictions"),
    "quality": ([], 1, "results"),
    "labels": ([MODEL, "absent.csv"], 1, "error"),
    "score": (["s3://trial-data/scoring/march/", "--model", MODEL, "--no-wait"], 0, "run_id"),
    "token": ([], 0, "token"),
    "bootstrap": (["--yes"], 0, "made"),
    "logs": (["predict"], 0, "message"),
    "models list": ([], 0, "state"),
    "models show": ([MODEL, "aaaaaaaaaaaa"], 0, "manifest"),
    "models card": ([MODEL, "aaaaaaaaaaaa"], 0, "model_overview"),
    "models search": (["state=champion"], 0, "versions"),
    "models alias": ([MODEL, "blessed", "aaaa", "--reason", "x"], 0, "previous"),
    "models tag": ([MODEL, "aaaa", "team=risk", "--reason", "x"], 0, "tags"),
    "models compare": ([MODEL, "aaaaaaaaaaaa", "bbbbbbbbbbbb"], 0, "second"),
    "models wrap": ([CONTRACT, "absent.onnx", "customers.csv", "--out", "m"], 1, "error"),
    "models import": (["absent", "--reason", "x"], 1, "error"),
    "ledger list": ([], 0, "sequence"),
    "ledger verify": ([], 0, "intact"),
    "ledger export": (["ledger.csv"], 0, "entries"),
    "ledger verify-export": (["ledger.csv"], 0, "intact"),
    "report list": ([], 0, "modified"),
    "report get": ([report_prefix("ingest")], 0, "path"),
    "cost report": ([], 0, "list_usd"),
    "cost estimate": (["--requests-per-month", "1000", "--template", str(ROOT / "template.yaml")], 0, "region"),
    "contract diff": ([CONTRACT, "customers.csv"], 1, "error"),
    "contract schema": ([], 0, "properties"),
    "keys create": (["web-shop", "--quota", "100"], 0, "key"),
    "keys list": ([], 0, "limits"),
    "keys revoke": (["web-shop", "--reason", "x"], 0, "revoked"),
    "signing list": ([], 0, "kid"),
    "signing rotate": (["--reason", "x"], 0, "kid"),
    "signing retire": (["absent", "--reason", "x"], 1, "error"),
}


def leaves(command: Any, words: tuple[str, ...] = ()) -> list[str]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return [" ".join(words)]
    return [leaf for name in inner for leaf in leaves(inner[name], (*words, name))]


def test_every_command_is_called_here():
    assert set(leaves(typer.main.get_command(application()))) == set(CALLS)


def test_json_of_every_command_is_json_and_nothing_else(said):
    Path("customers.csv").write_text("a,churned\n" + "".join(f"{i % 9},{i % 2}\n" for i in range(60)))
    for words, (arguments, code, key) in CALLS.items():  # on one stack, because making one takes a second
        result = said(*words.split(), *arguments, "--json", code=code)
        assert key in (result[0] if isinstance(result, list) else result), words


def test_push_is_in_the_ledger_once(said, stack):
    assert said("push", CONTRACT) == f"{MODEL}: was in force already\n"
    entries = said("ledger", "--json")
    assert [(e["actor"], e["action"], e["subject"]) for e in entries if e["actor"] == "user:ann"] == [
        ("user:ann", "contract.accepted", f"model/{MODEL}")
    ]
    assert [name for name, _ in stack.invoked] == ["release"], "the API is told of a new model, once"


def test_status_tells_what_serves_and_where(said):
    shown = said("status")
    assert "API http://127.0.0.1:" in shown
    for word in ("bbbbbbbbbbbb", "roc_auc 0.95", "569"):
        assert word in shown
    assert said("status", MODEL, "--json")["models"][0]["champion"]["version"] == "bbbbbbbbbbbb"


def test_a_training_tells_how_far_it_is_and_stops_when_told(said, stack):
    bench = stack.bench
    run_id = "rt-1"
    bench.registry.acquire(MODEL, "train", run_id, 600)
    words = {"run_id": run_id, "step": "train", "stage": "searching", "percent": 35, "message": "rung 1 of 2"}
    words |= {"best": "forest-0", "score": 0.98765}
    bench.registry.put_record(Record(MODEL, "run", f"{run_id}.train.001", "2026-03-01T10:00:00+00:00", words))
    assert "training rt-1, searching 35 %: rung 1 of 2; best forest-0 0.9877" in said("status", MODEL)
    assert said("status", "--json")["models"][0]["progress"]["percent"] == 35

    assert "rt-1: told to end without a model" in said("stop", run_id, "--reason", "wrong file")
    assert "was told to stop before" in said("stop", MODEL, "--reason", "again", "--keep-best")
    (record,) = bench.registry.records(MODEL, "stop")
    assert (record.id, record.body["keep_best"], record.body["actor"]) == (run_id, False, "user:ann")
    assert "run.stop_asked" in said("ledger", "list")


def test_a_release_under_way_tells_its_evidence(said, stack, monkeypatch):
    bench = stack.bench
    bench.registry.put_version(ModelVersion(MODEL, "cccccccccccc", "challenger", "2026-03-02T10:00:00+00:00", "d", "c"))
    bench.registry.acquire(SERVING, LOCK, "rel-1", 600)
    rule = Rule("prediction_drift", 0.2, 0.05, 0.35, 0.3, "answers are distributed 0.2 from the champion's", warn=0.1)
    state = ReleaseState(MODEL, "cccccccccccc", "rel-1", "user:ann", "x", steps=(Step("shadow", 0.0),))
    state = state.with_(evidence=Evidence(requests=30, rows=30), realised=Paired(rows=12), rules=(rule.to_dict(),))
    answers = {"rel-1": state.to_dict()}
    monkeypatch.setattr(workbench.Workbench, "release_state", lambda self, release_id: answers.get(release_id, {}))
    line = "challenger cccccccccccc, shadow: 30 records compared, 0 failed, 12 labelled; answers are distributed 0.2"
    assert line in " ".join(said("status").split())
    shown = said("status", MODEL)
    assert "evidence of breast-cancer, shadow" in shown
    assert "warning" in shown
    assert said("status", MODEL, "--json")["models"][0]["release"]["rules"][0]["upper"] == 0.35
    answers.clear()
    assert "evidence of" not in said("status", MODEL), "a release that only waits has none"


def test_a_release_that_is_followed_says_each_change_of_its_evidence_once():
    state = ReleaseState(MODEL, "c", "rel-1", "user:ann", "x", steps=(Step("shadow", 0.0),))
    seen = [{}, *(state.with_(evidence=Evidence(requests=n, rows=n)).to_dict() for n in (5, 5, 9))]

    def wait(execution, machine, *, seconds, on_state, on_pause):
        for name in ("DeployStep", "WaitForTraffic"):
            on_state(name)
            for _ in range(4):
                on_pause()
        return "ended"

    bench = SimpleNamespace(registry=None, ledger=None, wait=wait, release_state=lambda release_id: seen.pop(0))
    told: list[str] = []
    assert wait_for(SimpleNamespace(workbench=bench), "rel-1", told.append, "ReleaseArn") == "ended"
    assert told == [
        "at DeployStep", "at WaitForTraffic", "shadow: 5 records compared, 0 failed",
        "shadow: 9 records compared, 0 failed",
    ]  # fmt: skip


def test_a_run_in_progress_is_followed_to_its_end(said, stack, monkeypatch):
    """A machine of moto's runs nothing: here it ends once its training has said how far it is."""
    bench = stack.bench
    client = boto3.client("stepfunctions")
    arn = client.start_execution(stateMachineArn=bench.outputs["PipelineArn"], name="rt-2", input="{}")["executionArn"]
    bench.registry.acquire(MODEL, "train", "rt-2", 600)
    monkeypatch.setattr(workbench.Workbench, "_current_state", lambda self, arn: "Train")
    heard = []

    def note(self, text, style=""):
        heard.append(text)
        if "searching" in text:
            client.stop_execution(executionArn=arn)

    monkeypatch.setattr(Output, "note", note)
    words = {"run_id": "rt-2", "step": "train", "stage": "searching", "percent": 35, "message": "rung 1 of 2"}
    bench.registry.put_record(Record(MODEL, "run", "rt-2.train.001", "2026-03-01T10:00:00+00:00", words))

    assert "ABORTED" in said("status", "--watch", MODEL, code=1)
    assert heard == ["at Train", "searching 35 %: rung 1 of 2"]
    assert said("status", "--watch", "rt-9", "--json", code=1)["error"]["code"] == "not_found"


def test_a_recipe_goes_into_force_with_its_contract(said, stack, tmp_path):
    source = b"from sklearn.linear_model import Ridge\n\ndef estimator():\n    return Ridge()\n"
    (tmp_path / "mine.py").write_bytes(source)
    text = (ROOT / "models" / "diabetes.yaml").read_text(encoding="utf-8")
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({**yaml.safe_load(text), "name": "own", "training": {"recipe": "mine.py"}}))
    said("push", str(own))
    named = stack.bench.registry.contract("own").training.recipe
    assert named == digest(source)
    assert stack.bench.artifacts.get(recipe_key("own", named.removeprefix("sha256:"))) == source
    (tmp_path / "mine.py").unlink()
    assert "cannot be read" in said("check", str(own), "--json", code=1)["error"]["message"]


def test_executions_show_when_they_started(said):
    said("release", MODEL, "aaaaaaaaaaaa", "--reason", "x", "--no-wait")
    shown = said("status")
    assert "pipeline executions: none" in shown, "a release is none of the pipeline"


def test_models(said):
    listed = said("models")
    assert listed.index("aaaaaaaaaaaa") > 0
    assert "    all gates passed" in listed
    assert "seed" in said("models", "show", MODEL, "aaaaaaaaaaaa")


def test_two_versions_side_by_side(said, tmp_path):
    shown = said("models", "compare", MODEL, "aaaa", "champion", "--out", "c.html")
    for words in (
        "0.9 (0.85 to 0.96)", "overlap", "On the same rows, bbbbbbbbbbbb gains 0.05 in roc_auc", "better",
        "trees", "the same in both: family", "seed", "µs for a row", "has no baseline.json",
    ):  # fmt: skip
        assert words in shown, words
    assert "<h2>Parameters</h2>" in (tmp_path / "c.html").read_text()
    said("models", "compare", MODEL, "aaaa", "champion", "--out", "c.json")
    assert json.loads((tmp_path / "c.json").read_text())["second"] == "bbbbbbbbbbbb"
    told = said("models", "compare", MODEL, "aaaa", "champion", "--out", "c.txt", "--json", code=1)
    assert told["error"]["code"] == "usage"


def test_names_stand_wherever_a_version_may_and_are_in_the_ledger(said, stack):
    old, new = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
    assert f"blessed means {MODEL}/{old}" in said("models", "alias", MODEL, "blessed", "aaaa", "--reason", "audit")
    assert "audit" in said("models", "alias", MODEL)
    assert said("models", "show", MODEL, "blessed", "--json")["version"]["version"] == old
    assert said("models", "compare", MODEL, "blessed", "champion", "--json")["second"] == new
    said("models", "card", MODEL, "blessed")
    said("rollback", MODEL, "--to", "blessed", "--reason", "x", code=1)
    assert stack.invoked[-1][1]["to"] == old
    said("release", MODEL, "blessed", "--reason", "x", "--no-wait")
    assert f"instead of {old}" in said("models", "alias", MODEL, "blessed", "champion", "--reason", "x")
    assert f"it named {new}" in said("models", "alias", MODEL, "blessed", "--remove", "--reason", "x")
    for words, code in (
        (["alias", MODEL, "blessed", "--remove", "--reason", "x"], "not_found"),
        (["alias", MODEL, "blessed", "aaaa"], "reason_required"),
        (["alias", MODEL, "champion", "aaaa", "--reason", "x"], "invalid_alias"),
        (["alias", MODEL, "blessed", "aaaa", "--remove"], "usage"),
        (["alias", "nobody"], "not_found"),
        (["show", MODEL, "blessed"], "not_found"),
        (["show", MODEL, "previous"], "not_found"),
        (["tag", MODEL, "blessed", "team=risk", "--reason", "x"], "not_found"),
        (["tag", MODEL, "team=risk"], "reason_required"),
        (["tag", MODEL, "team=a*b", "--reason", "x"], "invalid_tag"),
        (["tag", MODEL, "aaaa", "bbbb", "--reason", "x"], "usage"),
        (["search", "state=gone"], "invalid_query"),
    ):
        assert said("models", *words, "--json", code=1)["error"]["code"] == code, words
    told = [e["action"] for e in said("ledger", "--json") if e["actor"] == "user:ann"]
    assert told[-3:] == ["alias.set", "alias.set", "alias.removed"]
    assert f"The name 'blessed' was taken from version {new}." in said("history", MODEL)


def test_tags_are_set_shown_searched_and_removed(said):
    said("models", "tag", MODEL, "aaaa", "team=risk", "audit=2026-05", "--reason", "audited")
    said("models", "tag", MODEL, "owner=ann", "--reason", "hers")
    assert said("models", "tag", MODEL, "--json")["tags"] == {"owner": "ann"}
    found = said("models", "search", "roc_auc>=0.9", "tag.team=risk", "--json")
    assert [v["version"] for v in found["versions"]] == ["aaaaaaaaaaaa"]
    shown = said("models", "search", "auc>0.8", "--limit", "1")
    assert "2 versions" in shown
    assert "1 older ones are not shown" in shown
    assert "0.95" in shown
    assert "audit=2026-05 team=risk" in said("models", "list", MODEL)
    said("models", "tag", MODEL, "aaaa", "--remove", "team", "--reason", "x")
    assert said("models", "search", "tag.team=*", "--json") == {"versions": [], "total": 0}
    assert "team removed" in said("history", MODEL)


def test_a_model_card_is_shown_and_written(said, tmp_path):
    shown = said("models", "card", MODEL, "aaaaaaaaaaaa", "--out", str(tmp_path / "card.html"))
    assert "risk rating" in shown
    assert "roc_auc" in shown
    assert (tmp_path / "card.html").read_bytes() == b"<!doctype html>card"
    said("models", "card", MODEL, "aaaaaaaaaaaa", "--out", str(tmp_path / "card.json"))
    assert json.loads((tmp_path / "card.json").read_bytes()) == CARD
    assert (
        said("models", "card", MODEL, "aaaaaaaaaaaa", "--out", "card.txt", "--json", code=1)["error"]["code"] == "usage"
    )


def test_the_ledger_is_verified_and_exported(said, stack):
    stack.bench.ledger.append(LedgerDraft("user:ann", "a.b", "model/x", 'why, "so"', "done", {"n": 1}))
    assert said("ledger", "verify").startswith("intact: 3 entries")
    said("ledger", "export", "l.csv")
    with Path("l.csv").open(newline="") as file:
        reasons = [row["reason"] for row in csv.DictReader(file) if row["actor"] == "user:ann"]
    assert reasons == ["contract pushed", 'why, "so"']
    said("ledger", "export", "l.json")
    assert len(json.loads(Path("l.json").read_text())["entries"]) == 3
    for name in ("l.csv", "l.json"):
        assert "intact: 3 entries" in said("ledger", "verify-export", name)
    assert len(said("ledger", "list", "--limit", "1", "--json")) == 1
    boto3.client("dynamodb").delete_item(TableName="trial-table", Key=first_entry())
    assert "intact" not in said("ledger", "verify", code=1)


def test_an_export_is_signed_and_checked_without_the_stack(said, stack, monkeypatch):
    assert "LedgerSigning=on" in said("ledger", "export", "l.json", "--sign", "--json", code=1)["error"]["message"]
    # moto hashes a digest once more before it signs, which KMS does not: here a key in memory signs.
    monkeypatch.setattr(workbench.Workbench, "signer", lambda self, key: KEY)
    assert said("ledger", "export", "l.json", "--key", "alias/ours", "--json")["signature"] == "l.json.sig.json"
    Path("ours.der").write_bytes(KEY.public)
    monkeypatch.setenv("MLOPS_STACK", "no-stack-at-all")
    told = said("ledger", "verify-export", "l.json", "--public-key", "ours.der", "--json")
    assert (told["intact"], told["trusted"], told["signature"]["signed_by"]) == (True, True, "user:ann")
    assert "Its SHA-256 fingerprint" in said("ledger", "verify-export", "l.json")
    Path("l.json").write_bytes(Path("l.json").read_bytes().replace(b"contract pushed", b"contract pulled"))
    changed = said("ledger", "verify-export", "l.json", "--json", code=1)
    assert changed["error"]["code"] == "bad_signature"
    Path("l.json.sig.json").unlink()
    assert "edited" in said("ledger", "verify-export", "l.json", code=1)


def test_a_rewritten_chain_is_found_by_an_anchor(said, stack):
    bench = stack.bench
    sequence, _ = bench.ledger.head()
    anchors.drop(bench.anchorage, "trial", (sequence, "0" * 64), "2026-03-01T00:00:00+00:00")
    shown = said("ledger", "verify", "--json", code=1)
    assert [p["kind"] for p in shown["problems"]] == ["anchor"]
    assert shown["anchors"] == 1


def test_history_and_who_served_when(said, stack):
    inputs = {"dataset_version": "d7", "previous": None}
    draft = LedgerDraft("user:ann", "version.promoted", f"model/{MODEL}/bbbbbbbbbbbb", "better", "promoted", inputs)
    stack.bench.ledger.append(draft)
    shown = said("history", MODEL, "--out", "h.html")
    assert "user:ann: Version bbbbbbbbbbbb answers all callers, as the first one, trained on data set d7." in shown
    assert "Who served when" in Path("h.html").read_text()
    served = said("models", "at", "2999-01-01", "--json")["served"][MODEL]
    assert (served["version"], served["dataset_version"]) == ("bbbbbbbbbbbb", "d7")
    assert said("models", "at", "2020-01-01T10:00", "--json")["served"] == {MODEL: None}
    assert "no time such as" in said("models", "at", "Monday", "--json", code=1)["error"]["message"]
    assert said("history", "nobody", "--json", code=1)["error"]["code"] == "not_found"


def test_cleaning_wants_a_reason_or_a_plan(said, stack):
    assert "1 function versions and 0 layers would be deleted" in said("clean", "--dry-run")
    assert "needs a reason" in said("clean", "--json", code=1)["error"]["message"]
    said("clean", "--reason", "the audit")
    assert stack.invoked[-1] == (
        "housekeeping", {"task": "daily", "actor": "user:ann", "reason": "the audit"},
    )  # fmt: skip


def test_a_bucket_for_anchors_has_a_lock(said, stack):
    made = said("bootstrap", "--yes", "--anchor-bucket", "trial-anchors", "--json")[-1]
    assert (made["name"], made["made"]) == ("trial-anchors", True)
    rule = boto3.client("s3").get_object_lock_configuration(Bucket="trial-anchors")["ObjectLockConfiguration"]
    assert rule["Rule"]["DefaultRetention"].items() >= {"Mode": "GOVERNANCE", "Days": 400}.items()
    assert said("bootstrap", "--yes", "--anchor-bucket", "trial-anchors", "--json")[-1]["made"] is False
    refused = said("bootstrap", "--yes", "--anchor-bucket", "trial-data", "--json", code=1)
    assert refused["error"]["code"] == "no_lock"


def first_entry() -> dict[str, Any]:
    items = boto3.client("dynamodb").scan(TableName="trial-table")["Items"]
    found = next(i for i in items if i.get("action", {}).get("S") == "contract.accepted")
    return {name: found[name] for name in ("pk", "sk")}


def test_reports_are_listed_and_fetched(said):
    listed = said("report")
    assert f"models/{MODEL}/aaaaaaaaaaaa/evaluation.html" in listed
    assert f"reports/ingest/{MODEL}/new.html" in listed
    assert "evaluation" not in said("report", "list", "--kind", "ingest")
    said("report", "get", f"reports/ingest/{MODEL}/old.html", "--out", "r.html")
    assert Path("r.html").read_text() == "<!doctype html>old"
    said("report", "get", f"models/{MODEL}/aaaaaaaaaaaa/evaluation.html", "--out", "e.html")
    assert Path("e.html").read_text() == "<!doctype html>judged"


def test_nothing_but_reports_is_fetched_as_one(stack, capsys):
    stack.bench.data.put("captures/secret.jsonl", b"{}")
    assert run(["report", "get", "captures/"]) == 1
    assert "no report" in capsys.readouterr().err


def test_a_token_opens_what_it_says_and_no_more(said):
    made = said("token", "--scope", "predict", "--model", MODEL, "--minutes", "5").strip()
    keys = boto3.client("ssm").get_parameter(Name="/trial/jwks")["Parameter"]["Value"]
    rules = Rules(issuer="serverless-mlops", audience="serverless-mlops")
    found = Verifier(rules, KeyRing(lambda: keys)).verify(made)
    assert (found.subject, set(found.scopes), found.models) == ("user:ann", {"predict"}, (MODEL,))


def test_predict_sends_a_token_and_shows_the_answer(said, stack):
    Path("rows.jsonl").write_text('{"age": 1}\n\n{"age": 2}\n')
    shown = said("predict", MODEL, "--row", '{"age": 42}', "--file", "rows.jsonl")
    assert shown.count("yes") == 6
    path, authorization, body = stack.asked[0]
    assert path == "/predict"
    assert authorization.startswith("Bearer ey")
    assert body == {"model": MODEL, "records": [{"age": 42}, {"age": 1}, {"age": 2}]}


def test_predict_shows_what_added_most_when_it_is_asked_to(said, stack):
    shown = said("--wide", "predict", MODEL, "--row", '{"age": 42}', "--explain")
    assert "plan -1.5, age +0.25, since +0.0625" in shown
    assert stack.asked[0][2] == {"model": MODEL, "records": [{"age": 42}], "explain": True}


def test_a_refused_record_is_explained_and_is_exit_code_1(stack, capsys):
    assert run(["predict", MODEL, "--row", '{"age": "old"}']) == 1
    shown = capsys.readouterr()
    assert "422 1 record cannot be read" in shown.err
    assert "a number is needed" in shown.err


def test_costs_say_what_is_not_counted(said, stack):
    shown = said("cost", "report", "--hours", "48", "--bill")
    assert stack.invoked[-1] == ("cost_report", {"task": "report", "hours": 48.0, "bill": True})
    assert "0.05 USD" in shown
    assert "kms-requests" in shown
    assert "mlops report get reports/cost/a.html" in shown
    stack.results["cost_report"] = {"status": "invalid", "message": "hours: 9999 is too many"}
    said("cost", "report", code=1)


def test_drift_names_features(said):
    shown = said("drift", MODEL, "--hours", "2")
    assert "mean radius" in shown
    assert "psi" in shown


def test_drift_over_a_history_runs_the_machine(said, stack):
    words = ["--since", "2026-01-01", "--until", "2026-02-01", "--every", "24", "--no-wait"]
    shown = said("drift", MODEL, *words, "--json")
    (run,) = stack.bench.executions("BackfillArn")
    assert shown["execution"] == run.name
    arn = stack.bench.outputs["BackfillArn"].replace(":stateMachine:", ":execution:") + f":{run.name}"
    sent = json.loads(boto3.client("stepfunctions").describe_execution(executionArn=arn)["input"])
    assert sent == {
        "model": MODEL, "since": "2026-01-01T00:00:00+00:00", "until": "2026-02-01T00:00:00+00:00", "every": 24.0,
        "actor": "user:ann",
    }  # fmt: skip
    said("drift", "--since", "2026-01-01", code=1)
    said("drift", MODEL, "--every", "24", code=1)
    said("drift", MODEL, "--hours", "2", "--until", "2026-02-01T12:00")
    assert stack.invoked[-1][1]["until"] == "2026-02-01T12:00:00+00:00"


def test_a_degraded_model_is_exit_code_1_and_says_why(said):
    shown = said("quality", MODEL, "--hours", "48", code=1)
    assert f"{MODEL}: degraded. accuracy 0.7 is worse than the bound 0.9." in shown
    assert "reports/quality/a.html" in shown


def test_labels_are_sent_once_in_the_form_that_the_check_reads(said, stack):
    Path("outcomes.csv").write_text("patient_id;notes;diagnosis\np1;x;malignant\np2;y;benign\n")
    first, second = (said("labels", MODEL, "outcomes.csv", "--json") for _ in range(2))
    assert (first["rows"], first["new"], second["new"]) == (2, True, False)
    rows = list(parse(stack.bench.data.get(first["key"])))
    assert rows == [{"diagnosis": "malignant", "patient_id": "p1"}, {"diagnosis": "benign", "patient_id": "p2"}]


@pytest.mark.parametrize(("text", "words"), [("a,b\n1,2\n", "lacks the target"), ("diagnosis,b\nx,2\n", "patient_id")])
def test_labels_without_what_they_need_are_refused(stack, capsys, text, words):
    Path("outcomes.csv").write_text(text)
    assert run(["labels", MODEL, "outcomes.csv"]) == 1
    assert words in capsys.readouterr().err


def test_a_retraining_that_is_held_back_says_why(said):
    assert said("retrain", MODEL, "--reason", "x", code=1) == "not launched: it rests until noon\n"


def test_a_run_shows_the_places_that_it_was_chosen_from(said):
    shown = said("runs", MODEL, "rt-")
    assert "1200 s are more than the 780 s" in shown
    assert "0.0588" in shown
    assert "interruptions" in shown
    listed = said("runs", MODEL)
    assert "812.5" in listed
    assert "0.0161" in listed
    said("runs", MODEL, "rt-9", code=1)


def test_explaining_a_retraining_changes_nothing_and_needs_no_reason(said, stack):
    stack.results["retrain_launcher"] = {**DECIDED, "launch": False, "explanation": "Not launched: nothing is due."}
    shown = said("retrain", MODEL, "--explain")
    assert shown.startswith("Not launched: nothing is due.")
    assert "ml.m5.large" in shown
    assert stack.invoked[-1] == ("retrain_launcher", {"task": "explain", "model": MODEL})
    said("retrain", MODEL, code=1)


def test_a_tuning_shows_the_curve_keeps_it_and_holds_releases_back(said, stack):
    shown = said("cost", "tune", "predict", "--event", "event.json", "--memory", "512", "--memory", "1769", "--yes",
                 "--out", "curve.html")  # fmt: skip
    assert "1769 MB is cheapest" in shown or "512 MB is cheapest" in shown
    assert "<svg" in Path("curve.html").read_text()
    (kept,) = stack.bench.registry.records("_stack", "tuning")
    assert kept.body["name"] == "predict"
    assert [e.action for e in stack.bench.ledger.entries()][-1] == "function.tuned"
    assert stack.bench.registry.holder(SERVING, LOCK) is None, "the lock is free again"
    assert stack.bench.registry.acquire(SERVING, LOCK, "a release", 60)
    said("cost", "tune", "predict", "--event", "event.json", "--yes", code=1)
    Path("event.json").write_text("{")
    said("cost", "tune", "predict", "--event", "event.json", "--yes", code=1)


def test_files_to_score_are_sent_once_and_named_by_their_content(said, stack):
    Path("march").mkdir()
    Path("march/a.csv").write_text("age\n1\n")
    Path("march/.hidden").write_text("no")
    first = said("score", "march", "--model", MODEL, "--no-wait", "--json")
    second = said("score", "march", "--model", MODEL, "--no-wait", "--json")
    assert first["source"] == second["source"]
    assert first["run_id"] != second["run_id"]
    keys = [info.key for info in stack.bench.data.list("scoring/")]
    assert keys == [first["source"].removeprefix("s3://trial-data/") + "a.csv"]
    started = boto3.client("stepfunctions").describe_execution(
        executionArn=stack.bench.outputs["ScoreArn"].replace("stateMachine", "execution") + f":{first['run_id']}"
    )
    assert json.loads(started["input"]) == {
        "model": MODEL, "bucket": "trial-data", "prefix": keys[0].removesuffix("a.csv"), "output": "", "version": "",
        "capture": False, "actor": "user:ann", "reason": "batch scoring",
    }  # fmt: skip


def test_what_cannot_be_scored_is_told_before_anything_starts(stack, capsys):
    assert run(["score", "absent.csv", "--model", MODEL]) == 1
    assert "absent.csv: no such file" in capsys.readouterr().err


def test_a_rollback(said, stack):
    stack.results["release"] = {
        "status": "rolled_back", "model": MODEL, "from": "bbbbbbbbbbbb", "to": "aaaaaaaaaaaa", "function_version": "7",
        "reasons": [],
    }  # fmt: skip
    shown = said("rollback", MODEL, "--to", "aaaaaaaaaaaa", "--reason", "it lies")
    words = "rolled_back: aaaaaaaaaaaa serves, in place of bbbbbbbbbbbb, function version 7, after "
    assert shown.startswith(words)
    assert float(shown.removeprefix(words).removesuffix(" s\n")) >= 0
    stack.results["release"] = {"status": "refused", "reasons": ["it is retired"]}
    assert said("rollback", MODEL, "--reason", "it lies", code=1) == "refused: it is retired\n"
    stack.results["release"] = {"status": "rolled_back", "from": "b", "to": "a", "function_version": "7", "reasons": []}
    said("rollback", MODEL, "--to", "aaaaaaaaaaaa", "--reason", "it lies")
    sent = stack.invoked[-1][1]
    assert (sent["action"], sent["to"], sent["actor"], sent["reason"]) == (
        "manual_rollback", "aaaaaaaaaaaa", "user:ann", "it lies",
    )  # fmt: skip


def test_a_refresh_says_what_serves(said, stack):
    stack.results["release"] = {"status": "live", "function_version": "7", "reasons": []}
    assert said("refresh", "--reason", "x") == "live: version 7 of predict serves\n"
    assert stack.invoked[-1][1]["action"] == "refresh"
    stack.results["release"] = {"status": "busy", "reasons": ["a release is under way"]}
    assert said("refresh", "--reason", "x", code=1) == "busy: a release is under way\n"


# Logs --------------------------------------------------------------------------------------------


def test_approvals_are_listed_decided_and_handed_on(said, stack):
    (waiting,) = said("approvals", "--json")
    assert (waiting["version"], waiting["requested_by"]) == ("aaaaaaaaaaaa", "function:pipeline")
    stack.results["release"] = {"status": "approved", "reasons": []}
    assert "approved: breast-cancer aaaaaaaaaaaa" in said("approvals", "approve", MODEL, "--reason", "looked at it")
    assert stack.invoked[-1] == (
        "release",
        {
            "action": "decide", "model": MODEL, "release_id": "r1", "verdict": "approved", "actor": "user:ann",
            "reason": "looked at it",
        },
    )  # fmt: skip
    assert (
        "needs a reason" in said("approvals", "decline", MODEL, "--reason", " ", "--json", code=1)["error"]["message"]
    )
    link = said("approvals", "link", MODEL, "--for", "Dr. Ames", "--json")["url"]
    key = boto3.client("ssm").get_parameter(Name="/trial/approval-key", WithDecryption=True)["Parameter"]["Value"]
    claims = links.read(key.encode(), link.partition("?link=")[2], now=0)
    assert (claims["release_id"], claims["name"], claims["issuer"]) == ("r1", "Dr. Ames", "user:ann")
    wrong = said("approvals", "approve", MODEL, "--version", "b", "--reason", "x", "--json", code=1)
    assert wrong["error"]["code"] == "not_found"


def test_the_doctor_explains_and_repairs_with_a_reason(said, stack):
    registry = stack.bench.registry
    registry.acquire(MODEL, "train", "a-run-that-never-began", 3600)
    found = {f["code"]: f for f in said("doctor", "--json", code=1)["findings"]}
    # A champion that was put into the table by hand, as this stack's was, is known to nobody else.
    assert set(found) == {
        "lock_left", "serving_differs", "serving_unrecorded", "ledger_behind", "files_damaged",
    }  # fmt: skip
    assert "a-run-that-never-began, which does not exist" in found["lock_left"]["explanation"]
    assert registry.holder(MODEL, "train"), "looking changes nothing"
    shown = said("doctor", code=1)
    assert "repair it: mlops doctor --repair" in shown
    assert "needs a reason" in said("doctor", "--repair", "--json", code=1)["error"]["message"]
    stack.results["release"] = {"status": "busy", "reasons": ["a release is under way"]}
    refused = said("doctor", "--repair", "--reason", "x", "--json", code=1)["error"]
    assert refused["code"] == "not_repaired"
    assert "a release is under way" in refused["message"]
    assert registry.holder(MODEL, "train") is None, "what came before it is repaired"
    entry = list(stack.bench.ledger.entries())[-1]
    assert (entry.actor, entry.action, entry.outcome) == ("user:ann", "doctor.repaired", "lock freed")


def test_logs_go_back_as_far_as_asked(said):
    assert [e["message"] for e in said("logs", "predict", "--since", "10m", "--json")] == [
        "line of 60 s ago", "line of 30 s ago",
    ]  # fmt: skip
    assert said("logs", "predict", "--since", "2h").count("\n") == 3


def test_a_followed_log_tells_each_line_once(stack, monkeypatch):
    logs, group = boto3.client("logs"), {"logGroupName": "/aws/lambda/trial-predict", "logStreamName": "s"}
    now = int(datetime.now(UTC).timestamp() * 1000)

    def pause(seconds: float) -> None:
        # Two lines of one moment, one of them a second earlier than what was seen: it arrived late.
        lines = [{"timestamp": now - 31_000, "message": "late"}, {"timestamp": now, "message": "next"}]
        logs.put_log_events(**group, logEvents=lines)

    monkeypatch.setattr(workbench.time, "sleep", pause)
    followed = stack.bench.logs("predict", since=datetime.now(UTC) - timedelta(minutes=10), follow=True)
    assert [next(followed)[1] for _ in range(4)] == ["line of 60 s ago", "line of 30 s ago", "late", "next"]
    followed.close()


def test_an_unknown_function_gets_the_known_ones(stack, capsys):
    assert run(["logs", "gossip"]) == 1
    assert "functions with a log: predict" in capsys.readouterr().err


# Who may call ------------------------------------------------------------------------------------


def test_a_client_s_key_is_shown_once_and_has_its_own_limits(said, stack, capsys):
    gateway = boto3.client("apigateway")
    gateway.create_usage_plan(name="another/stack")  # of somebody else in the account
    made = said(
        "keys", "create", "web-shop", "--rate", "5", "--burst", "7", "--quota", "100", "--period", "day", "--json"
    )
    assert made["required"] is False, "the test's stack demands none"
    (key,) = [k for k in gateway.get_api_keys(includeValues=True)["items"] if k["name"] == "trial/web-shop"]
    assert (key["value"], key["tags"]) == (made["key"], {"mlops:stack": "trial"})
    (plan,) = [p for p in gateway.get_usage_plans()["items"] if p["name"] == "trial/web-shop"]
    assert plan["throttle"] == {"rateLimit": 5.0, "burstLimit": 7}
    assert (plan["quota"]["limit"], plan["quota"]["period"]) == (100, "DAY")
    assert plan["apiStages"] == [{"apiId": stack.bench.api_id, "stage": "v1"}]
    assert [k["id"] for k in gateway.get_usage_plan_keys(usagePlanId=plan["id"])["items"]] == [key["id"]]
    shown = said("keys")
    assert "web-shop" in shown
    assert "100 a day" in shown
    assert made["key"] not in shown
    assert run(["keys", "create", "web-shop"]) == 1
    assert "already" in capsys.readouterr().err
    said("keys", "revoke", "web-shop", "--reason", "it leaked")
    assert [p["name"] for p in gateway.get_usage_plans()["items"]] == ["another/stack"]
    assert gateway.get_api_keys()["items"] == []
    assert run(["keys", "revoke", "web-shop", "--reason", "x"]) == 1
    assert "known: none" in capsys.readouterr().err
    entries = [e for e in said("ledger", "--json") if e["subject"] == "client/web-shop"]
    assert [(e["action"], e["reason"]) for e in entries] == [
        ("client.created", "a client was added"), ("client.revoked", "it leaked")
    ]  # fmt: skip
    assert made["key"] not in json.dumps(entries)


def test_a_client_that_cannot_be(stack, capsys):
    wrong = [["a b"], [""], ["x" * 65], ["a", "--rate", "0"], ["a", "--burst", "0"], ["a", "--period", "year"]]
    for arguments in wrong:  # on one stack, because making one takes a second
        assert run(["keys", "create", *arguments]) == 1, arguments
    assert boto3.client("apigateway").get_usage_plans()["items"] == []


def test_a_client_s_plan_goes_when_its_key_cannot_be_made(stack, capsys, monkeypatch):
    gateway = clients.client("apigateway")

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "LimitExceededException", "Message": "too many keys"}}, "CreateApiKey")

    monkeypatch.setattr(gateway, "create_api_key", refuse)
    assert run(["keys", "create", "web-shop"]) == 1
    assert gateway.get_usage_plans()["items"] == []


def test_a_rotation_keeps_tokens_good_until_the_old_key_is_retired(said, stack, capsys):
    def accepts(token: str) -> bool:
        keys = boto3.client("ssm").get_parameter(Name="/trial/jwks")["Parameter"]["Value"]
        rules = Rules(issuer="serverless-mlops", audience="serverless-mlops")
        try:
            Verifier(rules, KeyRing(lambda: keys)).verify(token)
        except MlopsError:
            return False
        return True

    old = said("token").strip()
    (first,) = said("signing", "--json")
    second = said("signing", "rotate", "--reason", "once a quarter", "--algorithm", "ES256", "--json")
    new = said("token").strip()
    assert accepts(old)
    assert accepts(new)
    assert [(k["kid"], k["signs"]) for k in said("signing", "--json")] == [
        (first["kid"], False), (second["kid"], True)
    ]  # fmt: skip
    assert run(["signing", "retire", second["kid"], "--reason", "x"]) == 1
    assert "makes another one first" in capsys.readouterr().err
    said("signing", "retire", first["kid"], "--reason", "its tokens have expired")
    assert not accepts(old)
    assert accepts(new)
    said("signing", "rotate", "--reason", "it leaked", "--leaked")
    assert not accepts(new)
    assert accepts(said("token").strip())
    assert "signing.rotated" in said("ledger")
    private = boto3.client("ssm").get_parameter(Name="/trial/signing-key")["Parameter"]
    assert private["Type"] == "SecureString"
    assert '"d"' not in boto3.client("ssm").get_parameter(Name="/trial/jwks")["Parameter"]["Value"]


# Bootstrap ---------------------------------------------------------------------------------------


def test_bootstrap_twice_changes_nothing(said):
    ssm, lambda_ = boto3.client("ssm"), boto3.client("lambda")

    def state() -> Any:
        found = ssm.get_parameters_by_path(Path="/trial", WithDecryption=True)["Parameters"]
        layers = lambda_.list_layer_versions(LayerName="trial-models")["LayerVersions"]
        return {p["Name"]: (p["Value"], p["Version"], p["Type"]) for p in found}, [v["Version"] for v in layers]

    before = state()
    assert set(before[0]) == {
        f"/trial/{n}" for n in ("model-layer-arn", "routes", "pseudonym-key", "approval-key", "signing-key", "jwks")
    }
    assert before[0]["/trial/signing-key"][2] == "SecureString"
    assert before[1] == [1]
    assert {m["made"] for m in said("bootstrap", "--yes", "--json")} == {False}
    assert state() == before
    for name in before[0]:
        tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
        assert tags == [{"Key": "mlops:stack", "Value": "trial"}]


def test_an_interrupted_bootstrap_is_finished(said):
    ssm = boto3.client("ssm")
    public = ssm.get_parameter(Name="/trial/jwks")["Parameter"]["Value"]
    layer = ssm.get_parameter(Name="/trial/model-layer-arn")["Parameter"]["Value"]
    for name in ("signing-key", "model-layer-arn"):
        ssm.delete_parameter(Name=f"/trial/{name}")
    said("bootstrap", "--yes")
    assert ssm.get_parameter(Name="/trial/jwks")["Parameter"]["Value"] != public, "the halves of a pair belong together"
    assert ssm.get_parameter(Name="/trial/model-layer-arn")["Parameter"]["Value"] == layer, "the layer was there"
    said("token")


def test_bootstrap_asks_first(stack, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run(["bootstrap", "--stack", "another"]) == 130
    with pytest.raises(ClientError):
        boto3.client("ssm").get_parameter(Name="/another/routes")


# Refusals ----------------------------------------------------------------------------------------


def test_an_unknown_stack(stack, capsys):
    assert run(["status", "--stack", "nope"]) == 1
    assert "no stack 'nope' here" in capsys.readouterr().err


def test_a_stack_of_something_else(stack, capsys):
    template = json.dumps({"Resources": {"T": {"Type": "AWS::SNS::Topic"}}})
    boto3.client("cloudformation").create_stack(StackName="website", TemplateBody=template)
    assert run(["status", "--stack", "website"]) == 1
    assert "has no output Table" in capsys.readouterr().err


def test_what_does_not_exist_is_named(stack, capsys):
    for line in (
        "status x", "models list x", "drift x", "retrain x --reason r", f"models show {MODEL} x",
        f"release {MODEL} x --reason r", "report get reports/x",
    ):  # fmt: skip
        assert run(line.split()) == 1
        shown = capsys.readouterr().err
        assert shown.startswith("error: no ")
        assert "lists all" in shown
        assert shown.count("\n") == 1


def test_aws_says_no(stack, capsys):
    def deny(**_: Any) -> None:
        error = {"Code": "AccessDenied", "Message": "user/ann is not authorized to perform: s3:PutObject"}
        raise ClientError({"Error": error}, "PutObject")

    clients.client("s3").meta.events.register("before-call.s3.PutObject", deny)
    Path("f.csv").write_text("a\n1\n")
    assert run(["upload", MODEL, "f.csv"]) == 1
    shown = capsys.readouterr().err
    assert "s3:PutObject" in shown
    assert shown.count("\n") == 1


def test_a_local_stack_that_is_gone(tmp_path, capsys, account):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    notes = tmp_path / ".local" / "mlops-local" / "stack.json"
    notes.parent.mkdir(parents=True)
    notes.write_text(json.dumps({"port": port}))
    assert run(["status", "--stack", "mlops-local"]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_an_api_that_is_gone(stack, capsys, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setattr("mlops.cli.connection.connect", lambda *_: _gone(stack, probe.getsockname()[1]))
        assert run(["predict", MODEL, "--row", "{}"]) == 1
    assert "does not answer" in capsys.readouterr().err


def _gone(stack: Any, port: int) -> Any:
    from mlops.cli.connection import Connection

    return Connection("trial", f"http://127.0.0.1:{port}", False, dict(stack.bench.outputs))


def test_a_function_that_fails_names_its_log(account, monkeypatch):
    monkeypatch.undo()
    answer = {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorType": "KeyError"}')}
    fake = type("Lambda", (), {"invoke": lambda self, **_: answer})()
    monkeypatch.setattr(workbench, "client", lambda _: fake)
    with pytest.raises(MlopsError, match=r"evaluate failed \(KeyError\); its log says why: mlops logs evaluate"):
        workbench.Workbench("trial", "", {}).invoke("evaluate", {})


def test_import_wants_a_whole_version(stack, tmp_path):
    folder = tmp_path / "version"
    with pytest.raises(NotFoundError, match=r"manifest\.json does not exist"):
        stack.bench.import_model(folder, actor="user:ann", reason="x")
    folder.mkdir()
    for text in ("{", "[]", "{}", '{"model": "m"}'):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(MlopsError, match="is no manifest"):
            stack.bench.import_model(folder, actor="user:ann", reason="x")


# The program -------------------------------------------------------------------------------------


def test_the_program_ends_quietly_when_its_reader_has_gone(account):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    schema = [sys.executable, "-m", "mlops", "contract", "schema"]
    with subprocess.Popen(schema, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        process.stdout.close()  # type: ignore[union-attr]
        error = process.stderr.read()  # type: ignore[union-attr]
    assert process.returncode == 1
    assert error == b""


@pytest.mark.skipif(shutil.which("script") is None, reason="needs a terminal: the program script")
def test_a_terminal_of_80_columns_gets_lines_of_80_columns(account):
    line = f"stty cols 80; {sys.executable} -m mlops --help; {sys.executable} -m mlops cost"
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | {
        "PYTHONPATH": str(ROOT / "src"), "TERM": "dumb", "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    done = subprocess.run(
        ["script", "-qec", line, os.devnull], capture_output=True, text=True, env=environment, check=True
    )
    assert "five steps" in done.stdout
    assert max(len(shown) for shown in done.stdout.replace("\r", "").split("\n")) <= 80
