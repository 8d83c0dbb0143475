"""Cost Explorer's adapter against botocore's shapes: every way it can answer or refuse."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber

from mlops.aws.billing import CostExplorer
from mlops.cost.billing import Bill, NoBill

START, END = date(2026, 11, 1), date(2026, 11, 3)


def client() -> Any:
    return boto3.client("ce", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


def group(service: str, record: str, amount: str, unit: str = "USD") -> dict[str, Any]:
    return {"Keys": [service, record], "Metrics": {"UnblendedCost": {"Amount": amount, "Unit": unit}}}


def page(*groups: dict[str, Any], day: str = "2026-11-01", estimated: bool = False, token: str = "") -> dict[str, Any]:
    answer: dict[str, Any] = {
        "ResultsByTime": [{"TimePeriod": {"Start": day, "End": "2026-11-02"}, "Groups": list(groups),
                           "Estimated": estimated}],
    }  # fmt: skip
    return answer | ({"NextPageToken": token} if token else {})


EXPECTED = {
    "TimePeriod": {"Start": "2026-11-01", "End": "2026-11-03"}, "Granularity": "DAILY", "Metrics": ["UnblendedCost"],
    "Filter": {"Tags": {"Key": "mlops:stack", "Values": ["demo"], "MatchOptions": ["EQUALS"]}}, "GroupBy": ANY,
}  # fmt: skip


def ask(stubbed: Stubber, ce: Any) -> Bill | NoBill:
    with stubbed:
        found = CostExplorer("demo", ce).bill(START, END)
        stubbed.assert_no_pending_responses()
    return found


def test_a_bill_over_two_pages_by_day_service_and_record() -> None:
    ce = client()
    stubbed = Stubber(ce)
    stubbed.add_response("get_cost_and_usage", page(group("AWS Lambda", "Usage", "0.0123456789"), token="t"), EXPECTED)
    stubbed.add_response(
        "get_cost_and_usage",
        page(group("AWS Lambda", "Refund", "-0.01"), day="2026-11-02", estimated=True),
        EXPECTED | {"NextPageToken": "t"},
    )
    found = ask(stubbed, ce)
    assert isinstance(found, Bill)
    assert found.usd == Decimal("0.0023456789")
    assert found.by_record() == {"Usage": Decimal("0.0123456789"), "Refund": Decimal("-0.01")}
    assert found.estimated
    assert found.requests == 2


def test_nothing_billed_with_an_active_tag_is_a_bill_of_zero() -> None:
    ce = client()
    stubbed = Stubber(ce)
    stubbed.add_response("get_cost_and_usage", page())
    stubbed.add_response(
        "list_cost_allocation_tags",
        {"CostAllocationTags": [{"TagKey": "mlops:stack", "Type": "UserDefined", "Status": "Active"}]},
        {"TagKeys": ["mlops:stack"]},
    )
    found = ask(stubbed, ce)
    assert isinstance(found, Bill)
    assert found.usd == 0
    assert found.requests == 2
    assert found.note


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ([{"TagKey": "mlops:stack", "Type": "UserDefined", "Status": "Inactive"}], "is not activated"),
        ([], "not known to billing yet"),
    ],
)
def test_a_tag_that_is_not_active_is_no_bill_and_says_what_to_do(tags: list[dict[str, str]], words: str) -> None:
    ce = client()
    stubbed = Stubber(ce)
    stubbed.add_response("get_cost_and_usage", page(group("AWS Lambda", "Usage", "0")))
    stubbed.add_response("list_cost_allocation_tags", {"CostAllocationTags": tags})
    found = ask(stubbed, ce)
    assert isinstance(found, NoBill)
    assert found.reason == "tag_not_activated"
    assert words in found.message
    assert "update-cost-allocation-tags-status" in found.message


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        ("AccessDeniedException", "User is not authorized", "no_access"),
        ("AccessDeniedException", "User not enabled for cost explorer access", "not_enabled"),
        ("DataUnavailableException", "Data is not available", "not_enabled"),
        ("LimitExceededException", "Limit", "throttled"),
        ("ThrottlingException", "Rate exceeded", "throttled"),
        ("BillExpirationException", "expired", "no_data"),
    ],
)
def test_refusals_become_reasons(code: str, message: str, reason: str) -> None:
    ce = client()
    stubbed = Stubber(ce)
    stubbed.add_client_error("get_cost_and_usage", code, message)
    found = ask(stubbed, ce)
    assert isinstance(found, NoBill)
    assert found.reason == reason


def test_a_fault_stays_a_fault() -> None:
    ce = client()
    stubbed = Stubber(ce)
    stubbed.add_client_error("get_cost_and_usage", "InternalFailure", "x", 500)
    with pytest.raises(ClientError, match="InternalFailure"):
        ask(stubbed, ce)


def test_another_currency_is_not_added_up() -> None:
    ce = client()
    stubbed = Stubber(ce)
    stubbed.add_response("get_cost_and_usage", page(group("AWS Lambda", "Usage", "1", "CNY")))
    found = ask(stubbed, ce)
    assert isinstance(found, NoBill)
    assert found.reason == "currency"


def test_the_bill_by_function_takes_one_more_request() -> None:
    ce = client()
    stubbed = Stubber(ce)
    stubbed.add_response("get_cost_and_usage", page(group("AWS Lambda", "Usage", "0.5")), EXPECTED)
    tagged = [
        {"Keys": [f"mlops:function${name}"], "Metrics": {"UnblendedCost": {"Amount": usd, "Unit": "USD"}}}
        for name, usd in (("predict", "0.3"), ("", "0.2"))
    ]
    by_tag = EXPECTED | {"GroupBy": [{"Type": "TAG", "Key": "mlops:function"}]}
    stubbed.add_response("get_cost_and_usage", page(*tagged), by_tag)
    stubbed.add_response("get_cost_and_usage", page(tagged[1]), by_tag)
    stubbed.add_client_error("get_cost_and_usage", "LimitExceededException", "slow down")
    source = CostExplorer("demo", ce)
    with stubbed:
        bill = source.bill(START, END)
        assert isinstance(bill, Bill)
        found, inactive, refused = (source.by_function(bill) for _ in range(3))
    assert found.functions == {"predict": Decimal("0.3"), "": Decimal("0.2")}
    assert found.requests == 2
    assert sum(found.functions.values()) == found.usd
    assert (inactive.functions, refused.functions) == ({}, {})
    assert "mlops:function is not activated" in inactive.note
    assert "too many requests" in refused.note


def test_pages_without_end_are_cut_and_said() -> None:
    ce = client()
    stubbed = Stubber(ce)
    for _ in range(10):
        stubbed.add_response("get_cost_and_usage", page(group("AWS Lambda", "Usage", "1"), token="t"))
    found = ask(stubbed, ce)
    assert isinstance(found, Bill)
    assert "first 10 pages" in found.note
    assert found.requests == 10
