"""Commands about stacks as such: bootstrap."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops.cli import connection
from mlops.cli.app import session


def register(app: typer.Typer) -> None:
    app.command("bootstrap", rich_help_panel="Stack")(bootstrap)


def bootstrap(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make what a stack needs before its first deployment; what exists is left alone.

    An empty model layer and the SSM parameters that the template reads (which layer serves, the routes, the key of
    pseudonyms), and the key pair of the stack's own tokens: the private half as a SecureString that only those who
    may read it can sign with. `make deploy` calls this.
    """
    current = session(context)
    name = connection.use_stack(current.stack, current.profile, current.region)
    from mlops.aws.bootstrap import bootstrap as make

    if not yes:
        typer.confirm(f"make the parameters and keys of stack '{name}'?", abort=True)
    made = make(name)
    current.out.result(made)
    current.out.table(
        f"stack {name}", ["what", "for", ""], [[m.name, m.purpose, "made" if m.made else "was there"] for m in made]
    )
