"""Reading Lambda's REPORT lines: what each invocation was billed for and how much memory it used.

Both log formats are read: the text line (``REPORT RequestId: … Billed Duration: 13 ms …``) and the JSON record
``platform.report``. Source: AWS Lambda Developer Guide, "Viewing CloudWatch logs" and "Lambda telemetry API
schema reference".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

_TEXT = {
    "duration": re.compile(r"(?:^|\t|\s)Duration: ([0-9.]+) ms"),
    "billed": re.compile(r"Billed Duration: ([0-9.]+) ms"),
    "memory": re.compile(r"Memory Size: (\d+) MB"),
    "used": re.compile(r"Max Memory Used: (\d+) MB"),
    "init": re.compile(r"Init Duration: ([0-9.]+) ms"),
}


@dataclass(frozen=True, slots=True)
class Invocation:
    """One invocation as Lambda reported it; times in ms, memory in MB."""

    duration_ms: Decimal
    billed_ms: Decimal
    memory_mb: int
    used_mb: int | None
    cold: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """What a number of reported invocations say together."""

    invocations: tuple[Invocation, ...]

    @property
    def size(self) -> int:
        return len(self.invocations)

    @property
    def billed_ms(self) -> Decimal:
        return sum((i.billed_ms for i in self.invocations), Decimal(0))

    @property
    def duration_ms(self) -> Decimal:
        return sum((i.duration_ms for i in self.invocations), Decimal(0))

    @property
    def max_memory_mb(self) -> int | None:
        """The most that an invocation used; None when that was not measured."""
        used = [i.used_mb for i in self.invocations if i.used_mb]  # the local engine reports 0: not measured
        return max(used) if used else None

    @property
    def cold_starts(self) -> int:
        return sum(i.cold for i in self.invocations)


def parse(line: str) -> Invocation | None:
    """One log line; None when it is not a report.

    >>> text = "REPORT RequestId: a\\tDuration: 1.20 ms\\tBilled Duration: 2 ms\\tMemory Size: 128 MB\\t"
    >>> parse(text + "Max Memory Used: 40 MB\\t").billed_ms
    Decimal('2')
    """
    line = line.strip()
    if line.startswith("REPORT "):
        return _text(line)
    if line.startswith("{") and '"platform.report"' in line:
        return _json(line)
    return None


def sample(lines: Iterable[str]) -> Sample:
    """All reports among ``lines``."""
    return Sample(tuple(found for found in map(parse, lines) if found is not None))


def billed(duration_ms: Decimal, invocations: int, reports: Sample) -> tuple[Decimal, str]:
    """Billed milliseconds of ``invocations`` whose durations add up to ``duration_ms``, and how that was found.

    With a report for each, their sum. With some, the measured durations plus the mean difference between billed
    and measured time of those. With none, half a millisecond an invocation is added for rounding up; start-up
    time is then missing.
    """
    if invocations and reports.size == invocations:
        return reports.billed_ms, f"sum of {reports.size} REPORT lines"
    if reports.size:
        extra = (reports.billed_ms - reports.duration_ms) / reports.size
        return (
            max(Decimal(0), duration_ms + extra * invocations),
            f"CloudWatch Duration plus {extra:.3f} ms an invocation, the mean of {reports.size} REPORT lines",
        )
    return (
        duration_ms + Decimal("0.5") * invocations,
        "CloudWatch Duration plus 0.5 ms an invocation for rounding; start-up time not seen",
    )


def _text(line: str) -> Invocation | None:
    found = {name: pattern.search(line) for name, pattern in _TEXT.items()}
    duration, charged, memory = found["duration"], found["billed"], found["memory"]
    if not (duration and charged and memory):
        return None
    used = found["used"]
    try:
        return Invocation(
            Decimal(duration[1]),
            Decimal(charged[1]),
            int(memory[1]),
            int(used[1]) if used else None,
            found["init"] is not None,
        )
    except ArithmeticError:  # such as "1.2.3": not a number, so not a report
        return None


def _json(line: str) -> Invocation | None:
    try:
        data = json.loads(line, parse_float=Decimal)
        metrics = data["record"]["metrics"]
        return Invocation(
            Decimal(metrics["durationMs"]),
            Decimal(metrics["billedDurationMs"]),
            int(metrics["memorySizeMB"]),
            int(metrics["maxMemoryUsedMB"]) if "maxMemoryUsedMB" in metrics else None,
            "initDurationMs" in metrics,
        )
    except (ValueError, KeyError, TypeError, ArithmeticError):
        return None
