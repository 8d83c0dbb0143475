"""The retrain policy: a pure function from facts and the contract to a decision with its reasons.

Two questions. *Is there a reason?* (:func:`reasons`): the first model, a drop in quality, drift, enough new rows,
the schedule, a person. *Does anything hold it back?* (:func:`holds`): a run in progress, nothing new to learn from,
no place that fits, cool-down, quiet hours, launches this week, the budget. A "no" names every hold, not only the first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

from mlops.contract import Contract
from mlops.cost.money import show
from mlops.errors import ContractError
from mlops.retrain.place import Experience, Offers, Place, choose

Trigger = Literal["upload", "drift", "quality", "sweep", "manual"]
Reason = Literal["first_model", "quality", "drift", "new_rows", "schedule", "manual", "none"]

WEEK = timedelta(days=7)

#: How often the same data is trained on by itself, when a run ends without a version.
MAX_ATTEMPTS = 2


@dataclass(frozen=True)
class DriftFacts:
    """The last drift check of the version that serves. ``confirmed``: it counts, after the contract's debounce."""

    status: str
    confirmed: bool = False
    share: float = 0.0
    features: tuple[str, ...] = ()
    check_id: str = ""


@dataclass(frozen=True)
class QualityFacts:
    """The last check of the serving version on labelled traffic: ``metric`` came out as ``realised``, and the bound
    that the contract sets is ``bound``. ``confirmed``: the check counts."""

    status: str
    confirmed: bool = True
    metric: str = ""
    realised: float | None = None
    bound: float | None = None
    check_id: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known when a decision is made.

    Attributes
    ----------
    trigger : what asked: an upload's pipeline, a ``DriftChecked`` event, the schedule's sweep, a person.
    champion_since : when the version that serves was made; None without a champion.
    dataset_version, rows : the current data set; None and 0 without one.
    new_rows : rows accepted since the last launch.
    trained_already : a version trained on exactly this data set and contract.
    attempts : launches on exactly this data set and contract.
    running : the run that holds the lock ``train``.
    last_launch, launches_this_week : of any reason, in the last seven days.
    over_budget : None when no cost report says so or otherwise.
    budget_left : US dollars of this month's budget; None without a budget or a report.
    experience, offers : what earlier trainings took, and where one can run at which price.
    actor, request : the person who asked and their words, for ``manual``.
    """

    trigger: Trigger
    champion_since: datetime | None = None
    dataset_version: str | None = None
    rows: int = 0
    new_rows: int = 0
    trained_already: str | None = None
    attempts: int = 0
    running: str | None = None
    last_launch: datetime | None = None
    launches_this_week: int = 0
    over_budget: bool | None = None
    budget_left: Decimal | None = None
    drift: DriftFacts | None = None
    quality: QualityFacts | None = None
    experience: Experience = field(default_factory=Experience)
    offers: Offers = field(default_factory=Offers)
    actor: str = ""
    request: str = ""


@dataclass(frozen=True)
class Decision:
    """The answer.

    Attributes
    ----------
    launch : whether to train now.
    reason : the reason that counts most, ``none`` without any.
    explanation : for people: what spoke for it, what held it back, where it runs.
    place : where it would run, with what is known about that.
    reasons : every reason there was. holds : codes of all that held it back, empty when launched.
    """

    launch: bool
    reason: Reason
    explanation: str
    place: Place
    reasons: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        return self.place.where


def decide(facts: Facts, contract: Contract, now: datetime) -> Decision:
    """Decide.

    Parameters
    ----------
    now : the time, with a zone.

    Raises
    ------
    ContractError
        for ``quiet_hours`` that cannot be read.
    """
    wanted, against = reasons(facts, contract, now)
    place = choose(contract, rows=facts.rows, experience=facts.experience, offers=facts.offers)
    if not wanted:
        return Decision(False, "none", f"Not launched: {'; '.join(against)}.", place)
    first = wanted[0][0]
    said = "; ".join(text for _, text in wanted)
    held = holds(facts, contract, now, first, place)
    names = tuple(code for code, _ in wanted)
    if held:
        text = f"Not launched, although {said}: {'; '.join(text for _, text in held)}."
        return Decision(False, first, text, place, names, tuple(code for code, _ in held))
    return Decision(True, first, f"Launched: {said}. {place.explanation}", place, names)


def reasons(facts: Facts, contract: Contract, now: datetime) -> tuple[list[tuple[Reason, str]], list[str]]:
    """``(reasons for, reasons against)``; each reason for with its words, the strongest first."""
    wanted: list[tuple[Reason, str]] = []
    if facts.trigger == "manual":
        words = f" ({facts.request})" if facts.request else ""
        wanted.append(("manual", f"{facts.actor or 'a person'} asked for it{words}"))
    checks: list[tuple[Reason, tuple[bool, str]]]
    if facts.champion_since is None:
        checks = [("first_model", _first_model(facts, contract))]
    else:
        checks = [
            ("quality", _quality(facts.quality, on_quality=contract.retrain.on_quality)),
            ("drift", _drift(facts.drift, on_drift=contract.retrain.on_drift)),
            ("new_rows", _new_rows(facts.new_rows, contract.retrain.on_new_rows)),
            ("schedule", _schedule(facts.last_launch or facts.champion_since, contract.retrain.every_days, now)),
        ]
    wanted += [(reason, words) for reason, (yes, words) in checks if yes]
    return wanted, [words for _, (yes, words) in checks if not yes]


def _first_model(facts: Facts, contract: Contract) -> tuple[bool, str]:
    least = contract.training.min_rows
    if facts.rows >= least:
        return True, f"there is no model yet and {facts.rows} rows are enough for one"
    return False, f"there is no model yet, and {facts.rows} of the {least} rows that the first one needs"


def _drift(drift: DriftFacts | None, *, on_drift: bool) -> tuple[bool, str]:
    if drift is None:
        return False, "no drift check has been made of the version that serves"
    if drift.status != "drift":
        return False, f"the last drift check says '{drift.status}'"
    if not drift.confirmed:
        return False, "drift is not confirmed by enough checks yet"
    if not on_drift:
        return False, "drift was found, but the contract does not retrain for it (retrain.on_drift)"
    named = f", first {', '.join(drift.features[:3])}" if drift.features else ""
    return True, f"the data drifted ({drift.share * 100:.3g} % of features by weight{named})"


def _quality(quality: QualityFacts | None, *, on_quality: bool) -> tuple[bool, str]:
    if quality is None:
        return False, "no quality check has been made of the version that serves"
    if quality.status != "degraded":
        return False, f"the last quality check says '{quality.status}'"
    if not quality.confirmed:
        return False, "the drop in quality is not confirmed by enough checks yet"
    if not on_quality:
        return False, "quality dropped, but the contract does not retrain for it (retrain.on_quality)"
    figures = ""
    if quality.realised is not None:
        bound = "" if quality.bound is None else f", the bound is {quality.bound:.4g}"
        figures = f" ({quality.metric} {quality.realised:.4g}{bound})"
    return True, f"quality on labelled traffic dropped{figures}"


def _new_rows(new_rows: int, enough: int | None) -> tuple[bool, str]:
    if enough is None:
        return False, "the contract does not retrain for new rows (retrain.on_new_rows)"
    if new_rows >= enough:
        return True, f"{new_rows} new rows since the last training, {enough} are enough"
    return False, f"{new_rows} new rows since the last training, of the {enough} that are enough"


def _schedule(since: datetime, every_days: float | None, now: datetime) -> tuple[bool, str]:
    if every_days is None:
        return False, "the contract has no schedule (retrain.every_days)"
    due = since + timedelta(days=every_days)
    if now < due:
        return False, f"the next scheduled training is due {_at(due)}"
    days = (now - since).total_seconds() / 86400
    return True, f"{days:.1f} days since the last training, every {every_days:g} is wanted"


def holds(facts: Facts, contract: Contract, now: datetime, reason: Reason, place: Place) -> list[tuple[str, str]]:
    """Everything that speaks against launching now, as ``(code, words)``.

    A person overrides waiting times, quiet hours, the weekly number and the budget, but not a run in progress, a
    lack of rows, or data too large to train on. The first model does not wait, unless it is the sweep that asks.
    """
    found: list[tuple[str, str]] = []
    if facts.running is not None:
        found.append(("running", f"run {facts.running} is in progress"))
    if facts.dataset_version is None or facts.rows < contract.training.min_rows:
        found.append(("rows", f"the data set has {facts.rows} rows, training needs {contract.training.min_rows}"))
    if not place.possible:
        found.append(("too_large", place.explanation.rstrip(".")))
    if reason == "manual":
        return found
    if facts.trained_already is not None:
        text = f"version {facts.trained_already} was trained on exactly this data and contract"
        found.append(("nothing_new", f"{text}; training again gives the same"))
    elif facts.attempts >= MAX_ATTEMPTS:
        found.append(("nothing_new", f"{facts.attempts} runs on exactly this data and contract gave no version"))
    if facts.over_budget:
        found.append(("budget", "this month's budget is spent"))
    elif facts.budget_left is not None and place.usd is not None and place.usd > facts.budget_left:
        left = f"{show(place.usd)} expected, and {show(facts.budget_left)} of this month's budget are left"
        found.append(("budget", left))
    if reason == "first_model" and facts.trigger == "upload":
        return found
    return found + _waiting(facts, contract, now)


def _waiting(facts: Facts, contract: Contract, now: datetime) -> list[tuple[str, str]]:
    policy, found = contract.retrain, list[tuple[str, str]]()
    if facts.last_launch is not None:
        until = facts.last_launch + timedelta(hours=policy.cooldown_hours)
        if now < until:
            found.append(("cooldown", f"the cool-down of {policy.cooldown_hours:g} hours ends {_at(until)}"))
    if in_quiet_hours(policy.quiet_hours, now):
        found.append(("quiet_hours", f"it is within the quiet hours {policy.quiet_hours} UTC"))
    if facts.launches_this_week >= policy.max_per_week:
        found.append(
            ("weekly", f"{facts.launches_this_week} launches in the last seven days, {policy.max_per_week} are allowed")
        )
    return found


def in_quiet_hours(text: str | None, now: datetime) -> bool:
    """Whether ``now`` lies in hours such as ``"22-06"`` or ``"22:30-06:00"`` (UTC, start included, end not).

    Raises
    ------
    ContractError
        when ``text`` is not of that form.
    """
    if not text:
        return False
    match = re.fullmatch(r"\s*(\d{1,2})(?::(\d{2}))?\s*-\s*(\d{1,2})(?::(\d{2}))?\s*", text)
    parts = [int(p or 0) for p in match.groups()] if match else []
    if not parts or parts[0] > 24 or parts[2] > 24 or parts[1] > 59 or parts[3] > 59:
        raise ContractError(f"retrain.quiet_hours: '{text}' is not of the form '22-06' (hours in UTC)")
    start, end = (parts[0] % 24) * 60 + parts[1], (parts[2] % 24) * 60 + parts[3]
    utc = now.astimezone(UTC)
    minute = utc.hour * 60 + utc.minute
    if start == end:
        return parts[0] != parts[2]  # "0-24" is always, "6-6" never
    return start <= minute < end if start < end else minute >= start or minute < end


def _at(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
