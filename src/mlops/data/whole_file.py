"""Checks of an upload as a whole: what no single row shows. They look at accepted rows and keep none apart.

Completeness, balance of the target, contradicting labels and freshness are counted over all rows; leakage, outliers
and rare categories over a sample (the rows with the smallest fingerprints: random, and the same for the same rows).
What is counted adds up: :class:`Facts` of parts make those of the whole, for an upload of many files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlops.contract import Contract
from mlops.data import outliers
from mlops.data.contradictions import conflicts
from mlops.data.outcome import KEPT, Finding
from mlops.data.store import Rows, StoredColumn
from mlops.features.columns import MISSING, Column, Columns

SAMPLE_ROWS = 50_000
#: Fewer rows than this tell nothing of shares or leakage.
MIN_ROWS = outliers.MIN_ROWS
#: A level with fewer rows in a sample of at least ``RARE_OF`` is rare.
RARE_ROWS, RARE_OF = 5, 1_000
#: An upload of many files with more rows than this is not compared by its keys; the check says nothing then.
MAX_KEYED = 10_000_000
_BINS = 64

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]


#: One column as it is counted: its name, its levels if it has any, and blocks of numbers or of positions among levels.
Blocks = tuple[str, Sequence[str] | pl.Series | None, Iterable[npt.NDArray[Any]]]


@dataclass(frozen=True)
class Facts:
    """What is counted over all accepted rows.

    Attributes
    ----------
    absent : rows without a value, of the columns that the contract wants complete.
    newest : the latest timestamp, in days since 1970; None without a bound for its age.
    classes : rows by value of a categorical target.
    low, high : the range of a numeric target.
    """

    rows: int = 0
    absent: dict[str, int] = field(default_factory=dict)
    newest: float | None = None
    classes: dict[str, int] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None

    def plus(self, other: Facts) -> Facts:
        """Facts of both together, when no row is in both."""
        return Facts(
            self.rows + other.rows,
            _added(self.absent, other.absent),
            max((v for v in (self.newest, other.newest) if v is not None), default=None),
            _added(self.classes, other.classes),
            min((v for v in (self.low, other.low) if v is not None), default=None),
            max((v for v in (self.high, other.high) if v is not None), default=None),
        )


def findings(
    rows: Rows, contract: Contract, *, read: int, now: datetime, history: Sequence[int] = (), held: bool = False
) -> list[Finding]:
    """What is odd about an upload as a whole, with the severity that the contract gives it.

    Parameters
    ----------
    rows : the accepted rows.
    read : rows in the upload.
    history : rows of earlier uploads of this model, for the check of volume.
    held : see :func:`of_sample`.
    """
    counted = facts(((c.name, c.levels, _blocks(rows, c)) for c in rows.columns), rows.count, contract)
    found = judged(counted, contract, read=read, now=now, history=history)
    if rows.count and _wanted("conflicting_labels", contract):
        found += _contradictions(rows, contract)
    if rows.count >= MIN_ROWS and any(_wanted(code, contract) for code in _OF_SAMPLE):
        sample, numbers = rows.sample(SAMPLE_ROWS)
        found += of_sample(sample, contract, numbers, held=held)
    return graded(found, contract)


def _wanted(code: str, contract: Contract) -> bool:
    return contract.checks.severity.get(code) != "ignore"


def graded(found: Iterable[Finding], contract: Contract) -> list[Finding]:
    """Findings with the severity that the contract gives them, without those that it ignores. To keep rows apart is not
    for findings of a whole: what should, and could not be decided row by row, is a remark."""
    found = list(found)
    for finding in found:
        told = contract.checks.severity.get(finding.code, "warn")
        finding.severity = "warn" if told == "quarantine" else told
    return [f for f in found if f.severity != "ignore"]


# Over all rows ------------------------------------------------------------------------------------


def facts(columns: Iterable[Blocks], rows: int, contract: Contract) -> Facts:
    """Count what :func:`judged` asks for."""
    absent: dict[str, int] = {}
    classes: dict[str, int] = {}
    newest = low = high = None
    for name, levels, blocks in columns:
        wanted = [name in contract.checks.completeness, name == contract.target.name]
        dated = name == contract.timestamp and contract.checks.max_age_days is not None
        for block in blocks if rows and (any(wanted) or dated) else ():
            if not len(block):
                continue
            if wanted[0]:
                absent[name] = absent.get(name, 0) + int(
                    ((block == MISSING) if levels is not None else np.isnan(block)).sum()
                )
            if dated:
                newest = max(float(np.nanmax(block)), newest if newest is not None else -np.inf)
            if wanted[1] and levels is not None:
                counts = np.bincount(block[block != MISSING], minlength=len(levels)).tolist()
                classes = _added(classes, {n: c for n, c in zip(levels, counts, strict=True) if c})
            elif wanted[1]:
                low = min(float(block.min()), low if low is not None else np.inf)
                high = max(float(block.max()), high if high is not None else -np.inf)
    return Facts(rows, absent, newest, classes, low, high)


def judged(
    counted: Facts, contract: Contract, *, read: int, now: datetime, history: Sequence[int] = ()
) -> list[Finding]:
    """What the facts show; see :func:`findings`."""
    found = [*_volume(contract, read, history)]
    if counted.rows:
        found += _completeness(counted, contract)
        found += _freshness(counted, contract, now)
        if counted.rows >= MIN_ROWS:
            found += _balance(counted, contract)
    return found


def _blocks(rows: Rows, column: StoredColumn) -> Iterator[npt.NDArray[Any]]:
    return (block if column.levels is None else column.positions(block) for block in rows.blocks_of(column))


def _added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}


def _volume(contract: Contract, read: int, history: Sequence[int]) -> Iterator[Finding]:
    usual = median(history) if len(history) >= 3 else 0
    bound = contract.checks.volume_ratio
    if usual and not usual / bound <= read <= usual * bound:
        yield Finding(
            "volume",
            None,
            "warn",
            f"the upload has {read:,} rows; the last {len(history)} had {usual:,.0f} (median), and the contract "
            f"takes up to {bound:g} times more or fewer for usual (checks.volume_ratio)",
            count=read,
        )


def _completeness(counted: Facts, contract: Contract) -> Iterator[Finding]:
    for name, absent in counted.absent.items():
        needed = contract.checks.completeness[name]
        if 1 - absent / counted.rows < needed:
            yield Finding(
                "completeness",
                name,
                "warn",
                f"'{name}' has a value in {1 - absent / counted.rows:.2%} of the good rows; the contract asks for "
                f"{needed:.2%} (checks.completeness)",
                count=absent,
            )


def _freshness(counted: Facts, contract: Contract, now: datetime) -> Iterator[Finding]:
    bound = contract.checks.max_age_days
    if bound is None or counted.newest is None:
        return
    age = now.timestamp() / 86_400 - counted.newest
    if age > bound:
        yield Finding(
            "freshness",
            contract.timestamp,
            "warn",
            f"the newest '{contract.timestamp}' is {age:,.1f} days old; the contract takes {bound:g} "
            "(checks.max_age_days)",
            count=counted.rows,
        )


def _contradictions(rows: Rows, contract: Contract) -> Iterator[Finding]:
    names = keyed_by(contract)
    found = conflicts(rows, names, contract.target.name, KEPT) if names else None
    if found and found.keys:
        yield _conflicting(found.keys, found.rows, contract, list(found.first))


def _conflicting(keys: int, count: int, contract: Contract, first: list[int] | None = None) -> Finding:
    return Finding(
        "conflicting_labels",
        contract.target.name,
        "warn",
        f"{keys:,} keys ({', '.join(keyed_by(contract))}) stand in several rows with different values of "
        f"'{contract.target.name}': which one is true?",
        count=count,
        rows=first or [],
    )


def keyed_by(contract: Contract) -> tuple[str, ...]:
    """The columns that say which row is of whom and when; none without a key."""
    return (*contract.key, *([contract.timestamp] if contract.timestamp else [])) if contract.key else ()


def contradictions(keyed: pl.DataFrame, contract: Contract) -> Iterator[tuple[Finding, pl.Series]]:
    """Rows that agree in key and time and disagree in the target, and where they are.

    ``keyed``: a column ``row``, a column ``target``, and further ones that make the key.
    """
    keys = [n for n in keyed.columns if n not in ("row", "target")]
    many = keyed.group_by(keys).agg(pl.col("target").n_unique().alias("answers")).filter(pl.col("answers") > 1)
    if many.is_empty():
        return
    numbers = keyed.join(many, on=keys)["row"].sort()
    yield _conflicting(many.height, len(numbers), contract), numbers


def _balance(counted: Facts, contract: Contract) -> Iterator[Finding]:
    name = contract.target.name
    if counted.low is not None:
        if counted.low == counted.high:
            yield Finding("balance", name, "warn", f"'{name}' has the same value in every row", counted.rows)
        return
    for level in contract.target.classes:
        count = counted.classes.get(level, 0)
        if count / counted.rows < contract.checks.min_class_share:
            yield Finding(
                "balance",
                name,
                "warn",
                f"the class '{level}' of '{name}' is in {count:,} of {counted.rows:,} rows; the contract asks for "
                f"{contract.checks.min_class_share:.2%} (checks.min_class_share)",
                count=count,
            )


# Over a sample ------------------------------------------------------------------------------------


def of_sample(sample: Columns, contract: Contract, numbers: Numbers, *, held: bool = False) -> list[Finding]:
    """What a sample of at least ``MIN_ROWS`` rows shows; ``numbers`` of its rows, in their order.

    ``held``: whether every row was held to the data set's, so that outliers among them are known.
    """
    wanted = [
        check for code, check in _OF_SAMPLE.items() if _wanted(code, contract) and not (held and code == outliers.CODE)
    ]
    return [finding for check in wanted for finding in check(sample, contract, numbers)]


def _leakage(sample: Columns, contract: Contract, _: Numbers) -> Iterator[Finding]:
    target = sample[contract.target.name]
    known = ~target.missing()
    for feature in contract.features:
        score = predictive_power(sample[feature.name], target, known)
        if score >= contract.checks.leakage:
            yield Finding(
                "leakage",
                feature.name,
                "warn",
                f"'{feature.name}' alone predicts '{target.name}' almost perfectly ({score:.3f} of 1): is it known "
                "before the outcome, or a trace of it? (checks.leakage)",
                count=int(known.sum()),
            )


def predictive_power(column: Column, target: Column, known: npt.NDArray[np.bool_]) -> float:
    """How much of the target one column explains, from 0 to 1.

    For classes: the share of wrong guesses that knowing the column's bin removes (lambda of Goodman and Kruskal,
    1954), or of two classes the absolute Gini coefficient, whichever is larger. For numbers: the correlation ratio
    (share of variance between bins).
    """
    bins = _binned(column)[known]
    size = int(bins.max()) + 1 if len(bins) else 0
    if not size:
        return 0.0
    if target.type != "category":
        values = target.values[known]
        total = float(((values - values.mean()) ** 2).sum())
        if total == 0:
            return 0.0
        counts = np.bincount(bins, minlength=size)
        sums = np.bincount(bins, weights=values - values.mean(), minlength=size)
        return float((sums**2 / np.maximum(counts, 1)).sum() / total)
    classes = target.values[known]
    table = np.zeros((size, len(target.levels)), dtype=np.int64)
    np.add.at(table, (bins, classes), 1)
    most = int(table.sum(axis=0).max())
    removed = (int(table.max(axis=1).sum()) - most) / (len(bins) - most) if len(bins) > most else 0.0
    two = len(target.levels) == 2 and column.type != "category"
    return max(removed, _gini(column.values[known], classes == 1) if two else 0.0)


def _binned(column: Column) -> npt.NDArray[np.int64]:
    """A bin of every row: levels or distinct values, or 64 bins of equal shares; the last is for missing."""
    if column.type == "category":
        counts = np.bincount(column.values[~column.missing()], minlength=len(column.levels) + 1)
        # A level of a few rows would "predict" them by heart.
        codes = np.where(counts[column.values] >= RARE_ROWS, column.values, len(column.levels))
        return np.where(column.missing(), len(column.levels) + 1, codes).astype(np.int64)
    present = column.values[~column.missing()]
    distinct = np.unique(present)
    if len(distinct) > _BINS:
        distinct = np.unique(np.quantile(present, np.arange(1, _BINS) / _BINS))
    return np.where(column.missing(), len(distinct) + 1, np.searchsorted(distinct, column.values)).astype(np.int64)


def _gini(values: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Twice the area under the ROC curve less one, absolute (Mann and Whitney, 1947), ties at their middle rank."""
    present = ~np.isnan(values)
    values, positive = values[present], positive[present]
    ones = int(positive.sum())
    if not 0 < ones < len(values):
        return 0.0
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    area = (ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * (len(values) - ones))
    return float(abs(2 * area - 1))


def _outliers(sample: Columns, contract: Contract, numbers: Numbers) -> Iterator[Finding]:
    names = outliers.judged(contract)
    values = np.column_stack([sample[n].values for n in names]) if names else np.empty((sample.rows, 0))
    usual = outliers.learn(names, values, steps=contract.checks.outlier_steps)
    if usual is None:
        return
    values = values[:, [names.index(n) for n in usual.names]]
    far, _ = usual.far(values)
    if not len(far):
        return
    strongest = np.array(usual.names)[np.argsort(-np.abs(usual.scaled(values[far])).mean(axis=0))[:3]]
    listed = ", ".join(f"'{n}'" for n in strongest)
    yield Finding(
        outliers.CODE,
        None,
        "warn",
        f"{len(far):,} of {sample.rows:,} rows looked at lie far from all others, most of all by {listed} "
        "(checks.outlier_steps)",
        count=len(far),
        rows=sorted(numbers[far].tolist())[:KEPT],
    )


def _rare(sample: Columns, contract: Contract, _: Numbers) -> Iterator[Finding]:
    if sample.rows < RARE_OF:
        return
    for feature in contract.features:
        if feature.type != "category" or not feature.categories:
            continue
        column = sample[feature.name]
        counts = np.bincount(column.recode(feature.categories) + 1, minlength=len(feature.categories) + 2)[1:-1]
        rare = int((counts < RARE_ROWS).sum())
        if rare:
            yield Finding(
                "rare_categories",
                feature.name,
                "warn",
                f"{rare} of the {len(feature.categories)} known categories of '{feature.name}' are in fewer than "
                f"{RARE_ROWS} of {sample.rows:,} rows looked at",
                count=int(counts[counts < RARE_ROWS].sum()),
            )


_OF_SAMPLE: Mapping[str, Callable[[Columns, Contract, Numbers], Iterator[Finding]]] = {
    "leakage": _leakage,
    outliers.CODE: _outliers,
    "rare_categories": _rare,
}
