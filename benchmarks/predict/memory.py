"""Which memory size? Latency and cost of predict over memory sizes, under AWS's own runtime client.

    python -m benchmarks.predict.memory [--rounds 3] [--sizes 128,256,512,1024,1769]

Every size gets its share of a processor from the kernel, as on Lambda (see `processor_share`): not while the process
initialises, which Lambda does with a whole core, but from the first event on. Writes `.cache/bench/memory.json` and
`.cache/bench/memory.html`. Needs root for the control group, and a machine that is not busy.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.predict import model
from benchmarks.predict.environments import CACHE, OURS, PEERS, environment, prepare
from benchmarks.predict.processor_share import Share
from benchmarks.predict.runtime_api import RuntimeApi
from mlops.report.html import figures, page, paragraph, section, table
from mlops.report.svg import lines

SIZES = (128, 256, 384, 512, 768, 1024, 1536, 1769)
#: Rows of a request -> requests of one round. The last one asks for the most memory that a request can.
LOADS = {1: 150, 100: 60, 1000: 12}
LARGEST = 10_000
#: us-east-1, x86_64: https://aws.amazon.com/lambda/pricing/
GB_SECOND, REQUEST = 0.0000166667, 0.0000002


class Function:
    """One execution environment: a process under the runtime client, in its share of a processor."""

    def __init__(self, memory: int) -> None:
        peer = next(p for p in PEERS if p.name == OURS)
        self.api = RuntimeApi()
        self.share = Share(memory)
        command = [sys.executable, "-S", "-m", "awslambdaric", peer.handler]
        env = {**environment(peer), "AWS_LAMBDA_RUNTIME_API": self.api.address, "_HANDLER": peer.handler}
        env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] = str(memory)
        started = time.perf_counter()
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.api.asked.get(timeout=60)
        self.init = (time.perf_counter() - started) * 1000
        self.share.hold(self.process.pid)

    def invoke(self, event: bytes) -> float:
        """Milliseconds from handing out an event to its answer.

        Raises
        ------
        RuntimeError
            when the function fails.
        """
        started = time.perf_counter()
        self.api.events.put(event)
        arrived, is_good, body = self.api.answers.get(timeout=120)
        if not is_good or json.loads(body).get("statusCode") != 200:
            raise RuntimeError(body[:1000].decode())
        self.api.asked.get(timeout=60)
        return (arrived - started) * 1000

    def peak(self) -> float:
        """The most resident MB so far."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return math.nan

    def close(self) -> None:
        """End the process and remove its group."""
        self.process.kill()
        self.process.wait()
        self.api.shutdown()
        self.api.server_close()
        self.share.close()


def measure(sizes: Sequence[int], rounds: int) -> dict[int, dict[str, Any]]:
    """Samples per memory size, sizes interleaved."""
    rows = model.records(model.table(LARGEST, 2)[0])
    events = {n: json.dumps(model.event(rows[:n])).encode() for n in (*LOADS, LARGEST)}
    found: dict[int, dict[str, Any]] = {m: {"init": [], "first": [], "peak": [], "throttled": 0} for m in sizes}
    for number in range(rounds):
        for memory in sizes:
            print(f"round {number + 1} of {rounds}, {memory} MB ", end="\r", file=sys.stderr, flush=True)
            function = Function(memory)
            try:
                samples = found[memory]
                samples["init"].append(function.init)
                samples["first"].append(function.invoke(events[1]))
                for count, many in LOADS.items():
                    samples.setdefault(count, []).extend(function.invoke(events[count]) for _ in range(many))
                samples["throttled"] += function.share.throttled()
                samples["peak"].append(function.peak())
                if not number:
                    samples["largest"] = function.invoke(events[LARGEST])
                    samples["largest_peak"] = function.peak()
            finally:
                function.close()
    return found


def usd(memory: int, milliseconds: Sequence[float]) -> float:
    """A million requests at list price: duration is billed in whole milliseconds."""
    billed = sum(map(math.ceil, milliseconds)) / len(milliseconds) / 1000
    return 1e6 * (REQUEST + billed * memory / 1024 * GB_SECOND)


def summary(memory: int, samples: dict[str, Any]) -> dict[str, float]:
    """One row of the table."""
    row = {
        "memory": memory,
        "init_ms": median(samples["init"]),
        "first_ms": median(samples["first"]),
        "peak_mb": max(samples["peak"]),
        "largest_ms": samples["largest"],
        "largest_peak_mb": samples["largest_peak"],
    }
    for count in LOADS:
        times = samples[count]
        row |= {
            f"{count}_ms": median(times),
            f"{count}_p95": quantiles(times, n=20)[-1],
            f"{count}_usd": usd(memory, times),
        }
    return row


def report(rows: Sequence[dict[str, float]]) -> None:
    """Print the table, write the page."""
    header = ["MB", "init", "first"]
    for count in LOADS:
        header += [f"{count} row{'s' * (count > 1)}", "p95", "USD"]
    header += [f"{LARGEST}", "peak MB"]
    cells = []
    for row in rows:
        line = [f"{row['memory']:.0f}", f"{row['init_ms']:.0f}", f"{row['first_ms']:.1f}"]
        for count in LOADS:
            line += [f"{row[f'{count}_ms']:.1f}", f"{row[f'{count}_p95']:.1f}", f"{row[f'{count}_usd']:.2f}"]
        cells.append([*line, f"{row['largest_ms']:.0f}", f"{row['largest_peak_mb']:.0f}"])
    for line in [header, *cells]:
        print("  ".join(cell.rjust(9) for cell in line))
    (CACHE / "memory.json").write_text(json.dumps(rows, indent=1))
    drawn = [
        lines(
            [(f"{count}", [(r["memory"], r[f"{count}_{kind}"]) for r in rows]) for count in LOADS],
            title=title,
            x_label="MB",
        )
        for kind, title in (("p95", "95th percentile by rows, ms"), ("usd", "USD for a million requests, by rows"))
    ]
    text = "Milliseconds from event to answer under the runtime client; the share of a processor as on Lambda."
    parts = [section("Figures", figures(drawn)), section("Table", table(header, cells))]
    (CACHE / "memory.html").write_text(page("predict: memory size", paragraph(text), parts))
    print(f"\n{CACHE / 'memory.html'}", file=sys.stderr)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.predict.memory", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    options = parser.parse_args(arguments)
    sizes = [int(s) for s in options.sizes.split(",")]
    try:
        Share(1769).close()
    except OSError as error:
        print(f"no control group can be made here ({error}); run as root", file=sys.stderr)
        return 2
    prepare(tuple(p for p in PEERS if p.name == OURS))
    found = measure(sizes, options.rounds)
    report([summary(m, s) for m, s in found.items()])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
