"""Commands about models: train, import, list, compare, release, rollback, drift."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from mlops.cli import naming
from mlops.cli.app import Session, session
from mlops.cli.comparing import compare
from mlops.cli.data import must_exist
from mlops.cli.naming import A_VERSION, called, known, version_of
from mlops.cli.output import when
from mlops.cli.runs import wait_for
from mlops.errors import MlopsError

models_app = typer.Typer(
    help="Versions of models: list (when nothing else is said), search, show, card, compare, alias, tag, wrap, import."
)

Reason = Annotated[str, typer.Option(help="Why; kept in the ledger.")]
Model = Annotated[str, typer.Argument(help="Name of the model.")]
Version = Annotated[str, typer.Argument(help=A_VERSION)]
TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
Wait = Annotated[bool, typer.Option(help="Wait until it has ended, and show where it is.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the parser."""
    naming.register(models_app)
    models_app.command("compare")(compare)
    app.add_typer(models_app, name="models", rich_help_panel="Models")
    for name, command in (
        ("train", train), ("release", release), ("rollback", rollback),
        ("refresh", refresh), ("drift", drift),
    ):  # fmt: skip
        app.command(name, rich_help_panel="Models")(command)


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """Versions of models: list (when nothing else is said), search, show, card, compare, alias, tag, wrap, import."""
    if context.invoked_subcommand is None:
        list_(context, model=None)


@models_app.command("list")
def list_(
    context: typer.Context, model: Annotated[str | None, typer.Argument(help="One model; all when not given.")] = None
) -> None:
    """Every version and its state, newest first."""
    current = session(context)
    bench = current.workbench
    if model:
        known(current, model)
    found = [v for name in ([model] if model else bench.registry.models()) for v in bench.registry.versions(name)]
    current.out.result(found)
    current.out.table(
        "versions",
        ["model", "version", "state", "created", "data set", "called"],
        [[v.model, v.version, v.state, when(v.created_at), v.dataset_version, called(v)] for v in found],
        elastic=["model", "data set", "called"],
        details=[v.reason for v in found],
    )


@models_app.command("show")
def show(context: typer.Context, model: Model, version: Version) -> None:
    """One version: where it comes from, its metrics, its state."""
    import json

    from mlops.objects import version_prefix

    current = session(context)
    found = version_of(current, model, version)
    prefix = version_prefix(model, found.version)
    manifest = json.loads(current.workbench.artifacts.get(prefix + "manifest.json"))
    current.out.result({"version": found, "manifest": manifest})
    rows = [["state", found.state], ["created", found.created_at], ["data set", found.dataset_version]]
    rows += [["called", called(found)]] if called(found) else []
    rows += [[k, v] for k, v in sorted(manifest["metrics"].items())]
    rows += [[k, v] for k, v in sorted(manifest["lineage"].items()) if not isinstance(v, dict | list)]
    current.out.table(f"{model}/{found.version}", ["what", "value"], rows, elastic=["value"])


@models_app.command("card")
def card(
    context: typer.Context,
    model: Model,
    version: Version,
    out: Annotated[Path | None, typer.Option(help="Write the page (.html) or the JSON (.json) to this file.")] = None,
) -> None:
    """A version's model card: what it is for, what it was made from, how it was judged.

    The JSON is in the schema of Amazon SageMaker Model Cards; the page needs nothing but a browser.

    Example: `mlops models card churn 3f9c1f0a2b77 --out card.html`
    """
    import json

    from mlops.objects import version_prefix

    current = session(context)
    version = version_of(current, model, version).version
    body = current.workbench.artifacts.get(version_prefix(model, version) + "model_card.json")
    if out is not None:
        if out.suffix not in (".html", ".json"):
            raise MlopsError(f"{out.name}: a card is written as .html or .json", code="usage")
        out.write_bytes(current.workbench.artifacts.get(version_prefix(model, version) + f"model_card{out.suffix}"))
        current.out.note(f"written: {out}")
    found = json.loads(body)
    current.out.result(found)
    overview = {**found["model_overview"], **found["intended_uses"]}
    rows = [[k.replace("_", " "), v if isinstance(v, str) else ", ".join(v)] for k, v in overview.items()]
    current.out.table(f"{model}/{version}", ["what", "value"], rows, elastic=["value"])
    for group in found["evaluation_details"][0]["metric_groups"]:
        values = [
            [m["name"], m["value"], m.get("notes", "")] for m in group["metric_data"] if m["type"] != "linear_graph"
        ]
        if values:
            current.out.table(group["name"], [group["name"], "value", "notes"], values, elastic=["notes"])


@models_app.command("wrap")
def wrap(
    context: typer.Context,
    contract: Annotated[Path, typer.Argument(help="Contract (YAML).")],
    model: Annotated[Path, typer.Argument(help="ONNX file.")],
    file: Annotated[Path, typer.Argument(help="Rows that the model has not seen, with the target.")],
    out: Annotated[Path, typer.Option(help="Folder to write; the version gets a folder of its own in it.")],
    golden: Annotated[
        Path | None, typer.Option(help="Rows with `expected` (class or value) or `expected_<class>` (probability).")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="How far from --golden an answer may be: a probability, or a share of a value.", min=0)
    ] = 1e-4,
) -> None:
    """Make a version of an ONNX file of your own, so that it can be imported and judged like any other.

    The file takes `input` (float32, encoded as docs/training.md says) and gives `probabilities` or `value`.

    Example: `mlops models wrap churn.yaml model.onnx unseen.csv --golden golden.csv --out out`
    """
    from mlops.training.given import read_given
    from mlops.training.own import wrap_file

    current = session(context)
    for path in (contract, model, file, *([golden] if golden else [])):
        must_exist(path)
    loaded, _, columns = _checked(contract, file)
    given = None if golden is None else read_given(golden, loaded, tolerance)
    _written(current, wrap_file(columns, loaded, model.read_bytes(), out, given=given), out)


@models_app.command("at")
def at(
    context: typer.Context,
    time: Annotated[str, typer.Argument(help="ISO 8601, such as 2026-11-22T10:00; UTC unless it says otherwise.")],
    model: Annotated[str | None, typer.Option(help="One model; all when not given.")] = None,
) -> None:
    """Which version answered callers at a time, and from which data it was made; from the ledger.

    Example: `mlops models at 2026-11-22T10:00`
    """
    from datetime import UTC, datetime

    from mlops.registry import history

    current = session(context)
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        raise MlopsError(f"'{time}' is no time such as 2026-11-22T10:00", code="usage") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if model:
        known(current, model)
    entries = list(current.workbench.ledger.entries())
    names = [model] if model else current.workbench.registry.models()
    served = {name: history.served_at(history.about(entries, name), moment) for name in names}
    current.out.result({"time": moment, "served": served})
    current.out.table(
        f"at {moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        ["model", "version", "since", "until", "data set"],
        [
            [name, r.version, when(r.since), when(r.until) if r.until else "still", r.dataset_version]
            if r else [name, None, None, None, None]
            for name, r in served.items()
        ],
        elastic=["data set"],
    )  # fmt: skip


@models_app.command("import")
def import_(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of a version, as `mlops train --out` writes it.")],
    reason: Reason,
    wait: Annotated[bool, typer.Option(help="Wait until the gates have judged it.")] = True,
) -> int:
    """Send a model that was trained elsewhere through the same gates: parity, metrics, champion."""
    current = session(context)
    execution = current.workbench.import_model(folder, actor=current.actor, reason=reason)
    return follow(current, execution, wait)


def train(
    context: typer.Context,
    contract: Annotated[Path, typer.Argument(help="Contract (YAML).")],
    file: Annotated[Path, typer.Argument(help="Data: CSV, JSONL or Parquet, with the target in it.")],
    out: Annotated[Path, typer.Option(help="Folder to write; the version gets a folder of its own in it.")],
) -> None:
    """Train on this machine with the code that the train function runs. Needs no stack.

    The folder can be looked at, and sent through the gates with `mlops models import`.
    """
    from mlops.retrain.runs import told
    from mlops.training.local import train_files

    current = session(context)
    for path in (contract, file):
        must_exist(path)
    loaded, recipe, columns = _checked(contract, file)
    with current.out.spinner("training") as say:
        trained = train_files(columns, loaded, out, recipe=recipe, listen=lambda p: say(told(asdict(p))))
    _written(current, trained, out)


def _checked(contract: Path, file: Path) -> tuple[Any, bytes | None, Any]:
    """The contract, its recipe, and the file's good rows."""
    from mlops.contract.recipe import resolve
    from mlops.contract.source import load
    from mlops.data.outcome import Rejection
    from mlops.data.validation import validate_file

    loaded, recipe = resolve(load(contract), contract.parent)
    with tempfile.TemporaryDirectory() as work:
        checked = validate_file(file, loaded, Path(work), suspect=True)
        if isinstance(checked, Rejection):
            raise MlopsError(checked.message, code=checked.code)
        if checked.rejection is not None:
            raise MlopsError(checked.rejection.message, code=checked.rejection.code)
        return loaded, recipe, checked.accepted.addressed().table()


def _written(current: Session, trained: Any, out: Path) -> None:
    manifest = trained.manifest
    folder = out / manifest.version
    current.out.result({"folder": str(folder), "version": manifest.version, "metrics": dict(manifest.metrics)})
    current.out.table(
        f"{manifest.model}/{manifest.version}", ["metric", "value"], [[k, v] for k, v in manifest.metrics.items()]
    )
    current.out.say(f"written: {folder}\nnext:    mlops models import {folder} --reason '…'")


def release(context: typer.Context, model: Model, version: Version, reason: Reason, wait: Wait = True) -> int:
    """Start a version's release by hand: shadow, canary, live, with the contract's steps and limits."""
    current = session(context)
    version = version_of(current, model, version).version
    execution = current.workbench.release(model, version, actor=current.actor, reason=reason)
    return follow(current, execution, wait, "ReleaseArn")


def rollback(
    context: typer.Context,
    model: Model,
    reason: Reason,
    to: Annotated[str | None, typer.Option(help=f"The champion before if not given. {A_VERSION}")] = None,
) -> int:
    """Make an earlier champion serve again, with exactly its answers. One alias move: no training, no build."""
    current = session(context)
    to = version_of(current, model, to).version if to else None
    began = time.monotonic()
    done = dict(current.workbench.rollback(model, actor=current.actor, reason=reason, to=to))
    done["seconds"] = round(time.monotonic() - began, 2)
    current.out.result(done)
    if done["status"] != "rolled_back":
        current.out.say(f"{done['status']}: {'; '.join(done['reasons'])}")
        return 1
    how = f"in place of {done['from']}, function version {done['function_version']}"
    current.out.say(f"rolled_back: {done['to'] or 'no version'} serves, {how}, after {done['seconds']} s")
    return 0


def refresh(context: typer.Context, reason: Reason) -> int:
    """Serve exactly the registry's champions again, after the alias, a layer or a parameter was changed by hand or by
    a deployment that failed. Changes nothing when they serve, or while a release is under way.

    Example: `mlops refresh --reason "the deployment of Monday was rolled back"`
    """
    current = session(context)
    done = current.workbench.announce(actor=current.actor, reason=reason)
    current.out.result(done)
    told = "; ".join(done.get("reasons", [])) or f"version {done.get('function_version')} of predict serves"
    current.out.say(f"{done['status']}: {told}")
    return 0 if done["status"] == "live" else 1


def drift(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="One model; all when not given.")] = None,
    hours: Annotated[float | None, typer.Option(help="Window; the contract's when not given.", min=0.01)] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Check the history from here (UTC), window by window.", formats=TIMES)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="End of the window or the history (UTC); now if not given.", formats=TIMES)
    ] = None,
    every: Annotated[
        float | None, typer.Option(help="Hours of each window of a history; the contract's if not given.", min=0.01)
    ] = None,
    wait: Wait = True,
) -> int:
    """Compare live traffic with the baseline of the version that serves: now, or over a history."""
    current = session(context)
    if model:
        known(current, model)
    if since is not None:
        return _history(current, model, since, until, every or hours, wait)
    if every is not None:
        raise MlopsError("--every cuts a history; say from where with --since, or take --hours for one window")
    request: dict[str, Any] = {"task": "window"}
    request |= {"model": model} if model else {}
    request |= {"hours": hours} if hours else {}
    request |= {"until": until.replace(tzinfo=UTC).isoformat()} if until else {}
    with current.out.spinner("comparing"):
        found = current.workbench.invoke("drift_check", request)
    current.out.result(found)
    for result in found["results"]:
        current.out.say(f"{result['model']}: {result['status']} ({result.get('rows', 0)} rows)")
        rows = [[d["feature"], d["method"], d["value"], d["threshold"]] for d in result.get("drifted", [])]
        if rows:
            headers = ["feature", "method", "value", "threshold"]
            current.out.table("drifted", headers, rows, elastic=["feature"])
    return 0


def _history(
    current: Session, model: str | None, since: datetime, until: datetime | None, every: float | None, wait: bool
) -> int:
    """Start the machine that checks a history; its timeline is the answer."""
    if model is None:
        raise MlopsError("--since needs the name of a model: mlops drift MODEL --since 2026-01-01")
    request = {"model": model, "since": since.replace(tzinfo=UTC).isoformat(), "actor": current.actor}
    request |= {"until": until.replace(tzinfo=UTC).isoformat()} if until else {}
    run = current.workbench.backfill(request | ({"every": every} if every else {}))
    if not wait:
        current.out.result({"execution": run})
        current.out.say(f"started: {run}")
        return 0
    with current.out.spinner("comparing") as say:
        ended = current.workbench.wait(run, "BackfillArn", seconds=3600, on_state=lambda s: say(f"at {s}"))
    current.out.result(ended)
    if ended.status != "SUCCEEDED":
        current.out.say(f"{ended.status}: the log says why: mlops logs drift_check")
        return 1
    current.out.say(f"{model}: {ended.output.get('status')}. {ended.output.get('explanation', '')}")
    if ended.output.get("report_key"):
        current.out.say(f"mlops report get {ended.output['report_key']}")
    return 0 if ended.output.get("status") != "invalid" else 1


def follow(
    current: Session, execution: str, wait: bool, machine: str = "PipelineArn", *, model: str | None = None
) -> int:
    """Wait for an execution when asked to, and return the exit code that its end stands for."""
    if not wait:
        current.out.result({"execution": execution})
        current.out.say(f"started: {execution}")
        return 0
    with current.out.spinner("waiting") as say:
        ended = wait_for(current, execution, say, machine, model=model)
    current.out.result(ended)
    told = [ended.output.get(name, "") for name in ("outcome", "status", "explanation")]
    current.out.say(f"{ended.status}: {' '.join(str(word) for word in told if word)}")
    return 0 if ended.status == "SUCCEEDED" else 1
