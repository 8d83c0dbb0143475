"""Commands that use the API as a client does: predict, token."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mlops.cli import access, faults
from mlops.cli.app import session
from mlops.errors import MlopsError

#: As in :data:`mlops.security.tokens.SCOPES` (a test compares), which is slow to import.
SCOPES = ("predict", "models:read", "models:write", "audit:read")
ALL_MODELS = "*"


def register(app: typer.Typer) -> None:
    """Add these commands to the parser."""
    app.command("predict", rich_help_panel="Serving")(predict)
    app.command("token", rich_help_panel="Serving")(token)
    access.register(app)


def predict(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model to ask.")],
    row: Annotated[list[str] | None, typer.Option(help="A record as a JSON object; may be given again.")] = None,
    file: Annotated[Path | None, typer.Option(help="Records as JSON (a list) or JSONL.")] = None,
    use_token: Annotated[str | None, typer.Option("--token", help="Token to use; one is made when not given.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Also what each feature added to the score.")] = False,
) -> int:
    """Ask the API for predictions.

    Example: `mlops predict churn --row '{"age": 42, "plan": "basic"}' --explain`
    """
    current = session(context)
    records = [_record(text) for text in row or []]
    if file is not None:
        records += _records(file)
    if not records:
        raise MlopsError("no record: give --row '{…}' or --file records.jsonl", code="no_record")
    bearer = use_token or current.workbench.token(subject=current.actor, models=[model], minutes=5)
    try:
        answer = current.workbench.predict(model, records, bearer, **({"explain": True} if explain else {}))
    except (OSError, http.client.HTTPException) as error:
        raise faults.of_http(error, current.workbench.api_url) from error
    current.out.result(answer.body)
    if answer.status != 200:
        told = answer.body.get("error", answer.body) if isinstance(answer.body, dict) else answer.body
        message = told.get("message", told) if isinstance(told, dict) else told
        if not current.out.as_json:
            current.out.note(f"{answer.status} {message}", "red")
            for detail in told.get("details", []) if isinstance(told, dict) else []:
                current.out.note(f"  • {json.dumps(detail, ensure_ascii=False)}")
        return 1
    current.out.table(
        f"{model} {answer.body['version']}",
        ["record", "prediction", "probabilities", *(["added most to the score"] if explain else []), "inference id"],
        [
            [i, *_prediction(p), *([_reasons(p)] if explain else []), p.get("id")]
            for i, p in enumerate(answer.body["predictions"])
        ],
        elastic=["probabilities", "inference id"],
    )
    return 0


def token(
    context: typer.Context,
    subject: Annotated[str | None, typer.Option(help="Whom the token is for; you when not given.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help=f"What it allows: {', '.join(SCOPES)}.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Models it is limited to; all when not given.")] = None,
    minutes: Annotated[float, typer.Option(help="How long it is valid.", min=1)] = 60,
) -> None:
    """Make a token for the API, signed with the stack's own key.

    Example: `curl -H "Authorization: Bearer $(mlops token)" …`
    """
    current = session(context)
    scopes = scope or ["predict", "models:read"]
    unknown = [s for s in scopes if s not in SCOPES]
    if unknown:
        raise MlopsError(f"unknown scope '{unknown[0]}'; known: {', '.join(SCOPES)}", code="unknown_scope")
    made = current.workbench.token(
        subject=subject or current.actor, scopes=scopes, models=model or [ALL_MODELS], minutes=minutes
    )
    current.out.result({"token": made})
    if not current.out.as_json:
        typer.echo(made)


def _record(text: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except ValueError as error:
        raise MlopsError(f"--row is not JSON: {error}", code="bad_record") from error
    if not isinstance(record, dict):
        raise MlopsError("--row must be a JSON object such as '{\"age\": 42}'", code="bad_record")
    return record


def _records(file: Path) -> list[dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("["):
            found = json.loads(text)
        else:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:  # not UTF-8 is one, too
        raise MlopsError(f"{file} is neither a JSON list nor JSONL: {error}", code="bad_record") from error
    wrong = next((i for i, record in enumerate(found, start=1) if not isinstance(record, dict)), None)
    if wrong is not None:
        raise MlopsError(f'{file}: record {wrong} is no JSON object such as {{"age": 42}}', code="bad_record")
    return list(found)


def _reasons(prediction: dict[str, Any]) -> str:
    """The three contributions that are largest either way."""
    contributions = prediction.get("explanation", {}).get("contributions", {})
    largest = sorted(contributions.items(), key=lambda pair: -abs(pair[1]))[:3]
    return ", ".join(f"{name} {value:+.3g}" for name, value in largest)


def _prediction(prediction: dict[str, Any]) -> tuple[Any, str]:
    if "label" in prediction:
        shares = ", ".join(f"{k} {v:.3f}" for k, v in prediction.get("probabilities", {}).items())
        return prediction["label"], shares
    return prediction.get("value"), ""
