"""Which candidate is best: successive halving over a list that is fixed before the search starts.

Every candidate is scored on a small resource; the best third goes on to the next (more rows, then all
folds). After the first rung the best of each family goes on in any case, as few rows flatter simple
families. With few rows there is nothing to save on, so the resource is folds alone.

A deadline bounds the search. It changes which rungs were finished, never the order in which candidates were
tried, and the report says when it struck.

References
----------
Jamieson & Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.evaluation.metrics import LABEL_METRICS, Metric, Task, metric_for
from mlops.training.checkpoint import NOTHING_KEPT, Checkpoint, Trial
from mlops.training.dataset import Dataset
from mlops.training.decision import best_threshold
from mlops.training.estimator import fit_candidate
from mlops.training.families import Candidate
from mlops.training.progress import Listener, Progress
from mlops.training.split import Index

FloatArray = npt.NDArray[np.float64]

#: One third of the candidates survives a rung.
KEEP = 3
#: Rows of the first rung; below twice this, every rung uses all rows.
FIRST_ROWS = 2000


@dataclass(frozen=True)
class SearchResult:
    """``best`` by the last rung that scored it; ``stopped`` says why the search ended early, if it did."""

    best: Candidate
    score: float
    trials: tuple[Trial, ...]
    rungs: tuple[tuple[int, int], ...] = field(default=())
    stopped: str | None = None

    def leaderboard(self, metric: Metric) -> list[Trial]:
        """The last trial of every candidate, furthest rung first, best first within a rung."""
        last = {t.candidate.name: t for t in self.trials}
        return sorted(last.values(), key=lambda t: (-t.rung, _worse(t.score, metric)))


def task_of(contract: Contract) -> Task:
    """What metrics must know of the contract's task."""
    classes = contract.target.classes if contract.task == "classification" else ()
    positive = classes.index(contract.target.positive) if contract.target.positive in classes else 1
    rule = contract.decision
    costs = None
    if rule.false_positive is not None and rule.false_negative is not None:
        costs = (rule.false_positive, rule.false_negative)
    return Task(len(classes), positive, rule.threshold or 0.5, costs)


def rungs(rows: int, folds: int) -> tuple[tuple[int, int], ...]:
    """(rows, folds) of every rung, from the cheapest to everything."""
    result = []
    size = FIRST_ROWS
    while size * 2 <= rows:
        result.append((size, 1))
        size *= 4
    return (*result, (rows, 1), (rows, folds)) if folds > 1 else (*result, (rows, 1))


def search(
    contract: Contract,
    data: Dataset,
    folds: Sequence[tuple[Index, Index]],
    candidates: Sequence[Candidate],
    *,
    deadline: float,
    must_end: float | None = None,
    listen: Listener,
    clock: Callable[[], float] = time.monotonic,
    checkpoint: Checkpoint = NOTHING_KEPT,
) -> SearchResult:
    """Search until the rungs are done or the deadline is near.

    Parameters
    ----------
    data : the rows to train on; the hold-out set is no part of them.
    folds : (train, test) positions into ``data``.
    deadline : time of ``clock`` after which no further fit is started.
    must_end : time of ``clock`` by which the winner must be fitted on all rows and on every fold, too.
    checkpoint : trials of an earlier process that was interrupted; they are not run again, and their seconds count
        towards the deadline, so that a resumed search decides as an uninterrupted one would have.

    Raises
    ------
    ValueError
        without candidates or folds.
    """
    if not candidates or not folds:
        raise ValueError("a search needs at least one candidate and one fold")
    metric, task = metric_for(contract.metric, contract.task), task_of(contract)
    plan = rungs(data.rows, len(folds))
    alive: list[Candidate] = list(candidates)
    trials: list[Trial] = []
    best: tuple[Candidate, float] | None = None
    total = _planned_fits(alive, plan)
    done = 0
    stopped: str | None = None
    for number, (rows, count) in enumerate(plan):
        ranked: list[tuple[float, int, Candidate]] = []
        for position, candidate in enumerate(alive):
            trial = checkpoint.recall(candidate, number)
            if trial is not None:
                deadline -= trial.seconds
            else:
                end = clock() + _expected_seconds(trials, candidate, rows, count)
                late = _out_of_time(end, deadline, must_end, _finish_seconds(trials, candidate, plan[-1]))
                if trials and late:
                    stopped = late
                    break
                started = clock()
                found = _score(contract, data, folds[:count], candidate, rows=rows, metric=metric, task=task)
                trial = Trial(candidate, number, rows, count, found, clock() - started)
                checkpoint.keep(trial)
            trials.append(trial)
            score = trial.score
            ranked.append((_worse(score, metric), position, candidate))
            done += count
            leader = min(ranked)
            note = Progress(
                "searching",
                min(80, 5 + round(75 * done / total)),
                f"rung {number + 1} of {len(plan)}: {candidate.name} {contract.metric} {score:.4g}",
                leader[2].name,
                _score_of(trials, leader[2], number),
            )
            if listen(note) is False:
                stopped = "asked to stop"
                break
        if stopped and best is not None and len(ranked) < len(alive):
            # an unfinished rung decides only among the candidates it reached, which were the best before it
            if ranked and ranked[0][1] == 0:
                winner = min(ranked)
                best = (winner[2], _score_of(trials, winner[2], number))
            break
        ranked.sort()
        best = (ranked[0][2], _score_of(trials, ranked[0][2], number))
        if stopped:
            break
        alive = _survivors([candidate for _, _, candidate in ranked], every_family=number == 0)
    if best is None:  # the first candidate is always scored
        raise ValueError("a search needs at least one candidate and one fold")
    return SearchResult(best[0], best[1], tuple(trials), plan, stopped)


def _survivors(ranked: Sequence[Candidate], *, every_family: bool) -> list[Candidate]:
    """The best third, and with ``every_family`` the best of each; best first."""
    kept: list[Candidate] = []
    families: set[str] = set()
    for position, candidate in enumerate(ranked):
        if position < math.ceil(len(ranked) / KEEP) or (every_family and candidate.family not in families):
            kept.append(candidate)
        families.add(candidate.family)
    return kept


def _score(
    contract: Contract,
    data: Dataset,
    folds: Sequence[tuple[Index, Index]],
    candidate: Candidate,
    *,
    rows: int,
    metric: Metric,
    task: Task,
) -> float:
    scores = []
    for train, test in folds:
        part = train if rows >= data.rows else _thin(train, rows, data.rows)
        if task.classes and len(np.unique(data.target[part])) < 2:
            part = train
        fitted = fit_candidate(contract, candidate, data.matrix[part], data.target[part])
        answers, actual = fitted.scores(data.matrix[test]), data.target[test]
        scores.append(metric.compute(actual, answers, _decided(contract, actual, answers, task)))
    known = [s for s in scores if math.isfinite(s)]
    return float(np.mean(known)) if known else math.nan


def _decided(contract: Contract, actual: npt.NDArray[Any], answers: FloatArray, task: Task) -> Task:
    """For a metric of labels, the threshold that does best on the very rows: the final one is not known yet, and each
    candidate is flattered alike."""
    free = contract.decision.threshold is None and task.binary and contract.metric in LABEL_METRICS
    if not free or len(np.unique(actual)) < 2:
        return task
    return replace(task, threshold=best_threshold(actual, answers, task, contract.metric))


def _thin(index: Index, rows: int, of: int) -> Any:
    """Every k-th position: for time series the recent rows stay among them."""
    count = max(2, round(len(index) * rows / of))
    return index[np.linspace(0, len(index) - 1, count).round().astype(np.int64)]


def _worse(score: float, metric: Metric) -> float:
    if math.isnan(score):
        return math.inf
    return -score if metric.higher_is_better else score


def _score_of(trials: Sequence[Trial], candidate: Candidate, rung: int) -> float:
    return next(t.score for t in reversed(trials) if t.candidate.name == candidate.name and t.rung == rung)


def _expected_seconds(trials: Sequence[Trial], candidate: Candidate, rows: int, folds: int) -> float:
    """From the candidate's own last trial, else from the slowest of its family so far, in proportion to work."""
    own = [t for t in trials if t.candidate.name == candidate.name]
    like = own[-1:] or [t for t in trials if t.candidate.family == candidate.family]
    return max((t.seconds * (rows * folds) / (t.rows * t.folds) for t in like), default=0.0)


def _finish_seconds(trials: Sequence[Trial], candidate: Candidate, last: tuple[int, int]) -> float:
    """What a candidate will need after the search: a fit on every fold and on all rows, and as much again for the
    export and for estimates that were too low."""
    rows, folds = last
    return 2 * _expected_seconds(trials, candidate, rows, folds + 1)


def _out_of_time(end: float, deadline: float, must_end: float | None, finish: float) -> str | None:
    if must_end is not None and end + finish > must_end:
        return "time limit"
    return "time budget" if end > deadline else None


def _planned_fits(candidates: Sequence[Candidate], plan: Sequence[tuple[int, int]]) -> int:
    families = len({c.family for c in candidates})
    total, alive = 0, len(candidates)
    for number, (_, folds) in enumerate(plan):
        total += alive * folds
        alive = min(alive, math.ceil(alive / KEEP) + (families - 1 if number == 0 else 0))
    return total
