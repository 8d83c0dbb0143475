"""Kill anywhere: stop before or after every call that changes something, run the action again, compare the end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mlops.contract import Gates
from mlops.registry import chain
from mlops.release.actions import Releases
from mlops.release.dispatch import run
from mlops.release.manual import manual_rollback
from tests.unit.release import machine
from tests.unit.release.fake_serving import MUTATIONS, Crash, Crashing, World, call

Story = Callable[[World, Callable[[], Releases]], None]


def crashing(world: World, counter: dict[str, int]) -> Callable[[], Releases]:
    def make() -> Releases:
        whole = world.releases
        parts = {
            name: Crashing(getattr(whole, name), counter, MUTATIONS)
            for name in ("registry", "ledger", "serving", "artifacts", "data", "events", "callbacks")
        }
        return Releases(**parts, clock=whole.clock, alarms=whole.alarms)

    return make


def again(action: Callable[[], Any]) -> Any:
    """Step Functions runs a task again after the process was lost."""
    for _ in range(3):
        try:
            return action()
        except Crash:
            continue
    raise AssertionError("crashed more than once")


def walk(world: World, releases: Callable[[], Releases], version: str, traffic: Callable[[str], None]) -> None:
    def act(action: str, state: dict[str, Any]) -> dict[str, Any]:
        return again(lambda: run(releases(), call(action, state)))  # type: ignore[no-any-return]

    list(world.walk(world.start(version), traffic, act))


def first(world: World, releases: Callable[[], Releases]) -> None:
    world.add_version("a")
    walk(world, releases, "a", lambda step: None)


def promotion(world: World, releases: Callable[[], Releases]) -> None:
    world.first_champion()
    world.add_version("b")
    walk(world, releases, "b", lambda step: world.capture(30))


def breach(world: World, releases: Callable[[], Releases]) -> None:
    world.first_champion()
    world.add_version("b")
    walk(world, releases, "b", lambda step: world.capture(30, fail=int(step == "canary-2")))


def refused(world: World, releases: Callable[[], Releases]) -> None:
    world.first_champion()
    world.add_version("b")
    world.serving.broken.add(("iris", "b"))
    walk(world, releases, "b", lambda step: None)


def decided(world: World, releases: Callable[[], Releases], verdict: str) -> None:
    """A person decides in the second hour; the walk goes to its end."""
    contract = world.registry.contracts["iris"]
    rules = replace(contract.release, steps=())
    world.registry.put_contract(replace(contract, release=rules, gates=Gates(approval_hours=2)))
    world.first_champion()
    world.add_version("b")
    hours = itertools.count()

    def person() -> None:
        if next(hours) == 1 and verdict != "never":
            event = {
                "action": "decide",
                "model": "iris",
                "release_id": "iris-b-r",
                "verdict": verdict,
                "actor": "user:ann",
                "reason": "looked at",
            }
            answer = again(lambda: run(releases(), event))
            assert answer["status"] == verdict

    world.person = person

    def act(action: str, state: dict[str, Any]) -> dict[str, Any]:
        return again(lambda: run(releases(), call(action, state)))  # type: ignore[no-any-return]

    list(world.walk(world.start("b").with_(approval=True), lambda step: world.capture(30), act))


def approved(world: World, releases: Callable[[], Releases]) -> None:
    decided(world, releases, "approved")


def declined(world: World, releases: Callable[[], Releases]) -> None:
    decided(world, releases, "declined")


def expired(world: World, releases: Callable[[], Releases]) -> None:
    decided(world, releases, "never")


def by_hand(world: World, releases: Callable[[], Releases]) -> None:
    world.first_champion()
    world.first_champion_again("b")
    world.clock.forward(seconds=1)
    again(lambda: manual_rollback(releases(), model="iris", actor="user:ann", reason="worse", request_id="q1"))


def by_hand_during_a_release(world: World, releases: Callable[[], Releases]) -> None:
    world.first_champion()
    world.add_version("b")
    walk_b = world.walk(world.start("b"), lambda step: world.capture(1))
    for _ in range(4):
        next(walk_b)
    again(lambda: manual_rollback(releases(), model="iris", actor="user:ann", reason="worse", request_id="q1"))
    list(walk_b)


def faulty(world: World, releases: Callable[[], Releases]) -> None:
    """The challenger's files are lost in the middle: no answer, no outcome, a fault."""
    world.first_champion()
    world.add_version("b")

    def lose(step: str) -> None:
        world.capture(30)
        if step == "canary-1":
            world.artifacts.delete("models/iris/b/manifest.json")

    walk(world, releases, "b", lose)


def thin(world: World, releases: Callable[[], Releases]) -> None:
    """Hardly any traffic: recent records are replayed in each step."""
    rules = replace(world.rules, steps=(), max_seconds=120)
    world.add_model("iris", rules)
    world.first_champion()
    world.capture(60)
    world.add_version("b")
    world.serving.replay = lambda batch: {
        "champion": {"us": 40, "error": None, "scores": [[0.9, 0.1]] * len(batch)},
        "challenger": {"us": 45, "error": None, "scores": [[0.8, 0.2]] * len(batch)},
    }
    walk(world, releases, "b", lambda step: None)


def beside_another(world: World, releases: Callable[[], Releases]) -> None:
    """Another release goes first, then somebody deploys: this one waits for both."""
    world.first_champion()
    world.add_version("b")
    world.registry.acquire("*", "release", "another", 60)
    step = []

    def traffic(name: str) -> None:
        world.capture(30)
        if name == "canary-1" and not step:  # $LATEST has new code, the alias not yet
            step.append(name)
            world.serving.latest = replace(world.serving.latest, base="code-2")

    def deployed(action: str, state: dict[str, Any]) -> None:
        if action == "deploy_step" and state["tries"] == 1 and world.serving.live().snapshot.base == "code-1":
            world.serving.deploy("code-2")

    def act(action: str, state: dict[str, Any]) -> dict[str, Any]:
        deployed(action, state)
        return again(lambda: run(releases(), call(action, state)))  # type: ignore[no-any-return]

    list(world.walk(world.start("b"), traffic, act))


def end(world: World) -> dict[str, Any]:
    live = world.serving.live().snapshot
    return {
        "serves": world.serving.serves(),
        "routes": dict(live.routes),
        "agree": world.serving.agree(),
        "states": {v.version: v.state for v in world.registry.versions("iris")},
        "ledger": [(e.action, e.subject, e.outcome) for e in world.ledger.entries()],
        "intact": chain.verify(world.ledger.entries(), world.ledger.head()).intact,
        "records": sorted((r.kind, r.id, r.body.get("outcome"), r.body.get("champion")) for r in world.registry.kept),
        "lock": world.registry.holder("*", "release"),
    }


STORIES: list[Story] = [
    first, promotion, breach, refused, by_hand, by_hand_during_a_release, approved, declined, expired, faulty, thin,
    beside_another,
]  # fmt: skip


@pytest.mark.parametrize("story", STORIES, ids=lambda s: s.__name__)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_anywhere_ends_in_the_same_state(story: Story, when: str) -> None:
    counter = {"calls": 0, "before": 0, "after": 0, "crashes": 0}
    whole = World()
    story(whole, crashing(whole, counter))
    wanted, calls = end(whole), counter["calls"]
    assert wanted["agree"]
    assert wanted["intact"]
    assert wanted["lock"] is None
    assert calls > 5
    for at in range(1, calls + 1):
        world, counter = World(), {"calls": 0, "before": 0, "after": 0, "crashes": 0}
        counter[when] = at
        story(world, crashing(world, counter))
        assert counter["crashes"] == 1
        assert end(world) == wanted, f"killed {when} call {at} of {calls}"


def test_the_stories_pass_through_every_state_of_the_machine() -> None:
    """The list is the machine's own: a state that is added there has to come into a story, where it is stopped before
    and after every call."""
    visited: set[str] = set()
    for story in [*STORIES, unknown]:
        world = World()
        story(world, lambda world=world: world.releases)  # type: ignore[misc]
        visited |= world.visited
    assert visited == machine.states().keys()
    assert {machine.action(n) for n, s in machine.states().items() if s["Type"] == "Task"} == {
        "prepare", "ask", "decision", "deploy_step", "check", "finish", "rollback", "fail",
    }  # fmt: skip


def unknown(world: World, releases: Callable[[], Releases]) -> None:
    """A version that nobody registered: refused, nothing to stop in between."""
    walk(world, releases, "zzz", lambda step: None)
