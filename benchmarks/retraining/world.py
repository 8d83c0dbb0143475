"""A year of a model's life: what is true drifts, checks are noisy, data grows, machines are interrupted.

Everything is drawn from one seed before any policy is asked, so that all policies live through the same year. What is
true is one number; a model knows the mean of it over the labelled rows that it was trained on. The gap between the
two is its staleness, in units of what a drift check can see well (1.0).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 365


@dataclass(frozen=True)
class Assumptions:
    """The year's numbers.

    Attributes
    ----------
    walk, season, jumps, jump : what is true takes a random walk (a day), a yearly wave, and so many sudden changes.
    noise : of a drift check around the gap; ``alarm``: from where it says drift.
    label_days : after which an outcome is known; ``window_days``: of labelled rows that a model learns from.
    first_rows, rows_a_day : labelled rows at the start, and that come in.
    interruptions_an_hour, capacity_missing : of spot machines, and the share of days on which there are none.
    rejected : share of trainings whose model does not pass the gates.
    serving_usd : a month, beside trainings; ``budget_usd`` a month for all.
    """

    walk: float = 0.035
    season: float = 0.5
    jumps: int = 3
    jump: float = 1.4
    noise: float = 0.35
    alarm: float = 0.8
    label_days: int = 5
    window_days: int = 14
    first_rows: int = 150_000
    rows_a_day: int = 4_000
    interruptions_an_hour: float = 0.3
    capacity_missing: float = 0.04
    rejected: float = 0.1
    serving_usd: float = 6.0
    budget_usd: float = 8.0


@dataclass(frozen=True)
class Year:
    """One drawn year, a value a day."""

    truth: tuple[float, ...]
    check_noise: tuple[float, ...]
    quality_noise: tuple[float, ...]
    machine: tuple[float, ...]
    gate: tuple[float, ...]

    def learnt(self, day: int, assume: Assumptions) -> float:
        """What a model trained on that day knows: the mean of the truth over the rows whose outcome is known."""
        last = max(0, day - assume.label_days)
        seen = self.truth[max(0, last - assume.window_days) : last + 1]
        return math.fsum(seen) / len(seen)


def draw(seed: int, assume: Assumptions) -> Year:
    """A year from a seed."""
    random_ = random.Random(seed)
    when = sorted(random_.sample(range(30, DAYS - 20), assume.jumps))
    truth, level = [], 0.0
    for day in range(DAYS):
        level += random_.gauss(0, assume.walk)
        if day in when:
            level += random_.choice((-1, 1)) * assume.jump
        truth.append(level + assume.season * math.sin(2 * math.pi * day / DAYS))

    def noise() -> tuple[float, ...]:
        return tuple(random_.gauss(0, 1) for _ in range(DAYS))

    def uniform() -> tuple[float, ...]:
        return tuple(random_.random() for _ in range(DAYS))

    return Year(tuple(truth), noise(), noise(), uniform(), uniform())


def at(day: int, hour: int = 3) -> datetime:
    """The moment of a day's checks."""
    return START + timedelta(days=day, hours=hour)
