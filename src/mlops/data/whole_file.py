"""Checks of a file as a whole: what no single row shows. They look at accepted rows and never keep a row apart.

Completeness, balance of the target, contradicting labels and freshness are counted over all rows; leakage, outliers
and rare categories over a sample (the rows with the smallest addresses: random, and the same for the same rows).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlops.contract import Contract
from mlops.data.outcome import KEPT, Finding
from mlops.data.store import Rows
from mlops.features.columns import MISSING, Column, Columns

SAMPLE_ROWS = 50_000
#: Fewer rows than this tell nothing of shares, outliers or leakage.
MIN_ROWS = 100
#: A level with fewer rows in a sample of at least ``RARE_OF`` is rare.
RARE_ROWS, RARE_OF = 5, 1_000
#: Rows beyond this many that share a key are not compared; the check says nothing then.
MAX_KEYED = 10_000_000
#: An outlier's distance lies this many times as far above the median as the 95th percentile, on a logarithmic scale:
#: so heavy tails, which have a far percentile too, are no outliers.
OUTLIER_STEPS = 3.0
_BINS = 64

Floats = npt.NDArray[np.float64]


def findings(rows: Rows, contract: Contract, *, read: int, now: datetime, history: Sequence[int] = ()) -> list[Finding]:
    """What is odd about a file as a whole, with the severity that the contract gives it.

    Parameters
    ----------
    rows : the accepted rows.
    read : rows in the file.
    history : rows of earlier files of this model, for the check of volume.
    """
    found = [*_volume(contract, read, history)]
    if rows.count and rows.columns:
        sample = rows.first(SAMPLE_ROWS)
        found += _completeness(rows, contract)
        found += _freshness(rows, contract, now)
        found += _contradictions(rows, contract)
        if rows.count >= MIN_ROWS:
            found += _balance(rows, contract)
            found += _leakage(sample, contract)
            found += _outliers(sample, contract, rows.numbers)
            found += _rare(sample, contract)
    for finding in found:
        finding.severity = contract.checks.severity.get(finding.code, "warn")
    return [f for f in found if f.severity != "ignore"]


# Over all rows ------------------------------------------------------------------------------------


def _volume(contract: Contract, read: int, history: Sequence[int]) -> Iterator[Finding]:
    usual = median(history) if len(history) >= 3 else 0
    bound = contract.checks.volume_ratio
    if usual and not usual / bound <= read <= usual * bound:
        yield Finding(
            "volume",
            None,
            "warn",
            f"the file has {read:,} rows; the last {len(history)} files had {usual:,.0f} (median), and the contract "
            f"takes up to {bound:g} times more or fewer for usual (checks.volume_ratio)",
            count=read,
        )


def _completeness(rows: Rows, contract: Contract) -> Iterator[Finding]:
    for column in rows.columns:
        needed = contract.checks.completeness.get(column.name)
        if needed is None:
            continue
        absent = sum(int(_missing(block, category=column.levels is not None)) for block in rows.blocks_of(column))
        if 1 - absent / rows.count < needed:
            yield Finding(
                "completeness",
                column.name,
                "warn",
                f"'{column.name}' has a value in {1 - absent / rows.count:.2%} of the good rows; the contract asks for "
                f"{needed:.2%} (checks.completeness)",
                count=absent,
            )


def _missing(block: npt.NDArray[Any], *, category: bool) -> int:
    return int((block == MISSING).sum() if category else np.isnan(block).sum())


def _freshness(rows: Rows, contract: Contract, now: datetime) -> Iterator[Finding]:
    bound = contract.checks.max_age_days
    column = next((c for c in rows.columns if c.name == contract.timestamp), None)
    if bound is None or column is None:
        return
    newest = max(float(np.nanmax(block)) for block in rows.blocks_of(column))
    age = now.timestamp() / 86_400 - newest
    if age > bound:
        yield Finding(
            "freshness",
            column.name,
            "warn",
            f"the newest '{column.name}' is {age:,.1f} days old; the contract takes {bound:g} (checks.max_age_days)",
            count=rows.count,
        )


def _contradictions(rows: Rows, contract: Contract) -> Iterator[Finding]:
    """Rows that agree in key and time and disagree in the target."""
    if not contract.key or rows.count > MAX_KEYED:
        return
    names = [*contract.key, *([contract.timestamp] if contract.timestamp else [])]
    stored = {c.name: np.concatenate([*rows.blocks_of(c)]) for c in rows.columns if c.name in names}
    target = next(c for c in rows.columns if c.name == contract.target.name)
    columns = {c.name: c for c in rows.columns}
    keyed = pl.DataFrame(
        {
            **{f"k{i}": _comparable(columns[n], stored[n]) for i, n in enumerate(names)},
            "target": _comparable(target, np.concatenate([*rows.blocks_of(target)])),
            "row": np.asarray(rows.numbers),
        }
    )
    keys = [f"k{i}" for i in range(len(names))]
    many = keyed.group_by(keys).agg(pl.col("target").n_unique().alias("answers")).filter(pl.col("answers") > 1)
    if many.is_empty():
        return
    numbers = keyed.join(many, on=keys)["row"].sort()
    yield Finding(
        "conflicting_labels",
        contract.target.name,
        "warn",
        f"{many.height:,} keys ({', '.join(names)}) stand in several rows with different values of "
        f"'{contract.target.name}': which one is true?",
        count=len(numbers),
        rows=numbers.head(KEPT).to_list(),
    )


def _comparable(column: Any, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Values that are equal where the texts or numbers are."""
    return stored if column.levels is None else column.positions(stored)


def _balance(rows: Rows, contract: Contract) -> Iterator[Finding]:
    column = next(c for c in rows.columns if c.name == contract.target.name)
    if column.levels is None:
        if max(float(b.max()) for b in rows.blocks_of(column)) == min(float(b.min()) for b in rows.blocks_of(column)):
            yield Finding(
                "balance", column.name, "warn", f"'{column.name}' has the same value in every row", rows.count
            )
        return
    counts = np.zeros(len(column.levels), dtype=np.int64)
    for block in rows.blocks_of(column):
        counts += np.bincount(column.positions(block), minlength=len(counts))
    by_name = dict(zip(column.levels.to_list(), counts.tolist(), strict=True))
    for name in contract.target.classes:
        count = by_name.get(name, 0)
        if count / rows.count < contract.checks.min_class_share:
            yield Finding(
                "balance",
                column.name,
                "warn",
                f"the class '{name}' of '{column.name}' is in {count:,} of {rows.count:,} rows; the contract asks for "
                f"{contract.checks.min_class_share:.2%} (checks.min_class_share)",
                count=count,
            )


# Over a sample ------------------------------------------------------------------------------------


def _leakage(sample: Columns, contract: Contract) -> Iterator[Finding]:
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


def _outliers(sample: Columns, contract: Contract, numbers: npt.NDArray[np.int64]) -> Iterator[Finding]:
    names = [f.name for f in contract.features if f.type in ("number", "integer") and f.pii == "none"]
    scaled = {n: z for n in names if (z := _robust_scale(sample[n].values)) is not None}
    if not scaled:
        return
    matrix = np.column_stack([*scaled.values()])
    distance = np.log(np.maximum(_robust_distance(matrix), 1e-12))
    middle, high = np.quantile(distance, [0.5, 0.95])
    far = np.flatnonzero(distance > middle + OUTLIER_STEPS * max(float(high - middle), 0.1))
    if not len(far):
        return
    strongest = np.array([*scaled])[np.argsort(-np.abs(matrix[far]).mean(axis=0))[:3]]
    listed = ", ".join(f"'{n}'" for n in strongest)
    yield Finding(
        "outliers",
        None,
        "warn",
        f"{len(far):,} of {sample.rows:,} rows looked at lie far from all others, most of all by {listed}",
        count=len(far),
        rows=sorted(int(numbers[i]) for i in far)[:KEPT],
    )


def _robust_scale(values: Floats) -> Floats | None:
    """Distance from the median in robust deviations, 0 for missing; None when nearly all values are one."""
    present = values[~np.isnan(values)]
    if len(present) < MIN_ROWS:
        return None
    middle = float(np.median(present))
    spread = 1.4826 * float(np.median(np.abs(present - middle)))
    if spread == 0:
        return None
    scaled: Floats = np.nan_to_num((values - middle) / spread, nan=0.0)
    return scaled


def _robust_distance(scaled: Floats) -> Floats:
    """Mahalanobis distance with the correlations of winsorised values, so that outliers do not hide one another
    (Khan, Van Aelst and Zamar, 2007); columns are shrunk towards independence, for those that repeat another one."""
    bounded = np.clip(scaled, -2.0, 2.0)
    correlation = np.atleast_2d(np.corrcoef(bounded, rowvar=False))
    shrunk = 0.9 * correlation + 0.1 * np.eye(len(correlation))
    squared = np.einsum("ij,ij->i", scaled @ np.linalg.inv(shrunk), scaled)
    found: Floats = np.sqrt(np.maximum(squared, 0.0))
    return found


def _rare(sample: Columns, contract: Contract) -> Iterator[Finding]:
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
