"""Commands about who may call: clients with API keys, and the keys that sign the stack's own tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

import typer

from mlops.cli.app import Session, session
from mlops.cli.output import when
from mlops.errors import MlopsError

keys_app = typer.Typer(help="Clients with an API key, each with its own rate, burst and quota.")
signing_app = typer.Typer(help="The keys that sign the stack's own tokens.")


def register(app: typer.Typer) -> None:
    """Add these commands to the parser."""
    app.add_typer(keys_app, name="keys", rich_help_panel="Access")
    app.add_typer(signing_app, name="signing", rich_help_panel="Access")


@keys_app.callback(invoke_without_command=True)
def keys(context: typer.Context) -> None:
    """Clients with an API key, each with its own rate, burst and quota; their list when nothing else is said."""
    if context.invoked_subcommand is None:
        clients(context)


@keys_app.command("list")
def clients(context: typer.Context) -> None:
    """Clients and their limits. Keys are not shown: each was shown once, when it was made."""
    from mlops.aws.apikeys import ApiKeys

    current = session(context)
    found = ApiKeys(current.workbench.stack, current.workbench.api_id).all()
    current.out.result(found)
    current.out.table(
        "clients",
        ["client", "requests/s", "at once", "quota", "since", ""],
        [
            [
                c.name,
                f"{c.limits.rate:g}",
                c.limits.burst,
                f"{c.limits.quota} a {c.limits.period.lower()}" if c.limits.quota else "none",
                when(c.created),
                "" if c.enabled else "switched off",
            ]
            for c in found
        ],
        elastic=["client"],
    )


@keys_app.command("create")
def create(
    context: typer.Context,
    client: Annotated[str, typer.Argument(help="Name of the client: letters, digits, dots, dashes, underscores.")],
    rate: Annotated[float, typer.Option(help="Requests a second in the long run.")] = 10,
    burst: Annotated[int, typer.Option(help="Requests that may come at once.")] = 20,
    quota: Annotated[int, typer.Option(help="Requests in each period; 0 for no quota.")] = 0,
    period: Annotated[str, typer.Option(help="Of the quota: day, week or month.")] = "month",
    reason: Annotated[str, typer.Option(help="Why; for the ledger.")] = "a client was added",
) -> None:
    """Make a client and print its API key, once. The client sends it as `x-api-key`, beside its token.

    Example: `mlops keys create web-shop --rate 5 --burst 10 --quota 100000 --period month`
    """
    from mlops.aws.apikeys import ApiKeys
    from mlops.security.clients import Limits

    current = session(context)
    limits = Limits(rate, burst, quota, cast(Any, period.upper()))
    api = ApiKeys(current.workbench.stack, current.workbench.api_id)
    key = api.create(client, limits)
    shown = {"rate": f"{limits.rate:g}", "burst": limits.burst, "quota": limits.quota, "period": limits.period}
    _record(current, "client.created", f"client/{client}", reason, "has a key", shown)
    required = api.required()
    current.out.result({"client": client, "key": key, "limits": limits, "required": required})
    if not current.out.as_json:
        typer.echo(key)
        current.out.note("This key is not shown again.")
        if not required:
            current.out.note(
                "The stack demands no API keys yet, so limits of clients do not count: deploy it with "
                "RequireApiKey=true.",
                "yellow",
            )


@keys_app.command("revoke")
def revoke(
    context: typer.Context,
    client: Annotated[str, typer.Argument(help="Name of the client.")],
    reason: Annotated[str, typer.Option(help="Why; for the ledger.")],
) -> None:
    """Delete a client with its key and its limits.

    Example: `mlops keys revoke web-shop --reason "the key was in a public repository"`
    """
    from mlops.aws.apikeys import ApiKeys

    current = session(context)
    ApiKeys(current.workbench.stack, current.workbench.api_id).revoke(client)
    _record(current, "client.revoked", f"client/{client}", reason, "its key is refused", {})
    current.out.result({"client": client, "revoked": True})
    current.out.say(f"{client}: its key is refused from now on")


@signing_app.callback(invoke_without_command=True)
def signing(context: typer.Context) -> None:
    """The keys that sign the stack's own tokens; their list when nothing else is said."""
    if context.invoked_subcommand is None:
        trusted(context)


@signing_app.command("list")
def trusted(context: typer.Context) -> None:
    """Keys that the authorizer trusts, and which of them signs new tokens."""
    from mlops.aws.signing import SigningKeys

    current = session(context)
    found = SigningKeys(current.workbench.stack).all()
    current.out.result(found)
    rows = [[key.kid, key.algorithm, "signs new tokens" if key.signs else "trusted only"] for key in found]
    current.out.table("signing keys", ["key", "algorithm", ""], rows)


@signing_app.command("rotate")
def rotate(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Why; for the ledger.")],
    algorithm: Annotated[str, typer.Option(help="EdDSA or ES256.")] = "EdDSA",
    leaked: Annotated[bool, typer.Option("--leaked", help="Trust no older key any longer.")] = False,
) -> None:
    """Sign with a new key from now on. Tokens of the older keys stay good until they expire; then retire those keys.

    With `--leaked` the older keys are dropped at once: all tokens out there are refused within ten minutes.

    Example: `mlops signing rotate --reason "once a quarter"`
    """
    from mlops.aws.signing import SigningKeys

    current = session(context)
    if algorithm not in ("EdDSA", "ES256"):
        raise MlopsError(f"--algorithm {algorithm}: EdDSA or ES256", code="usage")
    made = SigningKeys(current.workbench.stack).rotate(cast(Literal["EdDSA", "ES256"], algorithm), leaked=leaked)
    outcome = "signs; older keys are refused" if leaked else "signs; older keys are trusted until they are retired"
    _record(current, "signing.rotated", f"signing-key/{made.kid}", reason, outcome, {})
    current.out.result(made)
    current.out.say(f"{made.kid} signs from now on")


@signing_app.command("retire")
def retire(
    context: typer.Context,
    kid: Annotated[str, typer.Argument(help="Key to trust no longer, as `mlops signing` shows it.")],
    reason: Annotated[str, typer.Option(help="Why; for the ledger.")],
) -> None:
    """Refuse the tokens of an older key, within ten minutes.

    Example: `mlops signing retire oKM4…Zk --reason "its last token has expired"`
    """
    from mlops.aws.signing import SigningKeys

    current = session(context)
    SigningKeys(current.workbench.stack).retire(kid)
    _record(current, "signing.retired", f"signing-key/{kid}", reason, "its tokens are refused", {})
    current.out.result({"kid": kid, "retired": True})
    current.out.say(f"{kid} is trusted no longer")


def _record(current: Session, action: str, subject: str, reason: str, outcome: str, inputs: Mapping[str, Any]) -> None:
    from mlops.registry.entities import LedgerDraft

    current.workbench.ledger.append(LedgerDraft(current.actor, action, subject, reason, outcome, inputs))
