"""The story, step by step. No result is scripted: each step acts as a user would and asserts what happened."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from local import engine, envs, stack
from local.demo import samples
from local.demo.narrator import Narrator, StepError
from local.demo.report import write_report
from local.demo.traffic import Traffic
from mlops.aws.workbench import Answer, Execution, Workbench
from mlops.cli import connection
from mlops.contract import Contract
from mlops.contract.source import load
from mlops.cost.estimate import estimate
from mlops.cost.money import cents
from mlops.data.validation import Validated, validate_file
from mlops.errors import MlopsError
from mlops.registry import chain
from mlops.training.local import train_files

ACTOR = "user:demo"
#: The drift-check comes every minute instead of every day.
PARAMETERS = {"DriftSchedule": "rate(1 minute)", "DriftScheduleState": "ENABLED"}
CANCER, DIABETES = "breast-cancer", "diabetes"


@dataclass
class Story:
    """What the steps share."""

    bench: Workbench
    tell: Narrator
    work: Path
    contracts: dict[str, Contract] = field(default_factory=dict)
    data: dict[str, samples.Sample] = field(default_factory=dict)
    token: str = ""
    first_champion: str = ""
    first_answers: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    reports: dict[str, str] = field(default_factory=dict)


def main(name: str, *, port: int | None, keep: bool) -> int:
    """Build, deploy, tell, stop. Exit code 0 only when every step happened."""
    tell = Narrator()
    tell.console.print("[bold]serverless-mlops[/]: the whole life of two models, on this machine, with no account")
    running: engine.Stack | None = None
    try:
        with tell.step("Build the bundle and deploy it to the local AWS engine"):
            with tell.long("sam build: functions and layers from one lock file"):
                stack.build("local")
            left_over = engine.load(name)
            if left_over:
                engine.stop(left_over)
            running = engine.start(name, port)
            tell.fact("engine", f"{running.endpoint}, loopback only, IAM enforced")
            with tell.long("sam deploy: template.yaml"):
                stack.deploy(running, PARAMETERS)
            tell.fact("API", running.api_url)
        os.environ.update(engine.credentials_environment(running))
        found = connection.connect(name)
        with tempfile.TemporaryDirectory(prefix="mlops-demo-") as work:
            story = Story(Workbench(found.stack, found.api_url, found.outputs), tell, Path(work))
            play(story)
            path = write_report(story.tell.steps, story.reports, story.bench, envs.ROOT / ".local" / "demo-report.html")
        summary(story, path)
    except (StepError, MlopsError) as error:
        tell.console.print(f"\n[bold red]The story broke at step {len(tell.steps)}:[/] {error}", soft_wrap=True)
        if running:
            tell.console.print(f"The stack is left running: make status, make logs F=predict, make down STACK={name}")
            return 1
        raise
    except BaseException:
        if running and not keep:
            engine.stop(running)
        raise
    if keep:
        tell.console.print(f"\nThe stack is left running: make status; make down STACK={name}")
    else:
        engine.stop(running)
    return 0


def play(story: Story) -> None:
    """Every step after deployment, in order."""
    for step in (
        before_the_first_model, first_uploads, first_champions, predictions, shift_and_retrain, broken_challenger,
        misbehaving_challenger, manual_rollback, costs, audit,
    ):  # fmt: skip
        step(story)


def before_the_first_model(story: Story) -> None:
    with story.tell.step("Two contracts are put in force; no model serves yet"):
        story.data = {CANCER: samples.breast_cancer(), DIABETES: samples.diabetes()}
        for name in story.data:
            contract = for_a_short_story(load(envs.ROOT / "models" / f"{name}.yaml"))
            story.contracts[name] = contract
            story.bench.push_contract(contract, actor=ACTOR, reason="demo")
            story.tell.fact(name, f"{contract.task} of {contract.target.name}, {len(contract.features)} features")
        story.token = story.bench.token(subject="demo", minutes=120)
        _until(story, "the API knows the models", lambda: _announced(story))
        row = story.data[CANCER].records(story.data[CANCER].usual[:1])
        answer = story.bench.predict(CANCER, row, story.token)
        story.tell.check("API without a champion", 503, answer.status)
        story.tell.check("its error", "no_champion", answer.body["error"]["code"])
        unknown = story.bench.predict("no-such-model", row, story.token)
        story.tell.check("a model that nobody knows", 404, unknown.status)


def for_a_short_story(contract: Contract) -> Contract:
    """The same contract with waits of seconds instead of minutes: steps, gates and limits are what they are."""
    return replace(
        contract,
        training=replace(contract.training, time_budget_seconds=10),
        release=replace(
            contract.release,
            steps=(0.25,),
            min_requests=40,
            min_seconds=2,
            check_seconds=2,
            max_seconds=180,
            max_disagreement=0.3,
        ),
        drift=replace(contract.drift, min_rows=50, confirmations=2, windows=2),
        retrain=replace(contract.retrain, cooldown_hours=0.0, max_per_week=20, quiet_hours=None),
    )


def first_uploads(story: Story) -> None:
    with story.tell.step("The first files arrive, some rows really spoiled"):
        executions = {}
        for name, sample in story.data.items():
            rows = [*sample.usual, *(row for _, row in sample.spoiled)]
            path = samples.write_csv(story.work / f"{name}-first.csv", rows)
            executions[name] = story.bench.pipeline_of(story.bench.upload(name, path))
            story.tell.fact(f"{name} uploaded", f"{len(rows)} rows, {len(sample.spoiled)} of them spoiled")
        for name, execution in executions.items():
            sample = story.data[name]
            ended = _wait(story, f"pipeline of {name}", execution)
            story.tell.check(f"{name} pipeline", "SUCCEEDED", ended.status)
            result = story.bench.upload_result(execution)
            if result is None:
                raise StepError(f"{name}: no result of the upload")
            story.tell.check(f"{name} rows kept", len(sample.usual), result["rows"]["accepted"])
            story.tell.check(f"{name} rows set apart", len(sample.spoiled), result["rows"]["quarantined"])
            found = {reason["code"] for reason in result["reasons"]}
            missed = {code for code, _ in sample.spoiled} - found
            story.tell.require(f"{name} reasons", not missed, ", ".join(sorted(found)) or f"missed {missed}")
            story.reports[f"ingest of {name}"] = result.get("report_key", "")


def first_champions(story: Story) -> None:
    with story.tell.step("Trained, exported to ONNX, judged, registered, released"):
        for name in story.data:
            champion = partial(story.bench.registry.in_state, name, "champion")
            version = _until(story, f"first champion of {name}", champion)
            metric = story.contracts[name].metric
            story.tell.fact(f"{name} champion", f"{version.version}, {metric} {version.metrics[metric]:.4g}")
        story.first_champion = _champion(story, CANCER)
        row = story.data[CANCER].records(story.data[CANCER].usual[:1])
        _until(story, "the API serves", lambda: story.bench.predict(CANCER, row, story.token).status == 200)


def predictions(story: Story) -> None:
    with story.tell.step("Predictions through API Gateway with a token"):
        sample, bench, tell = story.data[CANCER], story.bench, story.tell
        single = bench.predict(CANCER, sample.records(sample.usual[:1]), story.token)
        tell.check("one record", 200, single.status)
        tell.fact("its answer", single.body["predictions"][0])
        tell.check("version in the header", story.first_champion, single.headers.get("x-model-version"))
        batch = bench.predict(CANCER, sample.records(sample.usual[:100]), story.token)
        tell.check("a batch of 100", 100, len(batch.body["predictions"]))
        right = sum(p["label"] == r["diagnosis"] for p, r in zip(batch.body["predictions"], sample.usual, strict=False))
        tell.require("of them right", right >= 90, right)
        value = bench.predict(DIABETES, story.data[DIABETES].records(story.data[DIABETES].usual[:1]), story.token)
        tell.fact("a regression's answer", value.body["predictions"][0]["value"])
        body = sample.records(sample.usual[:1])
        tell.check("no token", 401, bench.request("POST", "/predict", body=b"{}").status)
        tell.check("a token of somebody else", 401, bench.predict(CANCER, body, _foreign_token()).status)
        expired = bench.token(subject="demo", minutes=10, issued=time.time() - 3600)
        tell.check("an expired token", 401, bench.predict(CANCER, body, expired).status)
        narrow = bench.token(subject="demo", models=[DIABETES], minutes=5)
        tell.check("a token for another model", 403, bench.predict(CANCER, body, narrow).status)
        bad = bench.predict(CANCER, [{**body[0], "mean radius": "large"}], story.token)
        tell.check("a bad record", 422, bad.status)
        tell.fact("what it says", bad.body["error"]["details"])
        broken = bench.request("POST", "/predict", token=story.token, body=b'{"model": ')
        tell.check("a body that is not JSON", 400, broken.status)
        story.counts["predictions"] = 102
        story.first_answers = _answers(bench.predict(CANCER, sample.records(sample.usual[:20]), story.token))


def shift_and_retrain(story: Story) -> None:
    with story.tell.step("The population shifts: only the largest tumours arrive"):
        sample, bench, tell = story.data[CANCER], story.bench, story.tell
        records = sample.records(sample.later)
        for start in range(0, len(records), 10):
            answer = bench.predict(CANCER, records[start : start + 10], story.token)
            if answer.status != 200:
                raise StepError(f"traffic: {answer.status} {answer.body}")
        story.counts["predictions"] += len(records)
        tell.fact("predictions made", len(records))
        _until(story, "captured traffic is stored", lambda: _captured(story, CANCER) >= len(records))
        tell.fact("captured rows", _captured(story, CANCER))
        found = story.bench.invoke("drift_check", {"task": "window", "model": CANCER})["results"][0]
        tell.check("drift-check", "drift", found["status"])
        for feature in found["drifted"][:3]:
            tell.fact(
                f"  {feature['feature']}", f"{feature['method']} {feature['value']:.3g} > {feature['threshold']:.3g}"
            )
        story.reports["drift"] = found["report_key"]
        decision = _until(story, "the launcher's decision", lambda: _decision_on_drift(story))
        tell.check("launched", False, decision["launch"])
        tell.fact("why", decision["explanation"])

    with story.tell.step("The labels arrive; drift is confirmed; a retraining ends in a release by shadow and canary"):
        path = samples.write_csv(story.work / "later.csv", sample.later)
        execution = bench.pipeline_of(bench.upload(CANCER, path))
        with Traffic(bench, CANCER, sample.records(sample.usual + sample.later), story.token) as traffic:
            ended = _wait(story, "pipeline", execution)
            tell.check("pipeline", "SUCCEEDED", ended.status)
            decision = _until(story, "the scheduled drift-check comes again", lambda: _launched(story, CANCER))
            tell.fact("launched because", decision["explanation"])
            champion = _until(story, "the new champion", lambda: _other_champion(story, story.first_champion), 400)
            steps = _steps(story, CANCER, champion)
            tell.require("steps of the release", {"shadow", "canary-1"} <= set(steps), " → ".join(steps))
        tell.check("failed requests during the release", 0, _failed(traffic))
        story.counts["predictions"] += traffic.predictions
        tell.fact("champion", f"{story.first_champion} → {champion}")


def broken_challenger(story: Story) -> None:
    with story.tell.step("A broken challenger, trained on shuffled labels, is stopped at the gate"):
        before = _champion(story, CANCER)
        rows = story.data[CANCER].usual + story.data[CANCER].later
        labels = [row["diagnosis"] for row in rows]
        random.Random(20).shuffle(labels)  # noqa: S311 - the demo is the same every time
        shuffled = [row | {"diagnosis": label} for row, label in zip(rows, labels, strict=True)]
        ended = _import(story, CANCER, shuffled, "shuffled")
        story.tell.check("gates", "rejected", ended.output.get("outcome"))
        story.tell.fact("why", ended.output.get("explanation", ""))
        story.tell.check("champion", before, _champion(story, CANCER))


def misbehaving_challenger(story: Story) -> None:
    title = "One that passes the gate, but misbehaves on live traffic, is rolled back by itself"
    with story.tell.step(title):
        sample, bench, tell = story.data[DIABETES], story.bench, story.tell
        before = _champion(story, DIABETES)
        # Somebody's join went wrong: patients with a high body-mass index lost their value and got a default. The
        # challenger's own hold-out set has the same mistake, and the champion's has no such patients: no gate can
        # tell. Live traffic can.
        wrong = [row | {"progression": 25.0} for row in sample.later]
        with Traffic(bench, DIABETES, sample.records(sample.usual), story.token) as traffic:
            ended = _import(story, DIABETES, sample.usual + wrong, "mislabelled")
            tell.check("gates", "release_started", ended.output.get("outcome"))
            version = ended.output["version"]
            _until(story, "it serves a share of callers", lambda: "canary-1" in _steps(story, DIABETES, version), 240)
            tell.fact("in canary, serving", f"{story.contracts[DIABETES].release.steps[0]:.0%} of entities")
            traffic.population = sample.records(sample.later)
            tell.fact("traffic now", "patients with the highest body-mass index")
            state = _until(story, "rolled back", lambda: _left(story, DIABETES, version), 240)
        tell.fact("its state", state)
        tell.check("champion", before, _champion(story, DIABETES))
        answer = bench.predict(DIABETES, sample.records(sample.later[:1]), story.token)
        tell.check("version that answers", before, answer.body["version"])
        tell.check("failed requests meanwhile", 0, _failed(traffic))
        story.counts["predictions"] += traffic.predictions + 1
        entries = bench.ledger.entries(subject=f"model/{DIABETES}/{version}")
        tell.fact("why", next(e.reason for e in entries if e.action == "release.rolled_back"))


def manual_rollback(story: Story) -> None:
    with story.tell.step("A person rolls back to the first champion, and gets exactly its answers"):
        rows = story.data[CANCER].records(story.data[CANCER].usual[:20])
        done = story.bench.rollback(CANCER, actor=ACTOR, reason="the demo shows a rollback", to=story.first_champion)
        story.tell.check("rollback", "rolled_back", done.get("status"))
        answer = story.bench.predict(CANCER, rows, story.token)
        story.tell.check("version that answers", story.first_champion, answer.body["version"])
        same = _answers(answer) == story.first_answers
        story.tell.require("20 answers, compared with those of before the retraining", same, "equal to the last digit")
        golden = story.bench.invoke(
            "predict:live", {"task": "golden", "model": CANCER, "version": story.first_champion, "tolerance": 0}
        )
        story.tell.check("golden answers, byte for byte", "ok", golden["status"])


def costs(story: Story) -> None:
    with story.tell.step("What this stack cost, and would cost"):
        found = story.bench.invoke("cost_report", {"task": "report", "hours": 1})
        story.reports["cost"] = found["html_key"]
        story.tell.check("cost-report", "reported", found["status"])
        used = Decimal(found["list_usd"])
        story.tell.require("this story at list price", used > 0, f"{used:.4f} USD")
        idle = Decimal(found["idle_usd_per_month"])
        story.tell.fact("at rest", f"{idle:.2f} USD a month")
        million = estimate(str(stack.TEMPLATE), 1_000_000)
        story.tell.fact("1,000,000 requests a month", f"{cents(million.total.usd)} USD, {cents(million.idle.usd)} idle")
        fargate = next(offer for offer in million.offers if "Fargate" in offer.name)
        story.tell.fact("the same load on Fargate", f"{cents(fargate.total.usd)} USD")
        story.tell.fact("billed", found["billed_usd"] or "nothing: the local engine charges nothing")


def audit(story: Story) -> None:
    with story.tell.step("The ledger explains all of it"):
        head = story.bench.ledger.head()
        entries = list(story.bench.ledger.entries())
        verification = chain.verify(entries, head)
        story.tell.require("the chain", verification.intact, f"{verification.entries} entries, intact")
        actions = {e.action for e in entries}
        for action in ("contract.accepted", "release.started", "release.rolled_back"):
            story.tell.require(action, action in actions)
        for entry in entries[-8:]:
            story.tell.fact(f"#{entry.sequence} {entry.actor}", f"{entry.action} {entry.subject}: {entry.outcome}")
        forged = [replace(e, reason="nothing to see here") if e.sequence == 3 else e for e in entries]
        story.tell.require("a forged copy is found out", not chain.verify(forged, head).intact)


def summary(story: Story, report: Path) -> None:
    """The last words."""
    say = story.tell.console.print
    say("\n[bold green]Every step really happened.[/]")
    say(f"  steps        {len(story.tell.steps)} in {story.tell.elapsed:.0f} s")
    say(f"  predictions  {story.counts['predictions']}")
    say(f"  API          {story.bench.api_url}")
    say(f"  report       {report}")


# What the steps look at ---------------------------------------------------------------------------


def _wait(story: Story, what: str, execution: str) -> Execution:
    with story.tell.long(what) as say:
        return story.bench.wait(execution, seconds=300, on_state=say)


def _until(story: Story, what: str, probe: Callable[[], Any], seconds: float = 180) -> Any:
    """Wait for a condition with a deadline; returns what the probe found."""
    with story.tell.long(what):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = probe()
            if found:
                return found
            time.sleep(0.5)
    raise StepError(f"{what}: not within {seconds:.0f} s")


def _champion(story: Story, model: str) -> str:
    found = story.bench.registry.in_state(model, "champion")
    return found.version if found else ""


def _other_champion(story: Story, than: str) -> str:
    current = _champion(story, CANCER)
    return current if current and current != than else ""


def _captured(story: Story, model: str) -> int:
    from mlops.capture.reading import read

    start = datetime.fromtimestamp(time.time() - 3600, tz=UTC)
    return sum(len(line.rows) for line in read(story.bench.data, model, start, datetime.now(UTC)))


def _announced(story: Story) -> bool:
    return bool(story.bench.announce(actor=ACTOR, reason="two models have a contract")["status"] == "live")


def _decision_on_drift(story: Story) -> Mapping[str, Any] | None:
    """The launcher's first decision on a window of traffic."""
    records = reversed(story.bench.registry.records(CANCER, "decision"))
    return next((r.body for r in records if r.body.get("trigger") == "drift"), None)


def _launched(story: Story, model: str) -> Mapping[str, Any] | None:
    """The launch of a retraining, after the first model's."""
    records = [r.body for r in story.bench.registry.records(model, "decision") if r.body.get("launch")]
    return records[0] if len(records) > 1 else None


def _steps(story: Story, model: str, version: str) -> list[str]:
    """What a version's release has done so far, from the ledger."""
    found = [e.action for e in story.bench.ledger.entries(subject=f"model/{model}/{version}")]
    return [action.removeprefix("release.") for action in found if action.startswith("release.")]


def _left(story: Story, model: str, version: str) -> str:
    """State of a version that is no challenger any more."""
    found = story.bench.registry.version(model, version)
    return found.state if found and found.state in ("rejected", "archived") else ""


def _answers(answer: Answer) -> list[dict[str, Any]]:
    """What was predicted, without the ids of the inferences."""
    return [{k: v for k, v in p.items() if k != "id"} for p in answer.body["predictions"]]


def _failed(traffic: Traffic) -> int:
    return sum(count for status, count in traffic.statuses.items() if status != 200)


def _import(story: Story, model: str, rows: list[samples.Row], name: str) -> Execution:
    """Train on this machine and send the result through the gates, as `mlops train` and `mlops models import` do."""
    contract = story.contracts[model]
    contract = replace(contract, training=replace(contract.training, families=("forest",)))
    path = samples.write_csv(story.work / f"{name}.csv", rows)
    with story.tell.long(f"training the {name} challenger on this machine"), tempfile.TemporaryDirectory() as scratch:
        checked = validate_file(path, contract, Path(scratch))
        if not isinstance(checked, Validated) or checked.rejection:
            raise StepError(f"{name}: the file was rejected")
        trained = train_files(checked.accepted.table(), contract, story.work / name)
    folder = story.work / name / trained.manifest.version
    execution = story.bench.import_model(folder, actor=ACTOR, reason=f"the demo's {name} challenger")
    return _wait(story, "gates", execution)


def _foreign_token() -> str:
    from mlops.security.issuing import create_key_pair, issue

    private, _ = create_key_pair()
    return issue(private, subject="stranger", scopes=["predict"])
