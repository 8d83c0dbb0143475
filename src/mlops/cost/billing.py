"""The bill: what AWS charged, by its own account, and why that differs from use at list price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any, Literal, Protocol

from mlops.cost.lines import Sum
from mlops.cost.money import ZERO, plain, total

#: The tag that every resource of a stack carries, with the stack's name as value. It must be activated once as a
#: cost allocation tag (Billing console, or ``aws ce update-cost-allocation-tags-status``); AWS does not look back.
COST_TAG = "mlops:stack"
#: The tag that every function carries, with its name. It is activated in the same way, if the bill should name
#: functions; asking for that takes a second request.
FUNCTION_TAG = "mlops:function"


@dataclass(frozen=True, slots=True)
class Charge:
    """One service's amount on one day. ``record``: Usage, Credit, Refund, Tax, ….; credits and refunds are negative."""

    day: date
    service: str
    record: str
    usd: Decimal


@dataclass(frozen=True, slots=True)
class Bill:
    """What was billed in ``[start, end)`` for the resources with the stack's cost tag.

    ``estimated``: AWS has not closed the period. ``requests``: calls to Cost Explorer that it took, a cent each.
    ``functions``: by function, where that was asked for; an empty name is what no function alone caused.
    """

    start: date
    end: date
    charges: tuple[Charge, ...]
    estimated: bool
    requests: int
    currency: str = "USD"
    note: str = ""
    functions: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def usd(self) -> Decimal:
        return total(c.usd for c in self.charges)

    @property
    def use(self) -> Decimal:
        """Without credits, refunds and tax: what compares with list prices."""
        return total(c.usd for c in self.charges if c.record in _USE)

    def between(self, start: date, end: date) -> Bill:
        """The part of it in the days ``[start, end)``; asking took no further request. Functions are of its own days
        only."""
        charges = tuple(c for c in self.charges if start <= c.day < end)
        same = (start, end) == (self.start, self.end)
        return replace(self, start=start, end=end, charges=charges, functions=self.functions if same else {})

    def by_service(self) -> dict[str, Decimal]:
        return _sums(self.charges, lambda c: c.service)

    def by_record(self) -> dict[str, Decimal]:
        return _sums(self.charges, lambda c: c.record)

    def by_day(self) -> dict[date, Decimal]:
        """US dollars by day, in order."""
        found: dict[date, Decimal] = {}
        for charge in self.charges:
            found[charge.day] = found.get(charge.day, ZERO) + charge.usd
        return dict(sorted(found.items()))

    def to_dict(self) -> dict[str, Any]:
        return {
            "available": True,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "usd": plain(self.usd),
            "by_service": {k: plain(v) for k, v in self.by_service().items()},
            "by_record": {k: plain(v) for k, v in self.by_record().items()},
            "by_function": {k: plain(v) for k, v in self.functions.items()},
            "estimated": self.estimated,
            "cost_explorer_requests": self.requests,
            "currency": self.currency,
            "note": self.note,
        }


_USE = {"Usage", "DiscountedUsage", "SavingsPlanCoveredUsage"}

Reason = Literal["local", "no_access", "not_enabled", "tag_not_activated", "throttled", "no_data", "currency", "off"]


@dataclass(frozen=True, slots=True)
class NoBill:
    """There is no bill to show, why, and what to do about it."""

    reason: Reason
    message: str
    requests: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "available": False,
            "reason": self.reason,
            "message": self.message,
            "cost_explorer_requests": self.requests,
        }


class BillSource(Protocol):
    """Answers what was billed."""

    def bill(self, start: date, end: date) -> Bill | NoBill:
        """For the days ``[start, end)``."""
        ...

    def by_function(self, bill: Bill) -> Bill:
        """The same bill with its ``functions``; unchanged, with a note, when they cannot be had."""
        ...


class NoBilling:
    """A bill source for places without billing, such as the local engine."""

    def __init__(self, message: str = "the local engine has no billing; nothing was charged") -> None:
        self._message = message

    def bill(self, start: date, end: date) -> Bill | NoBill:
        return NoBill("local", self._message)

    def by_function(self, bill: Bill) -> Bill:
        return bill


def differences(bill: Bill, listed: Mapping[str, Sum], free_total: Sum) -> list[str]:
    """Why the bill and use at list price differ, as far as the numbers tell.

    Parameters
    ----------
    listed : Cost Explorer's service name -> list price of the metered use.
    free_total : the metered use at list price with the free tier taken off.
    """
    reasons = []
    reductions = {k: v for k, v in bill.by_record().items() if k not in _USE and v}
    for record, usd in sorted(reductions.items()):
        reasons.append(f"the bill holds {record} of {plain(usd)} USD, which list prices do not")
    billed = bill.by_service()
    for service in sorted(set(billed) - set(listed)):
        if billed[service]:
            reasons.append(f"{service} is billed ({plain(billed[service])} USD) but not metered here")
    list_total = total(s.usd for s in listed.values())
    if free_total.usd < list_total and bill.use <= (free_total.usd + list_total) / 2:
        saved = plain(list_total - free_total.usd)
        reasons.append(f"the free tier, if no other stack uses it, takes {saved} USD off the list price")
    unknown = sorted({key for s in listed.values() for key in s.unknown})
    if unknown:
        reasons.append(f"no list price is known for {', '.join(unknown)}")
    if bill.estimated:
        reasons.append("AWS has not closed the period: its figures can lag use by a day")
    return reasons


def _sums(charges: tuple[Charge, ...], by: Any) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for charge in charges:
        found[by(charge)] = found.get(by(charge), ZERO) + charge.usd
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
