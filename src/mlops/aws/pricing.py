"""The AWS Price List API behind :class:`mlops.cost.prices.PriceSource`, cached by region in the artifact bucket.

The API is free of charge. It answers from us-east-1 (and two other regions) for all regions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import boto3
from botocore.exceptions import ClientError

from mlops.aws.clients import error_code
from mlops.cost.catalogue import ITEMS
from mlops.cost.money import decimal
from mlops.cost.prices import Price, Tier, Unknown
from mlops.errors import MlopsError, NotFoundError
from mlops.objects import ObjectStore, prices_key

#: What usage types begin with in a region. us-east-1 has both none and ``USE1-``; eu-west-1 is mostly ``EU-``.
PREFIXES: dict[str, tuple[str, ...]] = {
    "us-east-1": ("", "USE1-"),
    "us-east-2": ("USE2-",),
    "us-west-1": ("USW1-",),
    "us-west-2": ("USW2-",),
    "ca-central-1": ("CAN1-",),
    "eu-west-1": ("EU-", "EUW1-"),
    "eu-west-2": ("EUW2-",),
    "eu-west-3": ("EUW3-",),
    "eu-central-1": ("EUC1-",),
    "eu-north-1": ("EUN1-",),
    "eu-south-1": ("EUS1-",),
    "ap-southeast-1": ("APS1-",),
    "ap-southeast-2": ("APS2-",),
    "ap-northeast-1": ("APN1-",),
    "ap-northeast-2": ("APN2-",),
    "ap-northeast-3": ("APN3-",),
    "ap-south-1": ("APS3-",),
    "ap-east-1": ("APE1-",),
    "sa-east-1": ("SAE1-",),
    "me-south-1": ("MES1-",),
    "af-south-1": ("AFS1-",),
}


class PriceListApi:
    """Prices of one region at a time, asked once per ``max_age`` and kept as ``prices/<region>.json``.

    Parameters
    ----------
    objects : the artifact bucket.
    pricing : a boto3 client ``pricing``; made when first needed.
    ask : False reads what was kept and never asks, for functions that may not.
    """

    def __init__(
        self,
        objects: ObjectStore,
        clock: Callable[[], datetime],
        pricing: Any = None,
        max_age: timedelta = timedelta(days=7),
        *,
        ask: bool = True,
    ) -> None:
        self._objects = objects
        self._clock = clock
        self._given = pricing
        self._max_age = max_age
        self._regions: dict[str, dict[str, Price | Unknown]] = {}
        self._refusal = "" if ask else "no prices of the Price List API are kept"

    def price(self, key: str, region: str) -> Price | Unknown:
        """A price not older than ``max_age``; Unknown with the reason when the API has none or refused."""
        if not ITEMS[key].offer:
            return Unknown(key, region, "the Price List is not asked for this item")
        if region not in self._regions:
            self._regions[region] = self._cached(region) or self._fetch(region)
        return self._regions[region].get(key) or Unknown(key, region, f"no price in the cached list of {region}")

    def _fetch(self, region: str) -> dict[str, Price | Unknown]:
        """Every item of the catalogue at once, so that the cache is written once."""
        found = {key: self._ask(key, region) for key, item in ITEMS.items() if item.offer}
        known = [p.to_dict() for p in found.values() if isinstance(p, Price)]
        if known:
            body = json.dumps({"schema": "mlops.price-cache.v1", "region": region, "prices": known})
            self._objects.put(prices_key(region), body.encode(), content_type="application/json")
        return found

    def _cached(self, region: str) -> dict[str, Price | Unknown]:
        try:
            data = json.loads(self._objects.get(prices_key(region)))
            prices = [Price.from_dict(p) for p in data["prices"]]
        except NotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, MlopsError):
            return {}  # a damaged cache is asked anew and overwritten
        now = self._clock().astimezone(UTC)
        oldest, today = (now - self._max_age).date().isoformat(), now.date().isoformat()
        # Later than today: a clock was wrong when they were kept, or is now.
        if any(not oldest <= p.read <= today or p.key not in ITEMS for p in prices):
            return {}
        return {p.key: p for p in prices}

    def _ask(self, key: str, region: str) -> Price | Unknown:
        item = ITEMS[key]
        if self._refusal:
            return Unknown(key, region, self._refusal)
        if item.offer == "awskms":
            usages = [f"{region}-{item.usage}"]
        elif region in PREFIXES:
            usages = [prefix + item.usage for prefix in PREFIXES[region]]
        else:
            return Unknown(key, region, f"the usage types of region {region} are not known here")
        for usage in usages:
            fields = {"regionCode": region, "usagetype": usage, **item.filters}
            try:
                answer = self._client().get_products(
                    ServiceCode=item.offer,
                    Filters=[{"Type": "TERM_MATCH", "Field": k, "Value": v} for k, v in fields.items()],
                    FormatVersion="aws_v1",
                )
            except ClientError as error:
                # One refusal stands for all: a report should not make the same failing call forty times.
                self._refusal = f"the Price List API refused: {error_code(error)}"
                return Unknown(key, region, self._refusal)
            found = [p for p in (self._parse(key, region, text) for text in answer["PriceList"]) if p is not None]
            if len(found) == 1:
                return found[0]
            if found:
                return Unknown(key, region, f"the Price List has {len(found)} prices for {usage}, which are ambiguous")
        return Unknown(key, region, f"the Price List has no price for {' or '.join(usages)}")

    def _parse(self, key: str, region: str, text: str) -> Price | None:
        """One product; None when it has no on-demand price above zero (free-tier rows)."""
        product = json.loads(text, parse_float=Decimal)
        tiers = []
        for term in product.get("terms", {}).get("OnDemand", {}).values():
            for dimension in term["priceDimensions"].values():
                begin = decimal(str(dimension.get("beginRange", "0")), key)
                usd = dimension["pricePerUnit"].get("USD")
                if usd is not None:
                    tiers.append(Tier(begin, decimal(str(usd), key)))
        tiers.sort(key=lambda t: t.begin)
        paid = [t for t in tiers if t.usd > 0]
        if not paid:
            return None
        # A first tier of zero is the free tier, which is taken off elsewhere: the list price starts at its end.
        if tiers[0].usd == 0 or paid[0].begin:
            paid[0] = Tier(Decimal(0), paid[0].usd)
        return Price(
            key=key,
            region=region,
            tiers=tuple(paid),
            source=f"AWS Price List API, {ITEMS[key].offer}, version {product.get('version', 'unknown')}",
            url="https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/index.json",
            as_of=str(product.get("publicationDate", ""))[:10],
            read=self._clock().astimezone(UTC).date().isoformat(),
            confidence="high",
            sku=str(product.get("product", {}).get("sku", "")),
        )

    def _client(self) -> Any:
        if self._given is None:
            self._given = boto3.client("pricing", region_name="us-east-1")
        return self._given
