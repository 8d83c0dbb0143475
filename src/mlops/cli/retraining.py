"""Commands about runs: why each was launched or not, where it trained, and what that place was chosen from."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mlops.cli.app import Session, session
from mlops.cli.models import Model, Wait, follow
from mlops.cli.naming import known
from mlops.cli.output import when
from mlops.errors import MlopsError, NotFoundError

_LIMIT = 50


def register(app: typer.Typer) -> None:
    """Add these commands to the parser."""
    for name, command in (("retrain", retrain), ("runs", runs)):
        app.command(name, rich_help_panel="Models")(command)


def retrain(
    context: typer.Context,
    model: Model,
    reason: Annotated[str | None, typer.Option(help="Why; kept in the ledger.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show what would be decided, and change nothing.")] = False,
    wait: Wait = True,
) -> int:
    """Launch a retraining by hand. The contract's policy applies: one run at a time, enough rows, a place that fits.

    Example: `mlops retrain churn --explain`
    """
    current = session(context)
    known(current, model)
    if explain:
        found = current.workbench.invoke("retrain_launcher", {"task": "explain", "model": model})
        current.out.result(found)
        current.out.say(found["explanation"])
        _places(current, found)
        return 0
    if not reason:
        raise MlopsError("--reason is missing: the ledger keeps why; --explain needs none", code="usage")
    decided = current.workbench.invoke(
        "retrain_launcher",
        {
            "task": "launch", "model": model, "actor": current.actor, "explanation": reason,
            "request_id": uuid.uuid4().hex,
        },
    )  # fmt: skip
    if not decided.get("launch"):
        current.out.result(decided)
        current.out.say(f"not launched: {decided.get('explanation', decided.get('reason'))}")
        return 1
    current.out.note(f"launched: {decided.get('explanation', '')}")
    return follow(current, decided["run_id"], wait, model=model)


def runs(
    context: typer.Context,
    model: Model,
    run: Annotated[str | None, typer.Argument(help="One run, or how its id begins: with the places it had.")] = None,
) -> None:
    """Decisions to train and not to train, newest first, with what each training took."""
    current = session(context)
    known(current, model)
    registry = current.workbench.registry
    decisions = registry.records(model, "decision", _LIMIT)
    took = {r.body.get("run_id"): r.body for r in registry.records(model, "training", _LIMIT)}
    if run is not None:
        found = next((r for r in decisions if r.id.startswith(run)), None)
        if found is None:
            raise NotFoundError(f"no run '{run}' of '{model}'; `mlops runs {model}` lists them")
        jobs = [r for r in registry.records(model, "job_end", _LIMIT) if r.body.get("run_id") == found.id]
        current.out.result({**found.body, "took": took.get(found.id), "jobs": [{"job": j.id, **j.body} for j in jobs]})
        current.out.say(str(found.body.get("explanation", "")))
        _places(current, found.body)
        rows = [[j.id, j.body["where"], j.body["instance"], j.body["cause"], j.body["interruptions"],
                 j.body["billable_seconds"]] for j in jobs]  # fmt: skip
        if rows:
            headers = ["job", "where", "instance", "ended by", "interruptions", "billed s"]
            current.out.table("jobs", headers, rows, elastic=["job"])
        return
    current.out.result([{"time": r.time, **r.body, "took": took.get(r.id)} for r in decisions])
    current.out.table(
        "runs",
        ["decided", "run", "launched", "reason", "where", "expected USD", "took s"],
        [
            [when(r.time), r.id, "yes" if r.body.get("launch") else "no", r.body.get("reason"), r.body.get("where"),
             _cents(r.body.get("expected_usd")), (took.get(r.id) or {}).get("seconds")]
            for r in decisions
        ],
        elastic=["run"],
        details=[str(r.body.get("explanation", "")) for r in decisions],
    )  # fmt: skip


def _places(current: Session, decided: Mapping[str, Any]) -> None:
    """The table of options."""
    options = decided.get("options") or []
    rows = [
        [o["where"], o["instance"], "yes" if o["possible"] else "no", o["seconds"], o["memory_mb"], _cents(o["usd"])]
        for o in options
    ]
    details = ["; ".join([*o["against"], o["basis"]]) for o in options]
    headers = ["where", "on", "possible", "until done, s", "MB", "USD"]
    current.out.table("places", headers, rows, details=details)


def _cents(usd: Any) -> str | None:
    """A money text to four places."""
    from mlops.cost.money import decimal

    return None if usd is None else f"{decimal(usd, 'an expected cost'):.4f}"
