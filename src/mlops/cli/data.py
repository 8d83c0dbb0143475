"""Commands about contracts and data: init, check, push, status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mlops.cli.app import Session, session
from mlops.cli.output import when
from mlops.cli.runs import runs, watch
from mlops.errors import ContractError, NotFoundError

#: How the pipeline's outcomes read to a person; others are their own words.
OUTCOMES = {
    "rejected": "rejected: kept apart with its reason, nothing was lost",
    "duplicate": "nothing new: these rows are known",
    "not_launched": "accepted; no training was launched",
    "not_trainable": "accepted; nothing could be trained",
    "unchanged": "accepted; this version exists already",
    "stopped": "accepted; the training was stopped, and nothing came of it",
    "needs_approval": "trained; its release waits for a person: mlops approvals",
    "release_started": "trained, accepted; its release is under way: mlops status",
}


def register(app: typer.Typer) -> None:
    """Add these commands to the parser."""
    app.command("init", rich_help_panel="Data")(init)
    app.command("check", rich_help_panel="Data")(check)
    app.command("push", rich_help_panel="Data")(push)
    app.command("status", rich_help_panel="Data")(status)


def init(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, JSONL or Parquet file, with the target in it.")],
    target: Annotated[str, typer.Option(help="Column to predict.")],
    name: Annotated[str | None, typer.Option(help="Name of the model; the file's name when not given.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; models/<name>.yaml when not given.")] = None,
    force: Annotated[bool, typer.Option(help="Overwrite a contract that exists.")] = False,
    attribute: Annotated[
        list[str] | None,
        typer.Option(help="Column that the model may not see and is judged by, such as sex; may be given many times."),
    ] = None,
) -> None:
    """Infer a contract from a first file.

    Reads types, ranges, categories, missing values and the task from the data, writes `models/<name>.yaml`, and says
    what it guessed. Read the file before you push it: it is what your data will be held to.

    Example: `mlops init customers.csv --target churned`
    """
    from mlops.contract.infer import infer
    from mlops.contract.source import dump

    current = session(context)
    must_exist(file)
    inferred = infer(file, target, name=name, attributes=attribute or ())
    path = out or Path("models") / f"{inferred.contract.name}.yaml"
    if path.exists() and not force:
        raise ContractError(f"{path} exists; --force overwrites it, --out or --name writes another")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump(inferred.contract, inferred.columns), encoding="utf-8")
    current.out.result({"path": str(path), "contract": inferred.contract.to_dict(), "notes": list(inferred.notes)})
    current.out.table(
        f"{inferred.contract.name}: {inferred.contract.task} of {target}",
        ["feature", "type", "missing", "range or levels"],
        [[f.name, f.type, "yes" if f.nullable else "", _domain(f)] for f in inferred.contract.features],
        elastic=["range or levels", "feature"],
    )
    if inferred.contract.attributes:
        hidden = ", ".join(a.name for a in inferred.contract.attributes)
        current.out.say(f"not seen by the model, which is judged by it: {hidden}")
    if inferred.notes:
        current.out.say("guessed")
    for note in inferred.notes:
        current.out.say(f"  • {note}")
    current.out.say(f"\nwritten: {path}\nnext:    mlops push {path}")


def check(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Contract (YAML).")],
    data: Annotated[Path | None, typer.Option(help="Also hold this data file to it, without uploading.")] = None,
) -> int:
    """Check a contract, and a data file against it, before anything is uploaded.

    Needs no stack. Exit code 1 when the contract is wrong or the data file would be rejected as a whole.

    Example: `mlops check models/churn.yaml --data march.csv`
    """
    from mlops.contract.recipe import resolve

    current = session(context)
    contract, _ = resolve(load_contract(file), file.parent)
    result: dict[str, Any] = {"contract": contract.name, "digest": contract.digest(), "valid": True}
    current.out.say(f"{file}: valid ({contract.task} of {contract.target.name}, {len(contract.features)} features)")
    if data is not None:
        from mlops.data.local import check_file

        must_exist(data)
        found = check_file(data, contract)
        result["data"] = found
        tell_rows(current, found)
    current.out.result(result)
    return 1 if result.get("data", {}).get("status") == "rejected" else 0


def push(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Contracts (YAML).")],
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")] = "contract pushed",
) -> None:
    """Put contracts in force on the stack. Uploads and retrainings from now on are held to them. A recipe that a
    contract names goes with it: code that trainings will run.

    Example: `mlops push models/*.yaml --reason "age is asked for since March"`
    """
    from mlops.contract.recipe import resolve

    current = session(context)
    resolved = [resolve(load_contract(f), f.parent) for f in files]
    contracts = [contract for contract, _ in resolved]
    results = []
    for contract, recipe in resolved:
        changed = current.workbench.push_contract(contract, actor=current.actor, reason=reason, recipe=recipe)
        results.append({"model": contract.name, "digest": contract.digest(), "changed": changed})
        current.out.say(f"{contract.name}: {'in force now' if changed else 'was in force already'}")
    serving = [c.name for c in contracts if current.workbench.registry.in_state(c.name, "champion")]
    if any(r["changed"] and r["model"] not in serving for r in results):
        answer = current.workbench.announce(actor=current.actor, reason="a new model has a contract")
        if answer["status"] == "refused":
            current.out.note(f"note: the API does not know the new model yet: {'; '.join(answer['reasons'])}")
    current.out.result(results)


def status(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="One model; all when not given.")] = None,
    follow: Annotated[
        str | None, typer.Option("--watch", help="Follow a run in progress, named by itself or its model, to its end.")
    ] = None,
) -> int:
    """What is in force, what serves, what trains or is released and how far that is, and what the pipeline has done
    lately; of one model also the evidence of its release.

    Example: `mlops status --watch churn`
    """
    current = session(context)
    if follow is not None:
        return watch(current, follow)
    bench = current.workbench
    rows, details = [], []
    result: list[dict[str, Any]] = []
    for name in [model] if model else bench.registry.models():
        contract = bench.registry.contract(name)
        if contract is None:
            raise NotFoundError(f"no model '{name}'; `mlops status` lists all")
        champion = bench.registry.in_state(name, "champion")
        challenger = bench.registry.in_state(name, "challenger")
        dataset = bench.registry.current_dataset(name)
        training = bench.registry.holder(name, "train")
        progress = runs(current).progress(name, training) if training else None
        releasing = _release(current, name) if challenger else {}
        score = champion.metrics.get(contract.metric) if champion else None
        result.append(
            {
                "model": name, "task": contract.task, "champion": champion, "challenger": challenger,
                "dataset": dataset, "training": training, "progress": progress, "release": releasing or None,
            }
        )  # fmt: skip
        rows.append(
            [
                name, contract.task, dataset.rows if dataset else 0, champion.version if champion else None,
                f"{contract.metric} {score:.4g}" if score is not None else None,
            ]
        )  # fmt: skip
        now = [f"challenger {challenger.version}{_told(releasing)}"] if challenger else []
        details.append("; ".join(now + ([_training(training, progress)] if training else [])))
    executions = bench.executions(limit=10)
    current.out.result(
        {"stack": bench.stack, "api_url": bench.api_url, "models": result, "executions": executions}
    )  # fmt: skip
    current.out.say(f"stack {bench.stack}, API {bench.api_url}")
    headers = ["model", "task", "rows", "champion", "metric"]
    current.out.table("models", headers, rows, elastic=["model", "task"], details=details)
    for found in result:
        if model and found["release"]:
            current.out.table(
                f"evidence of {model}, {found['release']['steps'][found['release']['index']]['name']}",
                ["rule", "result", "estimate", "from", "to", "allowed"],
                [[r[n] for n in ("name", "result", "value", "lower", "upper", "bound")]
                 for r in found["release"]["rules"]],
                elastic=["rule"],
            )  # fmt: skip
    current.out.table(
        "latest pipeline executions",
        ["started", "status", "name"],
        [[when(e.started), e.status, e.name] for e in executions],
        elastic=["name"],
    )
    return 0


def _release(current: Session, model: str) -> Any:
    """The last look at the release of a model that is under way."""
    from mlops.release.state import LOCK, STACK

    holder = current.workbench.registry.holder(STACK, LOCK)
    found = current.workbench.release_state(holder) if holder else {}
    return found if found.get("model") == model else {}


def _told(releasing: Any) -> str:
    from mlops.release.report import told

    return f", {told(releasing)}" if releasing else ""


def _training(run: str, progress: Any) -> str:
    from mlops.retrain.runs import told

    return f"training {run}" + (f", {told(progress)}" if progress else "")


def load_contract(file: Path) -> Any:
    """The contract in a file."""
    from mlops.contract.source import load

    must_exist(file)
    return load(file)


def must_exist(file: Path) -> None:
    """NotFoundError when ``file`` is none."""
    if not file.exists():
        raise NotFoundError(f"{file}: no such file")
    if not file.is_file():
        raise NotFoundError(f"{file} is a folder, not a file")


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


def tell_rows(current: Session, result: Any) -> None:
    """What became of an upload's rows."""
    rows = result.get("rows", {})
    current.out.say(
        f"{result.get('status')}: {rows.get('read', 0)} rows read, {rows.get('accepted', 0)} accepted, "
        f"{rows.get('quarantined', 0)} kept apart, {rows.get('new', 0)} new"
    )
    reasons = result.get("reasons", [])
    if reasons:
        current.out.table(
            "reasons",
            ["code", "column", "rows"],
            [[r["code"], r.get("column"), r.get("count")] for r in reasons],
            elastic=["column"],
            details=[r["message"] for r in reasons],
        )
