"""Take one large CSV file in, in a function's disk and memory: read, checked, addressed and stored, as ingestion does.

    python -m benchmarks.ingest.service [--millions 19] [--key] [--disk 10240] [--memory 2048]

A million rows have 262 MB. With ``--key`` every row also has a key of its own, and equal keys are looked for. The work
folder is a file system of its own with the size that Lambda gives, and the process a control group with Lambda's
memory, page cache included; both need root. The object store is a folder elsewhere, as S3 is. Prints what became of the
upload, seconds, and the most disk and memory that were used, by sampling.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.ingest import table
from benchmarks.ingest.environments import CACHE
from mlops.contract import Contract, Target
from mlops.data.ingest import Ingest, IngestRequest
from mlops.data.intake import Upload
from mlops.errors import NotFoundError
from mlops.features.spec import Feature
from mlops.objects import ObjectInfo
from tests.fakes import MemoryEvents, MemoryLedger, MemoryRegistry

MB = 1024 * 1024
KEY = "incoming/bench/rows.csv"


class FolderObjects:
    """A bucket in a folder; versions and ETags are not kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str, *, version_id: str | None = None) -> bytes:
        if not self.exists(key):
            raise NotFoundError(key)
        return (self._folder / key).read_bytes()

    def put(self, key: str, body: bytes, *, content_type: str = "", if_absent: bool = False) -> bool:
        if if_absent and self.exists(key):
            return False
        (self._folder / key).parent.mkdir(parents=True, exist_ok=True)
        (self._folder / key).write_bytes(body)
        return True

    def exists(self, key: str) -> bool:
        return (self._folder / key).exists()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for path in sorted(self._folder.glob(f"{prefix}*")):
            yield ObjectInfo(str(path.relative_to(self._folder)), path.stat().st_size, "")

    def copy(self, source: str, target: str, *, version_id: str | None = None) -> None:
        self.upload(str(self._folder / source), target)

    def download(self, key: str, path: str, *, version_id: str | None = None, etag: str | None = None) -> None:
        shutil.copyfile(self._folder / key, path)

    def upload(self, path: str, key: str, *, content_type: str = "", if_absent: bool = False) -> bool:
        (self._folder / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, self._folder / key)
        return True


def contract(*, keyed: bool) -> Contract:
    checks = table.CHECKS
    (low, high), (least, most) = checks["number_range"], checks["integer_range"]
    return Contract(
        "bench",
        "classification",
        Target(checks["target"], tuple(checks["classes"])),
        (
            *(Feature(n, "number", minimum=low, maximum=high) for n in checks["numbers"]),
            *(Feature(n, "number", nullable=True, minimum=low, maximum=high) for n in checks["nullable"]),
            *(Feature(n, "integer", minimum=least, maximum=most) for n in checks["integers"]),
            *(Feature(n, "category", categories=tuple(checks["levels"])) for n in checks["categories"]),
            Feature(checks["boolean"], "boolean"),
        ),
        key=("customer",) if keyed else (),
    )


def make(path: Path, millions: int, *, keyed: bool) -> None:
    """The table of the other benchmark, a million rows at a time, the last column of each made its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        table.write(Path(folder), "rows", 1_000_000)
        frame = pl.read_csv(Path(folder) / "rows.csv")
    rng = np.random.default_rng(1)
    with path.open("wb") as file:
        for i in range(millions):
            numbers: dict[str, Any] = {
                n: np.round(rng.normal(50, 10, frame.height), 4) for n in ("number_0", "number_1", "number_2")
            }
            if keyed:
                numbers["customer"] = pl.format("customer-{}", pl.lit(rng.permutation(frame.height) + i * frame.height))
            frame.with_columns(**numbers).write_csv(file, include_header=i == 0)


def take(store: Path, group: Path, keyed: bool, answer: Any) -> None:
    """In a process of its own: take the upload in."""
    (group / "cgroup.procs").write_text(str(os.getpid()))
    registry = MemoryRegistry(lambda: datetime.now(UTC))
    registry.put_contract(contract(keyed=keyed))
    service = Ingest(
        FolderObjects(store),
        registry,
        MemoryLedger(lambda: datetime.now(UTC)),
        MemoryEvents(),
        lambda: datetime.now(UTC),
    )
    size = (store / KEY).stat().st_size
    started, cpu = time.perf_counter(), time.process_time()
    result = service.run(IngestRequest("bench", Upload("0123456789abcdef", "data", KEY, "", "", size)))
    used = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    answer.put({"status": result.status, "rows": result.rows.new, "reasons": list(result.reasons), **used})


@contextlib.contextmanager
def file_system(megabytes: int) -> Iterator[Path]:
    """An ext4 file system of that size."""
    image, folder = CACHE / "disk.img", CACHE / "disk"
    folder.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(megabytes * MB)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        image.unlink()


@contextlib.contextmanager
def memory_group(megabytes: int) -> Iterator[Path]:
    """A control group of that memory."""
    root = Path("/sys/fs/cgroup")
    second = (root / "cgroup.controllers").exists()
    group = (root if second else root / "memory") / f"mlops-bench-{os.getpid()}"
    group.mkdir()
    (group / ("memory.max" if second else "memory.limit_in_bytes")).write_text(str(megabytes * MB))
    try:
        yield group
    finally:
        group.rmdir()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.ingest.service", description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=int, default=19)
    parser.add_argument("--key", action="store_true")
    parser.add_argument("--disk", type=int, default=10_240)
    parser.add_argument("--memory", type=int, default=2_048)
    options = parser.parse_args(arguments)
    store = CACHE / "bucket"
    make(store / KEY, options.millions, keyed=options.key)
    size = (store / KEY).stat().st_size
    most = {"disk": 0, "memory": 0}
    with file_system(options.disk) as work, memory_group(options.memory) as group:
        os.environ["TMPDIR"] = str(work)
        context = multiprocessing.get_context("spawn")
        answer = context.Queue()
        process = context.Process(target=take, args=(store, group, options.key, answer))
        process.start()
        ended = threading.Event()

        def sample() -> None:
            while not ended.wait(0.1):
                usage = shutil.disk_usage(work)
                most["disk"] = max(most["disk"], usage.total - usage.free)
                with contextlib.suppress(OSError, IndexError):
                    resident = Path(f"/proc/{process.pid}/status").read_text().split("RssAnon:")[1].split()[0]
                    most["memory"] = max(most["memory"], int(resident) * 1024)

        watcher = threading.Thread(target=sample)
        watcher.start()
        process.join()
        ended.set()
        watcher.join()
        found = answer.get(timeout=5) if process.exitcode == 0 else {"exit code": process.exitcode}
    stored = {p.name: p.stat().st_size // MB for p in (store / "datasets").rglob("*") if p.stat().st_size > MB}
    shutil.rmtree(store)
    print(
        json.dumps({"file MB": size // MB, **found, **{f"{k} MB": v // MB for k, v in most.items()}, "stored": stored})
    )
    return process.exitcode or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
