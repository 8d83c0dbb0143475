"""One policy lives through one year.

The launcher's policy is the bundle's own code: :func:`mlops.retrain.policy.decide` for the decision,
:func:`mlops.retrain.place.choose` for the place, :func:`mlops.retrain.jobs.next_step` after a job.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from benchmarks.retraining.world import DAYS, START, Assumptions, Year, at
from mlops.contract import Contract, Drift, Retrain, Target, Training
from mlops.cost.prices import snapshot
from mlops.features.spec import Feature
from mlops.retrain.jobs import Cause, next_step
from mlops.retrain.place import INSTANCES, Experience, Offers, Place, choose
from mlops.retrain.policy import WEEK, DriftFacts, Facts, QualityFacts, decide

FEATURES = 30
CONTRACT = Contract(
    "simulated",
    "classification",
    Target("y", ("no", "yes"), "yes"),
    tuple(Feature(f"f{i}", "number") for i in range(FEATURES)),
    training=Training(time_budget_seconds=1200, min_rows=1000),
    drift=Drift(confirmations=2),
    retrain=Retrain(cooldown_hours=72, max_per_week=2, every_days=60, quiet_hours="08-18"),
)
OFFERS = Offers(prices=snapshot(), instances=tuple(INSTANCES))
_SECONDS_AT = 200_000  # rows that take the contract's time budget


@dataclass
class Life:
    """What has happened to a model so far."""

    year: Year
    assume: Assumptions
    knows: float
    trained_day: int = 0
    trained_rows: int = 0
    champion_day: int = 0
    launches: list[int] = field(default_factory=list)
    busy_until: int = -1
    attempts: Counter[int] = field(default_factory=Counter)
    version_of: int = -1
    usd: Decimal = Decimal(0)
    month_usd: Decimal = Decimal(0)
    peak_rows: int | None = None
    seconds: float | None = None
    spot_seconds: float = 0.0
    spot_interruptions: int = 0
    alarms: list[bool] = field(default_factory=list)
    staleness: list[float] = field(default_factory=list)
    decisions: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    pending: tuple[int, float, int] | None = None

    def rows(self, day: int) -> int:
        return self.assume.first_rows + day * self.assume.rows_a_day

    def gap(self, day: int) -> float:
        """What serves against what is true."""
        return abs(self.year.truth[day] - self.knows)

    def experience(self) -> Experience:
        return Experience(self.seconds, self.peak_rows, None, self.spot_seconds / 3600, self.spot_interruptions, None)

    def left(self, day: int) -> Decimal:
        """Of the month's budget."""
        served = Decimal(str(self.assume.serving_usd)) * at(day).day / 30
        return Decimal(str(self.assume.budget_usd)) - served - self.month_usd


#: day, life -> whether to train, and where.
Policy = Callable[[int, Life], Place | None]


def launcher(day: int, life: Life) -> Place | None:
    """The bundle's own policy with the contract above."""
    confirmed = len(life.alarms) >= 2 and all(life.alarms[-CONTRACT.drift.confirmations :])
    drift = DriftFacts("drift" if life.alarms[-1] else "ok", confirmed, share=min(1.0, life.gap(day) / 2))
    quality = None
    if day % 7 == 0:  # weekly: a bound at twice what is tolerated, seen through noise
        measured = life.gap(max(0, day - life.assume.label_days)) + 0.15 * life.year.quality_noise[day]
        quality = QualityFacts("degraded" if measured > 1.6 else "ok", True, "gap", measured, 1.6)
    left = life.left(day)
    facts = Facts(
        trigger="drift",
        champion_since=at(life.champion_day),
        dataset_version=f"d{day}",
        rows=life.rows(day),
        new_rows=life.rows(day) - life.trained_rows,
        attempts=life.attempts[day],
        running="a run" if day <= life.busy_until else None,
        last_launch=at(life.launches[-1]) if life.launches else None,
        launches_this_week=sum(1 for d in life.launches if at(day) - at(d) < WEEK),
        over_budget=left < 0,
        budget_left=max(Decimal(0), left),
        drift=drift,
        quality=quality,
        experience=life.experience(),
        offers=OFFERS,
    )
    decision = decide(facts, CONTRACT, at(day))
    life.decisions[f"{'launch' if decision.launch else 'no'} {decision.reason}"] += 1
    for hold in decision.holds:
        life.decisions[f"held by {hold}"] += 1
    return decision.place if decision.launch else None


def weekly(day: int, life: Life) -> Place | None:
    """Every seventh day, whatever happens."""
    return _somewhere(day, life) if day % 7 == 0 and day else None


def never(day: int, life: Life) -> Place | None:
    """The first model for ever."""
    return None


def every_alarm(day: int, life: Life) -> Place | None:
    """As soon as one drift check says drift."""
    return _somewhere(day, life) if life.alarms[-1] and day > life.busy_until else None


POLICIES: dict[str, Policy] = {
    "launcher": launcher, "weekly": weekly, "never": never, "every alarm": every_alarm,
}  # fmt: skip


def _somewhere(day: int, life: Life) -> Place:
    """Simple policies take the same places, but look at no spot price."""
    place = choose(CONTRACT, rows=life.rows(day), experience=life.experience(), offers=OFFERS)
    options = [o for o in place.options if o.where != "sagemaker_spot" and o.possible] or list(place.options)
    best = options[0]
    return Place(best.where, True, place.seconds, place.values, "", best.instance, best.usd, place.options)


def live(policy: Policy, year: Year, assume: Assumptions) -> Life:
    """The whole year under one policy."""
    life = Life(year, assume, knows=year.learnt(0, assume), trained_rows=assume.first_rows)
    for day in range(DAYS):
        if at(day).day == 1:
            life.month_usd = Decimal(0)
        if life.pending and day >= life.pending[0]:
            _, life.knows, life.champion_day = life.pending[0], life.pending[1], day
            life.pending = None
        life.alarms.append(life.gap(day) + assume.noise * year.check_noise[day] > assume.alarm)
        place = policy(day, life)
        if place is not None:
            _train(day, life, place)
        life.staleness.append(life.gap(day))
    return life


def _train(day: int, life: Life, place: Place) -> None:
    """A run: its jobs, what they cost, and a model that serves from the day after its end, if the gates let it."""
    rows, assume = life.rows(day), life.assume
    seconds = CONTRACT.training.time_budget_seconds * max(1.0, rows / _SECONDS_AT)
    usd, hours, interruptions = _run(place, seconds, life, day)
    life.launches.append(day)
    life.places[place.where] += 1
    life.usd += usd
    life.month_usd += usd
    life.seconds, life.peak_rows = seconds, rows
    life.trained_rows = rows
    ends = day + max(1, math.ceil(hours / 24))
    life.busy_until = ends - 1
    life.spot_interruptions += interruptions
    if life.year.gate[day] >= assume.rejected:
        life.pending = (ends, life.year.learnt(day, assume), day)


def _run(place: Place, seconds: float, life: Life, day: int) -> tuple[Decimal, float, int]:
    """(US dollars, hours until the model, interruptions) of a run that starts at this place."""
    per_second = place.usd / Decimal(str(place.seconds)) if place.usd else Decimal(0)
    if place.where != "sagemaker_spot":
        return per_second * Decimal(str(seconds)), seconds / 3600 + 0.1, 0
    demand = next(o for o in place.options if o.where == "sagemaker")
    on_demand = (demand.usd or Decimal(0)) / Decimal(str(place.seconds))
    causes: list[Cause] = []
    if life.year.machine[day] < life.assume.capacity_missing:
        # No machine within the waiting time: what the runner would do next decides.
        step = next_step("wait", instance=place.instance, spot=True, jobs=causes, instances=tuple(INSTANCES))
        hours = CONTRACT.retrain.deadline_hours + seconds / 3600
        return (on_demand if not step.spot else per_second) * Decimal(str(seconds)), hours, 0
    expected = life.assume.interruptions_an_hour * seconds / 3600
    interruptions = _poisson(expected, life.year.machine[day])
    lost = seconds * 0.02 * interruptions
    life.spot_seconds += seconds + lost
    usd = per_second * Decimal(str(seconds + lost))
    if interruptions > CONTRACT.retrain.max_interruptions:
        step = next_step("interruptions", instance=place.instance, spot=True, jobs=causes, instances=tuple(INSTANCES))
        usd += (on_demand if not step.spot else per_second) * Decimal(str(seconds)) / 2
    return usd, (seconds + lost) / 3600 + 0.2 * (1 + interruptions), interruptions


def _poisson(mean: float, uniform: float) -> int:
    """The quantile of a Poisson distribution."""
    count, probability = 0, math.exp(-mean)
    total = probability
    while uniform > total and count < 50:
        count += 1
        probability *= mean / count
        total += probability
    return count


def months_over(life: Life, assume: Assumptions) -> int:
    """Months in which trainings and serving together cost more than the budget; by launch days and mean cost."""
    if not life.launches:
        return 0
    each = life.usd / len(life.launches)
    by_month = Counter((START + timedelta(days=d)).month for d in life.launches)
    limit = Decimal(str(assume.budget_usd - assume.serving_usd))
    return sum(1 for count in by_month.values() if each * count > limit)
