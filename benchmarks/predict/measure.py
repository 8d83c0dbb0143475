"""Interleaved rounds: every peer once a round, so that a busy moment of the machine hurts all of them alike."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from random import Random
from statistics import median

from benchmarks.predict.environments import CACHE, Peer, environment
from benchmarks.predict.runtime_api import cold_start

Samples = dict[str, list[float]]
#: Calls in one sample of a peer that answers within two milliseconds (ten for 100 rows): a few milliseconds, so
#: that the samples of one round are taken moments apart. A slower peer has one call a sample.
CALLS = {"1": 150, "100": 8}
QUICK_NS = {"1": 2e6, "100": 10e6}
#: Samples of warm calls that the processes of one round give.
WARM_ROUNDS = 10


def cold(peers: Sequence[Peer], rounds: int, say: Callable[[str], None]) -> dict[str, Samples]:
    """Milliseconds from process start to first answer, of CPU until then, and resident MB, per peer.

    One more round warms the disk cache.
    """
    event = (CACHE / "model" / "event-1.json").read_bytes()
    times: Samples = {p.name: [] for p in peers}
    cpu: Samples = {p.name: [] for p in peers}
    memory: Samples = {p.name: [] for p in peers}
    for number in range(rounds + 1):
        say(f"cold starts, round {number} of {rounds}")
        for peer in _shuffled(peers, number):
            seconds, used, resident = cold_start(peer, event)
            if number:
                times[peer.name].append(seconds * 1000)
                cpu[peer.name].append(used * 1000)
                memory[peer.name].append(resident)
    return {"cold": times, "cold cpu": cpu, "memory": memory}


class Worker:
    """A peer's process that times its own handler."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        command = [sys.executable, "-S", str(CACHE / "peers" / "warm_worker.py"), peer.handler]
        self.process = subprocess.Popen(
            command, env=environment(peer), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, line: str) -> list[float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.peer.name}: the worker died")
        return [float(number) for number in answer.split()]

    def close(self) -> None:
        self.process.communicate()


def warm(peers: Sequence[Peer], rounds: int, say: Callable[[str], None]) -> tuple[dict[str, Samples], Samples]:
    """Microseconds of one call for 1 and 100 rows, by the clock and of CPU, and resident MB afterwards, per peer.

    Processes are new in every round: one in some dozens takes three times as long for the same call, all its life.
    """
    times: dict[str, Samples] = {kind: {p.name: [] for p in peers} for size in CALLS for kind in (size, f"{size} cpu")}
    memory: Samples = {p.name: [] for p in peers}
    for number in range(rounds):
        say(f"warm calls, round {number + 1} of {rounds}")
        workers = {p.name: Worker(p) for p in peers}
        try:
            _warm_round(peers, workers, number * WARM_ROUNDS, times)
            for name, worker in workers.items():
                memory[name].append(worker.ask("memory")[0] / 1024)
        finally:
            for worker in workers.values():
                worker.close()
    return times, memory


def _warm_round(peers: Sequence[Peer], workers: dict[str, Worker], start: int, times: dict[str, Samples]) -> None:
    quick = {(size, n): w.ask(f"{size} 20")[0] < QUICK_NS[size] for size in CALLS for n, w in workers.items()}
    for number in range(start, start + WARM_ROUNDS):
        for size, many in CALLS.items():
            for peer in _shuffled(peers, number):
                calls = many if quick[size, peer.name] else 1
                wall, used = workers[peer.name].ask(f"{size} {calls}")
                times[size][peer.name].append(wall / 1000)
                times[f"{size} cpu"][peer.name].append(used / 1000)


def ratio(samples: Samples, name: str, floor: str) -> float:
    """Median of the rounds' own ratios: both were measured moments apart."""
    return median(a / b for a, b in zip(samples[name], samples[floor], strict=True))


def _shuffled(peers: Sequence[Peer], number: int) -> list[Peer]:
    """Another order each round, the same in every run: no peer always follows the one that leaves caches cold."""
    return Random(number).sample(list(peers), len(peers))
