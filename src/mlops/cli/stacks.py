"""Commands about stacks as such: bootstrap, logs."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from mlops.cli import connection
from mlops.cli.app import session
from mlops.errors import MlopsError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def register(app: typer.Typer) -> None:
    """Add these commands to the parser."""
    app.command("bootstrap", rich_help_panel="Stack")(bootstrap)
    app.command("logs", rich_help_panel="Stack")(logs)


def bootstrap(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    anchors: Annotated[
        str | None, typer.Option("--anchor-bucket", help="Also make this bucket with Object Lock, for AnchorBucket.")
    ] = None,
    anchor_days: Annotated[int, typer.Option(help="How long its objects cannot be changed or deleted.", min=1)] = 400,
) -> None:
    """Make what a stack needs before its first deployment; what exists is left alone.

    An empty model layer and the SSM parameters that the template reads (which layer serves, the routes, the key of
    pseudonyms), and the key pair of the stack's own tokens: the private half as a SecureString that only those who
    may read it can sign with. `make deploy` calls this.
    """
    current = session(context)
    name = connection.use_stack(current.stack, current.profile, current.region)
    from mlops.aws.bootstrap import anchor_bucket
    from mlops.aws.bootstrap import bootstrap as make

    if not yes:
        typer.confirm(f"make the parameters and keys of stack '{name}'?", abort=True, err=True)
    made = make(name)
    if anchors:
        made.append(anchor_bucket(anchors, anchor_days))
    current.out.result(made)
    current.out.table(
        f"stack {name}",
        ["what", "", "for"],
        [[m.name, "made" if m.made else "was there", m.purpose] for m in made],
        elastic=["for"],
    )


def logs(
    context: typer.Context,
    function: Annotated[str, typer.Argument(help="Function, such as predict or ingest-validate.")],
    since: Annotated[str, typer.Option(help="How far back: 30s, 10m, 2h, 1d.")] = "10m",
    follow: Annotated[bool, typer.Option("--follow", help="Go on until interrupted.")] = False,
    pattern: Annotated[str, typer.Option(help="CloudWatch Logs filter pattern.")] = "",
) -> None:
    """Print a function's log. With `--json --follow`, one JSON object on each line.

    Example: `mlops logs predict --since 1h --pattern ERROR`
    """
    current = session(context)
    start = datetime.now(UTC) - duration(since)
    if current.out.as_json and not follow:
        found = current.workbench.logs(function, since=start, pattern=pattern)
        current.out.result([{"time": time, "message": message} for time, message in found])
        return
    for time, message in current.workbench.logs(function, since=start, pattern=pattern, follow=follow):
        if current.out.as_json:
            print(json.dumps({"time": time.isoformat(), "message": message}, ensure_ascii=False), flush=True)
        else:
            current.out.say(f"{time:%H:%M:%S} {message}")


def duration(text: str) -> timedelta:
    """A span of time such as ``10m``.

    Raises
    ------
    MlopsError
        when it is none.

    >>> duration("90s")
    datetime.timedelta(seconds=90)
    """
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not match:
        raise MlopsError(f"--since {text}: give a number with s, m, h or d, such as 10m", code="usage")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
