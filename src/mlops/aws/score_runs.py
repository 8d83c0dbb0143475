"""Batch scoring by hand: files up, a run started, its progress, predictions down. For the command line and tests."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.aws.clients import client
from mlops.aws.contents import name_of, sha256_of
from mlops.aws.objects import S3Objects
from mlops.aws.workbench import Workbench
from mlops.errors import MlopsError, NotFoundError
from mlops.objects import score_work_prefix
from mlops.scoring.entities import Run, SourceObject
from mlops.scoring.run import SOURCES

#: Of more objects than this only the objects are counted, not the chunks within.
FEW = 20


@dataclass(frozen=True)
class Counts:
    """How far a run is: objects that have ended, of how many; of few objects also chunks that are scored, of how many
    that are prepared so far."""

    done: int = 0
    total: int = 0
    chunks_done: int = 0
    chunks: int = 0


def send(bench: Workbench, path: Path, *, progress: Callable[[int], None] | None = None) -> str:
    """Upload a file, or the files of a folder, to a place named by their content; returns its ``s3://`` address.

    The same files have the same address, so what is scored already is not scored again.

    Raises
    ------
    NotFoundError
        when there is nothing to send.
    """
    files = list(_files(path))
    if not files:
        raise NotFoundError(f"{path}: no such file, or a folder without files")
    digests = {name: sha256_of(file) for name, file in files}
    whole = name_of(digests)
    bucket = bench.data.bucket
    for name, file in files:
        key = f"{SOURCES}{whole}/{name}"
        if bench.data.exists(key):
            if progress:
                progress(file.stat().st_size)
            continue
        client("s3").upload_file(str(file), bucket, key, Callback=progress)
    return f"s3://{bucket}/{SOURCES}{whole}/"


def size_of(path: Path) -> int:
    """Bytes that :func:`send` would send."""
    return sum(file.stat().st_size for _, file in _files(path))


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield path.name, path
    elif path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and file.name[0] not in "._":
                yield file.relative_to(path).as_posix(), file


def start(
    bench: Workbench,
    model: str,
    source: str,
    *,
    actor: str,
    reason: str,
    output: str = "",
    version: str = "",
    capture: bool = False,
) -> str:
    """Start a run; returns the name of its execution, which is the run's id.

    Raises
    ------
    MlopsError
        when ``source`` is no ``s3://`` address.
    """
    address = source.removeprefix("s3://")
    bucket, _, prefix = address.partition("/")
    if address == source or not bucket:
        raise MlopsError(f"'{source}' is neither a file here nor an address such as s3://bucket/prefix")
    run_id = f"score-{uuid.uuid4().hex[:16]}"
    client("stepfunctions").start_execution(
        stateMachineArn=bench.outputs["ScoreArn"],
        name=run_id,
        input=json.dumps(
            {
                "model": model, "bucket": bucket, "prefix": prefix, "output": output, "version": version,
                "actor": actor, "reason": reason, "capture": capture,
            }
        ),
    )  # fmt: skip
    return run_id


def progress(bench: Workbench, run_id: str) -> Counts:
    """How many objects have ended, scored or not; zeros before the first begins."""
    machine = client("stepfunctions")
    arn = bench.outputs["ScoreArn"].replace(":stateMachine:", ":execution:") + f":{run_id}"
    runs = machine.list_map_runs(executionArn=arn)["mapRuns"]
    if not runs:
        return Counts()
    counts = machine.describe_map_run(mapRunArn=runs[0]["mapRunArn"])["itemCounts"]
    ended = sum(counts[name] for name in ("succeeded", "failed", "timedOut", "aborted"))
    return Counts(ended, counts["total"], *(_chunks(bench, run_id) if counts["total"] <= FEW else (0, 0)))


def _chunks(bench: Workbench, run_id: str) -> tuple[int, int]:
    prefix = score_work_prefix(run_id)
    run = Run.from_dict(json.loads(bench.data.get(f"{prefix}run.json")))
    sources = [SourceObject(**json.loads(line)) for line in bench.data.get(run.items_key()).splitlines()]
    prepared = sum(info.key.endswith(".jsonl.gz") for info in bench.data.list(prefix))
    store = S3Objects(run.output_bucket)
    return sum(1 for source in sources for _ in store.list(run.folder(source))), prepared


def download(summary: Mapping[str, Any], folder: Path) -> list[Path]:
    """Predictions of every scored object of a run as one file each, ``<object>.predictions.jsonl``."""
    bucket, _, output = str(summary["output"]).removeprefix("s3://").partition("/")
    prefix = str(summary["source"]).removeprefix("s3://").partition("/")[2]
    store = S3Objects(bucket)
    parts: dict[Path, list[str]] = {}
    for info in sorted(store.list(f"{output}_objects/"), key=lambda info: info.modified):
        mark = json.loads(store.get(info.key))
        if mark["version"] == summary["version"] and mark["key"].startswith(prefix):
            # Of an object that was scored more than once (it changed, or was to be captured) the last answers count.
            parts[folder / f"{mark['key'][prefix.rfind('/') + 1 :]}.predictions.jsonl"] = mark["parts"]
    for path, keys in parts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for key in keys:
                file.write(gzip.decompress(store.get(key)))
    return list(parts)
