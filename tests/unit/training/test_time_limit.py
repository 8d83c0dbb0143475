"""A run ends in time, or when a person stops it, also while a fit is under way."""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlops.training import bounded, families
from mlops.training import fit as fitting
from mlops.training.bounded import EndedError, in_child, in_place
from mlops.training.dataset import NotTrainableError, prepare
from mlops.training.families import Candidate
from mlops.training.fit import Trained, fit
from mlops.training.progress import Progress, silent
from mlops.training.search import search
from mlops.training.service import StoppedError
from mlops.training.split import folds
from tests.unit.training import tables
from tests.unit.training.test_fit_search import Ticks

BINARY = tables.contract("binary", tables.NUMBERS, families=("linear", "boosting"), time_budget_seconds=10_000)
ROWS = tables.table("binary", BINARY.features)


class Stepping:
    """A clock that takes a second a look for so many looks; then it stands, until somebody moves it."""

    def __init__(self, looks: int) -> None:
        self.now, self._looks = 0.0, looks

    def __call__(self) -> float:
        if self._looks:
            self._looks -= 1
            self.now += 1.0
        return self.now


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "POLL", 0.01)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default of boosting would take hours."""
    monkeypatch.setattr(families, "MAX_LEAVES", 10**12)
    monkeypatch.setattr(families, "LEAST_TREES", 10**12)
    slow = dict(families._BOOSTING[0]) | {"max_iter": 10**7}
    monkeypatch.setitem(families._KNOWN, "boosting", {True: (slow,), False: (slow,)})  # type: ignore[arg-type]


def no_child_is_left() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return True


def test_a_child_gives_what_the_work_gives_and_raises_what_it_raises() -> None:
    def fails() -> None:
        raise NotTrainableError("no rows")

    big = in_child(lambda: np.arange(10**6), lambda: False)
    assert big.sum() == 10**6 * (10**6 - 1) // 2
    with pytest.raises(NotTrainableError, match="no rows"):
        in_child(fails, lambda: False)


def test_work_is_ended_while_it_runs_and_leaves_no_process() -> None:
    looks = iter([False, False, True])
    with pytest.raises(EndedError):
        in_child(lambda: time.sleep(3600), lambda: next(looks))
    assert no_child_is_left()


def test_a_child_that_the_system_ends_is_a_lack_of_memory() -> None:
    with pytest.raises(MemoryError, match="ended by the system"):
        in_child(lambda: os._exit(9), lambda: False)


def test_a_fit_that_would_pass_the_limit_is_ended_and_the_best_so_far_is_the_model(endless: None) -> None:
    clock = Stepping(5)  # so linear-0 takes a second, and its last fits would take 4/3

    def listen(progress: Progress) -> None:
        if "fitting boosting-0" in progress.message:
            clock.now = 199.0  # too late for any other than linear-0

    result = fit(ROWS, BINARY, dataset_version="d", limit=200.0, seconds=clock, listen=listen)
    report = json.loads(result.artifacts["training.json"])
    assert [t["name"] for t in report["leaderboard"]] == ["linear-0"]
    assert report["stopped"] == "time limit"
    assert "the search ended early (time limit)" in result.explanation
    assert no_child_is_left()


def test_a_limit_that_no_candidate_can_keep_is_a_result_with_what_to_do(endless: None) -> None:
    contract = tables.contract("binary", tables.NUMBERS, families=("boosting",))
    with pytest.raises(NotTrainableError, match="before a candidate was fitted; train on fewer rows"):
        fit(ROWS, contract, dataset_version="d", limit=50.0, seconds=Ticks(1.0))


def stopped_while(told: str, answer: Callable[[], bool]) -> Trained:
    def listen(progress: Progress) -> bool:
        return answer() if told in progress.message else True

    return fit(ROWS, BINARY, dataset_version="d", limit=1e9, listen=listen)


def test_a_person_stops_a_fit_under_way_with_its_best_or_for_good(endless: None) -> None:
    kept = stopped_while("fitting boosting-0", lambda: False)
    report = json.loads(kept.artifacts["training.json"])
    assert (report["best"]["name"], report["stopped"]) == ("linear-0", "asked to stop")

    def nothing() -> bool:
        raise StoppedError("wrong file")

    with pytest.raises(StoppedError):
        stopped_while("fitting boosting-0", nothing)
    assert no_child_is_left()


def test_a_bounded_run_gives_the_model_of_an_unbounded_one() -> None:
    contract = tables.contract("binary", tables.NUMBERS, families=("boosting",))
    runs: list[Any] = [
        fit(ROWS, contract, dataset_version="d", limit=limit, listen=lambda _: False) for limit in (None, 1e9)
    ]
    for name in ("model.onnx", "parity.npz", "golden.json"):
        assert runs[0].artifacts[name] == runs[1].artifacts[name]


def test_a_run_without_time_for_any_last_fit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(work: Any, over: Callable[[], bool]) -> Any:
        if isinstance(work, functools.partial):
            raise EndedError
        return work()

    monkeypatch.setattr(fitting, "runner", lambda limit: run)
    with pytest.raises(NotTrainableError, match="before a candidate was fitted; train on fewer rows"):
        fit(ROWS, BINARY, dataset_version="d", limit=1e9, listen=lambda _: False)


def test_a_candidate_whose_last_fits_are_longer_than_the_budget_is_passed_over() -> None:
    """Here every look at the clock takes a second: a trial is one, and the last fits of each candidate are two."""
    data = prepare(BINARY, ROWS)
    found = search(
        BINARY, data, folds(BINARY, data, "stratified"),
        [Candidate("linear-0", "linear", {"C": 1.0}), Candidate("boosting-0", "boosting", families._BOOSTING[1])],
        deadline=1e9, longest=1.5, listen=silent, clock=_slow_boosting(), run=in_place,
    )  # fmt: skip
    finish = {t.candidate.name: found.costs.last_fits(t.candidate) for t in found.trials}
    assert finish["boosting-0"] > 1.5 > finish["linear-0"]
    assert found.best.name == "linear-0"


def _slow_boosting() -> Callable[[], float]:
    """Times of the search's looks: start and end of the first trial, a check, start and end of the second."""
    times = iter([0.0, 0.3, 0.3, 0.3, 100.0])
    return lambda: next(times, 100.0)
