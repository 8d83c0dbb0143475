"""Which rows are held out, and the folds of the search.

Random kinds of split decide by a hash of the row's own content (or of its entity), not by its position: a
row that is held out today is held out again when the data set has grown. So a challenger is compared with
the champion on rows that the champion was not trained on either, but for those near the cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.features.hashing import mix
from mlops.training.dataset import Dataset, NotTrainableError, row_hash

Kind = Literal["stratified", "random", "time", "group"]
Index = npt.NDArray[np.int64]


def kind_of(contract: Contract, data: Dataset) -> Kind:
    """The kind of split: the contract's, else by group when entities repeat, else stratified or random.

    Raises
    ------
    NotTrainableError
        when the contract asks for a split that its data cannot give.
    """
    asked = contract.training.split
    if asked == "group" and data.entity is None:
        raise NotTrainableError("training.split is 'group', but the contract has no key, or the data lacks it")
    if asked == "time" and data.order is None:
        raise NotTrainableError("training.split is 'time', but the contract has no timestamp, or the data lacks it")
    if asked == "stratified" and contract.task == "regression":
        return "random"
    if asked is not None:
        return asked
    if data.entity is not None and len(np.unique(data.entity)) < data.rows:
        return "group"
    return "stratified" if contract.task == "classification" else "random"


def holdout(contract: Contract, data: Dataset) -> tuple[Index, Index, Kind]:
    """Positions to train on and to hold out, each ascending, and the kind of split.

    Raises
    ------
    NotTrainableError
        when a side would be empty or would lack a second class.
    """
    kind = kind_of(contract, data)
    share = contract.training.test_share
    if kind == "time":
        when = _time(data)
        newest_last = np.argsort(when, kind="stable")
        (cut,) = _between_times(when[newest_last], [data.rows - _count(data.rows, share)])
        out = np.zeros(data.rows, dtype=bool)
        out[newest_last[cut:]] = True
    elif kind == "group":
        out = _lowest_groups(mix(_groups(data) ^ np.uint64(contract.training.seed)), share)
    else:
        strata = data.target if kind == "stratified" else np.zeros(data.rows, dtype=np.int64)
        out = _lowest(row_hash(data.matrix, data.target, contract.training.seed), strata, share)
    train, test = np.flatnonzero(~out), np.flatnonzero(out)
    _check(contract, data.target[train], data.target[test])
    return train, test, kind


def folds(contract: Contract, data: Dataset, kind: Kind) -> list[tuple[Index, Index]]:
    """Cross-validation folds over ``data`` as (train, test) positions; for time, each test follows its train."""
    count = max(2, contract.training.folds)
    if kind == "time":
        when = _time(data)
        order = np.argsort(when, kind="stable")
        inner = _between_times(when[order], np.linspace(0, data.rows, count + 2).astype(np.int64)[1:-1])
        edges = [0, *inner, data.rows]
        pairs = [(order[: edges[i]], order[edges[i] : edges[i + 1]]) for i in range(1, count + 1)]
    else:
        if kind == "group":
            number = (mix(_groups(data) ^ np.uint64(contract.training.seed + 1)) % np.uint64(count)).astype(np.int64)
        else:
            hashes = row_hash(data.matrix, data.target, contract.training.seed + 1)
            number = np.zeros(data.rows, dtype=np.int64)
            strata = data.target if kind == "stratified" else np.zeros(data.rows, dtype=np.int64)
            for value in np.unique(strata):
                members = np.flatnonzero(strata == value)
                # by the rank among different hashes: equal rows stay in one fold
                number[members] = np.unique(hashes[members], return_inverse=True)[1] % count
        pairs = [(np.flatnonzero(number != i), np.flatnonzero(number == i)) for i in range(count)]
    return [(a, b) for a, b in pairs if _usable(contract, data.target[a], data.target[b])]


def _groups(data: Dataset) -> npt.NDArray[np.uint64]:
    if data.entity is None:  # kind_of has refused this
        raise NotTrainableError("a split by group needs the contract's key")
    return data.entity


def _time(data: Dataset) -> npt.NDArray[np.float64]:
    """The timestamp of each row; rows without one come first."""
    if data.order is None:  # kind_of has refused this
        raise NotTrainableError("a split by time needs the contract's timestamp")
    return np.where(np.isnan(data.order), -np.inf, data.order)


def _between_times(ordered: npt.NDArray[np.float64], cuts: Sequence[int] | Index) -> list[int]:
    """Each cut moved to the nearest place where the time changes, so that rows of one moment stay on one side; the
    later place of two as near. Where all times are equal the cuts stay."""
    places = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    if not len(places):
        return [int(cut) for cut in cuts]
    return [_nearest(places, int(cut)) for cut in cuts]


def _nearest(places: Index, cut: int) -> int:
    at = int(np.searchsorted(places, cut))
    near = places[max(0, at - 1) : at + 1]
    return int(min(near, key=lambda place: (abs(int(place) - cut), -int(place))))


def _count(rows: int, share: float) -> int:
    return min(rows - 1, max(1, round(rows * share)))


def _lowest(hashes: npt.NDArray[np.uint64], strata: npt.NDArray[Any], share: float) -> npt.NDArray[np.bool_]:
    """The rows with the lowest hashes of each stratum. Equal rows have equal hashes and stay together."""
    out = np.zeros(len(hashes), dtype=bool)
    for value in np.unique(strata):
        members = np.flatnonzero(strata == value)
        if len(members) < 2:
            continue
        cut = np.sort(hashes[members])[_count(len(members), share) - 1]
        out[members] = hashes[members] <= cut
    return out


def _lowest_groups(hashes: npt.NDArray[np.uint64], share: float) -> npt.NDArray[np.bool_]:
    """Whole groups, in order of their hash, until they hold ``share`` of the rows."""
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    wanted = share * len(hashes)
    taken = np.cumsum(counts) - counts < wanted
    if taken.all():
        taken[-1] = False
    chosen: npt.NDArray[np.bool_] = taken[inverse]
    return chosen


def _usable(contract: Contract, train: npt.NDArray[Any], test: npt.NDArray[Any]) -> bool:
    if len(train) < 2 or len(test) < 1:
        return False
    return contract.task == "regression" or len(np.unique(train)) >= 2


def _check(contract: Contract, train: npt.NDArray[Any], test: npt.NDArray[Any]) -> None:
    if len(train) < 2 or len(test) < 2:
        raise NotTrainableError(
            f"the split leaves {len(train)} rows to train on and {len(test)} to hold out; upload more rows "
            "(or more entities), or change training.test_share"
        )
    if contract.task == "classification" and min(len(np.unique(train)), len(np.unique(test))) < 2:
        raise NotTrainableError(
            "the split leaves a side with a single class; upload more rows of the rarer class, "
            "or use a stratified split"
        )
    if contract.task == "regression" and np.all(train == train[0]):
        raise NotTrainableError("the split leaves training rows that all have the same target; upload more rows")
