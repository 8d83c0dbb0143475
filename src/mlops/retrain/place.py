"""Where a training runs: every place with its time, memory and price, and the one that is chosen.

Three places: the train function, a SageMaker training job on demand, and the same on managed spot. What is not known
by measurement is an assumption with a name here, and the table of options says which figures rest on one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from mlops.contract import Contract
from mlops.cost.money import plain, show
from mlops.cost.prices import Price, PriceSource

Where = Literal["lambda", "sagemaker", "sagemaker_spot"]

#: A Lambda function ends after 900 seconds; the rest is for reading, exporting and writing.
LAMBDA_SECONDS = 780.0
#: Reading, encoding, exporting, measured per value; small beside the search.
SECONDS_PER_VALUE = 5e-6
#: Interpreter and libraries (140 MB measured in the training image), and bytes a value: the data, its encoding and the
#: estimators' copies. 20 million values fill 3,008 MB.
BASE_MB, BYTES_PER_VALUE = 160, 149
#: Memory that an instance leaves to the container.
INSTANCES: Mapping[str, int] = {"ml.m5.large": 7_000, "ml.m5.xlarge": 14_500, "ml.m5.2xlarge": 30_000}
#: Assumed: launching an instance and pulling the image (not billed); fetching data and storing the model (billed).
STARTUP_SECONDS, BILLED_OVERHEAD = 180.0, 60.0
#: Assumed until own runs or the market tell: what spot costs of the price on demand, the wait for capacity, and
#: interruptions an hour. The rate counts as if seen over 20 hours, so that own experience soon outweighs it.
SPOT_SHARE, SPOT_WAIT, SPOT_RATE, SPOT_RATE_HOURS = Decimal("0.4"), 300.0, 0.05, 20.0
#: A saving that is smaller is not worth waiting for a machine.
WORTH_WAITING = Decimal("0.05")
#: An interruption loses on average half of a trial; a search has some tens of them.
LOST_SHARE = 0.02


@dataclass(frozen=True)
class Experience:
    """What earlier trainings of the model took.

    Attributes
    ----------
    seconds, rows, peak_mb : of the last training that says so.
    spot_hours, spot_interruptions, spot_paid : over all on spot; ``spot_paid`` is billed by training seconds.
    """

    seconds: float | None = None
    rows: int | None = None
    peak_mb: int | None = None
    spot_hours: float = 0.0
    spot_interruptions: int = 0
    spot_paid: Decimal | None = None


@dataclass(frozen=True)
class SpotQuote:
    """What spot costs now as a share of the price on demand, by whom and when."""

    share: Decimal
    source: str


@dataclass(frozen=True)
class Offers:
    """What can be had.

    Attributes
    ----------
    instances : SageMaker instance types, the smallest first; empty without a training image, and ``reason`` says so.
    spot : instance type -> quote, where the market has one.
    """

    region: str = "us-east-1"
    prices: PriceSource | None = None
    lambda_mb: int = 3008
    architecture: str = "x86_64"
    instances: tuple[str, ...] = ()
    spot: Mapping[str, SpotQuote] = field(default_factory=dict)
    reason: str = "this stack has no training image (parameter TrainingImage)"


@dataclass(frozen=True)
class Option:
    """One place.

    Attributes
    ----------
    seconds : from now to its end, waiting included. memory_mb : that it has. usd : expected, None without a price.
    against : why it cannot be taken; empty when it can. basis : how the price came about.
    """

    where: Where
    instance: str
    seconds: float
    memory_mb: int
    usd: Decimal | None
    basis: str
    against: tuple[str, ...] = ()

    @property
    def possible(self) -> bool:
        return not self.against

    def to_dict(self) -> dict[str, Any]:
        return {
            "where": self.where,
            "instance": self.instance,
            "possible": self.possible,
            "seconds": round(self.seconds, 1),
            "memory_mb": self.memory_mb,
            "usd": plain(self.usd),
            "basis": self.basis,
            "against": list(self.against),
        }


@dataclass(frozen=True)
class Place:
    """Where a run goes. ``seconds``: of the training itself; ``possible``: whether it can run there at all."""

    where: Where
    possible: bool
    seconds: float
    values: int
    explanation: str
    instance: str = ""
    usd: Decimal | None = None
    options: tuple[Option, ...] = ()


def estimate(contract: Contract, *, rows: int, seconds: float | None, seconds_rows: int | None) -> float:
    """Seconds that a training takes: the last one's, scaled by rows, but at least its fixed part; without history
    the contract's time budget and the handling of the data."""
    if seconds is not None and seconds_rows:
        return seconds * max(1.0, rows / seconds_rows)
    return contract.training.time_budget_seconds + rows * len(contract.features) * SECONDS_PER_VALUE


def needed_mb(values: int, rows: int, experience: Experience) -> int:
    """Memory that a training needs: by its values, and no less than the last one's peak scaled by rows."""
    by_values = BASE_MB + values * BYTES_PER_VALUE / 2**20
    seen = 0.0
    if experience.peak_mb and experience.rows:
        seen = BASE_MB + max(0, experience.peak_mb - BASE_MB) * max(1.0, rows / experience.rows)
    return round(max(by_values, seen))


def choose(
    contract: Contract, *, rows: int, experience: Experience | None = None, offers: Offers | None = None
) -> Place:
    """Where to train ``rows`` rows: the cheapest place that has the memory and meets the deadline; of those that cost
    about the same (:data:`WORTH_WAITING`), the one that ends first.

    ``retrain.where`` of the contract narrows it: ``lambda`` takes Lambda even where it may not fit, ``sagemaker``
    one of the two on SageMaker.
    """
    known, market = experience or Experience(), offers or Offers()
    values = rows * max(1, len(contract.features))
    expected = estimate(contract, rows=rows, seconds=known.seconds, seconds_rows=known.rows)
    memory = needed_mb(values, rows, known)
    options = (_function(expected, memory, market), *_machines(contract, expected, memory, market, known))
    wanted = contract.retrain.where
    basis = f"about {expected:.0f} s and {memory:,} MB for {values:,} values"
    if wanted == "lambda" and not options[0].possible:
        told = " and ".join(options[0].against)
        text = f"It runs in Lambda because the contract says so, although it may not fit: {told}."
        return Place("lambda", True, expected, values, text, options[0].instance, options[0].usd, options)
    allowed = [o for o in options if wanted == "auto" or o.where.startswith(wanted)]
    fitting = [o for o in allowed if o.possible]
    if fitting:
        best = _best(fitting)
        text = f"It runs {_said(best)}: {basis}, expected {show(best.usd)}{_compared(best, fitting)}."
        return Place(best.where, True, expected, values, text, best.instance, best.usd, options)
    if not market.instances:
        told = " and ".join(options[0].against) or f"the contract asks for {wanted} (retrain.where)"
        text = (
            f"This training does not fit what this stack has: {told}, and {market.reason}. Lower the number of rows or "
            "training.time_budget_seconds, or set retrain.where to 'lambda' to try."
        )
    else:
        told = "; ".join(f"{_said(o)}: {' and '.join(o.against)}" for o in allowed)
        text = f"This training fits nowhere: {told}."
    where: Where = "sagemaker" if wanted == "sagemaker" else "lambda"
    return Place(where, False, expected, values, text, "", None, options)


def _best(fitting: Sequence[Option]) -> Option:
    priced = [o for o in fitting if o.usd is not None]
    least = min((o.usd for o in priced if o.usd is not None), default=None)
    near = [o for o in priced if o.usd is not None and least is not None and o.usd - least < WORTH_WAITING]
    return min(near or fitting, key=lambda o: o.seconds)


def _function(seconds: float, memory: int, market: Offers) -> Option:
    against = []
    if memory > market.lambda_mb:
        against.append(f"about {memory:,} MB are more than the {market.lambda_mb:,} MB of the train function")
    if seconds > LAMBDA_SECONDS:
        against.append(f"{seconds:.0f} s are more than the {LAMBDA_SECONDS:.0f} s that it may take")
    key = "lambda.gb_seconds_arm" if market.architecture == "arm64" else "lambda.gb_seconds"
    price = _price(market, key)
    usd = None
    if price is not None:
        usd = Decimal(market.lambda_mb) / 1024 * Decimal(str(round(seconds, 3))) * price.first
    return Option(
        "lambda", f"{market.lambda_mb} MB", seconds, market.lambda_mb, usd, _basis(price, "a GB-second"),
        tuple(against),
    )  # fmt: skip


def _machines(contract: Contract, seconds: float, memory: int, market: Offers, known: Experience) -> Sequence[Option]:
    """On demand and on spot, on the smallest instance with the memory; on the largest when none has it."""
    if not market.instances:
        return ()
    fitting = [i for i in market.instances if INSTANCES.get(i, 0) >= memory]
    instance = fitting[0] if fitting else market.instances[-1]
    against = []
    if instance not in INSTANCES:
        against.append(f"instance type {instance} is not known here")
    elif not fitting:
        against.append(f"about {memory:,} MB are more than {INSTANCES[instance]:,} MB, its largest")
    deadline = contract.retrain.deadline_hours * 3600
    price = _price(market, f"sagemaker.training.{instance}")
    billed = seconds + BILLED_OVERHEAD
    late = f"{{:.1f}} h are more than the deadline of {contract.retrain.deadline_hours:g} h (retrain.deadline_hours)"

    total = seconds + STARTUP_SECONDS
    reasons = [*against, *([late.format(total / 3600)] if total > deadline else [])]
    usd = None if price is None else _hours(billed) * price.first
    size = INSTANCES.get(instance, 0)
    demand = Option("sagemaker", instance, total, size, usd, _basis(price, "an hour"), tuple(reasons))

    quote = _spot(instance, market, known)
    rate = (known.spot_interruptions + SPOT_RATE * SPOT_RATE_HOURS) / (known.spot_hours + SPOT_RATE_HOURS)
    interruptions = rate * seconds / 3600
    lost = interruptions * seconds * LOST_SHARE
    total = SPOT_WAIT + STARTUP_SECONDS + seconds + lost + interruptions * (STARTUP_SECONDS + SPOT_WAIT)
    reasons = [*against, *([late.format(total / 3600)] if total > deadline else [])]
    usd = None if price is None else _hours(billed + lost) * price.first * quote.share
    told = (
        f"{_basis(price, 'an hour')} x {quote.share:.2f} ({quote.source}), {interruptions:.2f} interruptions expected"
    )
    spot = Option("sagemaker_spot", instance, total, size, usd, told, tuple(reasons))
    return demand, spot


def _spot(instance: str, market: Offers, known: Experience) -> SpotQuote:
    if known.spot_paid is not None:
        return SpotQuote(known.spot_paid, f"own runs of {known.spot_hours:.1f} h")
    return market.spot.get(instance) or SpotQuote(SPOT_SHARE, "assumed")


def _price(market: Offers, key: str) -> Price | None:
    if market.prices is None:
        return None
    try:
        found = market.prices.price(key, market.region)
    except KeyError:  # an instance type that is not in the catalogue
        return None
    return found if isinstance(found, Price) else None


def _basis(price: Price | None, unit: str) -> str:
    if price is None:
        return "no price known"
    return f"{plain(price.first)} USD {unit} ({price.source}, {price.as_of or 'no date'})"


def _hours(seconds: float) -> Decimal:
    return Decimal(str(round(seconds, 3))) / 3600


def _said(option: Option) -> str:
    if option.where == "lambda":
        return "in Lambda"
    return f"on SageMaker {'spot' if option.where == 'sagemaker_spot' else 'on demand'} ({option.instance})"


def _compared(best: Option, fitting: Sequence[Option]) -> str:
    others = [f"{show(o.usd)} {_said(o)}" for o in fitting if o is not best]
    return f"; against {', '.join(others)}" if others else ""
