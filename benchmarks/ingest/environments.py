"""What each peer runs on: a folder of pinned packages of its own, made once."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.predict.environments import UV, is_fresh, stamp

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "bench" / "ingest"


@dataclass(frozen=True)
class Peer:
    """One way to read a file and check it. ``packages``: a requirements file; None for this project's own."""

    name: str
    script: str
    packages: str | None
    mode: str = ""


FLOOR, OURS = "polars reads alone", "serverless-mlops"
#: Held against the goals.
GOAL_OF = (OURS, OURS + " + duplicates")
PEERS = (
    Peer(FLOOR, "polars_read.py", None),
    Peer("polars, checks by hand", "polars_lazy.py", None),
    Peer(OURS, "ours.py", None, "cells"),
    Peer(OURS + " + duplicates", "ours.py", None, "rows"),
    Peer(OURS + " + every check", "ours.py", None, "file"),
    Peer(OURS + " + a data set", "ours.py", None, "data-set"),
    Peer("duckdb", "duckdb_sql.py", "duckdb"),
    Peer("pandera (polars)", "pandera_polars.py", "pandera-polars"),
    Peer("pandera (pandas)", "pandera_pandas.py", "pandera-pandas"),
    Peer("pointblank (polars)", "pointblank_polars.py", "pointblank"),
    Peer("Great Expectations (pandas)", "great_expectations_pandas.py", "great-expectations"),
)


def prepare(peers: tuple[Peer, ...]) -> None:
    """Install what is missing or out of date."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for name in sorted({p.packages for p in peers if p.packages}):
        requirements = HERE / "requirements" / f"{name}.txt"
        if is_fresh(CACHE / name, requirements.read_bytes()):
            continue
        print(f"installing {name} …", file=sys.stderr, flush=True)
        command = [str(UV), "pip", "install", "--quiet", "--python", sys.executable, "--only-binary", ":all:"]
        command += ["--compile-bytecode", "--target", str(CACHE / name), "--requirements", str(requirements)]
        subprocess.run(command, check=True)
        stamp(CACHE / name, requirements.read_bytes())


def environment(peer: Peer) -> dict[str, str]:
    """The whole environment of a peer's process."""
    folders = [CACHE / peer.packages] if peer.packages else [ROOT / "src"]
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(CACHE),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(str(f) for f in [HERE / "peers", *folders]),
        "BENCH_MODE": peer.mode,
        "BENCH_SCRATCH": str(CACHE),
        "GX_ANALYTICS_ENABLED": "false",
    }


def command(peer: Peer, path: Path) -> list[str]:
    """What runs a peer on a file. A peer with packages of its own sees no others."""
    flags = ["-S"] if peer.packages else []
    return [sys.executable, *flags, str(HERE / "peers" / peer.script), str(path), str(path.parent / "checks.json")]
