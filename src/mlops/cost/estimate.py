"""Before a deployment: what this stack would cost, idle and at a load, and against the alternatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any

from mlops.cost.alternatives import Alternative, alternatives
from mlops.cost.idle import Idle, idle, unknown_types
from mlops.cost.lines import Line, Sum, add, after_free_tier, group, price_lines
from mlops.cost.load import Load, front_door, load, predict_memory, scoring, trace_sampling
from mlops.cost.money import plain, show
from mlops.cost.prices import CONFIDENCE, Allowance, Price, PriceSource, snapshot
from mlops.cost.template import Template

SCHEMA = "mlops.cost-estimate.v1"
#: Requests a month at which the curves are drawn: half decades from a thousand to a thousand million.
GRID = tuple(round(10 ** (e / 2)) for e in range(6, 19))
_MOST = 10**11


@dataclass(frozen=True)
class Offer:
    """Another way to serve the load, priced. ``break_even``: requests a month from which it is cheaper than this
    stack's serving; 0 when it always is, None when it never is or a price is unknown."""

    name: str
    total: Sum
    lines: tuple[Line, ...]
    note: str
    break_even: int | None
    curve: tuple[tuple[int, Decimal], ...]


@dataclass(frozen=True)
class Estimate:
    """Costs a month of 730 hours, USD at list price.

    ``serving``: of the load, front door and scoring alone, which is what ``offers`` compare with; ``curve``: the same
    by requests a month.
    """

    region: str
    load: Load
    idle_lines: tuple[Line, ...]
    load_lines: tuple[Line, ...]
    free_tier: Sum
    serving: Sum
    offers: tuple[Offer, ...]
    curve: tuple[tuple[int, Decimal], ...]
    assumptions: tuple[str, ...]
    unknown_types: tuple[str, ...]
    prices_read: str

    @property
    def idle(self) -> Sum:
        return add(self.idle_lines)

    @property
    def total(self) -> Sum:
        return self.idle + add(self.load_lines)

    @property
    def per_1000_requests(self) -> Decimal | None:
        """All of the month's cost over its requests."""
        return self.total.usd / self.load.requests * 1000 if self.load.requests else None

    def by_service(self) -> dict[str, Sum]:
        return group([*self.idle_lines, *self.load_lines], lambda x: x.service)

    def prices(self) -> list[Price]:
        """Every price that the estimate used, once, by key."""
        lines = [*self.idle_lines, *self.load_lines, *(x for o in self.offers for x in o.lines)]
        found = {x.price.key: x.price for x in lines if isinstance(x.price, Price)}
        return [found[key] for key in sorted(found)]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; money as decimal text."""
        return {
            "schema": SCHEMA,
            "region": self.region,
            "currency": "USD",
            "requests_per_month": self.load.requests,
            "rows_per_request": self.load.rows,
            "idle_per_month": self.idle.to_dict(),
            "total_per_month": self.total.to_dict(),
            "with_free_tier": self.free_tier.to_dict(),
            "usd_per_1000_requests": plain(self.per_1000_requests),
            "by_service": {k: v.to_dict() for k, v in self.by_service().items()},
            "serving": self.serving.to_dict(),
            "idle_lines": [x.to_dict() for x in self.idle_lines],
            "load_lines": [x.to_dict() for x in self.load_lines],
            "alternatives": [
                {
                    "name": o.name,
                    "total": o.total.to_dict(),
                    "note": o.note,
                    "break_even_requests": o.break_even,
                    "lines": [x.to_dict() for x in o.lines],
                }
                for o in self.offers
            ],
            "curve": [[n, plain(usd)] for n, usd in self.curve],
            "assumptions": list(self.assumptions),
            "unknown_resource_types": list(self.unknown_types),
            "prices": [p.to_dict() for p in self.prices()],
            "prices_read": self.prices_read,
            "confidence": dict(CONFIDENCE),
        }


def make(
    template: Template,
    wanted: Load,
    region: str,
    *,
    prices: PriceSource | None = None,
    free: Sequence[Allowance] | None = None,
    at_rest: Idle | None = None,
) -> Estimate:
    """Estimate a template's cost. Pure; :func:`estimate` is the form for a file.

    Parameters
    ----------
    prices, free : by default those of the shipped snapshot.
    """
    source, rest = prices or snapshot(), at_rest or Idle()
    allowances = snapshot().free if free is None else free
    idle_lines = price_lines(idle(template, rest), source, region)

    def ours(n: int) -> Decimal:
        return serving(n).usd

    def serving(n: int) -> Sum:
        at = replace(wanted, requests=n)
        return add(price_lines([*front_door(template, at), *scoring(template, at)], source, region))

    def others(n: int) -> list[Alternative]:
        at = replace(wanted, requests=n)
        return alternatives(at, front_door(template, at))

    def theirs(i: int, n: int) -> Decimal:
        return add(price_lines(others(n)[i].quantities, source, region)).usd

    load_lines = price_lines(load(template, wanted), source, region)
    offers = []
    for i, other in enumerate(others(wanted.requests)):
        lines = price_lines(other.quantities, source, region)
        total = add(lines)
        cross = break_even(ours, partial(theirs, i)) if total.complete else None
        curve = tuple((n, theirs(i, n)) for n in GRID) if total.complete else ()
        offers.append(Offer(other.name, total, tuple(lines), other.note, cross, curve))
    return Estimate(
        region=region,
        load=wanted,
        idle_lines=tuple(idle_lines),
        load_lines=tuple(load_lines),
        free_tier=after_free_tier([*idle_lines, *load_lines], allowances, Decimal(1)),
        serving=serving(wanted.requests),
        offers=tuple(offers),
        curve=tuple((n, ours(n)) for n in GRID),
        assumptions=(
            *rest.describe(),
            *wanted.describe(predict_memory(template, wanted), trace_sampling(template, wanted)),
        ),
        unknown_types=tuple(unknown_types(template)),
        prices_read=snapshot().read,
    )


def break_even(ours: Callable[[int], Decimal], theirs: Callable[[int], Decimal]) -> int | None:
    """The fewest requests a month from which ``theirs`` is cheaper, to three digits; None when it never is.

    Both are functions of the number of requests. The difference may change sign more than once where an
    alternative adds an instance; the first change is the answer.
    """
    if theirs(0) <= ours(0):
        return 0
    steps = [0, *(round(10 ** (e / 8)) for e in range(16, 89))]
    high = next((n for n in steps[1:] if theirs(n) <= ours(n)), None)
    if high is None:
        return None
    low = steps[steps.index(high) - 1]
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        low, high = (low, middle) if theirs(middle) <= ours(middle) else (middle, high)
    return high


def estimate(
    template_path: str,
    requests_per_month: int,
    rows: int = 1,
    region: str = "us-east-1",
    *,
    parameters: Mapping[str, Any] | None = None,
    prices: PriceSource | None = None,
    **assumptions: Any,
) -> Estimate:
    """Estimate the template file at ``template_path``.

    Parameters
    ----------
    parameters : values for template parameters that differ from their defaults.
    assumptions : other fields of :class:`mlops.cost.load.Load`.

    Raises
    ------
    MlopsError
        for a file, parameter or load that cannot be used.
    """
    from mlops.cost.template_file import read  # noqa: PLC0415 - needs PyYAML, which functions do not have

    wanted = Load(requests=requests_per_month, rows=rows, **assumptions)
    return make(read(template_path, parameters), wanted, region, prices=prices)


def _amount(amount: Sum) -> str:
    return show(amount.usd) if amount.complete else f"at least {show(amount.usd)}"


def render_terminal(found: Estimate) -> str:
    """The estimate as plain text for a terminal."""
    w = found.load
    out = [
        f"{found.region}, list prices of {found.prices_read}, a month of 730 hours",
        "",
        f"  idle                              {_amount(found.idle):>14}",
        f"  {w.requests:>13,} requests of {w.rows:<5}   {_amount(found.total):>14}",
        f"  with the account's free tier      {_amount(found.free_tier):>14}",
        f"  1,000 requests                    {show(found.per_1000_requests):>14}",
        "",
        "By service",
    ]
    out += [f"  {name:<32}  {_amount(amount):>14}" for name, amount in found.by_service().items()]
    out += [
        "",
        "Serving alone (API, token check, traces, scoring; no capture, logs, alarms, retraining on either side)",
    ]
    out.append(f"  {'this stack':<48} {_amount(found.serving):>14}")
    for offer in found.offers:
        out.append(f"  {offer.name:<48} {_amount(offer.total):>14}   {_crossing(offer)}")
    out += ["", "Assumed"] + [f"  {text}" for text in found.assumptions]
    missing = sorted({*found.total.unknown, *(key for o in found.offers for key in o.total.unknown)})
    if missing:
        out += [
            "",
            f"No price known in {found.region} for: {', '.join(missing)}. Totals without them are lower bounds.",
        ]
    if found.unknown_types:
        out += ["", f"Not understood, so not counted: {', '.join(found.unknown_types)}"]
    weak = sorted({p.item.what for p in found.prices() if p.confidence == "low"})
    if weak:
        out += ["", f"Prices from memory, check before relying on them: {', '.join(weak)}."]
    return "\n".join(out)


def _crossing(offer: Offer) -> str:
    if not offer.total.complete:
        return "break-even unknown"
    if offer.break_even is None:
        return f"dearer up to {_MOST:,} requests"
    return "always cheaper" if offer.break_even == 0 else f"cheaper from {offer.break_even:,} requests"
