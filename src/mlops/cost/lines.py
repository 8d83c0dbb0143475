"""Quantities times prices: the lines of a cost report, and sums that say what they leave out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mlops.cost.catalogue import ITEMS
from mlops.cost.money import ZERO, plain
from mlops.cost.prices import Allowance, Price, PriceSource, Unknown
from mlops.cost.usage import Quantity


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity with its price. ``amount`` is in USD, None when the price is unknown."""

    key: str
    resource: str
    quantity: Decimal
    basis: str
    price: Price | Unknown
    amount: Decimal | None

    @property
    def service(self) -> str:
        return ITEMS[self.key].service

    @property
    def unit(self) -> str:
        return ITEMS[self.key].unit

    def to_dict(self) -> dict[str, Any]:
        known = isinstance(self.price, Price)
        return {
            "service": self.service,
            "resource": self.resource,
            "key": self.key,
            "what": ITEMS[self.key].what,
            "quantity": plain(self.quantity),
            "unit": self.unit,
            "basis": self.basis,
            "price_usd": plain(self.price.first) if isinstance(self.price, Price) else None,
            "amount_usd": plain(self.amount),
            "source": self.price.source if isinstance(self.price, Price) else None,
            "as_of": self.price.as_of if isinstance(self.price, Price) else None,
            "confidence": self.price.confidence if isinstance(self.price, Price) else None,
            "unknown": None if known else self.price.reason if isinstance(self.price, Unknown) else None,
        }


@dataclass(frozen=True, slots=True)
class Sum:
    """A total and what it lacks: items whose price is unknown. With any, the total is a lower bound."""

    usd: Decimal
    unknown: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.unknown

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.usd + other.usd, tuple(sorted({*self.unknown, *other.unknown})))

    def scaled(self, factor: Decimal) -> Sum:
        return Sum(self.usd * factor, self.unknown)

    def to_dict(self) -> dict[str, Any]:
        return {"usd": plain(self.usd), "complete": self.complete, "unknown": list(self.unknown)}


NOTHING = Sum(ZERO)


def price_lines(quantities: Iterable[Quantity], source: PriceSource, region: str) -> list[Line]:
    """A line for each quantity.

    Tiers count per item over the whole month and account; each line starts at the first tier, so a total can
    be too high for very large use, never too low. A quantity of zero costs zero even where the price is not
    known: nothing was used.
    """
    result = []
    for q in quantities:
        price = source.price(q.key, region)
        if isinstance(price, Price):
            amount: Decimal | None = price.cost(q.amount)
        else:
            amount = ZERO if q.amount == 0 else None
        result.append(Line(q.key, q.resource, q.amount, q.basis, price, amount))
    return result


def add(lines: Iterable[Line]) -> Sum:
    """Their total."""
    usd, unknown = ZERO, set()
    for line in lines:
        if line.amount is None:
            unknown.add(line.key)
        else:
            usd += line.amount
    return Sum(usd, tuple(sorted(unknown)))


def group(lines: Iterable[Line], by: Callable[[Line], str]) -> dict[str, Sum]:
    """Totals by something, the dearest first."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(by(line), []).append(line)
    sums = {name: add(members) for name, members in found.items()}
    return dict(sorted(sums.items(), key=lambda pair: (-pair[1].usd, pair[0])))


def after_free_tier(lines: Sequence[Line], free: Sequence[Allowance], months: Decimal) -> Sum:
    """The total if nothing else in the account used the free tier: each allowance, times ``months``, taken off.

    Lambda's compute allowance covers both architectures, dearer first.
    """
    left = {a.key: a.quantity * months for a in free}
    usd, unknown = ZERO, set()
    for line in sorted(lines, key=lambda item: item.key):
        if line.amount is None:
            unknown.add(line.key)
            continue
        pot = "lambda.gb_seconds" if line.key == "lambda.gb_seconds_arm" else line.key
        taken = min(left.get(pot, ZERO), line.quantity)
        if taken and isinstance(line.price, Price):
            left[pot] -= taken
            usd += line.price.cost(line.quantity - taken)
        else:
            usd += line.amount
    return Sum(usd, tuple(sorted(unknown)))
