"""Prices: exact, dated, never zero for unknown."""

from __future__ import annotations

import json
from decimal import Decimal
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.cost import money
from mlops.cost.catalogue import ITEMS
from mlops.cost.prices import CONFIDENCE, Layered, Price, Snapshot, Tier, Unknown, snapshot
from mlops.errors import MlopsError

D = Decimal
quantities = st.decimals(min_value=0, max_value=10**12, places=3, allow_nan=False)


def price(*tiers: tuple[str, str], key: str = "cloudwatch.metrics") -> Price:
    return Price(key, "here", tuple(Tier(D(b), D(u)) for b, u in tiers), "s", "u", "2026-01-01", "2026-01-02", "high")


def test_every_price_in_the_snapshot_has_source_confidence_and_a_catalogue_item() -> None:
    raw = json.loads((files("mlops.cost") / "prices.json").read_text("utf-8"))
    for region, prices in raw["regions"].items():
        for key in prices:
            found = snapshot().price(key, region if region != "*" else "us-east-1")
            assert isinstance(found, Price), (key, region)
            assert found.source
            assert found.confidence in CONFIDENCE
            assert found.url.startswith("https://")
            assert found.read == raw["read"]
            assert found.as_of or found.confidence != "high", f"{key} in {region}: high confidence needs a date"


def test_only_standard_parameters_are_priced_at_zero() -> None:
    raw = json.loads((files("mlops.cost") / "prices.json").read_text("utf-8"))
    free = {key for prices in raw["regions"].values() for key, p in prices.items() if D(p["tiers"][0][1]) == 0}
    assert free == {"ssm.standard_parameters"}


def test_us_east_1_has_every_item_of_the_catalogue() -> None:
    assert [k for k in ITEMS if isinstance(snapshot().price(k, "us-east-1"), Unknown)] == []


def test_an_unknown_region_is_unknown_and_says_so() -> None:
    found = snapshot().price("lambda.requests", "mars-north-1")
    assert isinstance(found, Unknown)
    assert "mars-north-1" in found.reason


def test_an_item_missing_in_a_known_region_is_unknown() -> None:
    found = snapshot().price("dynamodb.write_units", "eu-central-1")
    assert isinstance(found, Unknown)
    assert "no price for this item" in found.reason


def test_prices_that_hold_everywhere_hold_in_a_region_that_is_not_listed() -> None:
    found = snapshot().price("kms.keys", "mars-north-1")
    assert isinstance(found, Price)
    assert found.first == 1


def test_a_key_outside_the_catalogue_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        snapshot().price("tea.cups", "us-east-1")


def test_tiers_are_charged_part_by_part() -> None:
    tiered = price(("0", "0.30"), ("10000", "0.10"), ("250000", "0.05"))
    assert tiered.cost(D(10_000)) == 3_000
    assert tiered.cost(D(10_001)) == D("3000.10")
    assert tiered.cost(D(260_000)) == 3_000 + 24_000 + 500
    assert tiered.cost(D(0)) == 0


@given(a=quantities, b=quantities)
def test_more_never_costs_less_and_with_falling_tiers_together_is_never_dearer(a: Decimal, b: Decimal) -> None:
    tiered = price(("0", "0.3"), ("1000", "0.1"), ("100000", "0.05"))
    assert tiered.cost(a + b) >= tiered.cost(a)
    assert tiered.cost(a + b) <= tiered.cost(a) + tiered.cost(b)


def test_a_negative_quantity_is_refused() -> None:
    with pytest.raises(MlopsError, match="below zero"):
        price(("0", "1")).cost(D(-1))


@pytest.mark.parametrize("tiers", [[], [["1", "2"]], [["0", "2"], ["0", "1"]], [["0", "-1"]]])
def test_broken_tiers_are_refused(tiers: list[list[str]]) -> None:
    body = price(("0", "1")).to_dict() | {"tiers": tiers}
    with pytest.raises(MlopsError, match="tiers must"):
        Price.from_dict(body)


def test_a_price_survives_json() -> None:
    found = snapshot().price("lambda.gb_seconds", "us-east-1")
    assert isinstance(found, Price)
    assert Price.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_layers_ask_the_first_source_that_knows() -> None:
    class Nothing:
        def price(self, key: str, region: str) -> Price | Unknown:
            return Unknown(key, region, "refused")

    assert isinstance(Layered([Nothing(), snapshot()]).price("lambda.requests", "us-east-1"), Price)
    missing = Layered([Nothing(), snapshot()]).price("lambda.requests", "mars-north-1")
    assert isinstance(missing, Unknown)
    assert missing.reason.startswith("refused; the price snapshot")


def test_another_currency_is_refused() -> None:
    with pytest.raises(MlopsError, match="only USD"):
        Snapshot({"schema": "mlops.prices.v1", "currency": "EUR"})


def test_money_takes_no_float_text_that_is_no_number() -> None:
    for bad in ("", "abc", "NaN", "Infinity", "1,5"):
        with pytest.raises(MlopsError, match="budget"):
            money.decimal(bad, "budget")


@given(st.decimals(min_value=-(10**6), max_value=10**6, allow_nan=False, places=9))
def test_shown_money_is_within_half_a_cent_or_a_thousandth(amount: Decimal) -> None:
    shown = D(money.show(amount).replace("$", "").replace(",", ""))
    assert abs(shown - amount) <= max(D("0.005") if abs(amount) >= D("0.0995") else D(0), abs(amount) / 1000)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12))
def test_plain_money_is_exact_and_has_no_exponent(amount: Decimal) -> None:
    text = money.plain(amount)
    assert text is not None
    assert "E" not in text
    assert D(text) == amount.normalize()
