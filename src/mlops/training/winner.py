"""The last fits: the winner of the search on every row and on every fold, or on as many rows as there is time for."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.evaluation.metrics import metric_for
from mlops.training.bounded import EndedError, Runner
from mlops.training.calibration import FEWEST
from mlops.training.checkpoint import Trial
from mlops.training.costs import HEADROOM, Ended, choose
from mlops.training.dataset import Dataset, NotTrainableError
from mlops.training.estimator import Fitted, fit_candidate
from mlops.training.families import Candidate
from mlops.training.progress import Listener, Progress
from mlops.training.search import FIRST_ROWS, NO_TIME, SearchResult, thin, worse
from mlops.training.split import Index, Kind, folds
from mlops.training.unseen import Unseen, cross_answers

#: With so many times the expected seconds left the last fits are made at once; else on this part of what fits first.
AT_ONCE, FIRST_PART = 4.0, 4
#: Of the time that is left the first attempt gets so much; should it not be done by then, fewer rows get the rest.
ATTEMPT = 0.75
#: Times the seconds that a part of the rows tells of the larger fits; these are made with so many times its rows.
MARGIN, WORTH = 1.25, 1.5

Fits = tuple[Fitted, Unseen]


@dataclass(frozen=True)
class Split:
    """Which rows of ``data`` are trained on and which are held out, and the folds of those trained on."""

    data: Dataset
    train: Index
    test: Index
    kind: Kind
    folds: list[tuple[Index, Index]]

    @functools.cached_property
    def fitted_on(self) -> Dataset:
        return self.data.take(self.train)

    @property
    def held_out(self) -> Dataset:
        return self.data.take(self.test)

    @property
    def left_out(self) -> int:
        """How many rows are neither trained on nor held out, for lack of time."""
        return self.data.rows - len(self.train) - len(self.test)

    def thinned(self, contract: Contract, rows: int) -> Split:
        """The same with about so many training rows, of each class its share; as it is where such rows cannot be split
        into folds. The same rows are left every time."""
        if rows >= len(self.train):
            return replace(self)
        strata = (
            self.data.target[self.train] if self.kind == "stratified" else np.zeros(len(self.train), dtype=np.int64)
        )
        fewer = replace(self, train=self.train[thin_by(strata, rows)], folds=[])
        fewer.folds.extend(folds(contract, fewer.fitted_on, self.kind))
        return fewer if fewer.folds else replace(self)


def thin_by(strata: npt.NDArray[Any], rows: int) -> Index:
    """About ``rows`` ascending positions: of each stratum its share, every k-th of its members, but never so few that
    nothing could be calibrated on them.

    >>> thin_by(np.array([0] * 60 + [1] * 30), 30).tolist()[-10:]
    [60, 63, 66, 70, 73, 76, 79, 83, 86, 89]
    """
    chosen: list[Index] = []
    for value in np.unique(strata):
        members = np.flatnonzero(strata == value)
        count = min(len(members), max(FEWEST, round(len(members) * rows / len(strata))))
        chosen.append(thin(members, count, len(members)))
    return np.sort(np.concatenate(chosen))


def fit_winner(
    contract: Contract,
    found: SearchResult,
    seen: Split,
    *,
    must_end: float | None,
    listen: Listener,
    clock: Callable[[], float],
    run: Runner,
) -> tuple[SearchResult, Split, Fits]:
    """Fit the winner on every row and on every fold.

    Before a limit with time to spare that is all. Else a part of the rows comes first, which gives a model in any case
    and tells what the last fits take; then as many rows as the rest of the time is enough for. Another candidate is
    fitted where it is better on the rows that it has time for, and at last the quickest on as few as its trial had.

    Returns
    -------
    The result with the candidate that was fitted as its best, the split with the rows it was fitted on, and the fits.

    Raises
    ------
    NotTrainableError
        when the limit came before anything was fitted.
    """
    fits = functools.partial(_attempt, contract, listen=listen, clock=clock, run=run)
    last = next(t for t in reversed(found.trials) if t.candidate.name == found.best.name)
    if must_end is None:
        return found, seen, fits(last, seen, math.inf)
    metric, costs, ended = metric_for(contract.metric, contract.task), found.costs, dict[str, Ended]()
    board = found.leaderboard(metric)
    ranked = [last, *(t for t in board if t.candidate.name != last.candidate.name)]
    quickest = min(ranked, key=lambda t: costs.last_fits(t.candidate))
    few = min(quickest.rows, max(FIRST_ROWS, len(seen.train) // 8))
    spare = HEADROOM * costs.last_fits(quickest.candidate, few)
    while True:
        left = must_end - clock() - spare
        chosen = choose(costs, ranked, left, lambda t: worse(t.score, metric), ended)
        if chosen is None:
            break
        trial, count = chosen
        if costs.last_fits(trial.candidate, count) * AT_ONCE > left:
            count = max(min(FIRST_ROWS, count), count // FIRST_PART)
        name, begun, rows = trial.candidate.name, clock(), seen.thinned(contract, count)
        try:
            made = _result(found, trial), rows, fits(trial, rows, begun + ATTEMPT * left)
        except EndedError:
            found = replace(found, stopped="time limit")
            expected = costs.last_fits(trial.candidate, len(rows.train))
            ended[name] = ended.get(name, Ended()).again(count, clock() - begun, expected)
            continue
        part = len(rows.train) / len(seen.train)
        if part == 1.0:
            return made
        return _larger(made, seen, (clock() - begun) / part, fits, contract, trial, must_end=must_end, clock=clock)
    rows = seen.thinned(contract, few)
    try:
        return _result(found, quickest), rows, fits(quickest, rows, must_end)
    except EndedError:
        raise NotTrainableError(NO_TIME) from None


def _larger(
    made: tuple[SearchResult, Split, Fits],
    seen: Split,
    whole: float,
    fits: Callable[[Trial, Split, float], Fits],
    contract: Contract,
    trial: Trial,
    *,
    must_end: float,
    clock: Callable[[], float],
) -> tuple[SearchResult, Split, Fits]:
    """The same fits on as many rows as there is time for now, if those are many more; else what was ``made``.

    ``whole``: seconds on all rows, as the fits on a part of them tell.
    """
    found, before, _ = made
    share = 1.0 if whole <= 0 else min(1.0, (must_end - clock()) / (whole * MARGIN))
    rows = seen.thinned(contract, int(len(seen.train) * share))
    if len(rows.train) < WORTH * len(before.train):
        return made
    try:
        return found, rows, fits(trial, rows, must_end)
    except EndedError:
        return replace(found, stopped="time limit"), before, made[2]


def _result(found: SearchResult, trial: Trial) -> SearchResult:
    return replace(found, best=trial.candidate, score=trial.score)


def _attempt(
    contract: Contract,
    trial: Trial,
    rows: Split,
    end: float,
    *,
    listen: Listener,
    clock: Callable[[], float],
    run: Runner,
) -> Fits:
    told = f"fitting {trial.candidate.name} on {len(rows.train)} rows"
    note = Progress("fitting", 82, told, trial.candidate.name, trial.score)
    listen(note)

    def over() -> bool:
        listen(note)  # which raises when nothing of the run is wanted
        return clock() > end

    return run(functools.partial(_fits, contract, trial.candidate, rows.fitted_on, rows.folds), over)


def _fits(contract: Contract, candidate: Candidate, part: Dataset, parts: list[tuple[Index, Index]]) -> Fits:
    fitted = fit_candidate(contract, candidate, part.matrix, part.target)
    return fitted, cross_answers(contract, candidate, part, parts, fitted.present)
