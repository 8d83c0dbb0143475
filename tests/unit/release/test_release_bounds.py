"""Bounds under peeking, and decisions from evidence."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.contract import Release
from mlops.release.bounds import mean_margin, share_bounds
from mlops.release.evidence import Evidence
from mlops.release.verdict import ALPHA, decide


@given(st.integers(0, 300), st.integers(0, 300), st.sampled_from([0.5, 0.1, 0.01]))
def test_bounds_hold_the_estimate_and_widen_with_confidence(count: int, rest: int, alpha: float) -> None:
    total = count + rest
    low, high = share_bounds(count, total, alpha)
    assert 0 <= low <= high <= 1
    if total:
        assert low <= count / total <= high
    wider = share_bounds(count, total, alpha / 2)
    assert wider[0] <= low
    assert wider[1] >= high


def test_bounds_are_symmetric() -> None:
    low, high = share_bounds(3, 40, 0.05)
    other = share_bounds(37, 40, 0.05)
    assert (1 - other[1], 1 - other[0]) == pytest.approx((low, high))


def test_looking_after_every_request_does_not_fool_them() -> None:
    """The point of the method: a plain 98 % interval would exclude the truth at some look far more often."""
    random.seed(7)
    runs, looks, truth = 300, 400, 0.2
    ours = plain = 0
    for _ in range(runs):
        count, fooled, fooled_plain = 0, False, False
        for n in range(1, looks + 1):
            count += random.random() < truth
            if n % 4 == 0:
                fooled = fooled or not share_bounds(count, n, ALPHA)[0] <= truth
                half = 2.326 * math.sqrt(max(count / n * (1 - count / n), 1e-9) / n)
                fooled_plain = fooled_plain or (n > 20 and truth < count / n - half)
        ours += fooled
        plain += fooled_plain
    assert ours <= runs * ALPHA + 3
    assert plain > 3 * ours


def test_the_margin_of_a_mean_covers_at_every_look() -> None:
    random.seed(11)
    runs, missed = 200, 0
    for _ in range(runs):
        total = squares = 0.0
        wrong = False
        for n in range(1, 400):
            x = random.expovariate(1.0)
            total, squares = total + x, squares + x * x
            if n >= 30 and n % 5 == 0:
                mean = total / n
                wrong = wrong or abs(mean - 1) > mean_margin(n, squares / n - mean * mean, 0.05, 100)
        missed += wrong
    assert missed <= runs * 0.08


@pytest.mark.parametrize("arguments", [(-1, 2, 0.1), (3, 2, 0.1), (1, 2, 0.0), (1, 2, 1.0)])
def test_nonsense_is_refused(arguments: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="a share of"):
        share_bounds(*arguments)


RULES = Release(min_requests=50, min_seconds=300, max_seconds=3600)


def seen(rows: int, **more: object) -> Evidence:
    return Evidence(requests=rows, rows=rows, **more)  # type: ignore[arg-type]


def decision(evidence: Evidence, elapsed: float = 600, **more: object) -> str:
    return decide(evidence, RULES, elapsed, regression=False, **more).decision  # type: ignore[arg-type]


def test_enough_good_answers_advance() -> None:
    assert decision(seen(50)) == "advance"
    assert decision(seen(50, disagreements=10)) == "advance"


def test_too_few_or_too_early_waits() -> None:
    assert decision(seen(49)) == "continue"
    assert decision(seen(500), elapsed=299) == "continue"
    assert decision(seen(49), elapsed=3600) == "thin"
    assert decision(seen(49), last=True) == "thin"


def test_one_error_is_one_too_many_when_none_is_allowed() -> None:
    verdict = decide(seen(1, errors=1), RULES, 1, regression=False)
    assert verdict.decision == "rollback"
    assert verdict.reasons == ("1 of 1 requests failed, allowed are 0",)


def test_an_error_share_in_the_contract_is_a_share() -> None:
    rules = Release(max_error_share=0.05, min_requests=50, min_seconds=0)
    assert decide(seen(100, errors=3), rules, 600, regression=False).decision == "advance"
    assert decide(seen(100, errors=30), rules, 600, regression=False).decision == "rollback"


def test_clear_disagreement_ends_it_early_and_a_doubtful_one_does_not() -> None:
    assert decision(seen(20, disagreements=15), elapsed=10) == "rollback"
    assert decision(seen(20, disagreements=6), elapsed=10) == "continue"


def test_what_was_over_at_the_planned_look_must_show_that_it_is_within() -> None:
    first = decide(seen(50, disagreements=12), RULES, 600, regression=False)
    assert (first.decision, first.pending) == ("continue", ("disagreement",))
    lucky = seen(60, disagreements=12)  # 0.2 now, but one lucky moment is not enough
    assert decision(lucky, pending=first.pending) == "continue"
    assert decision(seen(1000, disagreements=130), pending=first.pending) == "advance"
    assert decision(seen(60, disagreements=12), elapsed=3600, pending=first.pending) == "rollback"


def test_late_answers_are_tolerated_rarely() -> None:
    assert decision(seen(100, late=2)) == "advance"
    assert decision(seen(100, late=40)) == "rollback"


def test_latency_counts_when_it_can_hurt() -> None:
    def timed(champion: int, challenger: int) -> Evidence:
        return seen(100, champion_us={str(16 * champion): 100}, challenger_us={str(16 * challenger): 100})

    assert decision(timed(5, 9)) == "advance", "32 against 512 µs harms nobody"
    assert decision(timed(11, 15)) == "rollback", "2 against 33 ms"
    assert decision(timed(11, 12)) == "advance"


def regression(gap: float, spread: float, rows: int) -> Evidence:
    random.seed(3)
    gaps = [max(0.0, random.gauss(gap, spread)) for _ in range(rows)]
    excess = [g - RULES.max_disagreement for g in gaps]
    return seen(
        rows, gap=sum(gaps), size=float(rows), excess=sum(excess), excess_squared=sum(x * x for x in excess)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gap", "rows", "wanted"),
    [(0.05, 60, "advance"), (0.19, 60, "advance"), (0.6, 60, "rollback"), (0.25, 55, "continue")],
)
def test_regression_differences_are_relative_to_the_champion(gap: float, rows: int, wanted: str) -> None:
    assert (
        decide(regression(gap, 0.3 if wanted == "continue" else 0.05, rows), RULES, 600, regression=True).decision
        == wanted
    )


def test_answers_out_of_range() -> None:
    assert decide(seen(100, size=100.0, out_of_range=3), RULES, 600, regression=True).decision == "advance"
    verdict = decide(seen(100, size=100.0, out_of_range=40), RULES, 600, regression=True)
    assert verdict.decision == "rollback"
    assert "outside the training target's range" in verdict.reasons[0]
