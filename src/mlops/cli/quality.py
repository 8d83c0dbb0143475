"""Commands about live quality: quality, labels."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import typer

from mlops.cli.app import session
from mlops.cli.data import must_exist
from mlops.errors import NotFoundError


def register(app: typer.Typer) -> None:
    """Add these commands to the parser."""
    app.command("quality", rich_help_panel="Models")(quality)
    app.command("labels", rich_help_panel="Data")(labels)


def quality(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="One model; all when not given.")] = None,
    hours: Annotated[float | None, typer.Option(help="Window; the contract's when not given.", min=0.01)] = None,
) -> int:
    """How good live predictions were where labels have come, and how good they can be expected to be.

    Exit code 1 when a model is degraded.
    """
    current = session(context)
    request: dict[str, Any] = {"task": "check"}
    if model:
        _contract(current, model)
        request["model"] = model
    if hours:
        request["hours"] = hours
    with current.out.spinner("checking"):
        found = current.workbench.invoke("quality_check", request)
    current.out.result(found)
    for result in found["results"]:
        current.out.say(f"{result['model']}: {result['status']}. {result['explanation']}")
        if result.get("report_key"):
            current.out.say(f"  report: {result['report_key']}")
    return 1 if any(r["status"] == "degraded" for r in found["results"]) else 0


def labels(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model whose predictions these labels are of.")],
    file: Annotated[Path, typer.Argument(help="CSV, JSONL or Parquet file with the target.")],
) -> None:
    """Tell the stack what became true of earlier predictions.

    A row names its prediction by the column inference_id, or by the entity key and, where there is one, a time.
    Labels may come late, in any order and again: the last one counts. A file that was sent before is not sent again.

    Example: `mlops labels churn outcomes-march.csv`
    """
    from mlops.data.label_file import canonical
    from mlops.objects import label_prefix

    current = session(context)
    must_exist(file)
    body, rows = canonical(file, _contract(current, model))
    key = f"{label_prefix(model)}{hashlib.sha256(body).hexdigest()[:32]}.jsonl.gz"
    is_new = current.workbench.data.put(key, body, content_type="application/gzip", if_absent=True)
    current.out.result({"model": model, "rows": rows, "key": key, "new": is_new})
    said = (
        "sent" if is_new else "were sent before, and are not sent again: where a later file says otherwise, it counts"
    )
    current.out.say(f"{rows} labels {said}: {key}\nnext: mlops quality {model}")


def _contract(current: Any, model: str) -> Any:
    found = current.workbench.registry.contract(model)
    if found is None:
        raise NotFoundError(f"no model '{model}'; `mlops status` lists all")
    return found
