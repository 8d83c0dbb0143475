"""Commands about contracts as such: what a file would change in one, and the format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mlops.cli.app import session
from mlops.cli.data import load_contract, must_exist

contract_app = typer.Typer(help="Contracts: what a file would change in one (diff), and their format (schema).")


def register(app: typer.Typer) -> None:
    """Add these commands to the parser."""
    app.add_typer(contract_app, name="contract", rich_help_panel="Data")


@contract_app.callback(invoke_without_command=True)
def contract(context: typer.Context) -> None:
    """Contracts: what a file would change in one (diff), and their format (schema)."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@contract_app.command("diff")
def diff(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Contract (YAML).")],
    data: Annotated[Path, typer.Argument(help="CSV, JSONL or Parquet file, with the target in it.")],
    accept: Annotated[bool, typer.Option("--accept", help="Write the proposed contract over the old one.")] = False,
) -> int:
    """Show what a contract would have to say for a data file to keep it.

    New, gone and renamed columns, new categories and classes, wider ranges, missing values, another type. Only rules
    that the file breaks are touched, and nothing is written without `--accept`, which keeps comments and layout. Read
    it first: a file that breaks a contract may be wrong. Needs no stack. Exit code 1 when something differs and was not
    accepted.

    Example: `mlops contract diff models/churn.yaml march.csv --accept`
    """
    from mlops.contract.evolve import propose, written_diff
    from mlops.contract.patching import patched
    from mlops.contract.source import dump

    current = session(context)
    before = load_contract(file)
    must_exist(data)
    proposal = propose(before, data)
    lines = written_diff(before, proposal.contract)
    written = accept and bool(proposal.changes)
    kept: str | None = None
    if written:
        kept = patched(file.read_text(encoding="utf-8"), before, proposal.contract)
        file.write_text(dump(proposal.contract) if kept is None else kept, encoding="utf-8")
    current.out.result(
        {
            "contract": before.name,
            "changes": list(proposal.changes),
            "new_data_set": proposal.breaking,
            "accepted": written,
            "digest": proposal.contract.digest(),
            "diff": lines,
        }
    )
    if not proposal.changes:
        current.out.say(f"{data}: keeps {file} as it is")
        return 0
    current.out.table("changes", ["change", "column"], [[c.kind, c.column] for c in proposal.changes],
                      elastic=["column"], details=[c.message for c in proposal.changes])  # fmt: skip
    for line in lines:
        current.out.say(line)
    if proposal.breaking:
        current.out.say("\nwith these columns the next upload begins a new data set")
    if written:
        if kept is None:
            current.out.say(
                "\nits comments could not be kept: the file's layout does not show where the change belongs"
            )
        current.out.say(f"\nwritten: {file}\nnext:    mlops push {file}")
        return 0
    current.out.say(f"\nnothing was written; --accept writes {file}")
    return 1


@contract_app.command("schema")
def schema(context: typer.Context) -> None:
    """Print the JSON Schema of contracts, for editors: `mlops contract schema > contract.schema.json`."""
    from mlops.contract.schema import schema as found

    session(context)
    typer.echo(json.dumps(found(), indent=2, ensure_ascii=False))
