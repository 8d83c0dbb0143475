"""Prices with their region, date, source and confidence, and the port through which they are asked for.

The snapshot ``prices.json`` ships with the package, so that an estimate needs no account.
:class:`Layered` asks a fresher source first (the Price List API, see :mod:`mlops.aws.pricing`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any, Literal, Protocol

from mlops.cost.catalogue import ITEMS, Item
from mlops.cost.money import ZERO, decimal, plain
from mlops.errors import MlopsError

Confidence = Literal["high", "medium", "low"]

#: What the words mean; reports print this.
CONFIDENCE: Mapping[str, str] = {
    "high": "read in the AWS Price List",
    "medium": "quoted from the Price List or a pricing page by somebody else, or the page's date is not known",
    "low": "from memory; check it before relying on it",
}

EVERYWHERE = "*"


@dataclass(frozen=True, slots=True)
class Tier:
    """From ``begin`` units a month on, one unit costs ``usd``."""

    begin: Decimal
    usd: Decimal


@dataclass(frozen=True, slots=True)
class Price:
    """The list price of one catalogue item in one region.

    Attributes
    ----------
    tiers : by ``begin`` ascending, the first at 0. Where a source gave only the first tier it stands for all,
        which is never too low: later tiers are cheaper.
    as_of : day (ISO 8601) for which the source states it; empty when the source carries no date.
    read : day on which we took it from the source.
    """

    key: str
    region: str
    tiers: tuple[Tier, ...]
    source: str
    url: str
    as_of: str
    read: str
    confidence: Confidence
    sku: str = ""

    @property
    def item(self) -> Item:
        return ITEMS[self.key]

    @property
    def first(self) -> Decimal:
        """What the first unit costs, in USD."""
        return self.tiers[0].usd

    def cost(self, quantity: Decimal) -> Decimal:
        """USD for ``quantity`` units used in one month, each tier's part at that tier's price.

        >>> from decimal import Decimal as D
        >>> tiers = (Tier(D(0), D("0.30")), Tier(D(10), D("0.10")))
        >>> Price("cloudwatch.metrics", "x", tiers, "s", "", "", "", "low").cost(D(12))
        Decimal('3.20')
        """
        if quantity < 0:
            raise MlopsError(f"{self.key}: a quantity below zero cannot be priced", code="invalid_amount")
        amount = ZERO
        for i, tier in enumerate(self.tiers):
            end = self.tiers[i + 1].begin if i + 1 < len(self.tiers) else quantity
            amount += max(ZERO, min(quantity, end) - tier.begin) * tier.usd
        return amount

    def to_dict(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "region": self.region,
            "unit": self.item.unit,
            "usd": plain(self.first),
            "tiers": [[plain(t.begin), plain(t.usd)] for t in self.tiers],
            "source": self.source,
            "url": self.url,
            "as_of": self.as_of,
            "read": self.read,
            "confidence": self.confidence,
            "sku": self.sku,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Price:
        """The inverse of :meth:`to_dict`."""
        return cls(
            key=str(data["key"]),
            region=str(data["region"]),
            tiers=_tiers(data["tiers"], f"price of {data['key']}"),
            source=str(data["source"]),
            url=str(data["url"]),
            as_of=str(data["as_of"]),
            read=str(data["read"]),
            confidence=data["confidence"],
            sku=str(data.get("sku", "")),
        )


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no price for ``key`` in ``region``, and why. It is not zero."""

    key: str
    region: str
    reason: str


class PriceSource(Protocol):
    """Where prices come from."""

    def price(self, key: str, region: str) -> Price | Unknown:
        """The list price of a catalogue item. A key that is not in the catalogue raises KeyError."""
        ...


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is free each month. It is the account's, not the stack's: whatever else runs there uses it up too."""

    key: str
    quantity: Decimal
    scope: str
    source: str


class Snapshot:
    """Prices of one dated file."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        if data.get("schema") != "mlops.prices.v1":
            raise MlopsError("the price snapshot is not of the layout mlops.prices.v1", code="invalid_prices")
        if data["currency"] != "USD":
            raise MlopsError(f"prices in {data['currency']}: only USD is supported", code="invalid_prices")
        self.read: str = data["read"]
        self._sources: Mapping[str, Mapping[str, Any]] = data["sources"]
        self._regions: Mapping[str, Mapping[str, Mapping[str, Any]]] = data["regions"]
        self.free: tuple[Allowance, ...] = tuple(
            Allowance(f["key"], decimal(f["quantity"], f["key"]), f["scope"], self._sources[f["source"]]["what"])
            for f in data["free"]
        )

    @property
    def regions(self) -> list[str]:
        """Regions with prices of their own."""
        return sorted(set(self._regions) - {EVERYWHERE})

    def price(self, key: str, region: str) -> Price | Unknown:
        item = ITEMS[key]
        found = self._regions.get(region, {}).get(key)
        if found is None and item.everywhere:
            found = self._regions[EVERYWHERE].get(key)
        if found is None:
            known = "this item" if region in self._regions else f"region {region}"
            return Unknown(key, region, f"the price snapshot of {self.read} has no price for {known}")
        source = self._sources[found["source"]]
        return Price(
            key=key,
            region=region,
            tiers=_tiers(found["tiers"], f"price of {key} in {region}"),
            source=source["what"],
            url=source["url"],
            as_of=source["as_of"],
            read=self.read,
            confidence=source["confidence"],
            sku=found.get("sku", ""),
        )


class Layered:
    """The first source that knows; its reasons when none does."""

    def __init__(self, sources: Sequence[PriceSource]) -> None:
        self._sources = tuple(sources)

    def price(self, key: str, region: str) -> Price | Unknown:
        reasons = []
        for source in self._sources:
            found = source.price(key, region)
            if isinstance(found, Price):
                return found
            reasons.append(found.reason)
        return Unknown(key, region, "; ".join(reasons) or "no price source")


@cache
def snapshot() -> Snapshot:
    """The snapshot that ships with the package."""
    return Snapshot(json.loads((files("mlops.cost") / "prices.json").read_text("utf-8")))


def _tiers(raw: Iterable[Sequence[str]], what: str) -> tuple[Tier, ...]:
    tiers = tuple(Tier(decimal(begin, what), decimal(usd, what)) for begin, usd in raw)
    ordered = all(a.begin < b.begin for a, b in pairwise(tiers))
    if not tiers or tiers[0].begin != 0 or not ordered or any(t.usd < 0 for t in tiers):
        raise MlopsError(f"{what}: tiers must start at 0, ascend and not be negative", code="invalid_prices")
    return tiers
