"""Releases from the first champion to a rollback, on in-memory ports."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mlops.contract import Gates, Release
from mlops.errors import MlopsError
from mlops.objects import version_prefix
from mlops.registry import chain
from mlops.release.dispatch import run
from mlops.release.manual import manual_rollback, refresh
from mlops.release.ports import Firing, StorageFullError
from mlops.release.state import LOCK, STACK
from tests.unit.release.fake_serving import World


@pytest.fixture
def world() -> World:
    return World()


def good(world: World) -> Any:
    return lambda step: world.capture(30)


def statuses(world: World, model: str = "iris") -> dict[str, str]:
    return {v.version: v.state for v in world.registry.versions(model)}


def test_the_first_champion_goes_live_at_once(world: World) -> None:
    world.add_version("a")
    answers = list(world.walk(world.start("a")))
    assert [a["status"] for a in answers] == ["ready", "deployed", "promoted"]
    assert world.serving.serves() == {"iris": {"champion": "a", "challenger": None}}
    assert statuses(world) == {"a": "champion"}
    assert world.serving.agree()
    assert world.ledger.actions() == ["release.started", "release.live", "version.promoted"]
    assert world.registry.holder("*", "release") is None


def test_a_good_challenger_passes_shadow_and_canary(world: World) -> None:
    world.first_champion()
    world.add_version("b")
    seen: list[Any] = []

    def traffic(step: str) -> None:
        seen.append((step, world.serving.live().snapshot.routes["iris"]["share"], world.serving.serves()["iris"]))
        world.capture(30)

    answers = list(world.walk(world.start("b"), traffic))
    assert answers[-1]["status"] == "promoted"
    shares = {step: share for step, share, _ in seen}
    assert shares == {"shadow": 0.0, "canary-1": 0.1, "canary-2": 0.5}
    assert all(s[2] == {"champion": "a", "challenger": "b"} for s in seen)
    assert world.serving.serves() == {"iris": {"champion": "b", "challenger": None}}
    assert world.serving.live().snapshot.routes == {}
    assert statuses(world) == {"a": "archived", "b": "champion"}
    promoted = next(e for e in world.ledger.entries() if e.action == "version.promoted" and e.subject.endswith("/b"))
    assert [s["step"] for s in promoted.inputs["evidence"]] == ["shadow", "canary-1", "canary-2"]
    assert all(s["compared"] >= 20 and s["disagreements"] == 0 for s in promoted.inputs["evidence"])
    assert world.serving.agree()
    assert chain.verify(world.ledger.entries(), world.ledger.head()).intact


def test_captures_are_counted_once(world: World) -> None:
    world.first_champion()
    world.add_version("b")
    answers = list(world.walk(world.start("b"), lambda step: world.capture(6)))
    counts = [a["evidence"]["requests"] for a in answers if a["status"] == "continue"]
    assert counts[:3] == [6, 12, 18]


def test_a_challenger_that_fails_on_live_traffic_goes_back_by_itself(world: World) -> None:
    world.first_champion()
    before = world.serving.live().snapshot.version
    world.add_version("b")

    def traffic(step: str) -> None:
        world.capture(30, fail=1 if step == "canary-1" else 0)

    answers = list(world.walk(world.start("b"), traffic))
    assert answers[-1]["status"] == "rolled_back"
    assert "1 of 30 requests failed" in answers[-1]["reasons"][0]
    assert world.serving.live().snapshot.version == before, "the same immutable version as before"
    assert statuses(world) == {"a": "champion", "b": "rejected"}
    assert world.serving.agree()
    entry = list(world.ledger.entries())[-1]
    assert (entry.action, entry.inputs["evidence"][-1]["errors"]) == ("release.rolled_back", 1)
    kind, detail = world.events.put_events[-1]
    assert (kind, detail["outcome"]) == ("ReleaseFinished", "rolled_back")


def test_a_challenger_that_disagrees_goes_back_before_enough_requests(world: World) -> None:
    world.rules = replace(world.rules, min_requests=10_000)
    world.add_model("iris", world.rules)
    world.first_champion()
    world.add_version("b")
    answer = world.run(world.start("b"), lambda step: world.capture(30, differ=20))
    assert answer["status"] == "rolled_back"
    assert "got another label" in answer["reasons"][0]


def test_a_version_that_fails_its_golden_set_never_takes_traffic(world: World) -> None:
    world.first_champion()
    before = world.serving.live().snapshot.version
    world.add_version("b")
    world.serving.broken.add(("iris", "b"))
    answer = world.run(world.start("b"))
    assert answer["status"] == "rolled_back"
    assert "golden set of iris/b: 3 of 9 answers differ" in answer["reasons"][0]
    assert world.serving.live().snapshot.version == before
    assert world.serving.moves[-1] == before
    assert statuses(world)["b"] == "rejected"
    assert world.serving.agree()


def test_a_broken_first_version_leaves_no_champion(world: World) -> None:
    world.add_version("a")
    world.serving.broken.add(("iris", "a"))
    assert world.run(world.start("a"))["status"] == "rolled_back"
    assert world.serving.moves == []
    assert world.serving.agree()
    assert statuses(world) == {"a": "rejected"}


@pytest.mark.parametrize(("if_thin", "outcome"), [("abort", "rolled_back"), ("promote", "promoted")])
def test_thin_traffic_ends_as_the_contract_says(world: World, if_thin: Any, outcome: str) -> None:
    world.add_model("iris", replace(world.rules, if_thin=if_thin, max_seconds=600))
    world.first_champion()
    world.add_version("b")
    answer = world.run(world.start("b"), lambda step: world.capture(1))
    assert answer["status"] == outcome
    assert statuses(world)["b"] == ("champion" if outcome == "promoted" else "archived")


def replayed(agree: bool) -> Any:
    def answer(records: list[Any]) -> dict[str, Any]:
        scores = [[0.9, 0.1]] * len(records)
        others = scores if agree else [[0.1, 0.9]] * len(records)
        side = {"us": 50, "error": None}
        return {"status": "ok", "champion": {**side, "scores": scores}, "challenger": {**side, "scores": others}}

    return answer


@pytest.mark.parametrize(("agree", "outcome"), [(True, "promoted"), (False, "rolled_back")])
def test_thin_traffic_is_made_up_by_a_replay(world: World, agree: bool, outcome: str) -> None:
    world.add_model("iris", replace(world.rules, max_seconds=600))
    world.first_champion()
    world.capture(200)
    world.add_version("b")
    world.serving.replay = replayed(agree)
    answer = world.run(world.start("b"))
    assert answer["status"] == outcome
    tasks = [p for _, p in world.serving.invoked if p["task"] == "replay"]
    assert tasks
    assert all(len(p["records"]) <= 25 and "width" in p["records"][0] for p in tasks)
    if outcome == "promoted":
        assert all(step["replayed"] for step in answer_steps(world))


def answer_steps(world: World) -> list[Any]:
    steps: list[Any] = world.registry.records("iris", "release")[0].body["steps"]
    return steps[:-1]


def test_no_traffic_and_nothing_to_replay_is_too_thin(world: World) -> None:
    world.add_model("iris", replace(world.rules, max_seconds=600))
    world.first_champion()
    world.add_version("b")
    answer = world.run(world.start("b"))
    assert answer["status"] == "rolled_back"
    assert "too thin" in answer["reasons"][0]
    assert statuses(world)["b"] == "archived"


# Who may, and who goes first --------------------------------------------------------------------


def test_what_cannot_be_released_is_refused(world: World) -> None:
    world.add_version("a", state="rejected")
    assert world.run(world.start("a"))["status"] == "refused"
    assert world.run(world.start("nothing"))["status"] == "refused"
    world.first_champion("c")
    assert world.run(world.start("c", release="again"))["status"] == "unchanged"


def test_a_person_who_starts_a_release_by_hand_has_decided(world: World) -> None:
    contract = world.registry.contract("iris")
    assert contract is not None
    world.registry.put_contract(replace(contract, gates=Gates(approval=True)))
    world.add_version("a")
    assert world.run(world.start("a", release="by-hand"))["status"] == "promoted"


def test_releases_of_a_stack_go_one_after_another(world: World) -> None:
    world.first_champion()
    world.add_version("b")
    walk = world.walk(world.start("b"), good(world))
    assert [next(walk)["status"] for _ in range(2)] == ["ready", "deployed"]
    world.add_model("other")
    world.add_version("x", "other")
    waits = []
    state = world.start("x", "other").to_dict()
    for _ in range(9):
        state = run(world.releases, {"action": "prepare", "state": state})
        assert state["status"] == "busy"
        waits.append(state["wait_seconds"])
    assert waits == [15, 30, 60, 120, 240, 480, 600, 600, 600]
    assert list(walk)[-1]["status"] == "promoted"
    assert world.run(world.start("x", "other"))["status"] == "promoted"
    assert world.serving.serves() == {
        "iris": {"champion": "b", "challenger": None},
        "other": {"champion": "x", "challenger": None},
    }


def test_a_release_that_was_stopped_from_outside_is_cleaned_up_by_the_next(world: World) -> None:
    world.first_champion()
    world.add_version("b")
    walk = world.walk(world.start("b"), good(world))
    for _ in range(2):
        next(walk)
    world.clock.forward(hours=2)  # the execution was aborted: nobody renews its lock
    world.add_version("c")
    assert world.run(world.start("c"), good(world))["status"] == "promoted"
    assert statuses(world) == {"a": "archived", "b": "archived", "c": "champion"}
    assert "release.abandoned" in world.ledger.actions()
    assert world.serving.serves() == {"iris": {"champion": "c", "challenger": None}}


def test_another_models_champion_stays_through_a_release(world: World) -> None:
    world.first_champion()
    world.add_model("other")
    world.first_champion("x", "other")
    world.add_version("b")

    def traffic(step: str) -> None:
        assert world.serving.serves()["other"] == {"champion": "x", "challenger": None}
        world.capture(30)

    assert world.run(world.start("b"), traffic)["status"] == "promoted"
    assert world.serving.serves()["other"] == {"champion": "x", "challenger": None}


# Deployments during a release -------------------------------------------------------------------


def test_a_deployment_changes_neither_model_nor_share(world: World) -> None:
    """Invariant 1, in the middle of a canary; the release goes on."""
    world.first_champion()
    world.add_version("b")
    deployed: list[int] = []

    def traffic(step: str) -> None:
        if step == "canary-1" and not deployed:
            before = world.serving.live().snapshot
            world.serving.deploy("code-2")
            deployed.append(1)
            after = world.serving.live().snapshot
            assert (after.layer, after.routes) == (before.layer, before.routes)
            assert after.version != before.version
        world.capture(30)

    assert world.run(world.start("b"), traffic)["status"] == "promoted"
    assert world.serving.live().snapshot.base == "code-2", "the release did not bring back the old code"
    assert world.serving.agree()


def test_a_rollback_after_a_deployment_keeps_the_new_code(world: World) -> None:
    world.first_champion()
    before = world.serving.serves()
    world.add_version("b")

    def traffic(step: str) -> None:
        if step == "canary-1":
            world.serving.deploy("code-2")
        world.capture(30, fail=int(step == "canary-1"))

    assert world.run(world.start("b"), traffic)["status"] == "rolled_back"
    assert world.serving.live().snapshot.base == "code-2"
    assert world.serving.serves() == before
    assert world.serving.agree()


def test_a_step_waits_while_code_is_being_deployed(world: World) -> None:
    world.add_version("a")
    walk = world.walk(world.start("a"))
    next(walk)
    world.serving.latest = replace(world.serving.latest, base="half-deployed")
    assert next(walk)["status"] == "busy"
    world.serving.deploy("half-deployed")
    assert list(walk)[-1]["status"] == "promoted"


def test_a_deployment_that_never_ends_ends_the_release(world: World) -> None:
    world.add_version("a")
    walk = world.walk(world.start("a"))
    next(walk)
    world.serving.latest = replace(world.serving.latest, base="half-deployed")
    answers = list(walk)
    assert [a["status"] for a in answers[:-2]] == ["busy"] * 20
    assert answers[-1]["status"] == "rolled_back"
    assert statuses(world) == {"a": "archived"}


def test_an_alias_moved_by_hand_ends_the_release(world: World) -> None:
    world.first_champion()
    before = world.serving.live().snapshot.version
    world.add_version("b")

    def traffic(step: str) -> None:
        world.serving.point(before, world.serving.live().revision)

    answer = world.run(world.start("b"), traffic)
    assert answer["status"] == "rolled_back"
    assert "changed by somebody else" in answer["reasons"][0]
    assert world.serving.live().snapshot.version == before
    assert world.serving.agree()


# A fault ----------------------------------------------------------------------------------------


def test_a_fault_restores_what_served(world: World) -> None:
    world.first_champion()
    before = world.serving.live().snapshot.version
    world.add_version("b")
    walk = world.walk(world.start("b"), good(world))
    state = [next(walk) for _ in range(2)][-1]
    error = {"Error": "Runtime.HandlerError", "Cause": '{"errorType": "KeyError", "trace": ["/var/task/secret"]}'}
    answer = run(world.releases, {"action": "fail", "state": state, "error": error})
    assert answer["status"] == "failed"
    assert answer["reasons"] == ["fault: Runtime.HandlerError (KeyError)"]
    assert world.serving.live().snapshot.version == before
    assert statuses(world) == {"a": "champion", "b": "archived"}
    assert world.registry.holder("*", "release") is None
    assert world.serving.agree()


def test_a_fault_after_the_promotion_keeps_the_champion(world: World) -> None:
    world.add_version("a")
    answers = list(world.walk(world.start("a")))
    answer = run(world.releases, {"action": "fail", "state": answers[1], "error": {"Error": "States.Timeout"}})
    assert answer["status"] == "failed"
    assert statuses(world) == {"a": "champion"}
    assert world.serving.serves()["iris"]["champion"] == "a"


@pytest.mark.parametrize(
    "event", [{}, {"action": "x"}, {"action": "prepare"}, {"action": "check", "state": {"model": "m"}}]
)
def test_an_event_that_is_none_is_refused_in_words(world: World, event: dict[str, Any]) -> None:
    with pytest.raises(MlopsError) as caught:
        run(world.releases, event)
    assert caught.value.code == "invalid_action"


def test_the_lock_lives_as_long_as_the_longest_wait() -> None:
    from mlops.release.plan import lock_seconds, wait_seconds

    rules = Release(max_seconds=7 * 86_400, steps=(0.1, 0.2, 0.5))
    waits, elapsed = 0, 0.0
    while elapsed < rules.max_seconds:
        wait = wait_seconds(rules, elapsed)
        assert lock_seconds(wait) >= 3 * wait
        elapsed += wait
        waits += 1
    assert waits * (len(rules.steps) + 1) * 10 < 20_000, "events of an execution; 25,000 is the limit"


def test_an_alarm_that_fires_during_a_release_stops_it(world: World) -> None:
    world.first_champion()
    before = world.serving.live().snapshot.version
    world.alarms.now = [Firing("long-since", world.clock() - timedelta(days=1))]
    world.add_version("b")

    def traffic(step: str) -> None:
        world.capture(30)
        if step == "canary-1":
            world.alarms.now.append(Firing("stack-ApiFaults", world.clock()))

    answer = world.run(world.start("b"), traffic)
    assert answer["status"] == "rolled_back"
    assert answer["reasons"] == ["alarm since this release began: stack-ApiFaults"]
    assert world.serving.live().snapshot.version == before
    assert statuses(world)["b"] == "archived", "the alarm does not say that the version is at fault"
    started = next(e for e in world.ledger.entries() if e.action == "release.started" and e.subject.endswith("/b"))
    assert started.inputs["firing"] == ["long-since"]


@pytest.mark.parametrize("operation", ["publish", "publish_layer"])
def test_a_full_code_storage_ends_the_release_and_changes_nothing(
    world: World, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.first_champion()
    before = world.serving.live()
    world.add_version("b")

    def full(*arguments: Any) -> Any:
        raise StorageFullError("the account's code storage is full: `mlops clean`")

    monkeypatch.setattr(world.serving, operation, full)
    answer = world.run(world.start("b"))
    assert (answer["status"], answer["reasons"]) == (
        "rolled_back", ["the account's code storage is full: `mlops clean`"],
    )  # fmt: skip
    assert world.serving.live() == before
    assert world.serving.agree()
    assert statuses(world) == {"a": "champion", "b": "archived"}
    assert world.registry.holder("*", "release") is None


def test_models_too_large_for_a_layer_are_refused_before_anything_begins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Side by side they do not fit, each alone would."""
    world.first_champion()
    before, moves = world.serving.live(), list(world.serving.moves)
    monkeypatch.setattr("mlops.release.modelset.MAX_BYTES", 150)
    world.add_version("b")
    answer = world.run(world.start("b"))
    assert answer["status"] == "refused"
    assert "iris/a 0.0 MB, iris/b 0.0 MB" in answer["reasons"][0]
    assert (world.serving.live(), world.serving.moves) == (before, moves)
    assert statuses(world) == {"a": "champion", "b": "candidate"}, "it can be released when there is room"
    assert world.registry.holder("*", "release") is None
    assert world.ledger.actions()[-1] == "release.refused"


def test_weights_set_by_hand_stop_a_release_and_do_not_survive_its_rollback(world: World) -> None:
    world.first_champion()
    world.add_version("b")

    def traffic(step: str) -> None:
        world.capture(30)
        if step == "canary-1":
            world.serving.weighted = ("1",)

    answer = world.run(world.start("b"), traffic)
    assert (answer["status"], answer["reasons"]) == ("rolled_back", ["what is live was changed by somebody else"])
    assert world.serving.aliased() == {world.serving.alias}
    assert world.serving.serves() == {"iris": {"champion": "a", "challenger": None}}


def test_a_damaged_model_is_refused_by_release_rollback_and_refresh_and_what_serves_stays(world: World) -> None:
    world.first_champion("a")
    world.first_champion_again("b")
    world.add_version("c")
    live, routes = world.serving.live().snapshot, world.serving.remembered()
    kept = {key: list(bodies) for key, bodies in world.artifacts.versions.items()}
    world.artifacts.put(version_prefix("iris", "c") + "model.onnx", b"not what the gates judged")
    done = world.run(world.start("c"), lambda step: world.capture(30))
    assert done["status"] == "rolled_back"
    assert "iris/c has another model.onnx than its manifest names" in done["reasons"][0]
    found = world.registry.version("iris", "c")
    assert found is not None
    assert found.state == "archived", "mended, it may be released again"
    assert (world.serving.live().snapshot, world.serving.remembered()) == (live, routes)
    assert world.registry.holder(STACK, LOCK) is None

    world.artifacts.versions = kept
    world.add_model("other")  # so the layers of before do not fit any more, and one must be built
    world.artifacts.put(version_prefix("iris", "a") + "model.onnx", b"forged")
    back = manual_rollback(world.releases, model="iris", actor="user:ann", reason="worse", request_id="q1")
    assert (back["status"], world.serving.live().snapshot.version) == ("refused", live.version)
    assert "iris/a has another model.onnx" in back["reasons"][0]
    world.artifacts.put(version_prefix("iris", "b") + "model.onnx", b"forged")
    again = refresh(world.releases, actor="user:ann", reason="x", request_id="q2")
    assert (again["status"], world.serving.live().snapshot.version) == ("refused", live.version)
