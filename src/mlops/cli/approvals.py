"""Commands with which a person decides about releases that wait: approvals."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from mlops.cli.app import Session, session
from mlops.cli.naming import version_of
from mlops.cli.output import when
from mlops.errors import MlopsError
from mlops.release.approval import Waiting

approvals_app = typer.Typer(
    help="Releases that wait for a person's decision: list (when nothing else is said), decide."
)

Model = Annotated[str, typer.Argument(help="Name of the model.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the ledger.")]
Version = Annotated[str | None, typer.Option(help="The version, where several wait; an alias will do.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the parser."""
    app.add_typer(approvals_app, name="approvals", rich_help_panel="Models")


@approvals_app.callback(invoke_without_command=True)
def approvals(context: typer.Context) -> None:
    """Releases that wait for a person's decision: list (when nothing else is said), decide."""
    if context.invoked_subcommand is None:
        list_(context)


@approvals_app.command("list")
def list_(context: typer.Context) -> None:
    """What waits, until when, how long that is, and why it is asked."""
    current = session(context)
    bench = current.workbench
    found = [w for model in bench.registry.models() for w in bench.approvals.waiting(model)]
    current.out.result(found)
    current.out.table(
        "waiting for a decision",
        ["model", "version", "asked", "until", "left", "champion"],
        [[w.model, w.version, when(w.asked_at), when(w.deadline), _left(w.deadline), w.champion] for w in found],
        elastic=["model"],
        details=[w.why or w.reason for w in found],
    )


@approvals_app.command("approve")
def approve(context: typer.Context, model: Model, reason: Reason, version: Version = None) -> int:
    """Let a release begin. The reason and your name are kept in the ledger."""
    return _decide(session(context), model, version, "approved", reason)


@approvals_app.command("decline")
def decline(context: typer.Context, model: Model, reason: Reason, version: Version = None) -> int:
    """Reject a version that waits. The reason and your name are kept in the ledger."""
    return _decide(session(context), model, version, "declined", reason)


@approvals_app.command("link")
def link(
    context: typer.Context,
    model: Model,
    name: Annotated[str, typer.Option("--for", help="Name of the person who will decide; kept in the ledger.")],
    version: Version = None,
) -> None:
    """Make a signed address on which somebody without credentials decides. It counts once, and until the deadline.

    Whoever has the address can decide in that person's name: send it to nobody else. Opening it changes nothing.

    Example: `mlops approvals link churn --for "Dr. Ames"`
    """
    current = session(context)
    if not name.strip():
        raise MlopsError("a link needs the name of the person who decides: --for NAME", code="actor_required")
    waiting = _waiting(current, model, version)
    made = current.workbench.approval_link(waiting, name=name.strip(), issuer=current.actor)
    current.out.result({"url": made, "release_id": waiting.release_id, "expires": waiting.deadline})
    current.out.say(made)
    current.out.note(f"good until {when(waiting.deadline)} UTC, for {name.strip()}")


def _left(deadline: str) -> str:
    """How long there is until then, to the minute."""
    minutes = max(int((datetime.fromisoformat(deadline) - datetime.now(UTC)).total_seconds() // 60), 0)
    days, hours = divmod(minutes // 60, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes % 60} min"


def _waiting(current: Session, model: str, version: str | None) -> Waiting:
    """The release that is decided about."""
    return current.workbench.approvals.only(model, version_of(current, model, version).version if version else None)


def _decide(current: Session, model: str, version: str | None, verdict: str, reason: str) -> int:
    if not reason.strip():
        raise MlopsError("a decision needs a reason: --reason 'why'", code="reason_required")
    waiting = _waiting(current, model, version)
    done = current.workbench.decide(waiting, verdict, actor=current.actor, reason=reason)
    current.out.result(done)
    told = "; ".join(done.get("reasons", []))
    current.out.say(f"{done['status']}: {model} {waiting.version}{f' ({told})' if told else ''}")
    return 0 if done["status"] == verdict else 1
