"""Rows that lie far from all others, all numeric features together.

A row's distance is Mahalanobis' from the columns' medians, in robust deviations, with the correlations of winsorised
values, so that outliers do not hide one another (Khan, Van Aelst and Zamar, 2007); columns are shrunk towards
independence, for those that repeat another one. A file without a past is looked at by itself, and the finding is of the
file. Where the data set has rows already, every row is held to those (:mod:`mlops.data.reference`): what becomes of a
row then depends on that row alone, so it is the same however an upload is split.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlops.contract import Contract

CODE = "outliers"
#: Fewer rows than this tell nothing of what is usual.
MIN_ROWS = 100
#: No more deviations than this count, and no limit is above that power of e, so that no square overflows.
_FURTHEST, _HIGHEST = 1e100, 350.0
#: So near to the limit a distance is computed without rounding: how rows lie in batches must not decide.
_NEAR = 1e-6

NOT_JUDGED = (
    "no row was kept apart as an outlier (checks.severity: outliers: quarantine): rows are held to those that the data "
    "set has, and here are none to hold them to. Outliers are remarks this time"
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """What is usual.

    Attributes
    ----------
    rows : how many rows it was learned from.
    names : the p columns that are looked at.
    middles, spreads : median and robust deviation of each, float64 of shape (p,).
    precision : inverse of the shrunk correlations, float64 of shape (p, p).
    usual, limit : the median distance, and that above which a row is an outlier.
    """

    rows: int
    names: tuple[str, ...]
    middles: Floats
    spreads: Floats
    precision: Floats
    usual: float
    limit: float

    def far(self, values: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Which rows of ``values``, float64 of shape (rows, p) with NaN for missing, are outliers, and the column of
        each that lies furthest from its median. The same for a row whatever rows are beside it."""
        scaled = self.scaled(values)
        squared, bound = _squared(scaled, self.precision), self.limit**2
        for i in np.flatnonzero(np.abs(squared - bound) <= _NEAR * bound).tolist():
            squared[i] = math.fsum((np.outer(scaled[i], scaled[i]) * self.precision).ravel().tolist())
        found = np.flatnonzero(squared > bound)
        return found, np.abs(scaled[found]).argmax(axis=1) if len(self.names) else found

    def scaled(self, values: Floats) -> Floats:
        """Distances from the medians in robust deviations, 0 for missing."""
        return _scaled(values, self.middles, self.spreads)

    def masks(self, columns: Mapping[str, pl.Series]) -> Iterator[tuple[str, str, pl.Series]]:
        """The outliers of a batch by the column that lies furthest: its name, what is wrong, and which rows."""
        values = np.column_stack([columns[n].cast(pl.Float64).to_numpy() for n in self.names])
        found, furthest = self.far(values)
        for position in np.unique(furthest).tolist():
            mask = np.zeros(len(values), dtype=bool)
            mask[found[furthest == position]] = True
            yield self.names[position], self.says(self.names[position]), pl.Series(mask)

    def says(self, name: str) -> str:
        """What is wrong with a row that lies furthest in one column; it shows no value."""
        return (
            f"the row lies far from those of the data set, furthest in '{name}': its distance, all numeric features "
            f"together, is above {self.limit:.3g} ({self.rows:,} rows looked at have {self.usual:.3g} in the middle; "
            "checks.outlier_steps)"
        )

    def to_dict(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).tolist() for name in ("middles", "spreads", "precision")}
        return {"rows": self.rows, "names": list(self.names), **arrays, "usual": self.usual, "limit": self.limit}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Reference:
        """The inverse of :meth:`to_dict`, to the last bit."""
        arrays = {name: np.array(data[name], dtype=np.float64) for name in ("middles", "spreads", "precision")}
        return cls(**{**data, **arrays, "names": tuple(data["names"])})


def wanted(contract: Contract) -> bool:
    """Whether a contract wants outliers kept apart."""
    return contract.checks.severity.get(CODE) == "quarantine"


def judged(contract: Contract) -> list[str]:
    """The features that are looked at: numbers that are not personal."""
    return [f.name for f in contract.features if f.type in ("number", "integer") and f.pii == "none"]


def learn(names: Sequence[str], values: Floats, others: Floats | None = None, *, steps: float) -> Reference | None:
    """What is usual among rows; None when they are too few, or nearly all values of every column are one.

    Parameters
    ----------
    values : float64 of shape (rows, columns), NaN for missing.
    others : rows of the same kind that the limit is taken from, where rows other than ``values`` will be judged:
        those lie a little further away than the rows that were learned from. By default it is these.
    steps : an outlier's distance lies so many times as far above the median as the 95th percentile, on a logarithmic
        scale (``checks.outlier_steps``): so heavy tails, which have a far percentile too, are no outliers.
    """
    chosen, middles, spreads = [], [], []
    for i in range(len(names)):
        present = values[~np.isnan(values[:, i]), i]
        if len(present) < MIN_ROWS:
            continue
        middle = float(np.median(present))
        spread = 1.4826 * float(np.median(np.abs(present - middle)))
        if spread > 0:
            chosen.append(i)
            middles.append(middle)
            spreads.append(spread)
    if not chosen:
        return None
    centre, scale = np.array(middles), np.array(spreads)
    bounded = np.clip(_scaled(values[:, chosen], centre, scale), -2.0, 2.0)
    correlation = np.atleast_2d(np.corrcoef(bounded, rowvar=False))
    shrunk = 0.9 * correlation + 0.1 * np.eye(len(correlation))
    precision = np.linalg.inv(shrunk).astype(np.float64)
    held = values if others is None else others
    distance = np.log(np.maximum(np.sqrt(_squared(_scaled(held[:, chosen], centre, scale), precision)), 1e-12))
    usual, high = np.quantile(distance, [0.5, 0.95])
    limit = min(usual + steps * max(float(high - usual), 0.1), _HIGHEST)
    rows = len(values) + (len(others) if others is not None else 0)
    return Reference(rows, tuple(names[i] for i in chosen), centre, scale, precision, math.exp(usual), math.exp(limit))


def _scaled(values: Floats, middles: Floats, spreads: Floats) -> Floats:
    with np.errstate(over="ignore"):
        scaled = np.nan_to_num((values - middles) / spreads, nan=0.0)
    found: Floats = np.clip(scaled, -_FURTHEST, _FURTHEST)
    return found


def _squared(scaled: Floats, precision: Floats) -> Floats:
    found: Floats = np.maximum(np.einsum("ij,ij->i", scaled @ precision, scaled), 0.0)
    return found
