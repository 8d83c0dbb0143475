"""Cost Explorer behind :class:`mlops.cost.billing.BillSource`.

Each request to Cost Explorer costs a cent, so one call answers for all services and days, and whether the tag is
active is only asked when nothing was found.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import boto3
from botocore.exceptions import ClientError

from mlops.aws.clients import error_code
from mlops.cost.billing import COST_TAG, FUNCTION_TAG, Bill, Charge, NoBill
from mlops.cost.money import ZERO, decimal

_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
_THROTTLED = {"LimitExceededException", "ThrottlingException", "Throttling", "TooManyRequestsException"}
#: A month by day, service and record type stays far below; more pages would only cost more.
_MAX_PAGES = 10


class CostExplorer:
    """What AWS billed for the resources that carry the stack's cost tag.

    Parameters
    ----------
    stack : value of the tag ``mlops:stack``.
    ce : a boto3 client ``ce``; made when first needed. Cost Explorer lives in us-east-1 for all regions.
    """

    def __init__(self, stack: str, ce: Any = None) -> None:
        self.stack = stack
        self._given = ce

    def bill(self, start: date, end: date) -> Bill | NoBill:
        """For the days ``[start, end)``; amounts are unblended cost in USD."""
        requests = 0
        charges: list[Charge] = []
        estimated = False
        request: dict[str, Any] = {
            "TimePeriod": {"Start": start.isoformat(), "End": end.isoformat()},
            "Granularity": "DAILY",
            "Metrics": ["UnblendedCost"],
            "Filter": {"Tags": {"Key": COST_TAG, "Values": [self.stack], "MatchOptions": ["EQUALS"]}},
            "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}, {"Type": "DIMENSION", "Key": "RECORD_TYPE"}],
        }
        note = ""
        try:
            while True:
                requests += 1
                page = self._client().get_cost_and_usage(**request)
                for result in page["ResultsByTime"]:
                    estimated = estimated or bool(result.get("Estimated"))
                    day = date.fromisoformat(result["TimePeriod"]["Start"])
                    for found in result["Groups"]:
                        service, record = found["Keys"]
                        cost = found["Metrics"]["UnblendedCost"]
                        if cost["Unit"] != "USD":
                            return NoBill("currency", f"the bill is in {cost['Unit']}; only USD is read", requests)
                        charges.append(Charge(day, service, record, decimal(cost["Amount"], f"bill of {service}")))
                token = page.get("NextPageToken")
                if not token:
                    break
                if requests >= _MAX_PAGES:
                    note = f"only the first {_MAX_PAGES} pages of the bill were read"
                    break
                request["NextPageToken"] = token
            if not any(c.usd for c in charges):
                requests += 1
                inactive = self._tag_problem()
                if inactive:
                    return NoBill("tag_not_activated", inactive, requests)
                note = "nothing was billed for resources with the tag"
        except ClientError as error:
            return self._refused(error, requests)
        return Bill(start, end, tuple(charges), estimated, requests, note=note)

    def by_function(self, bill: Bill) -> Bill:
        """One more request: the days as one period where they are a month's, grouped by the functions' tag."""
        found: dict[str, Decimal] = {}
        try:
            page = self._client().get_cost_and_usage(
                TimePeriod={"Start": bill.start.isoformat(), "End": bill.end.isoformat()},
                Granularity="DAILY",
                Metrics=["UnblendedCost"],
                Filter={"Tags": {"Key": COST_TAG, "Values": [self.stack], "MatchOptions": ["EQUALS"]}},
                GroupBy=[{"Type": "TAG", "Key": FUNCTION_TAG}],
            )
        except ClientError as error:
            reason = self._refused(error, 1)
            return replace(
                bill, requests=bill.requests + 1, note=_joined(bill.note, f"not by function: {reason.message}")
            )
        for result in page["ResultsByTime"]:
            for group in result["Groups"]:
                name = group["Keys"][0].partition("$")[2]  # "mlops:function$predict"; no value, no function
                amount = decimal(group["Metrics"]["UnblendedCost"]["Amount"], f"bill of {name}")
                found[name] = found.get(name, ZERO) + amount
        note = bill.note
        if not any(found) and any(found.values()):
            note = _joined(note, f"not by function: the cost allocation tag {FUNCTION_TAG} is not activated")
            found = {}
        ordered = dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
        return replace(bill, requests=bill.requests + 1, functions=ordered, note=note)

    def _client(self) -> Any:
        if self._given is None:
            self._given = boto3.client("ce", region_name="us-east-1")
        return self._given

    def _tag_problem(self) -> str:
        """Why the tag finds nothing, or an empty text when it is active."""
        tags = self._client().list_cost_allocation_tags(TagKeys=[COST_TAG])["CostAllocationTags"]
        if tags and tags[0]["Status"] == "Active":
            return ""
        state = "not activated" if tags else "not known to billing yet (that takes up to a day after a deployment)"
        return (
            f"the cost allocation tag {COST_TAG} is {state}; the payer account activates it with: aws ce "
            f"update-cost-allocation-tags-status --cost-allocation-tags-status TagKey={COST_TAG},Status=Active. "
            "Costs count from then on"
        )

    def _refused(self, error: ClientError, requests: int) -> NoBill:
        code = error_code(error)
        if code in _DENIED:
            text = str(error.response["Error"].get("Message", ""))
            if "not enabled" in text.lower():
                return NoBill("not_enabled", "Cost Explorer is not enabled: open it once in the billing console", 0)
            return NoBill(
                "no_access",
                f"no permission for {error.operation_name}; in an organisation the payer account must allow member "
                "accounts to use Cost Explorer",
                requests,
            )
        if code == "DataUnavailableException":
            return NoBill("not_enabled", "Cost Explorer has no data yet; it takes a day after being enabled", requests)
        if code in _THROTTLED:
            return NoBill("throttled", "Cost Explorer refused for too many requests; try again later", requests)
        if code in ("BillExpirationException", "ResourceNotFoundException", "BillingViewHealthStatusException"):
            return NoBill("no_data", f"Cost Explorer has no data for these days ({code})", requests)
        raise error


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
