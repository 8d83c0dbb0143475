"""The command that scores whole files: score."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops.cli.app import Session, session
from mlops.cli.naming import A_VERSION, version_of
from mlops.cli.runs import output_of

if TYPE_CHECKING:
    from mlops.aws.score_runs import Counts


def register(app: typer.Typer) -> None:
    """Add this command to the parser."""
    app.command("score", rich_help_panel="Serving")(score)


def score(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="s3://bucket/prefix, or a file or folder on this machine.")],
    model: Annotated[str, typer.Option(help="Model that scores.")],
    output: Annotated[str, typer.Option(help="s3://bucket/prefix for predictions; below scores/ if not given.")] = "",
    version: Annotated[str, typer.Option(help=f"Instead of the one that serves. {A_VERSION}")] = "",
    capture: Annotated[
        bool, typer.Option("--capture", help="Keep the predictions as captures, so that labels can judge them.")
    ] = False,
    to: Annotated[Path | None, typer.Option(help="Also write the predictions to this folder.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")] = "batch scoring",
    wait: Annotated[bool, typer.Option(help="Wait until all is scored.")] = True,
    minutes: Annotated[float, typer.Option(help="How long to wait.")] = 120,
) -> int:
    """Score every CSV, JSONL or Parquet file below a prefix.

    Each row gets its prediction, or its error, at its own row number. What was scored before by the same version is
    left out, so a run that stopped goes on when it is started again. Exit code 1 when a file could not be scored.

    Example: `mlops score s3://my-bucket/customers/2026-11/ --model churn`
    """
    from mlops.aws import score_runs

    current = session(context)
    bench, path = current.workbench, Path(source)
    if not source.startswith("s3://"):
        with current.out.bytes_bar(f"uploading {path.name}", score_runs.size_of(path)) as advance:
            source = score_runs.send(bench, path, progress=advance)
    version = version_of(current, model, version).version if version else ""
    run_id = score_runs.start(
        bench, model, source, actor=current.actor, reason=reason, output=output, version=version, capture=capture
    )
    if not wait:
        current.out.result({"run_id": run_id, "source": source})
        current.out.say(f"started {run_id}; the same command again tells when all is scored")
        return 0
    summary = output_of(
        current,
        run_id,
        machine="ScoreArn",
        function="score",
        what="scoring",
        look=lambda: _counted(score_runs.progress(bench, run_id)),
        deadline=time.monotonic() + minutes * 60,
    )
    files = score_runs.download(summary, to) if to and "output" in summary and "rows" in summary else []
    current.out.result({**summary, "files": [str(f) for f in files]})
    _tell(current, summary)
    for file in files:
        current.out.say(f"  {file}")
    return 0 if summary["status"] == "scored" else 1


def _counted(counts: Counts) -> tuple[str, int, int]:
    """Chunks, where they are told of all files; else files."""
    if counts.chunks > counts.total:
        return "chunks", counts.chunks_done, counts.chunks
    return "files", counts.done, counts.total


def _tell(current: Session, summary: Any) -> None:
    current.out.say(f"{summary['status']}: {summary['explanation']}")
    if summary.get("failures"):
        current.out.table(
            "files that could not be scored",
            ["file", "code"],
            [[f["key"], f["code"]] for f in summary["failures"]],
            elastic=["file"],
            details=[f["message"] for f in summary["failures"]],
        )
    if "summary" in summary:
        current.out.say(f"predictions: {summary['output']}\nsummary:     {summary['summary']}")
