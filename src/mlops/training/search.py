"""Which candidate is best: successive halving over a list that is fixed before the search starts.

Every candidate is scored on a small resource; the best third goes on to the next (more rows, then all
folds). Few rows flatter simple models: after the first rung the best of each family goes on in any case, and the
large models until they have been tried on all rows. With few rows there is nothing to save on, so the resource is
folds alone.

A deadline bounds the search. No fit is begun that would end after it by what smaller ones took, none that would leave
the leader no time for its last fits, and no candidate goes on whose own would take too long. That changes which trials
were made, never their order, and the report says so.

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
from mlops.training.bounded import EndedError, Runner, in_place
from mlops.training.checkpoint import NOTHING_KEPT, Checkpoint, Trial
from mlops.training.costs import HEADROOM, Costs
from mlops.training.dataset import Dataset, NotTrainableError
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
#: Rows of a fold that a trial on fewer is judged by: enough to tell candidates apart, where answering hundreds of
#: thousands of rows would take many times what a fit on a few does.
JUDGED_ROWS, JUDGED_OF_A_CLASS = 20_000, 500

NO_TIME = (
    "the time limit came before a candidate was fitted; train on fewer rows, or where a training may take "
    "longer (retrain.where)"
)


@dataclass(frozen=True)
class SearchResult:
    """``best`` by the last rung that scored it, of the candidates whose last fits do not take too long; ``stopped``
    says why the search ended early or passed candidates over, if it did."""

    best: Candidate
    score: float
    trials: tuple[Trial, ...]
    rungs: tuple[tuple[int, int], ...] = field(default=())
    stopped: str | None = None

    @property
    def costs(self) -> Costs:
        """What the trials tell of seconds."""
        return Costs(self.trials, *self.rungs[-1])

    def leaderboard(self, metric: Metric) -> list[Trial]:
        """The last trial of every candidate, furthest rung first, best first within a rung."""
        last = {t.candidate.name: t for t in self.trials}
        return sorted(last.values(), key=lambda t: (-t.rung, worse(t.score, metric)))


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
    """(rows, folds) of every rung, from the cheapest to everything. Few rows are judged by all folds at once: one fold
    of them says little, and costs little less."""
    if rows < 2 * FIRST_ROWS:
        return ((rows, folds),)
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
    longest: float | None = None,
    listen: Listener,
    clock: Callable[[], float] = time.monotonic,
    checkpoint: Checkpoint = NOTHING_KEPT,
    run: Runner = in_place,
) -> SearchResult:
    """Search until the rungs are done or the deadline is near.

    Parameters
    ----------
    data : the rows to train on; the hold-out set is no part of them.
    folds : (train, test) positions into ``data``.
    deadline : time of ``clock`` after which no further fit is started.
    must_end : time of ``clock`` by which the winner must be fitted, too: on all rows and on every fold, or on as many
        rows as there is time for.
    longest : seconds that those last fits may take; a candidate that needs more is passed over.
    checkpoint : trials of an earlier process that was interrupted; they are not run again, and their seconds count
        towards the deadline, so that a resumed search decides as an uninterrupted one would have.
    run : runs a trial; with :func:`mlops.training.bounded.in_child` one under way is ended when its time is over.

    Raises
    ------
    ValueError
        without candidates or folds.
    NotTrainableError
        when ``must_end`` came before the first trial had an end.
    """
    if not candidates or not folds:
        raise ValueError("a search needs at least one candidate and one fold")
    limits = _Limits(deadline, must_end, longest)
    race = _Race(contract, data, folds, candidates, limits, listen=listen, clock=clock, checkpoint=checkpoint, run=run)
    return race.result()


@dataclass
class _Limits:
    deadline: float
    must_end: float | None
    longest: float | None


class _Race:
    """One search under way."""

    def __init__(
        self,
        contract: Contract,
        data: Dataset,
        folds: Sequence[tuple[Index, Index]],
        candidates: Sequence[Candidate],
        limits: _Limits,
        *,
        listen: Listener,
        clock: Callable[[], float],
        checkpoint: Checkpoint,
        run: Runner,
    ) -> None:
        self._contract, self._data, self._folds, self._candidates = contract, data, folds, candidates
        self._limits, self._listen, self._clock, self._checkpoint, self._run = limits, listen, clock, checkpoint, run
        self._metric, self._task = metric_for(contract.metric, contract.task), task_of(contract)
        self._plan = rungs(data.rows, len(folds))
        self._trials: list[Trial] = []
        self._costs = Costs(self._trials, *self._plan[-1])
        self._planned, self._done = _planned_fits(candidates, self._plan), 0
        self._stopped: str | None = None
        self._asked = False

    def result(self) -> SearchResult:
        """Rung after rung, until none is left or time is up."""
        alive = list(self._candidates)
        best: Trial | None = None
        for number in range(len(self._plan)):
            scored = self._rung(number, alive, best)
            if not scored:
                break  # nothing says that the best so far is worse than another
            best = scored[0]
            if self._asked:
                break
            thinned = self._plan[number][0] < self._data.rows
            alive = _survivors([t.candidate for t in scored], first=number == 0, thinned=thinned)
        if best is None:
            raise NotTrainableError(NO_TIME)
        best = self._in_time(best)
        return SearchResult(best.candidate, best.score, tuple(self._trials), self._plan, self._stopped)

    def _in_time(self, best: Trial) -> Trial:
        """The best whose last fits do not take too long; the quickest when there is none."""
        if not self._too_long(best.candidate):
            return best
        last = {t.candidate.name: t for t in self._trials}
        ranked = sorted(last.values(), key=lambda t: (-t.rung, self._rank(t)))
        quickest = min(ranked, key=lambda t: self._costs.last_fits(t.candidate))
        return next((t for t in ranked if not self._too_long(t.candidate)), quickest)

    def _too_long(self, candidate: Candidate, *, guess: bool = True) -> bool:
        """Whether the last fits take longer than they may, on as many rows as there is time for before the limit."""
        if self._limits.longest is None:
            return False
        finish = self._costs.last_fits(candidate) if guess else self._costs.known(candidate)
        if self._limits.must_end is not None:
            finish = min(finish, (self._limits.must_end - self._clock()) / HEADROOM)
        return finish > self._limits.longest

    def _rung(self, number: int, alive: Sequence[Candidate], before: Trial | None) -> list[Trial]:
        """The trials of a rung, best first; none when the leader of the rung before cannot be tried in time."""
        scored: list[Trial] = []
        for candidate in alive:
            leader = min(scored, key=self._rank, default=before)
            trial = self._checkpoint.recall(candidate, number)
            if trial is not None:
                self._limits.deadline -= trial.seconds
            else:
                late, lasting = self._too_late(candidate, number, leader)
                trial = None if late else self._try(candidate, number, leader)
                if trial is None:
                    self._stopped = self._stopped if self._asked else late or "time limit"
                    if self._asked or (candidate is alive[0] and not lasting):
                        break
                    continue
                self._checkpoint.keep(trial)
            self._trials.append(trial)
            scored.append(trial)
            self._done += trial.folds
            leader = min(scored, key=self._rank)
            text = f"{candidate.name} {self._contract.metric} {trial.score:.4g}"
            if self._tell(number, text, leader) is False:
                self._asked, self._stopped = True, "asked to stop"
                break
        return sorted(scored, key=self._rank)

    def _too_late(self, candidate: Candidate, number: int, leader: Trial | None) -> tuple[str | None, bool]:
        """Why a trial is not begun, and whether the candidate is out for good: it could not be fitted to the end."""
        if not self._trials:
            return None, False  # there is nothing to judge by, and the first candidate is quick
        rows, folds = self._plan[number]
        now, need = self._clock(), self._costs.trial(candidate, rows, folds)
        limits = self._limits
        if limits.must_end is not None:
            # on more rows than it could be fitted on a trial tells nothing, nor may it take the leader's time
            after = max(self._costs.known(candidate, rows), self._known(leader))
            if now + need + HEADROOM * after > limits.must_end:
                return "time limit", False
        if self._too_long(candidate, guess=False):
            return "time budget", True
        return ("time budget", False) if now + need > limits.deadline else (None, False)

    def _known(self, leader: Trial | None) -> float:
        """Seconds of the leader's last fits on as many rows as it was tried on."""
        return 0.0 if leader is None else self._costs.known(leader.candidate, leader.rows)

    def _try(self, candidate: Candidate, number: int, leader: Trial | None) -> Trial | None:
        """A trial; None when it was ended because a person or the time limit stopped it."""
        rows, folds = self._plan[number]
        must_end = self._limits.must_end
        if must_end is not None and leader is not None:
            must_end -= HEADROOM * self._known(leader)

        def over() -> bool:
            stop = self._tell(number, f"fitting {candidate.name}", leader) is False and leader is not None
            if stop:
                self._asked, self._stopped = True, "asked to stop"
            return stop or (must_end is not None and self._clock() > must_end)

        def work() -> float:
            return _score(
                self._contract, self._data, self._folds[:folds], candidate, rows=rows, metric=self._metric,
                task=self._task,
            )  # fmt: skip

        started = self._clock()
        try:
            found = self._run(work, over)
        except EndedError:
            return None
        return Trial(candidate, number, rows, folds, found, self._clock() - started)

    def _tell(self, number: int, text: str, leader: Trial | None) -> bool | None:
        percent = min(80, 5 + round(75 * self._done / self._planned))
        message = f"rung {number + 1} of {len(self._plan)}: {text}"
        best = (leader.candidate.name, leader.score) if leader else (None, None)
        return self._listen(Progress("searching", percent, message, *best))

    def _rank(self, trial: Trial) -> float:
        return worse(trial.score, self._metric)


def _survivors(ranked: Sequence[Candidate], *, first: bool, thinned: bool) -> list[Candidate]:
    """The best third, best first; after the ``first`` rung the best of each family, too, and the hungry ones as long as
    rungs are ``thinned``."""
    kept: list[Candidate] = []
    families: set[str] = set()
    for position, candidate in enumerate(ranked):
        spared = (first and candidate.family not in families) or (thinned and candidate.hungry)
        if spared or position < math.ceil(len(ranked) / KEEP):
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
        part = train if rows >= data.rows else thin(train, rows, data.rows)
        judged = max(rows, math.ceil(data.rows * _judged_share(data.target[test], task)))
        asked = test if judged >= data.rows else thin(test, judged, data.rows)
        if task.classes and len(np.unique(data.target[part])) < 2:
            part = train
        fitted = fit_candidate(contract, candidate, data.matrix[part], data.target[part])
        answers, actual = fitted.scores(data.matrix[asked]), data.target[asked]
        scores.append(metric.compute(actual, answers, _decided(contract, actual, answers, task)))
    known = [s for s in scores if math.isfinite(s)]
    return float(np.mean(known)) if known else math.nan


def _judged_share(target: npt.NDArray[Any], task: Task) -> float:
    """Which part of a fold's rows is enough to judge by: so many rows, and so many of the rarest class."""
    share = JUDGED_ROWS / len(target)
    if task.classes:
        counts = np.bincount(target)
        share = max(share, JUDGED_OF_A_CLASS / int(counts[counts > 0].min()))
    return min(1.0, share)


def _decided(contract: Contract, actual: npt.NDArray[Any], answers: FloatArray, task: Task) -> Task:
    """For a metric of labels, the threshold that does best on the very rows: the final one is not known yet, and each
    candidate is flattered alike."""
    free = contract.decision.threshold is None and task.binary and contract.metric in LABEL_METRICS
    if not free or len(np.unique(actual)) < 2:
        return task
    return replace(task, threshold=best_threshold(actual, answers, task, contract.metric))


def thin(index: Index, rows: int, of: int) -> Any:
    """Every k-th position: for time series the recent rows stay among them."""
    count = max(2, round(len(index) * rows / of))
    return index[np.linspace(0, len(index) - 1, count).round().astype(np.int64)]


def worse(score: float, metric: Metric) -> float:
    """The score as a number of which less is better; what is no number is worst."""
    if math.isnan(score):
        return math.inf
    return -score if metric.higher_is_better else score


def _planned_fits(candidates: Sequence[Candidate], plan: Sequence[tuple[int, int]]) -> int:
    hungry = sum(c.hungry for c in candidates)
    spared = len({c.family for c in candidates}) - 1 + hungry
    total, alive = 0, len(candidates)
    for number, (_, folds) in enumerate(plan):
        total += alive * folds
        alive = min(alive, math.ceil(alive / KEEP) + (spared if number == 0 else hungry))
    return total
