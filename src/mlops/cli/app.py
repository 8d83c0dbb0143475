"""The command line's frame: global options, errors, and the groups of commands."""

from __future__ import annotations

import getpass
import json
import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import typer

from mlops import __version__
from mlops.cli import connection
from mlops.cli.output import Output
from mlops.errors import MlopsError

if TYPE_CHECKING:
    from mlops.aws.workbench import Workbench

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""Takes a table of data to live predictions, and keeps the model good.

A first model in five steps:

1. `mlops init data.csv --target churned` writes a contract, `models/data.yaml`. Read it, edit it.

2. `mlops push models/data.yaml` puts it in force.

3. `mlops upload data data.csv` validates, trains, evaluates and releases; watch it go.

4. `mlops predict data --row '{"age": 42, "plan": "basic"}'` asks the API.

5. `mlops ledger` tells who did what, why, from which data.

Commands find a stack that runs on this machine (`make up`) by themselves; `--stack`, `--profile` and `--region`
choose another. `--json` prints results for programs. Every command explains itself: `mlops upload --help`.
""",
)


class Session:
    """What one command was called with."""

    def __init__(self, stack: str | None, profile: str | None, region: str | None, as_json: bool) -> None:
        self.stack, self.profile, self.region = stack, profile, region
        self.out = Output(as_json)

    @cached_property
    def connection(self) -> connection.Connection:
        return connection.connect(self.stack, self.profile, self.region)

    @cached_property
    def workbench(self) -> Workbench:
        from mlops.aws.workbench import Workbench

        found = self.connection
        return Workbench(found.stack, found.api_url, found.outputs)

    @property
    def actor(self) -> str:
        """Who the ledger says it was: ``MLOPS_ACTOR``, else the login name."""
        return f"user:{os.environ.get('MLOPS_ACTOR') or getpass.getuser()}"


@app.callback()
def options(
    context: typer.Context,
    stack: Annotated[str | None, typer.Option(help="Stack to speak to.", envvar="MLOPS_STACK")] = None,
    profile: Annotated[str | None, typer.Option(help="AWS profile; without one, local stacks come first.")] = None,
    region: Annotated[str | None, typer.Option(help="AWS region.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit(0)
    context.obj = Session(stack, profile, region, as_json)


def run(arguments: list[str]) -> int:
    """Run a command line; every error is one clear line, or one JSON object with ``--json``."""
    from mlops.cli import audit, data, models, serving, stacks

    for module in (data, models, serving, audit, stacks):
        module.register(app)
    as_json = "--json" in arguments
    try:
        result = app(arguments, standalone_mode=False)
    except MlopsError as error:
        return _fail(error.code, error.message, as_json)
    except typer.Exit as error:
        return error.exit_code
    except typer.TyperException as error:
        if not arguments:  # called without a command: the message is the help
            print(error.format_message())
            return 0
        _fail("usage", f"{error.format_message()} See `mlops --help`, or --help after the command.", as_json)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("stopped", file=sys.stderr)
        return 130
    return result if isinstance(result, int) else 0


def session(context: typer.Context) -> Session:
    """The session of a command."""
    found = context.obj
    if not isinstance(found, Session):
        raise TypeError("the command was called without its frame")
    return found


def _fail(code: str, message: str, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": {"code": code, "message": message}}))
    else:
        print(f"error: {message}", file=sys.stderr)
    return 1
