"""Compare the validation of ingestion with the fastest reader alone and with other ways to check a table.

    python -m benchmarks.ingest [--rows 1000000] [--rounds 5] [--only "duckdb,serverless-mlops"]

Makes every environment and the table itself (below .cache/bench/ingest), first asks every peer about a small spoiled
table, so that all of them make the same checks, then prints seconds from before reading until the last check, by the
clock and of CPU, with the multiple of the floor in brackets, and the peak of resident memory. Only ratios of one run
mean anything.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from benchmarks.ingest import table
from benchmarks.ingest.environments import CACHE, FLOOR, GOAL_OF, PEERS, Peer, command, environment, prepare

KINDS = ("parquet", "csv")
#: (kind, most that reading and checking may take of reading alone)
GOALS = (("parquet", 2.0), ("csv", 1.5))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.ingest", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="names of peers, separated by commas")
    options = parser.parse_args(arguments)
    names = {n.strip() for n in options.only.split(",") if n.strip()}
    peers = tuple(p for p in PEERS if not names or p.name in names)
    prepare(peers)
    files = _files(options.rows)
    for peer in peers:
        for kind in KINDS:
            broken = ask(peer, files[f"spoiled.{kind}"])["broken"]
            if peer.name != FLOOR and broken != table.SPOILED:
                raise SystemExit(f"{peer.name} found {broken} broken cells in the {kind} file, not {table.SPOILED}")
    measured: dict[str, dict[str, list[dict[str, Any]]]] = {k: {p.name: [] for p in peers} for k in KINDS}
    for number in range(options.rounds):
        for kind in KINDS:
            # Another order each round, the same in every run.
            for peer in Random(number).sample(list(peers), len(peers)):
                print(f"round {number + 1} of {options.rounds}: {peer.name} …".ljust(70), end="\r", file=sys.stderr)
                measured[kind][peer.name].append(ask(peer, files[f"clean.{kind}"]))
    report(peers, measured)
    (CACHE / "ingest.json").write_text(json.dumps({"rows": options.rows, "samples": measured}, indent=1))
    return 0


def ask(peer: Peer, path: Path) -> dict[str, Any]:
    """One process of a peer on one file."""
    done = subprocess.run(command(peer, path), env=environment(peer), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{peer.name} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def report(peers: tuple[Peer, ...], measured: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    """Print the table and the goals."""
    rows = [["", *(f"{k}, {what}" for k in KINDS for what in ("s", "CPU s", "MB"))]]
    for peer in peers:
        cells = []
        for kind in KINDS:
            samples = measured[kind][peer.name]
            for what in ("seconds", "cpu"):
                cells.append(f"{median(s[what] for s in samples):.2f} ({_ratio(measured[kind], peer.name, what):.2f})")
            cells.append(f"{median(s['peak_mb'] for s in samples):.0f}")
        rows.append([peer.name, *cells])
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(c.ljust(w) if not i else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))))
    print()
    for kind, bound in GOALS:
        for name in [n for n in GOAL_OF if n in measured[kind]]:
            for what, said in (("seconds", "by the clock"), ("cpu", "of CPU")):
                value = _ratio(measured[kind], name, what)
                verdict = "met   " if value <= bound else "missed"
                print(f"{verdict}  {value:.2f}  (at most {bound:g})  {kind}, {said}: {name}")


def _ratio(samples: dict[str, list[dict[str, Any]]], name: str, what: str) -> float:
    """Median of the rounds' own ratios to the floor; both were measured moments apart."""
    if FLOOR not in samples:
        return float("nan")
    return median(a[what] / b[what] for a, b in zip(samples[name], samples[FLOOR], strict=True))


def _files(rows: int) -> dict[str, Path]:
    for name, size, spoil in (("clean", rows, False), ("spoiled", 1_000, True)):
        folder = CACHE / f"{name}-{size}"
        if not (folder / "checks.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            table.write(folder, name, size, spoil=spoil)
    clean, spoiled = CACHE / f"clean-{rows}", CACHE / "spoiled-1000"
    return {f"{f.stem}{f.suffix}": f for folder in (clean, spoiled) for f in folder.iterdir() if f.stem != "checks"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
