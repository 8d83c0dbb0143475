"""The policy: every reason, every hold, and what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.contract import Contract, Retrain, Target, Training
from mlops.cost.prices import snapshot
from mlops.errors import ContractError
from mlops.features.spec import Feature
from mlops.retrain.place import INSTANCES, Experience, Offers, SpotQuote, choose, needed_mb
from mlops.retrain.policy import DriftFacts, Facts, QualityFacts, decide, in_quiet_hours

D = Decimal
NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
CONTRACT = Contract(
    "m", "regression", Target("y"), (Feature("x", "number"),), training=Training(min_rows=50), retrain=Retrain()
)
DRIFT = DriftFacts("drift", confirmed=True, share=0.6, features=("radius", "texture"))
#: A model that serves, enough data, nothing new, nothing wrong.
CALM = Facts("sweep", champion_since=NOW - timedelta(days=30), dataset_version="d2", rows=1000)


def contract(**retrain) -> Contract:
    return replace(CONTRACT, retrain=Retrain(**retrain))


def test_calm_is_a_no_that_says_why():
    decision = decide(CALM, CONTRACT, NOW)
    assert (decision.launch, decision.reason, decision.holds) == (False, "none", ())
    for words in ("no drift check", "retrain.on_new_rows", "retrain.every_days"):
        assert words in decision.explanation


def test_the_first_model_needs_rows():
    few = Facts("upload", dataset_version="d1", rows=49)
    enough = replace(few, rows=50)
    assert decide(few, CONTRACT, NOW).explanation == (
        "Not launched: there is no model yet, and 49 of the 50 rows that the first one needs."
    )
    decision = decide(enough, CONTRACT, NOW)
    assert (decision.launch, decision.reason, decision.where) == (True, "first_model", "lambda")


def test_the_first_model_does_not_wait_for_hours_or_weeks():
    facts = Facts("upload", dataset_version="d1", rows=50, last_launch=NOW, launches_this_week=9)
    assert decide(facts, contract(quiet_hours="0-24"), NOW).launch
    assert decide(replace(facts, trigger="sweep"), contract(quiet_hours="0-24"), NOW).holds == (
        "cooldown",
        "quiet_hours",
        "weekly",
    )


def test_confirmed_drift_launches():
    decision = decide(replace(CALM, trigger="drift", drift=DRIFT), CONTRACT, NOW)
    assert (decision.launch, decision.reason) == (True, "drift")
    assert "first radius, texture" in decision.explanation


@pytest.mark.parametrize(
    ("drift", "retrain", "words"),
    [
        (replace(DRIFT, confirmed=False), {}, "not confirmed"),
        (DriftFacts("ok"), {}, "says 'ok'"),
        (DriftFacts("insufficient"), {}, "says 'insufficient'"),
        (DRIFT, {"on_drift": False}, "retrain.on_drift"),
        (None, {}, "no drift check"),
    ],
)
def test_drift_that_does_not_count(drift, retrain, words):
    decision = decide(replace(CALM, drift=drift), contract(**retrain), NOW)
    assert not decision.launch
    assert words in decision.explanation


def test_new_rows():
    policy = contract(on_new_rows=200)
    assert not decide(replace(CALM, new_rows=199), policy, NOW).launch
    decision = decide(replace(CALM, new_rows=200), policy, NOW)
    assert (decision.launch, decision.reason) == (True, "new_rows")


def test_the_schedule_counts_from_the_last_launch():
    policy = contract(every_days=7)
    assert decide(CALM, policy, NOW).reason == "schedule"
    recent = replace(CALM, last_launch=NOW - timedelta(days=6))
    assert "due 2026-03-05 12:00 UTC" in decide(recent, policy, NOW).explanation


def test_several_reasons_are_all_named_and_the_strongest_leads():
    decision = decide(replace(CALM, drift=DRIFT, new_rows=500), contract(on_new_rows=10, every_days=1), NOW)
    assert decision.reason == "drift"
    assert decision.reasons == ("drift", "new_rows", "schedule")


HOLDS = {
    "running": {"running": "rt-1"},
    "nothing_new": {"trained_already": "4be1a7c0d2f3"},
    "budget": {"over_budget": True},
    "cooldown": {"last_launch": NOW - timedelta(hours=23)},
    "weekly": {"launches_this_week": 3},
    "rows": {"rows": 49},
}


@pytest.mark.parametrize("code", HOLDS)
def test_each_hold_alone_is_enough(code):
    decision = decide(replace(CALM, drift=DRIFT, **HOLDS[code]), CONTRACT, NOW)
    assert (decision.launch, decision.reason, decision.holds) == (False, "drift", (code,))
    assert decision.explanation.startswith("Not launched, although the data drifted")


def test_all_holds_are_named_together():
    changes: dict = {}
    for change in HOLDS.values():
        changes |= change
    decision = decide(replace(CALM, drift=DRIFT, **changes), contract(quiet_hours="11-13"), NOW)
    assert set(decision.holds) == {*HOLDS, "quiet_hours"}


def test_two_failed_runs_on_the_same_data_are_enough():
    assert decide(replace(CALM, drift=DRIFT, attempts=1), CONTRACT, NOW).launch
    assert decide(replace(CALM, drift=DRIFT, attempts=2), CONTRACT, NOW).holds == ("nothing_new",)


def test_a_person_overrides_waiting_and_money_but_not_a_run_in_progress():
    facts = replace(
        CALM,
        trigger="manual",
        actor="user:ada",
        request="new scanner",
        last_launch=NOW,
        launches_this_week=9,
        over_budget=True,
        trained_already="v1",
    )
    decision = decide(facts, contract(quiet_hours="0-24"), NOW)
    assert (decision.launch, decision.reason) == (True, "manual")
    assert "user:ada asked for it (new scanner)" in decision.explanation
    assert decide(replace(facts, running="rt-1"), CONTRACT, NOW).holds == ("running",)
    assert decide(replace(facts, rows=0, dataset_version=None), CONTRACT, NOW).holds == ("rows",)


def test_a_person_can_ask_for_the_first_model():
    facts = Facts("manual", dataset_version="d1", rows=10, actor="user:ada")
    assert decide(facts, CONTRACT, NOW).holds == ("rows",)
    assert decide(replace(facts, rows=60), CONTRACT, NOW).launch


def test_an_unknown_budget_holds_nothing_back():
    assert decide(replace(CALM, drift=DRIFT, over_budget=None), CONTRACT, NOW).launch


@pytest.mark.parametrize(
    ("hours", "clock", "quiet"),
    [
        ("22-06", "21:59", False),
        ("22-06", "22:00", True),
        ("22-06", "03:00", True),
        ("22-06", "06:00", False),
        ("09:30-17", "09:29", False),
        ("09:30-17", "16:59", True),
        ("0-24", "13:00", True),
        ("6-6", "06:00", False),
        (None, "06:00", False),
    ],
)
def test_quiet_hours(hours, clock, quiet):
    hour, minute = map(int, clock.split(":"))
    assert in_quiet_hours(hours, NOW.replace(hour=hour, minute=minute)) is quiet


def test_quiet_hours_are_utc():
    east = datetime.fromisoformat("2026-03-04T01:00:00+03:00")
    assert in_quiet_hours("22-23", east)


@pytest.mark.parametrize("text", ["night", "25-06", "22:75-06", "22", "22-"])
def test_quiet_hours_that_cannot_be_read(text):
    with pytest.raises(ContractError, match="quiet_hours"):
        in_quiet_hours(text, NOW)


FAST = Experience(seconds=40, rows=500)
OFFERS = Offers(prices=snapshot(), instances=tuple(INSTANCES))


def test_where_it_runs():
    assert choose(CONTRACT, rows=1000).where == "lambda"
    assert choose(CONTRACT, rows=1000, experience=FAST).seconds == 80
    assert choose(CONTRACT, rows=100, experience=FAST).seconds == 40


def test_what_outgrows_lambda_is_refused_with_the_numbers_where_there_is_nothing_else():
    large = replace(CALM, drift=DRIFT, rows=30_000_000)
    decision = decide(large, CONTRACT, NOW)
    assert decision.holds == ("too_large",)
    assert "MB are more than the 3,008 MB" in decision.explanation
    assert "no training image" in decision.explanation
    slow = decide(replace(CALM, drift=DRIFT, experience=Experience(seconds=800.0, rows=1000)), CONTRACT, NOW)
    assert slow.holds == ("too_large",)
    assert decide(large, contract(where="lambda"), NOW).launch
    sagemaker = decide(replace(CALM, drift=DRIFT), contract(where="sagemaker"), NOW)
    assert sagemaker.holds == ("too_large",)
    assert "retrain.where" in sagemaker.explanation


def by_where(place):
    return {o.where: o for o in place.options}


def test_three_places_are_priced_by_hand():
    """1,200 s and 200,000 rows of one feature: what docs/retraining.md says, calculated again."""
    found = choose(CONTRACT, rows=1000, experience=Experience(seconds=1200, rows=1000), offers=OFFERS)
    options = by_where(found)
    assert options["lambda"].usd == D(3008) / 1024 * 1200 * D("0.0000166667")
    assert options["lambda"].against == ("1200 s are more than the 780 s that it may take",)
    assert options["sagemaker"].usd == D(1260) / 3600 * D("0.115")
    assert options["sagemaker"].seconds == 1200 + 180
    # A twentieth of an interruption an hour, each losing a fiftieth of the training and a new start.
    expected = 0.05 * 1200 / 3600
    lost = expected * 1200 * 0.02
    assert options["sagemaker_spot"].seconds == pytest.approx(300 + 180 + 1200 + lost + expected * 480)
    assert options["sagemaker_spot"].usd == D(str(round(1260 + lost, 3))) / 3600 * D("0.115") * D("0.4")
    assert "0.02 interruptions expected" in options["sagemaker_spot"].basis
    assert found.where == "sagemaker", "two cents are not worth waiting for a spot machine"


def test_a_long_training_goes_to_spot_and_a_near_deadline_keeps_it_from_there():
    long = Experience(seconds=20_000, rows=1000)
    assert choose(CONTRACT, rows=1000, experience=long, offers=OFFERS).where == "sagemaker_spot"
    soon = choose(contract(deadline_hours=5.7), rows=1000, experience=long, offers=OFFERS)
    assert soon.where == "sagemaker"
    assert "deadline of 5.7 h" in by_where(soon)["sagemaker_spot"].against[0]
    never = choose(contract(deadline_hours=1), rows=1000, experience=long, offers=OFFERS)
    assert not never.possible
    assert "fits nowhere" in never.explanation


def test_own_experience_outweighs_assumptions():
    bad = Experience(seconds=20_000, rows=1000, spot_hours=10, spot_interruptions=40, spot_paid=D("0.95"))
    spot = by_where(choose(CONTRACT, rows=1000, experience=bad, offers=OFFERS))["sagemaker_spot"]
    assert "own runs of 10.0 h" in spot.basis
    assert spot.seconds > 20_000 + 7 * 480, "1.37 interruptions an hour over 5.6 hours"
    quoted = replace(OFFERS, spot={"ml.m5.large": SpotQuote(D("0.31"), "EC2 spot prices")})
    assert "x 0.31 (EC2 spot prices)" in by_where(choose(CONTRACT, rows=1000, offers=quoted))["sagemaker_spot"].basis


def test_memory_chooses_the_instance():
    wide = replace(CONTRACT, features=tuple(Feature(f"x{i}", "number") for i in range(30)))
    assert needed_mb(20_000_000, 1, Experience()) <= 3008 < needed_mb(20_500_000, 1, Experience())
    instances = {rows: by_where(choose(wide, rows=rows, offers=OFFERS))["sagemaker"].instance
                 for rows in (1_000, 2_000_000, 4_000_000)}  # fmt: skip
    assert instances == {1_000: "ml.m5.large", 2_000_000: "ml.m5.xlarge", 4_000_000: "ml.m5.2xlarge"}
    hungry = Experience(seconds=10, rows=1000, peak_mb=2000)
    assert (
        "MB are more than"
        in by_where(choose(CONTRACT, rows=2000, experience=hungry, offers=OFFERS))["lambda"].against[0]
    )


def test_an_instance_type_that_nobody_knows_is_no_place():
    place = choose(contract(where="sagemaker"), rows=1000, offers=replace(OFFERS, instances=("ml.x9.huge",)))
    assert not place.possible
    assert "ml.x9.huge is not known" in place.explanation
    assert by_where(place)["sagemaker"].usd is None


def test_without_prices_the_place_that_ends_first_is_taken():
    unpriced = replace(OFFERS, region="mars-north-1")
    place = choose(CONTRACT, rows=1000, offers=unpriced)
    assert (place.where, place.usd) == ("lambda", None)
    assert by_where(place)["sagemaker"].basis == "no price known"


facts = st.builds(
    Facts,
    trigger=st.sampled_from(["upload", "drift", "quality", "sweep", "manual"]),
    champion_since=st.sampled_from([None, NOW - timedelta(days=1), NOW - timedelta(days=400)]),
    dataset_version=st.sampled_from([None, "d1"]),
    rows=st.integers(0, 10**8),
    new_rows=st.integers(0, 10**6),
    trained_already=st.sampled_from([None, "v1"]),
    attempts=st.integers(0, 3),
    running=st.sampled_from([None, "rt-1"]),
    last_launch=st.sampled_from([None, NOW, NOW - timedelta(days=8)]),
    launches_this_week=st.integers(0, 4),
    over_budget=st.sampled_from([None, True, False]),
    budget_left=st.sampled_from([None, D(0), D(100)]),
    drift=st.sampled_from([None, DRIFT, DriftFacts("ok"), replace(DRIFT, confirmed=False)]),
    quality=st.sampled_from([None, QualityFacts("degraded"), QualityFacts("ok")]),
    experience=st.sampled_from([Experience(), FAST]),
    offers=st.sampled_from([Offers(), OFFERS]),
)
policies = st.builds(
    Retrain,
    on_drift=st.booleans(),
    on_new_rows=st.sampled_from([None, 100]),
    every_days=st.sampled_from([None, 2.0]),
    quiet_hours=st.sampled_from([None, "0-24", "22-06"]),
    where=st.sampled_from(["lambda", "sagemaker", "auto"]),
)


@settings(max_examples=400, deadline=None)
@given(facts, policies)
def test_what_always_holds(known, policy):
    decision = decide(known, replace(CONTRACT, retrain=policy), NOW)
    assert decision.explanation.endswith(".")
    if decision.launch:
        assert decision.reason != "none"
        assert decision.holds == ()
        assert known.running is None
        assert known.rows >= 50
        assert decision.place.possible
        if known.trigger != "manual":
            assert not known.over_budget
            assert known.budget_left is None or (decision.place.usd or 0) <= known.budget_left
            assert known.trained_already is None
    else:
        assert decision.holds or decision.reason == "none"


def test_every_hold_is_reachable_for_every_automatic_reason():
    reasons = {"drift": {"drift": DRIFT}, "new_rows": {"new_rows": 1000}, "schedule": {}}
    policies = {"drift": {}, "new_rows": {"on_new_rows": 10}, "schedule": {"every_days": 1}}
    for (reason, change), (code, hold) in product(reasons.items(), HOLDS.items()):
        if code == "cooldown" and reason == "schedule":
            continue  # within a day of the last launch nothing is due
        decision = decide(replace(CALM, **change, **hold), contract(**policies[reason]), NOW)
        assert (decision.reason, decision.holds) == (reason, (code,))
