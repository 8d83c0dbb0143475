"""The command that measures a function at several memory sizes: cost tune."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.cli.app import Session, session
from mlops.cli.audit import cost_app
from mlops.cli.data import must_exist
from mlops.errors import ConflictError, MlopsError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK_SECONDS = 3600


def register(app: typer.Typer) -> None:
    """Add this command to the group ``cost``."""
    cost_app.command("tune")(tune)


def tune(
    context: typer.Context,
    function: Annotated[str, typer.Argument(help="Name of a function, such as predict.")],
    event: Annotated[Path, typer.Option(help="Event to invoke it with, such as events/predict/golden.json.")],
    memory: Annotated[list[int] | None, typer.Option(help="Size to try, MB; may be given several times.")] = None,
    rounds: Annotated[int, typer.Option(help="Warm invocations at each size.", min=1, max=1000)] = 10,
    out: Annotated[Path | None, typer.Option(help="Also write the page with the curve to this file.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Invoke a function at several memory sizes and show the curve of its time and price.

    The function really runs, with all its effects, in versions that are published for this and deleted afterwards.
    What serves is not touched: no alias moves, and `$LATEST` gets its size back. Releases wait meanwhile.

    Example: `mlops cost tune predict --event events/predict/golden.json`
    """
    from mlops.aws.tuning import keep, trials
    from mlops.cost import tuning, tuning_page
    from mlops.cost.prices import snapshot

    current = session(context)
    must_exist(event)
    try:
        payload = json.loads(event.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MlopsError(f"{event} is not JSON: {error}", code="invalid_request") from error
    sizes = memory or list(tuning.SIZES)
    name = f"{current.connection.stack}-{function.replace('_', '-')}"
    if not yes:
        calls = len(set(sizes)) * (rounds + 1)
        typer.confirm(f"Invoke {name} {calls} times with {event.name}, with all its effects?", abort=True)
    with current.out.spinner("measuring") as say, _no_release(current):
        found = tuning.tune(
            lambda: trials(name), sizes, payload, rounds=rounds, prices=snapshot(),
            region=current.workbench.region, now=lambda: datetime.now(UTC), say=say,
        )  # fmt: skip
    note = "The local engine gives every size the same processor: here the curve says nothing." if (
        current.connection.local
    ) else ""  # fmt: skip
    page = tuning_page.to_html(found, note)
    kept = keep(current.workbench, function, found.to_dict(), page, actor=current.actor)
    if out is not None:
        out.write_bytes(page)
    current.out.result({**found.to_dict(), **kept})
    current.out.table(
        name,
        ["MB", "median ms", "billed ms", "first ms", "used MB", "USD a million"],
        [[p.memory_mb, float(p.median_ms), float(p.billed_ms), p.cold_ms, p.used_mb,
          None if p.usd is None else f"{p.usd:.4f}"] for p in found.points],
    )  # fmt: skip
    current.out.say(f"{tuning_page.summary(found)} {note}".strip())
    current.out.say(f"report: mlops report get {kept['html_key']}")


@contextmanager
def _no_release(current: Session) -> Iterator[None]:
    """Hold the lock that every release and rollback takes: they publish from the same function."""
    from mlops.release.state import LOCK, STACK

    registry, owner = current.workbench.registry, f"tune-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    if not registry.acquire(STACK, LOCK, owner, _LOCK_SECONDS):
        raise ConflictError(f"a release is under way ({registry.holder(STACK, LOCK)}); tune when it has ended")
    try:
        yield
    finally:
        registry.let_go(STACK, LOCK, owner)
