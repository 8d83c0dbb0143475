"""The command line's frame: global options, errors, and the groups of commands."""

from __future__ import annotations

import getpass
import json
import os
import sys
from functools import cache, cached_property
from typing import TYPE_CHECKING, Annotated

import typer

from mlops import __version__
from mlops.cli import connection, faults, hoist
from mlops.cli.output import Output
from mlops.errors import ConfigurationError, MlopsError

if TYPE_CHECKING:
    from mlops.aws.workbench import Workbench

#: As shells have it: 128 and the number of SIGINT.
_INTERRUPTED = 130

HELP = """Takes a table of data to live predictions, and keeps the model good.

A first model in five steps:

1. `mlops init data.csv --target churned` writes a contract, `models/data.yaml`. Read it, edit it.

2. `mlops push models/data.yaml` puts it in force.

3. `mlops upload data data.csv` validates, trains, evaluates and releases; watch it go.

4. `mlops predict data --row '{"age": 42, "plan": "basic"}'` asks the API.

5. `mlops ledger` tells who did what, why, from which data.

Commands find a stack that runs on this machine (`make up`) by themselves; `--stack`, `--profile` and `--region`
choose another. `--json` prints results for programs. Every command explains itself: `mlops upload --help`.
"""


class Session:
    """What one command was called with."""

    def __init__(
        self, stack: str | None, profile: str | None, region: str | None, as_json: bool, wide: bool = False
    ) -> None:
        self.stack, self.profile, self.region = stack, profile, region
        self.out = Output(as_json, wide)

    @cached_property
    def connection(self) -> connection.Connection:
        """The stack that the command speaks to; found when it is first asked for."""
        return connection.connect(self.stack, self.profile, self.region)

    @cached_property
    def workbench(self) -> Workbench:
        """What can be done with that stack."""
        from mlops.aws.workbench import Workbench

        found = self.connection
        return Workbench(found.stack, found.api_url, found.outputs)

    @property
    def actor(self) -> str:
        """Who the ledger says it was: ``MLOPS_ACTOR``, else the login name.

        Raises
        ------
        ConfigurationError
            when neither is known: the ledger takes no entry without a name.
        """
        given = os.environ.get("MLOPS_ACTOR")
        if given:
            return f"user:{given}"
        try:
            return f"user:{getpass.getuser()}"
        except (KeyError, OSError, ImportError):
            raise ConfigurationError("this machine does not know your name; set MLOPS_ACTOR for the ledger") from None


def options(
    context: typer.Context,
    stack: Annotated[str | None, typer.Option(help="Stack to speak to.", envvar="MLOPS_STACK")] = None,
    profile: Annotated[str | None, typer.Option(help="AWS profile; without one, local stacks come first.")] = None,
    region: Annotated[str | None, typer.Option(help="AWS region.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
    wide: Annotated[bool, typer.Option("--wide", help="Do not shorten tables to the terminal's width.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Options of every command; they may stand anywhere on the line."""
    if version:
        typer.echo(json.dumps({"version": __version__}) if as_json else __version__)
        raise typer.Exit(0)
    context.obj = Session(stack, profile, region, as_json, wide)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@cache
def application() -> typer.Typer:
    """The parser with all commands."""
    from mlops.cli import (
        approvals,
        audit,
        care,
        contracts,
        data,
        models,
        quality,
        retraining,
        runs,
        scoring,
        serving,
        stacks,
        tuning,
        uploading,
    )

    app = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False, help=HELP)
    app.callback(invoke_without_command=True, help=HELP)(options)
    for module in (
        data, uploading, contracts, models, quality, runs, approvals, serving, scoring, audit, stacks, care, retraining,
        tuning,
    ):  # fmt: skip
        module.register(app)
    return app


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code.

    0: done; 1: it could not be done, or the answer is no; 2: the command line is wrong; 130: interrupted. Every
    error is one clear line on standard error, or one JSON object on standard output with ``--json``.
    """
    arguments = hoist(arguments)
    as_json = "--json" in arguments[: arguments.index("--")] if "--" in arguments else "--json" in arguments
    try:
        return _called(arguments)
    except MlopsError as error:
        return _fail(error, as_json)
    except typer.TyperException as error:
        message = f"{error.format_message().rstrip('.')}. See `mlops --help`, or --help after the command."
        _fail(MlopsError(message, code="usage"), as_json)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("stopped", file=sys.stderr)
        return _INTERRUPTED


def _called(arguments: list[str]) -> int:
    """Call the command; what the world refused becomes an MlopsError."""
    try:
        result = application()(arguments, prog_name="mlops", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone, as `head` does: nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        raise faults.of_files(error) from error
    except faults.aws_errors() as error:
        raise faults.of_aws(error) from error
    if result == _INTERRUPTED:  # the parser has caught it
        raise KeyboardInterrupt
    return result if isinstance(result, int) else 0


def session(context: typer.Context) -> Session:
    """The session of a command."""
    found = context.obj
    if not isinstance(found, Session):
        raise TypeError("the command was called without its frame")
    return found


def _fail(error: MlopsError, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": {"code": error.code, "message": error.message}}, ensure_ascii=False))
    else:
        print(f"error: {error.message}", file=sys.stderr)
    return 1
