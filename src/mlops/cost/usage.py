"""What was used in a window of time: quantities in the units in which they are charged.

A quantity says how it came about (``basis``), so that a person can redo the arithmetic. What could not be
measured is listed as :class:`NotMetered`; it is never a quantity of zero.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from mlops.cost.catalogue import compute_key
from mlops.cost.money import ZERO, plain
from mlops.errors import MlopsError

#: AWS's convention for a month ahead (8,760 hours a year / 12). Past months are counted by their real hours.
HOURS_PER_MONTH = Decimal(730)
#: A gigabyte is 2**30 bytes in S3's, DynamoDB's and CloudWatch Logs' GB, and 1,024 MB in Lambda's.
GIB = Decimal(2**30)
_HOUR = Decimal(3600)
_FREE_EPHEMERAL_MB = 512


@dataclass(frozen=True, slots=True)
class Window:
    """``[start, end)``, both in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise MlopsError("a window's times need a time zone", code="invalid_window")
        if self.end <= self.start:
            raise MlopsError(f"the window ends ({self.end}) before it starts ({self.start})", code="invalid_window")

    @property
    def hours(self) -> Decimal:
        return _seconds(self.end - self.start) / _HOUR

    @property
    def months(self) -> Decimal:
        """The share of a month that it is: hours of each month touched, over that month's own hours.

        A key at $1.00 a month costs $1.00 in February and in March, though February is shorter.
        """
        share, start, end = ZERO, self.start.astimezone(UTC), self.end.astimezone(UTC)
        while start < end:
            days = calendar.monthrange(start.year, start.month)[1]
            first = start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            stop = min(end, first + timedelta(days=days))
            share += _seconds(stop - start) / (_HOUR * 24 * days)
            start = stop
        return share

    def to_dict(self) -> dict[str, str]:
        return {"start": self.start.isoformat(), "end": self.end.isoformat(), "hours": plain(self.hours) or "0"}


def _seconds(delta: timedelta) -> Decimal:
    return Decimal(delta.days * 86_400 + delta.seconds) + Decimal(delta.microseconds) / 1_000_000


@dataclass(frozen=True, slots=True)
class Quantity:
    """So many units of a catalogue item.

    ``resource``: what used it (logical id); ``basis``: the measurement and the arithmetic in words.
    """

    key: str
    amount: Decimal
    resource: str
    basis: str


@dataclass(frozen=True, slots=True)
class NotMetered:
    """Something that may cost money and was not measured."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class FunctionUsage:
    """One Lambda function in a window.

    Attributes
    ----------
    duration_ms : sum over invocations, as CloudWatch's metric ``Duration`` has it (no start-up, not rounded).
    billed_ms : what Lambda charges: rounded up to 1 ms an invocation, start-up included.
    billed_basis : how ``billed_ms`` was found.
    max_memory_mb : highest memory use seen in the sampled invocations; None when none was seen.
    cold_starts, sampled : among the sampled invocations.
    """

    name: str
    memory_mb: int
    architecture: str
    invocations: int
    errors: int
    throttles: int
    duration_ms: Decimal
    billed_ms: Decimal
    billed_basis: str
    log_bytes: int | None = None
    max_memory_mb: int | None = None
    cold_starts: int = 0
    sampled: int = 0
    ephemeral_mb: int = 512

    @property
    def gb_seconds(self) -> Decimal:
        """Configured memory in GB times billed seconds."""
        return Decimal(self.memory_mb) / 1024 * self.billed_ms / 1000

    def quantities(self) -> list[Quantity]:
        """Requests, compute and temporary storage in catalogue units."""
        found = [
            Quantity("lambda.requests", Decimal(self.invocations), self.name, "CloudWatch AWS/Lambda Invocations"),
            Quantity(
                compute_key(self.architecture),
                self.gb_seconds,
                self.name,
                f"{self.memory_mb} MB / 1024 x {plain(self.billed_ms)} ms / 1000; {self.billed_basis}",
            ),
        ]
        if self.ephemeral_mb > _FREE_EPHEMERAL_MB:
            extra = Decimal(self.ephemeral_mb - _FREE_EPHEMERAL_MB) / 1024 * self.billed_ms / 1000
            basis = f"({self.ephemeral_mb} - {_FREE_EPHEMERAL_MB}) MB / 1024 x {plain(self.billed_ms)} ms / 1000"
            found.append(Quantity("lambda.ephemeral_gb_seconds", extra, self.name, basis))
        return found

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "memory_mb": self.memory_mb,
            "architecture": self.architecture,
            "invocations": self.invocations,
            "errors": self.errors,
            "throttles": self.throttles,
            "duration_ms": plain(self.duration_ms),
            "billed_ms": plain(self.billed_ms),
            "billed_basis": self.billed_basis,
            "gb_seconds": plain(self.gb_seconds),
            "log_bytes": self.log_bytes,
            "max_memory_mb": self.max_memory_mb,
            "cold_starts": self.cold_starts,
            "sampled": self.sampled,
            "ephemeral_mb": self.ephemeral_mb,
        }


@dataclass(frozen=True)
class Usage:
    """Everything measured in a window.

    ``quantities`` holds what is not Lambda compute; ``standing`` says how many of each chargeable thing exist
    (alarms, keys, stored gigabytes): the key's unit without the month.
    """

    stack: str
    region: str
    window: Window
    functions: tuple[FunctionUsage, ...] = ()
    quantities: tuple[Quantity, ...] = ()
    standing: tuple[Quantity, ...] = ()
    not_metered: tuple[NotMetered, ...] = field(default=())

    def function(self, name: str) -> FunctionUsage | None:
        return next((f for f in self.functions if f.name == name), None)

    def all_quantities(self) -> list[Quantity]:
        """Use and standing charges of the window, in catalogue units."""
        found = [q for f in self.functions for q in f.quantities()]
        found += self.quantities
        months = self.window.months
        for item in self.standing:
            basis = f"{item.basis}; {plain(item.amount)} x {plain(months)} months"
            found.append(Quantity(item.key, item.amount * months, item.resource, basis))
        return found


class Meter(Protocol):
    """Measures a stack's use."""

    def measure(self, window: Window) -> Usage: ...
