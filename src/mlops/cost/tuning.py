"""Power tuning: the real function at several memory sizes, and the curve of its time and price.

Memory decides the share of a processor, so more of it can be faster and cheaper at once, or only dearer; only a
measurement tells. The idea is Alex Casalboni's AWS Lambda Power Tuning; here the versions that are tried are
published for the purpose and deleted, and the alias that serves is never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from statistics import median
from typing import Any, Protocol

from mlops.cost.catalogue import compute_key
from mlops.cost.lambda_logs import Invocation
from mlops.cost.money import ZERO, plain
from mlops.cost.prices import Price, PriceSource
from mlops.errors import MlopsError

SCHEMA = "mlops.tuning.v1"
#: Lambda's limits, and the sizes that are tried when none are named.
SMALLEST, LARGEST = 128, 10_240
SIZES = (256, 512, 1024, 1769, 3008)
_MILLION = 1_000_000


class Trials(Protocol):
    """Versions of one function that differ in memory only."""

    def publish(self, memory_mb: int) -> str:
        """A version of that size, by its number.

        Raises
        ------
        ConflictError
            when somebody else changes the function meanwhile.
        """
        ...

    def invoke(self, version: str, payload: Mapping[str, Any]) -> Invocation:
        """Call it once and return what Lambda reported.

        Raises
        ------
        MlopsError
            when the function failed, or nothing was reported.
        """
        ...


@dataclass(frozen=True)
class Subject:
    """The function as it is now."""

    function: str
    memory_mb: int
    architecture: str


#: Opens trials of a function and puts everything back at the end, whatever happened.
Bench = Callable[[], AbstractContextManager[tuple[Subject, Trials]]]


@dataclass(frozen=True)
class Point:
    """One size. Times in ms, of warm invocations; ``usd``: compute of a million invocations, None without a price."""

    memory_mb: int
    invocations: int
    median_ms: Decimal
    billed_ms: Decimal
    cold_ms: Decimal | None
    used_mb: int | None
    usd: Decimal | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "memory_mb": self.memory_mb,
            "invocations": self.invocations,
            "median_ms": plain(self.median_ms),
            "billed_ms": plain(self.billed_ms),
            "cold_ms": plain(self.cold_ms),
            "used_mb": self.used_mb,
            "usd_per_million": plain(self.usd),
        }


@dataclass(frozen=True)
class Tuning:
    """The curve of one function, smallest size first."""

    subject: Subject
    points: tuple[Point, ...]
    made_at: datetime
    price: Price | None

    @property
    def cheapest(self) -> Point | None:
        """None without a price; of equally cheap ones the faster."""
        priced = [p for p in self.points if p.usd is not None]
        return min(priced, key=lambda p: (p.usd or ZERO, p.median_ms), default=None)

    @property
    def fastest(self) -> Point:
        """Of equally fast ones the smaller."""
        return min(self.points, key=lambda p: (p.median_ms, p.memory_mb))

    @property
    def now(self) -> Point | None:
        """The size that it has, if that was tried."""
        return next((p for p in self.points if p.memory_mb == self.subject.memory_mb), None)

    def to_dict(self) -> dict[str, Any]:
        cheapest = self.cheapest
        return {
            "schema": SCHEMA,
            "function": self.subject.function,
            "memory_mb": self.subject.memory_mb,
            "architecture": self.subject.architecture,
            "made_at": self.made_at.isoformat(),
            "points": [p.to_dict() for p in self.points],
            "cheapest_mb": cheapest.memory_mb if cheapest else None,
            "fastest_mb": self.fastest.memory_mb,
            "price": self.price.to_dict() if self.price else None,
        }


def tune(
    bench: Bench,
    sizes: Sequence[int],
    payload: Mapping[str, Any],
    *,
    rounds: int,
    prices: PriceSource,
    region: str,
    now: Callable[[], datetime],
    say: Callable[[str], None] = lambda text: None,
) -> Tuning:
    """Invoke a function ``rounds`` times warm at each size, after one invocation that starts it.

    Raises
    ------
    MlopsError
        for sizes that Lambda does not have, or what :class:`Trials` says.
    """
    wanted = sorted(set(sizes))
    bad = [size for size in wanted if not SMALLEST <= size <= LARGEST]
    if bad or not wanted:
        said = f"memory sizes must be {SMALLEST} to {LARGEST} MB, not {bad or 'none'}"
        raise MlopsError(said, code="invalid_request")
    if rounds < 1:
        raise MlopsError("rounds: at least one is needed", code="invalid_request")
    points = []
    with bench() as (subject, trials):
        found = prices.price(compute_key(subject.architecture), region)
        price = found if isinstance(found, Price) else None
        for size in wanted:
            say(f"{subject.function} at {size} MB")
            version = trials.publish(size)
            first = trials.invoke(version, payload)
            warm = [trials.invoke(version, payload) for _ in range(rounds)]
            points.append(_point(size, first, warm, price))
    return Tuning(subject, tuple(points), now(), price)


def _point(size: int, first: Invocation, warm: Sequence[Invocation], price: Price | None) -> Point:
    # An instance may be replaced in between: what started cold is no warm time.
    kept = [i for i in warm if not i.cold] or list(warm)
    billed = sum((i.billed_ms for i in kept), ZERO) / len(kept)
    used = [i.used_mb for i in (first, *warm) if i.used_mb]
    usd = None if price is None else Decimal(size) / 1024 * billed / 1000 * price.first * _MILLION
    return Point(
        memory_mb=size,
        invocations=len(warm) + 1,
        median_ms=median(i.duration_ms for i in kept),
        billed_ms=billed,
        cold_ms=first.billed_ms if first.cold else None,
        used_mb=max(used) if used else None,
        usd=usd,
    )
