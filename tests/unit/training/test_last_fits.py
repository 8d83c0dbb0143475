"""Before a limit the winner is fitted on as many rows as there is time for."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from mlops.training import fit as fitting
from mlops.training import search as searching
from mlops.training.bounded import EndedError
from mlops.training.checkpoint import Trial
from mlops.training.costs import Costs, Ended, choose, extrapolated
from mlops.training.dataset import prepare
from mlops.training.families import Candidate
from mlops.training.fit import Trained, fit
from mlops.training.progress import silent
from mlops.training.search import SearchResult, search
from mlops.training.split import folds
from mlops.training.winner import thin_by
from tests.unit.training import tables

LINEAR, BOOSTING = Candidate("linear-9", "linear", {"C": 0.1}), Candidate("boosting-9", "boosting", {})
CONTRACT = tables.contract("binary", tables.NUMBERS, families=("linear",), calibration="none")
TABLE = tables.table("binary", CONTRACT.features, 2667)  # 2,000 to train on


def trial(candidate: Candidate, rows: int, score: float, seconds: float, rung: int = 0) -> Trial:
    return Trial(candidate, rung, rows, 1, score, seconds)


#: A second for 10 rows of the large model, a second for 100 of the small one, which is worse wherever both were tried.
TRIALS = (
    trial(LINEAR, 100, 0.70, 1.0), trial(BOOSTING, 100, 0.69, 10.0),
    trial(LINEAR, 400, 0.72, 4.0, 1), trial(BOOSTING, 400, 0.80, 40.0, 1),
)  # fmt: skip


def test_seconds_on_more_rows_follow_the_line_through_two_sizes() -> None:
    first, second = trial(LINEAR, 2000, 0.5, 1.0), trial(LINEAR, 8000, 0.5, 1.6)
    assert extrapolated([first], 8000) == pytest.approx(4.0)
    assert extrapolated([first, second], 38_000) == pytest.approx(1.6 + 0.1 * 30)
    assert extrapolated([first, trial(LINEAR, 8000, 0.5, 0.9)], 38_000) == pytest.approx(0.9)
    assert extrapolated([first, replace(second, folds=2, seconds=3.2)], 8000) == pytest.approx(1.6)


def test_there_is_time_for_the_most_rows_whose_fits_fit() -> None:
    costs = Costs(TRIALS, 2000, 3)
    assert costs.last_fits(BOOSTING) == pytest.approx(4 * 200)
    for seconds in (0.1, 33.0, 160.0, 500.0, 799.0):
        rows = costs.most_rows(BOOSTING, seconds)
        assert costs.last_fits(BOOSTING, rows) <= seconds < costs.last_fits(BOOSTING, rows + 1)
    assert costs.most_rows(BOOSTING, 801.0) == 2000
    assert costs.most_rows(BOOSTING, 0.0) == 0


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1601.0, ("boosting-9", 2000)),  # twice what all rows take
        (801.0, ("boosting-9", 1001)),  # half of the time, half of the rows: still better than the small model on all
        (
            161.0,
            ("linear-9", 2000),
        ),  # 201 rows of the large one: what it was worth on 100 is less than the other's 0.72
        (5.0, None),
    ],
)
def test_the_best_on_what_there_is_time_for_is_chosen(seconds: float, expected: tuple[str, int] | None) -> None:
    ranked = [TRIALS[3], TRIALS[2]]
    found = choose(Costs(TRIALS, 2000, 3), ranked, seconds, lambda t: -t.score, {})
    assert (found and (found[0].candidate.name, found[1])) == expected


def test_what_was_ended_is_taken_for_slower_and_gets_a_quarter_of_the_rows_at_most() -> None:
    ended = Ended().again(2000, took=1200.0, expected=800.0)
    assert (ended.slower, ended.at_most) == (3.0, 500)
    costs, ranked = Costs(TRIALS, 2000, 3), [TRIALS[3], TRIALS[2]]
    found = choose(costs, ranked, 10_000.0, lambda t: -t.score, {BOOSTING.name: ended})
    assert found is not None
    assert (found[0].candidate.name, found[1]) == ("boosting-9", 500)
    assert ended.again(500, took=1.0, expected=100.0).slower == 3.0


def test_rows_are_thinned_by_class_and_the_same_each_time() -> None:
    strata = np.random.default_rng(0).choice(3, 10_000, p=[0.9, 0.099, 0.001])
    kept = thin_by(strata, 1000)
    assert np.array_equal(kept, thin_by(strata, 1000))
    assert np.all(np.diff(kept) > 0)
    counts, whole = np.bincount(strata[kept]), np.bincount(strata)
    assert counts[:2].tolist() == pytest.approx(whole[:2] / 10, abs=1)
    assert counts[2] == min(10, whole[2])


@dataclass
class World:
    """The n-th last fits take ``slower[n]`` times what the trials tell; the clock moves by nothing else."""

    slower: tuple[float, ...]
    now: float = 0.0
    tried: list[tuple[str, int]] = field(default_factory=list)

    def run(self, work: Any, over: Callable[[], bool]) -> Any:
        if not isinstance(work, functools.partial):
            return work()  # a trial
        _, candidate, part, parts = work.args
        assert sorted(np.concatenate([unseen for _, unseen in parts])) == list(range(part.rows))
        slower = self.slower[min(len(self.tried), len(self.slower) - 1)]
        self.tried.append((candidate.name, part.rows))
        begun, costs = self.now, Costs(TRIALS, 2000, 3)
        end = begun + slower * costs.last_fits(candidate, part.rows)
        while self.now < end:
            self.now += 1.0
            if over():
                raise EndedError
        return functools.partial(work.func, CONTRACT, LINEAR, *work.args[2:])()

    def trained(self, limit: float, monkeypatch: pytest.MonkeyPatch) -> Trained:
        searched = fitting.search

        def found(*arguments: Any, **settings: Any) -> SearchResult:
            result = searched(*arguments, **settings)
            return replace(result, best=BOOSTING, score=0.80, trials=TRIALS, rungs=((100, 1), (400, 1), (2000, 3)))

        monkeypatch.setattr(fitting, "search", found)
        monkeypatch.setattr(fitting, "runner", lambda limit: self.run)
        monkeypatch.setattr("mlops.training.winner.FIRST_ROWS", 100)
        return fit(TABLE, CONTRACT, dataset_version="d", limit=limit, seconds=lambda: self.now, listen=lambda _: False)


@pytest.mark.parametrize(
    ("slower", "limit", "tried", "fitted"),
    [
        ((1.0,), 3300.0, [("boosting-9", 2000)], 0),  # time to spare
        ((1.0,), 1700.0, [("boosting-9", 500), ("boosting-9", 2000)], 1),
        ((1.0,), 850.0, [("boosting-9", 260), ("boosting-9", 1490)], 1),
        ((1.6,), 850.0, [("boosting-9", 260), ("boosting-9", 850)], 1),
        ((1.0, 3.0), 850.0, [("boosting-9", 260), ("boosting-9", 1490)], 0),  # ended, and the part is the model
        ((9.0, 3.0), 850.0, [("boosting-9", 260), ("linear-9", 500), ("linear-9", 1112)], 2),
        ((9.0, 99.0, 1.0), 850.0, [("boosting-9", 260), ("linear-9", 500), ("linear-9", 250)], 2),
    ],
)
def test_a_winner_gets_the_rows_that_there_is_time_for(
    slower: tuple[float, ...],
    limit: float,
    tried: list[tuple[str, int]],
    fitted: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(slower)
    result = world.trained(limit, monkeypatch)
    name, count = world.tried[fitted]
    assert [n for n, _ in world.tried] == [n for n, _ in tried]
    assert [n for _, n in world.tried] == pytest.approx([n for _, n in tried], abs=10)
    assert world.now <= limit + 1  # it is asked once a second
    report = json.loads(result.artifacts["training.json"])
    assert report["best"]["name"] == name
    rows = report["lineage"]["rows"]
    assert (rows["train"], rows.get("left_out", 0)) == (count, 2000 - count)
    assert (f"there was time to fit {count} of 2000 rows only" in result.explanation) == (count < 2000)
    assert (report["stopped"] == "time limit") == (fitted < len(tried) - 1 or len({n for n, _ in tried}) > 1)
    assert len(np.load(io.BytesIO(result.artifacts["trained_on.npy"]))) == count
    counted = json.loads(result.artifacts["baseline.json"])["rows"]
    assert counted == pytest.approx(2667 * rows["train"] / 2000, abs=2)


def test_no_trial_takes_the_time_that_the_leader_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a trial of boosting takes a second on few rows and four on all; one of linear takes 30 on all."""
    now, tried = [0.0], []

    def score(contract: Any, data: Any, parts: Any, candidate: Candidate, *, rows: int, **_: Any) -> float:
        tried.append((candidate.name, rows, len(parts)))
        now[0] += {"boosting-9": 4.0, "linear-9": 30.0}[candidate.name] * len(parts) * rows / 240
        return {"boosting-9": 0.8, "linear-9": 0.7}[candidate.name]

    monkeypatch.setattr(searching, "_score", score)
    monkeypatch.setattr(searching, "FIRST_ROWS", 60)
    data = prepare(CONTRACT, tables.table("binary", CONTRACT.features))
    found = search(
        CONTRACT, data, folds(CONTRACT, data, "stratified"), [LINEAR, BOOSTING],
        deadline=1e9, must_end=60.0, listen=silent, clock=lambda: now[0],
    )  # fmt: skip
    assert (found.best.name, found.stopped) == ("boosting-9", "time limit")
    assert tried == [("linear-9", 60, 1), ("boosting-9", 60, 1), ("boosting-9", 240, 1), ("boosting-9", 240, 3)]
    assert now[0] + 2 * found.costs.last_fits(BOOSTING) <= 60.0


@pytest.mark.parametrize(("rows", "rare", "share"), [(1000, 500, 1.0), (200_000, 100_000, 0.1), (200_000, 1000, 0.5)])
def test_a_trial_on_few_rows_is_judged_by_enough_rows_of_each_class(rows: int, rare: int, share: float) -> None:
    target = np.repeat([0, 1], [rows - rare, rare])
    assert searching._judged_share(target, searching.task_of(CONTRACT)) == pytest.approx(share)
