"""Where a model is worst: slices that nobody named.

A slice is a set of rows that one or two groups pick out: levels of a category, truth of a boolean, quarters of a
number's range as the window has it, and "missing". Groups that the contract names are judged by
:mod:`mlops.evaluation.fairness`, as at the gate.

References
----------
Chung et al., "Slice Finder: automated data slicing for model validation", ICDE 2019: slices that are large, clearly
worse and significant, the simpler ones first.
Benjamini & Hochberg, JRSS B 57 (1995): false discoveries among all slices that were looked at.
Welch, Biometrika 34 (1947): means of two groups with different variances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.drift.special import adjusted, normal_two_sided
from mlops.evaluation.groups import Group, groups_of
from mlops.evaluation.metrics import Task, labels
from mlops.features.spec import Feature
from mlops.quality.joining import Rows

FloatArray = npt.NDArray[np.float64]

#: A slice has at least this many rows, and at least this share of all.
LEAST_ROWS, LEAST_SHARE = 30, 0.02
#: Groups of one feature that are looked at, the largest first.
MAX_GROUPS = 12
QUARTERS = 4
#: Mean loss above the rest's, in standard deviations (Cohen's d), that is worth telling.
EFFECT = 0.3
FALSE_DISCOVERIES = 0.05
#: A slice of two groups has at least this many times the loss of either alone.
WORSE_TOGETHER = 1.2
SHOWN = 10


def groups(feature: Feature, rows: Rows) -> list[Group]:
    """Groups of one feature that hold some of the rows and not all, named as people read them."""
    column = rows.table[feature.name]
    edges: Sequence[float] = ()
    if feature.type not in ("category", "boolean"):
        known = column.values[~column.missing()]
        if len(known):
            edges = np.unique(np.quantile(known, np.arange(1, QUARTERS) / QUARTERS)).tolist()
    found = groups_of(feature, rows.table, edges)
    word = "= " if feature.type in ("category", "boolean") else ""
    named = [Group(f"{feature.name} {'' if g.name == '(missing)' else word}{g.name}", g.rows) for g in found]
    partial = [g for g in named if not g.rows.all()]
    return sorted(partial, key=lambda g: -int(g.rows.sum()))[:MAX_GROUPS]


@dataclass(frozen=True, slots=True)
class Found:
    """A slice with a clearly larger loss. ``loss`` and ``rest``: mean losses; ``effect``: Cohen's d; ``q``: share of
    false alarms to expect among slices at least this significant."""

    where: str
    features: tuple[str, ...]
    rows: int
    loss: float
    rest: float
    effect: float
    q: float

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "features": list(self.features)}


def losses(rows: Rows, task: Task) -> FloatArray:
    """The loss of each row: 1 for a wrong label, or the absolute error."""
    if task.classes:
        wrong: FloatArray = (labels(rows.scores, task) != rows.actual).astype(np.float64)
        return wrong
    error: FloatArray = np.abs(rows.actual - rows.scores[:, 0])
    return error


def find(features: Sequence[Feature], rows: Rows, task: Task) -> tuple[list[Found], int]:
    """The worst slices of one or two groups, and how many were looked at.

    A slice must have :data:`LEAST_ROWS` rows and :data:`LEAST_SHARE` of all, a loss :data:`EFFECT` deviations above
    the rest's, and survive the control of false discoveries over everything that was looked at. A slice of two
    groups is told only if it is clearly worse than both of them alone.
    """
    loss = losses(rows, task)
    singles, owner = [], []
    for feature in features:
        if feature.name in rows.table:
            found_groups = groups(feature, rows)
            singles += found_groups
            owner += [feature.name] * len(found_groups)
    if not singles or len(loss) < 2 * LEAST_ROWS:
        return [], 0
    least = max(LEAST_ROWS, math.ceil(LEAST_SHARE * len(loss)))
    member = np.column_stack([g.rows for g in singles]).astype(np.float64)
    counts = member.T @ member
    sums = member.T @ (member * loss[:, None])
    squares = member.T @ (member * (loss**2)[:, None])
    total = _Total(len(loss), float(loss.sum()), float((loss**2).sum()))
    looked: list[tuple[tuple[int, ...], Mapping[str, float]]] = []
    for i in range(len(singles)):
        for j in range(i, len(singles)):
            if counts[i, j] < least or len(loss) - counts[i, j] < least:
                continue
            if i != j and owner[i] == owner[j]:
                continue
            members: tuple[int, ...] = (i,) if i == j else (i, j)
            looked.append((members, total.against(*map(float, (counts[i, j], sums[i, j], squares[i, j])))))
    q_values = adjusted([one["p"] for _, one in looked])
    alone = {members[0]: one["loss"] for members, one in looked if len(members) == 1}
    found = []
    for (members, one), q in zip(looked, q_values, strict=True):
        if one["effect"] < EFFECT or q > FALSE_DISCOVERIES:
            continue
        if len(members) == 2 and one["loss"] < WORSE_TOGETHER * max(alone.get(m, one["rest"]) for m in members):
            continue
        where = " and ".join(singles[m].name for m in members)
        names = tuple(owner[m] for m in members)
        found.append(Found(where, names, int(one["rows"]), one["loss"], one["rest"], one["effect"], q))
    return sorted(found, key=lambda f: (-f.effect, f.where))[:SHOWN], len(looked)


@dataclass(frozen=True, slots=True)
class _Total:
    rows: int
    loss: float
    square: float

    def against(self, n: float, loss: float, square: float) -> dict[str, float]:
        """A slice against the rest: one-sided, by Welch's statistic."""
        m = self.rows - n
        inside, outside = loss / n, (self.loss - loss) / m
        var_in = max(0.0, square / n - inside**2) * n / (n - 1)
        var_out = max(0.0, (self.square - square) / m - outside**2) * m / (m - 1)
        error = math.sqrt(var_in / n + var_out / m)
        spread = math.sqrt((var_in + var_out) / 2)
        z = (inside - outside) / error if error > 0 else 0.0
        p = normal_two_sided(z) / 2 if z > 0 else 1.0
        return {
            "rows": n, "loss": inside, "rest": outside, "p": p,
            "effect": (inside - outside) / spread if spread > 0 else 0.0,
        }  # fmt: skip
