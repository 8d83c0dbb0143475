"""Commands that keep a stack in order: doctor."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.cli.app import session
from mlops.errors import MlopsError


def register(app: typer.Typer) -> None:
    """Add these commands to the parser."""
    app.command("doctor", rich_help_panel="Stack")(doctor)


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
