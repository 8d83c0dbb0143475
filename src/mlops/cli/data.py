"""Commands about contracts and data: init, check, push, upload, status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mlops.cli.app import Session, session
from mlops.errors import ContractError, NotFoundError

SCHEMA_HINT = "reference: docs/contract.md"

#: How the pipeline's results read to a person.
OUTCOMES = {
    "rejected": "[red]rejected[/]: kept apart with its reason, nothing was lost",
    "duplicate": "nothing new: these rows are known",
    "not_launched": "accepted; no training was launched",
    "released": "accepted, trained, released",
}


def register(app: typer.Typer) -> None:
    app.command("init", rich_help_panel="Data")(init)
    app.command("check", rich_help_panel="Data")(check)
    app.command("push", rich_help_panel="Data")(push)
    app.command("upload", rich_help_panel="Data")(upload)
    app.command("status", rich_help_panel="Data")(status)


def init(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, JSONL or Parquet file, with the target in it.")],
    target: Annotated[str, typer.Option(help="Column to predict.")],
    name: Annotated[str | None, typer.Option(help="Name of the model; the file's name when not given.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; models/<name>.yaml when not given.")] = None,
    force: Annotated[bool, typer.Option(help="Overwrite a contract that exists.")] = False,
) -> None:
    """Infer a contract from a first file.

    Reads types, ranges, categories, missing values and the task from the data, writes `models/<name>.yaml`, and says
    what it guessed. Read the file before you push it: it is what your data will be held to.

    Example: `mlops init customers.csv --target churned`
    """
    from mlops.contract.infer import infer
    from mlops.contract.source import dump

    current = session(context)
    _must_exist(file)
    inferred = infer(file, target, name=name)
    path = out or Path("models") / f"{inferred.contract.name}.yaml"
    if path.exists() and not force:
        raise ContractError(f"{path} exists; --force overwrites it, --out or --name writes another")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump(inferred.contract), encoding="utf-8")
    current.out.result({"path": str(path), "contract": inferred.contract.to_dict(), "notes": list(inferred.notes)})
    current.out.table(
        f"{inferred.contract.name}: {inferred.contract.task} of {target}",
        ["feature", "type", "missing", "range or levels"],
        [[f.name, f.type, "yes" if f.nullable else "", _domain(f)] for f in inferred.contract.features],
    )
    for note in inferred.notes:
        current.out.say(f"  • {note}")
    current.out.say(f"\nwritten: {path}\nnext:    mlops push {path}")


def check(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Contract (YAML).")],
    data: Annotated[Path | None, typer.Option(help="Also hold this data file to it, without uploading.")] = None,
) -> None:
    """Check a contract, and a data file against it, before anything is uploaded."""
    current = session(context)
    contract = _load(file)
    result: dict[str, Any] = {"contract": contract.name, "digest": contract.digest(), "valid": True}
    current.out.say(f"{file}: valid ({contract.task} of {contract.target.name}, {len(contract.features)} features)")
    if data is not None:
        from mlops.data.local import check_file

        _must_exist(data)
        found = check_file(data, contract)
        result["data"] = found
        _rows(current, found)
    current.out.result(result)


def push(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Contracts (YAML).")],
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")] = "contract pushed",
) -> None:
    """Put contracts in force on the stack. Uploads and retrainings from now on are held to them."""
    current = session(context)
    contracts = [_load(f) for f in files]
    results = []
    for contract in contracts:
        changed = current.workbench.push_contract(contract, actor=current.actor, reason=reason)
        results.append({"model": contract.name, "digest": contract.digest(), "changed": changed})
        current.out.say(f"{contract.name}: {'in force now' if changed else 'was in force already'}")
    current.out.result(results)


def upload(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model that the file belongs to.")],
    file: Annotated[Path, typer.Argument(help="CSV, JSONL or Parquet file, plain or compressed.")],
    wait: Annotated[bool, typer.Option(help="Wait for validation and whatever follows.")] = True,
    minutes: Annotated[float, typer.Option(help="How long to wait.")] = 30,
) -> int:
    """Upload data for a model and follow it through the pipeline.

    Good rows are accepted, bad rows kept apart with reasons. When the contract's policy says so, a training follows.
    Exit code 0 when rows were accepted or all were known, 1 when the file was rejected.
    """
    current = session(context)
    _must_exist(file)
    if current.workbench.registry.contract(model) is None:
        current.out.note(f"note: no contract for '{model}' is in force; the file will be quarantined (mlops push)")
    with current.out.bytes_bar(f"uploading {file.name}", file.stat().st_size) as advance:
        sent = current.workbench.upload(model, file, progress=advance)
    if not wait:
        current.out.result(sent)
        current.out.say(f"uploaded to {sent.key}; follow it with: mlops status {model}")
        return 0
    with current.out.spinner("waiting for the pipeline") as say:
        execution = current.workbench.pipeline_of(sent)
        ended = current.workbench.wait(execution, seconds=minutes * 60, on_state=lambda s: say(f"pipeline: {s}"))
    result = current.workbench.upload_result(execution)
    current.out.result({"execution": ended, "upload": result})
    if result:
        _rows(current, result)
    outcome = str(ended.output.get("outcome", ended.status))
    current.out.say(f"pipeline: {outcome} {ended.output.get('explanation', '')}".rstrip())
    if ended.status != "SUCCEEDED":
        return 1
    return 1 if result and result.get("status") == "rejected" else 0


def status(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="One model; all when not given.")] = None,
) -> None:
    """What is in force, what serves, and what the pipeline has done lately."""
    current = session(context)
    bench = current.workbench
    rows, result = [], []
    for name in [model] if model else bench.registry.models():
        contract = bench.registry.contract(name)
        if contract is None:
            raise NotFoundError(f"no model '{name}'; `mlops status` lists all")
        champion = bench.registry.in_state(name, "champion")
        challenger = bench.registry.in_state(name, "challenger")
        dataset = bench.registry.current_dataset(name)
        training = bench.registry.holder(name, "train")
        metric = contract.metric
        score = champion.metrics.get(metric) if champion else None
        result.append(
            {
                "model": name, "task": contract.task, "champion": champion, "challenger": challenger,
                "dataset": dataset, "training": training,
            }
        )  # fmt: skip
        rows.append(
            [
                name, contract.task, dataset.rows if dataset else 0, champion.version if champion else None,
                f"{metric} {score:.4g}" if score is not None else None,
                challenger.version if challenger else None, training,
            ]
        )  # fmt: skip
    executions = bench.executions(limit=10)
    current.out.result({"stack": bench.stack, "models": result, "executions": executions})
    current.out.table(
        f"stack {bench.stack}",
        ["model", "task", "rows", "champion", "metric", "challenger", "training"],
        rows,
    )
    current.out.table("latest pipeline executions", ["name", "status"], [[e.name, e.status] for e in executions])


def _load(file: Path) -> Any:
    from mlops.contract.source import load

    _must_exist(file)
    return load(file)


def _must_exist(file: Path) -> None:
    if not file.is_file():
        raise NotFoundError(f"{file} is not a file")


def _domain(feature: Any) -> str:
    if feature.categories:
        shown = ", ".join(feature.categories[:5])
        more = len(feature.categories) - 5
        return f"{shown}, and {more} more" if more > 0 else shown
    if feature.minimum is None and feature.maximum is None:
        return ""
    low = "…" if feature.minimum is None else f"{feature.minimum:g}"
    high = "…" if feature.maximum is None else f"{feature.maximum:g}"
    return f"{low} to {high}"


def _rows(current: Session, result: Any) -> None:
    rows = result.get("rows", {})
    current.out.say(
        f"{result.get('status')}: {rows.get('read', 0)} rows read, {rows.get('accepted', 0)} accepted, "
        f"{rows.get('quarantined', 0)} kept apart, {rows.get('new', 0)} new"
    )
    reasons = result.get("reasons", [])
    if reasons:
        current.out.table(
            "reasons",
            ["code", "column", "rows", "what"],
            [[r["code"], r.get("column"), r.get("count"), r["message"]] for r in reasons],
        )
