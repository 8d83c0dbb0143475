"""The command that brings data: one file, a folder of them, or those below a prefix."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops.cli.app import Session, session
from mlops.cli.data import OUTCOMES, tell_rows
from mlops.cli.runs import output_of, wait_for
from mlops.errors import MlopsError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops.aws.bulk_runs import Found

#: Files listed by name where there are many.
_SHOWN = 20
_PACKED = (".gz", ".zst", ".zstd")
_KINDS = {
    ".csv": "CSV", ".tsv": "CSV", ".txt": "CSV", ".jsonl": "JSON Lines", ".ndjson": "JSON Lines", ".json": "JSON Lines",
    ".parquet": "Parquet", ".pq": "Parquet",
}  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add this command to the parser."""
    app.command("upload", rich_help_panel="Data")(upload)


def upload(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model that the data belongs to.")],
    source: Annotated[str, typer.Argument(help="A CSV, JSONL or Parquet file, a folder, or s3://bucket/prefix/.")],
    only: Annotated[str, typer.Option(help="Of a folder: files whose name matches, such as '*.csv'.")] = "",
    max_failed: Annotated[
        float | None, typer.Option(help="Of many files: the share that may be rejected; 0.25 when not given.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be uploaded, and do nothing.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger, for many files.")] = "upload of many files",
    wait: Annotated[bool, typer.Option(help="Wait for validation and whatever follows.")] = True,
    minutes: Annotated[float, typer.Option(help="How long to wait.")] = 30,
) -> int:
    """Upload data for a model and follow it through the pipeline.

    Good rows are accepted, bad rows kept apart with reasons. When the contract's policy says so, a training follows.
    Many files, of a folder or below a prefix, are one upload: each is checked by itself, rows that several hold count
    once, and there is one data-set version, one drift check and one decision about training. A file that is rejected
    does not lose the others, unless too many are. Exit code 0 when rows were accepted or all were known, 1 when
    everything was rejected.

    Example: `mlops upload churn march.csv`

    Example: `mlops upload churn history/ --dry-run`
    """
    current = session(context)
    if not source.startswith("s3://") and not Path(source).is_dir():
        if not Path(source).exists():
            raise NotFoundError(f"{source}: no such file or folder")
        return _one(current, model, Path(source), dry_run=dry_run, wait=wait, minutes=minutes)
    from mlops.aws import bulk_runs

    bench = current.workbench
    where = bulk_runs.place(bench, model, source)
    found = bulk_runs.files(where, only)
    _look(source, found, len(bulk_runs.files(where)) if only else len(found), only)
    size = sum(f.size for f in found)
    if dry_run:
        current.out.result({"model": model, "files": [{"name": f.name, "size": f.size} for f in found], "bytes": size})
        rows = [[f.name, kind(f.name) or "?", f"{f.size:,}"] for f in found]
        current.out.table(f"{len(found)} files for '{model}', {size:,} bytes", ["file", "kind", "bytes"], rows)
        current.out.say("read where they lie" if where.own else "nothing was sent; without --dry-run they would be")
        return 0
    if bench.registry.contract(model) is None:
        raise NotFoundError(f"no contract for '{model}' is in force: mlops push models/{model}.yaml, then upload again")
    with current.out.bytes_bar(f"uploading {len(found)} files", size) as advance:
        prefix = bulk_runs.send(bench, model, where, found, progress=advance)
    name = bulk_runs.start(
        bench, model, prefix, actor=current.actor, reason=reason, only=only if where.own else "", max_failed=max_failed
    )
    if not wait:
        current.out.result({"execution": name, "prefix": prefix})
        current.out.say(f"started {name}; the same command again tells when it has ended")
        return 0
    deadline = time.monotonic() + minutes * 60
    result = output_of(
        current,
        name,
        machine="BulkArn",
        function="ingest_validate",
        what="checking",
        look=lambda: bulk_runs.progress(bench, name),
        deadline=deadline,
    )
    ended = None
    if result["status"] in ("accepted", "partial"):
        with current.out.spinner("waiting for the pipeline") as say:
            seconds = max(1.0, deadline - time.monotonic())
            ended = wait_for(current, f"up-{result['upload_id']}", say, model=model, seconds=seconds)
    current.out.result({"upload": result, "execution": ended})
    _tell(current, result)
    if ended is not None:
        _outcome(current, ended)
    return 0 if result["status"] in ("accepted", "partial", "duplicate") and _well(ended) else 1


def _one(current: Session, model: str, file: Path, *, dry_run: bool, wait: bool, minutes: float) -> int:
    size = file.stat().st_size
    if dry_run:
        current.out.result({"model": model, "files": [{"name": file.name, "size": size}], "bytes": size})
        current.out.say(f"{file.name}, {size:,} bytes, for '{model}'; mlops check CONTRACT --data {file} tries it")
        return 0
    if current.workbench.registry.contract(model) is None:
        current.out.note(f"note: no contract for '{model}' is in force; the file will be quarantined (mlops push)")
    with current.out.bytes_bar(f"uploading {file.name}", size) as advance:
        sent = current.workbench.upload(model, file, progress=advance)
    if not wait:
        current.out.result(sent)
        current.out.say(f"uploaded to {sent.key}; follow it with: mlops status {model}")
        return 0
    with current.out.spinner("waiting for the pipeline") as say:
        execution = current.workbench.pipeline_of(sent)
        ended = wait_for(current, execution, say, model=model, seconds=minutes * 60)
    result = current.workbench.upload_result(execution)
    current.out.result({"execution": ended, "upload": result})
    if result:
        tell_rows(current, result)
    _outcome(current, ended)
    if ended.status != "SUCCEEDED":
        return 1
    return 1 if result and result.get("status") == "rejected" else 0


def kind(name: str) -> str:
    """What a file is by its name; empty when that says nothing.

    >>> kind("2026/march.csv.gz"), kind("notes.docx")
    ('CSV', '')
    """
    path = Path(name.lower())
    if path.suffix in _PACKED:
        path = path.with_suffix("")
    return _KINDS.get(path.suffix, "")


def _look(source: str, found: Sequence[Found], everything: int, only: str) -> None:
    """Say before anything is sent what is most likely a mistake."""
    if not found:
        if only and everything:
            raise NotFoundError(f"none of the {everything} files in {source} matches --only '{only}'")
        raise NotFoundError(f"{source}: there is no file to upload (names that begin with a dot or _ do not count)")
    if only:
        return
    strange = [f.name for f in found if not kind(f.name)]
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise MlopsError(
            f"{source} holds files that do not look like data: {', '.join(strange[:3])}{more}. Choose with --only "
            "'*.csv', or say --only '*' for all of them"
        )
    kinds = Counter(kind(f.name) for f in found)
    if len(kinds) > 1:
        listed = ", ".join(f"{count} {name}" for name, count in sorted(kinds.items()))
        raise MlopsError(
            f"{source} holds several kinds of files ({listed}), often the same rows twice. Choose with --only "
            "'*.csv', or say --only '*' for all of them"
        )


def _tell(current: Session, result: Any) -> None:
    if "rows" not in result:
        current.out.say(f"{result['status']}: {result['explanation']}")
        return
    current.out.say(f"{result['status']}: {result['explanation']}")
    tell_rows(current, result)
    if result["failures"]:
        current.out.table(
            "files that were not taken",
            ["file", "code"],
            [[f["key"].rsplit("/", 1)[-1], f["code"]] for f in result["failures"][:_SHOWN]],
            elastic=["file"],
            details=[f["message"] for f in result["failures"][:_SHOWN]],
        )
    current.out.say(f"report: s3://{current.workbench.data.bucket}/{result['report_key']}")


def _outcome(current: Session, ended: Any) -> None:
    outcome = str(ended.output.get("outcome", ended.status))
    current.out.say(f"pipeline: {OUTCOMES.get(outcome, outcome)}")
    if ended.output.get("explanation"):
        current.out.say(f"  {ended.output['explanation']}")


def _well(ended: Any) -> bool:
    return ended is None or ended.status == "SUCCEEDED"
