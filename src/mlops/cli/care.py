"""Commands that keep a stack in order: doctor, clean."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.cli.app import session
from mlops.errors import MlopsError


def register(app: typer.Typer) -> None:
    """Add these commands to the parser."""
    app.command("doctor", rich_help_panel="Stack")(doctor)
    app.command("clean", rich_help_panel="Stack")(clean)


def doctor(
    context: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired; needs a reason.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why it is repaired; kept in the ledger.")] = None,
) -> int:
    """Find and explain any disagreement between registry, alias, layers, parameters, locks, artifacts and ledger, and
    repair it. Exit code 0 when all agree.

    Looks without changing anything, unless `--repair` is given. Every repair is an entry of the ledger.

    Example: `mlops doctor --repair --reason "the release of Monday was aborted"`
    """
    from mlops.release.doctor import diagnose

    current = session(context)
    if repair and not (reason or "").strip():
        raise MlopsError("a repair needs a reason: --repair --reason 'why'", code="reason_required")
    bench = current.workbench
    with current.out.spinner("looking"):
        seen = bench.examine()
    found, done = diagnose(seen), []
    if repair and any(f.repair for f in found):
        with current.out.spinner("repairing"):
            done = bench.treatment().heal(bench.examine, actor=current.actor, reason=str(reason))
            seen = bench.examine()
            found = diagnose(seen)
    current.out.result(
        {
            "healthy": not found,
            "findings": found,
            "repaired": [{"code": f.code, "subject": f.subject, "outcome": outcome} for f, outcome in done],
            "at_work": seen.at_work,
            "entries": seen.ledger.entries,
        }
    )
    for finding, outcome in done:
        current.out.say(f"repaired: {finding.code} of {finding.subject}: {outcome}", "green")
    if seen.at_work:
        current.out.say(f"{seen.at_work} is under way: what serves is judged when it has ended")
    for finding in found:
        current.out.say(f"{finding.code}: {finding.explanation}", "red")
    if not found:
        current.out.say(f"healthy: {len(seen.models)} models, {seen.ledger.entries} entries of the ledger agree")
    elif any(f.repair for f in found) and not repair:
        current.out.say("repair it: mlops doctor --repair --reason '…'")
    return 1 if found else 0


def clean(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; kept in the ledger.")] = None,
) -> int:
    """Do what housekeeping does every day: check and anchor the ledger, put versions beyond the contract's retention
    aside, delete large files of versions that were retired long ago, and function versions and layers that no rollback
    needs, and fold captured traffic.

    Example: `mlops clean --dry-run`
    """
    current = session(context)
    if not dry_run and not (reason or "").strip():
        raise MlopsError("cleaning needs a reason: --reason 'why', or --dry-run to look first", code="reason_required")
    request = {"task": "plan" if dry_run else "daily", "actor": current.actor, "reason": reason or "looking"}
    with current.out.spinner("cleaning"):
        done = current.workbench.invoke("housekeeping", request)
    current.out.result(done)
    rows = [[m["model"], m["version"], m["source"], m["target"]] for m in done["moves"]]
    current.out.table(
        "put aside", ["model", "version", "from", "to"], rows, details=[m["reason"] for m in done["moves"]]
    )
    verb = "would be deleted" if dry_run else "deleted"
    current.out.table(
        f"files of retired versions, {verb}",
        ["model", "version", "bytes", "files"],
        [[f["model"], f["version"], f["bytes"], ", ".join(f["files"])] for f in done["files"]],
        elastic=["files"],
    )
    current.out.say(f"{len(done['functions'])} function versions and {len(done['layers'])} layers {verb}")
    if done["ledger"] == "broken":
        current.out.say("the ledger is not what was written: mlops ledger verify says where", "red")
    folded = done["captures"]
    if folded["objects"] or folded["expired"]:
        current.out.say(
            f"captures: {folded['objects']} objects of {folded['hours']} hours became one an hour, "
            f"{folded['expired']} were older than they are kept"
        )
    if folded["left"]:
        current.out.say("captures: time ran out, the next run goes on")
    if done["status"] == "busy":
        current.out.say("a release is under way: nothing that serves was deleted; try again when it has ended")
    return 1 if done["status"] == "busy" or done["ledger"] == "broken" else 0
