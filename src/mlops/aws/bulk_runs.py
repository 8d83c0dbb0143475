"""Many files as one upload, by hand: files up, a run started, its progress. For the command line and tests."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.aws.clients import client
from mlops.aws.contents import name_of, sha256_of
from mlops.aws.workbench import Workbench
from mlops.bulk.planning import is_wanted
from mlops.errors import MlopsError, NotFoundError
from mlops.objects import bulk_prefix, incoming_key

#: Files that are sent at a time.
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Found:
    """One file to upload: its name below what was named, its size in bytes, and where it is."""

    name: str
    size: int
    path: Path | None = None
    key: str = ""
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """What a person named: a folder here, or a prefix of a bucket; ``own``: one that the stack reads itself."""

    text: str
    bucket: str = ""
    prefix: str = ""
    own: bool = False


def place(bench: Workbench, model: str, source: str) -> Place:
    """Where ``source`` is.

    Raises
    ------
    NotFoundError
        for a path that is none.
    MlopsError
        for a part of the stack's own bucket that holds no uploads of this model.
    """
    if not source.startswith("s3://"):
        if not Path(source).exists():
            raise NotFoundError(f"{source}: no such file or folder")
        return Place(source)
    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    if not bucket:
        raise MlopsError(f"'{source}' names no bucket; an address is s3://bucket/prefix/")
    folders = (bulk_prefix(model), incoming_key(model, ""))
    if bucket == bench.data.bucket and not prefix.startswith(folders):
        if prefix.startswith("quarantine/"):
            raise MlopsError(
                f"{source} is quarantine: what lies there was set apart, and would be again. Its reason.json says why; "
                "put the files right and upload those"
            )
        allowed = " or ".join(f"s3://{bucket}/{folder}" for folder in folders)
        raise MlopsError(f"{source} holds no uploads of '{model}': those lie in {allowed}")
    return Place(source, bucket, prefix, own=bucket == bench.data.bucket)


def files(where: Place, only: str = "") -> list[Found]:
    """The files below a place, in the order of their names. Names that begin with a dot or an underscore are none.

    ``only``: a pattern that their names must match, such as ``*.csv``.
    """
    listed = _objects(where) if where.bucket else _local(Path(where.text))
    return sorted((f for f in listed if is_wanted(f.name, only)), key=lambda f: f.name)


def _local(folder: Path) -> Iterator[Found]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield Found(path.relative_to(folder).as_posix(), path.stat().st_size, path)


def _objects(where: Place) -> Iterator[Found]:
    folder = where.prefix.rfind("/") + 1
    pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket=where.bucket, Prefix=where.prefix)
    for page in pages:
        for item in page.get("Contents", []):
            if not item["Key"].endswith("/"):
                etag = item["ETag"].strip('"')
                yield Found(item["Key"][folder:], item["Size"], key=item["Key"], etag=etag)


def send(
    bench: Workbench, model: str, where: Place, found: Sequence[Found], *, progress: Callable[[int], None] | None = None
) -> str:
    """Bring files to where the stack reads them, a folder named by what is in them; returns its prefix.

    The same files have the same place, so that sending them again sends nothing. Files of another bucket are copied
    there by S3 itself, with the caller's own rights.
    """
    if where.own:
        return where.prefix
    told = progress or (lambda count: None)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        marks = list(pool.map(_mark, found))
    named = {f.name: mark for f, mark in zip(found, marks, strict=True)}
    whole = name_of(named)
    prefix, s3, bucket = f"{bulk_prefix(model)}{whole}/", client("s3"), bench.data.bucket

    def one(file: Found) -> None:
        key = prefix + file.name
        if bench.data.exists(key):
            told(file.size)
        elif file.path is not None:
            s3.upload_file(str(file.path), bucket, key, Callback=told)
        else:
            s3.copy({"Bucket": where.bucket, "Key": file.key}, bucket, key, Callback=told)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(one, found):
            pass
    return prefix


def _mark(file: Found) -> str:
    """What stands for its content."""
    return file.etag if file.path is None else sha256_of(file.path)


def start(
    bench: Workbench,
    model: str,
    prefix: str,
    *,
    actor: str,
    reason: str,
    only: str = "",
    max_failed: float | None = None,
) -> str:
    """Start a run; returns the name of its execution."""
    name = f"bulk-{uuid.uuid4().hex[:16]}"
    request = {
        "model": model, "prefix": prefix, "only": only, "max_failed": max_failed, "actor": actor, "reason": reason,
    }  # fmt: skip
    client("stepfunctions").start_execution(
        stateMachineArn=bench.outputs["BulkArn"], name=name, input=json.dumps(request)
    )
    return name


def progress(bench: Workbench, name: str) -> tuple[str, int, int]:
    """What is being done, how many have ended, of how many; nothing before the first begins."""
    machine: Any = client("stepfunctions")
    arn = bench.outputs["BulkArn"].replace(":stateMachine:", ":execution:") + f":{name}"
    runs = [
        machine.describe_map_run(mapRunArn=run["mapRunArn"])
        for run in machine.list_map_runs(executionArn=arn)["mapRuns"]
    ]
    if not runs:
        return "", 0, 0
    latest = max(runs, key=lambda run: run["startDate"])
    counts = latest["itemCounts"]
    ended = sum(counts[state] for state in ("succeeded", "failed", "timedOut", "aborted"))
    return "files" if len(runs) == 1 else "parts", ended, counts["total"]
