"""Real data with a history that is known: flagged where it changes, quiet where it does not, without any setting.

Streams are real rows in an order: that of the file where the file is a stream, else a random one (nothing changes) or
one that changes at a known place. Everything runs with the default contract.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn import datasets

from mlops.contract import Drift
from mlops.drift.decision import confirmed, decide
from mlops.drift.learning import learn
from mlops.features.columns import Column, Columns, category_column
from mlops.features.spec import Feature
from mlops.statistics import season as seasons
from mlops.statistics.baseline import accumulate, build

Index = npt.NDArray[np.intp]
#: Set of scikit-learn -> the column by which rows are drawn after the change.
SETS = {"breast_cancer": "mean radius", "diabetes": "bmi", "digits": "pixel_3_3"}


@dataclass(frozen=True)
class Checked:
    """One window: its first row's time in days since 1970 (its number where rows have no time), the share of features
    that differ by weight, what was named, and whether it is drift, and counts as such after two of three."""

    time: float
    share: float
    named: tuple[str, ...]
    drift: bool
    counted: bool


@dataclass(frozen=True)
class Answer:
    """Windows of a stream in order, those from ``change`` on after the change. ``dated``: their rows have times."""

    name: str
    checked: tuple[Checked, ...]
    change: int
    dated: bool = False

    def row(self) -> str:
        """Before and after the change: how many windows there are, in how many a column or a correlation is named, how
        many are drift, how many count."""
        before, after = (
            " / ".join(str(n) for n in (len(part), sum(bool(c.named) for c in part), sum(c.drift for c in part),
                                        sum(c.counted for c in part)))
            for part in (self.checked[: self.change], self.checked[self.change :])
        )  # fmt: skip
        first = next((", ".join(c.named) for c in self.checked[self.change :] if c.named), "")
        return f"| {self.name} | {before} | {after} | {first} |"


HEADER = [
    "| stream | before the change: windows / named / drift / counted | after it | named first |",
    "|---|---|---|---|",
]


def watch(
    name: str,
    table: Columns,
    train: Index,
    windows: Sequence[Index],
    change: int,
    *,
    days: npt.NDArray[np.float64] | None = None,
    learned: bool = True,
) -> Answer:
    """Check ``windows`` against the rows ``train``; those from ``change`` on are after it."""
    features = [Feature(c.name, c.type) for c in table.columns]
    policy = Drift(confirmations=2, windows=3)
    baseline = build(features, table.take(train), pairs=True)
    if days is not None and learned:
        length = float(np.median([days[w[-1]] - days[w[0]] + 1 for w in windows]))
        baseline = learn(baseline, table.take(train), days[train], None, window_days=length, min_rows=policy.min_rows)
    found, earlier = list[Checked](), list[bool]()
    for number, rows in enumerate(windows):
        slots = seasons.of_rows(baseline.season.unit, days[rows]) if baseline.season and days is not None else None
        verdict = decide(baseline, accumulate(baseline, table.take(rows)), policy, slots)
        drift = verdict.status == "drift"
        found.append(
            Checked(
                time=float(number if days is None else days[rows[0]]),
                share=verdict.share,
                named=tuple(f.feature for f in verdict.first(2)),
                drift=drift,
                counted=confirmed(drift, earlier, needed=policy.confirmations, windows=policy.windows),
            )
        )
        earlier.insert(0, drift)
    return Answer(name, tuple(found), change, dated=days is not None)


def weather(path: Path) -> list[Answer]:
    """Daily weather from 1949: ten years train, windows of 122 days. Row ``i`` is taken for day ``i``, which holds for
    35 years; then so many days are missing from the file that its seasons come at other times of the year."""
    data = np.genfromtxt(path, delimiter=",", names=True)
    names = [n for n in data.dtype.names if n != "target"]
    table = Columns(tuple(Column(n, "number", data[n].astype(np.float64)) for n in names))
    start, train, length, change = -7_670.0, np.arange(3_652), 122, 74
    days = start + np.arange(len(data), dtype=np.float64)
    windows = [np.arange(i, i + length) for i in range(3_652, len(data) - length, length)]
    return [
        watch("weather, without a timestamp", table, train, windows, change),
        watch("weather, with a timestamp", table, train, windows, change, days=days),
    ]


def credit(path: Path) -> list[Answer]:
    """German credit: 1,000 applications. In random order nothing changes; then applications of the young alone."""
    with path.open() as lines:
        rows = list(csv.DictReader(lines))
    columns = []
    for name in rows[0]:
        values = [r[name] for r in rows]
        if name == "credit_risk":
            continue
        numeric = all(v.lstrip("-").isdigit() for v in values)
        columns.append(
            Column(name, "number", np.array(values, dtype=np.float64)) if numeric else category_column(name, values)
        )
    return changing("German credit", Columns(tuple(columns)), "age")


def changing(title: str, table: Columns, by: str) -> list[Answer]:
    """Half of the rows train. Of the other half come ten windows of rows drawn at random, then ten in which rows with
    a low value of ``by`` are drawn three times as often."""
    rng = np.random.default_rng(5)
    order = rng.permutation(table.rows)
    train, rest = order[: table.rows // 2], order[table.rows // 2 :]
    values = table[by].values[rest]
    weights = np.where(values <= np.median(values), 3.0, 1.0)
    size = 150
    quiet = [rng.choice(rest, size) for _ in range(10)]
    changed = [rng.choice(rest, size, p=weights / weights.sum()) for _ in range(10)]
    return [watch(f"{title}, then more rows of low {by}", table, train, [*quiet, *changed], 10)]


def parted(title: str, table: Columns) -> list[Answer]:
    """As above, but then every column is shuffled by itself: each stays as it was, and nothing goes with anything."""
    rng = np.random.default_rng(6)
    order = rng.permutation(table.rows)
    train, rest = order[: table.rows // 2], order[table.rows // 2 :]
    shuffled = Columns(
        tuple(
            Column(c.name, c.type, np.concatenate([c.values, rng.permutation(c.values[rest])]), c.levels)
            for c in table.columns
        )
    )
    size = 150
    quiet = [rng.choice(rest, size) for _ in range(10)]
    changed = [table.rows + rng.choice(len(rest), size) for _ in range(10)]
    return [watch(f"{title}, then every column shuffled", shuffled, train, [*quiet, *changed], 10)]


def bundled() -> list[Answer]:
    """Sets that come with scikit-learn."""
    found = []
    for name, by in SETS.items():
        loaded = getattr(datasets, f"load_{name}")(as_frame=True).data
        values = loaded.to_numpy(dtype=np.float64)
        table = Columns(tuple(Column(str(c), "number", values[:, i].copy()) for i, c in enumerate(loaded.columns)))
        found += changing(name, table, by) + parted(name, table)
    return found
