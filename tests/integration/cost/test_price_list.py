"""The Price List adapter against botocore's shapes, with its cache."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import boto3
from botocore.exceptions import ClientError

from mlops.aws.pricing import PREFIXES, PriceListApi
from mlops.cost.catalogue import ITEMS
from mlops.cost.prices import Price, Unknown, snapshot
from tests.fakes import Clock, MemoryObjects


def product(*tiers: tuple[str, str], sku: str = "SKU") -> str:
    dimensions = {
        f"{sku}.{i}": {"beginRange": begin, "endRange": "Inf", "unit": "x", "pricePerUnit": {"USD": usd}}
        for i, (begin, usd) in enumerate(tiers)
    }
    return json.dumps({
        "product": {"sku": sku}, "version": "20261101", "publicationDate": "2026-11-01T00:00:00Z",
        "terms": {"OnDemand": {"t": {"priceDimensions": dimensions}}},
    })  # fmt: skip


class Api:
    """Answers by usage type; requests are checked by botocore's own validator."""

    def __init__(self, known: dict[str, list[str]], error: str = "") -> None:
        self.known, self.error, self.asked = known, error, []  # type: ignore[var-annotated]
        self._model = boto3.client(
            "pricing", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        ).meta.service_model.operation_model("GetProducts")

    def get_products(self, **request: Any) -> dict[str, Any]:
        from botocore.validate import ParamValidator

        report = ParamValidator().validate(request, self._model.input_shape)
        assert not report.has_errors(), report.generate_report()
        if self.error:
            raise ClientError({"Error": {"Code": self.error, "Message": ""}}, "GetProducts")
        usage = next(f["Value"] for f in request["Filters"] if f["Field"] == "usagetype")
        self.asked.append(usage)
        return {"PriceList": self.known.get(usage, [])}


def source(api: Api, objects: MemoryObjects | None = None, clock: Clock | None = None) -> PriceListApi:
    return PriceListApi(objects or MemoryObjects(), clock or Clock(), api)


def test_a_price_comes_with_its_version_and_day() -> None:
    found = source(Api({"EUC1-Request": [product(("0", "0.0000002"))]})).price("lambda.requests", "eu-central-1")
    assert isinstance(found, Price)
    assert found.first == Decimal("0.0000002")
    assert (found.as_of, found.read, found.confidence) == ("2026-11-01", "2026-03-02", "high")
    assert "20261101" in found.source


def test_tiers_keep_their_order_and_the_free_one_is_not_the_list_price() -> None:
    api = Api({"TimedStorage-ByteHrs": [product(("25", "0.25"), ("0", "0"))]})
    found = source(api).price("dynamodb.storage_gb_month", "us-east-1")
    assert isinstance(found, Price)
    assert found.cost(Decimal(10)) == Decimal("2.50")
    api = Api({"USE1-ApiGatewayRequest": [product(("333000000", "0.0000028"), ("0", "0.0000035"))]})
    found = source(api).price("apigateway.rest_requests", "us-east-1")
    assert isinstance(found, Price)
    assert [t.begin for t in found.tiers] == [0, 333_000_000]


def test_free_products_beside_the_paid_one_are_passed_over() -> None:
    api = Api({"Request": [product(("0", "0"), sku="FREE"), product(("0", "0.0000002"))]})
    found = source(api).price("lambda.requests", "us-east-1")
    assert isinstance(found, Price)
    assert found.sku == "SKU"


def test_two_prices_for_one_usage_are_ambiguous_not_a_guess() -> None:
    api = Api({"Request": [product(("0", "1"), sku="A"), product(("0", "2"), sku="B")]})
    found = source(api).price("lambda.requests", "us-east-1")
    assert isinstance(found, Unknown)
    assert "ambiguous" in found.reason


def test_no_product_no_price() -> None:
    found = source(Api({})).price("lambda.requests", "us-east-1")
    assert isinstance(found, Unknown)
    assert "no price for Request or USE1-Request" in found.reason
    assert isinstance(source(Api({})).price("lambda.requests", "mars-north-1"), Unknown)


def test_keys_are_named_by_region_in_full() -> None:
    api = Api({"eu-west-1-KMS-Keys": [product(("0", "1.00"))]})
    assert isinstance(source(api).price("kms.keys", "eu-west-1"), Price)


def test_one_refusal_is_asked_once() -> None:
    api = Api({}, error="AccessDeniedException")
    prices = source(api)
    for key in ("lambda.requests", "kms.keys"):
        found = prices.price(key, "us-east-1")
        assert isinstance(found, Unknown)
        assert "AccessDeniedException" in found.reason


def test_prices_are_kept_with_their_day_and_asked_again_when_old() -> None:
    objects, clock = MemoryObjects(), Clock()
    api = Api({"Request": [product(("0", "0.0000002"))]})
    assert isinstance(source(api, objects, clock).price("lambda.requests", "us-east-1"), Price)
    assert len(objects.versions["prices/us-east-1.json"]) == 1, "the whole list is written once"
    quiet = Api({})
    again = source(quiet, objects, clock)
    assert isinstance(again.price("lambda.requests", "us-east-1"), Price)
    assert isinstance(again.price("sqs.requests", "us-east-1"), Unknown)
    assert quiet.asked == []
    clock.forward(days=8)
    late = Api({"Request": [product(("0", "0.0000003"))]})
    found = source(late, objects, clock).price("lambda.requests", "us-east-1")
    assert isinstance(found, Price)
    assert found.first == Decimal("0.0000003")


def test_a_damaged_cache_is_asked_anew() -> None:
    for body in (b"{", b"[]", b'{"prices": [{"key": "x"}]}'):
        objects = MemoryObjects()
        objects.put("prices/us-east-1.json", body)
        api = Api({"Request": [product(("0", "0.0000002"))]})
        assert isinstance(source(api, objects).price("lambda.requests", "us-east-1"), Price)


def test_items_without_an_offer_are_not_asked_for() -> None:
    api = Api({})
    found = source(api).price("costexplorer.requests", "us-east-1")
    assert isinstance(found, Unknown)
    assert api.asked == []


def test_every_region_of_the_snapshot_can_be_asked_for() -> None:
    assert set(snapshot().regions) <= set(PREFIXES)
    assert all(i.usage for i in ITEMS.values() if i.offer)
