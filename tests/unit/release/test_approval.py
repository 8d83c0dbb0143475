"""A person decides before a release begins, in time and once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlops.contract import Gates
from mlops.errors import MlopsError, NotFoundError
from mlops.registry.entities import Record
from mlops.release.approval import DECISION, WAIT, Approvals
from mlops.release.dispatch import run
from tests.unit.release.fake_serving import World


@pytest.fixture
def world() -> World:
    world = World()
    contract = world.registry.contract("iris")
    assert contract is not None
    world.registry.put_contract(replace(contract, gates=Gates(approval=True, approval_hours=5)))
    world.add_version("a")
    return world


def decide(world: World, verdict: str = "approved", actor: str = "user:ann", **more: Any) -> dict[str, Any]:
    event = {"action": "decide", "model": "iris", "release_id": "r1", "verdict": verdict, "actor": actor}
    return run(world.releases, {**event, "reason": "looked at it", **more})


def start(world: World, release: str = "r1") -> Any:
    return world.start("a", actor="function:pipeline", release=release)


def statuses(answers: list[dict[str, Any]]) -> list[str]:
    return [a["status"] for a in answers]


def test_an_approval_wakes_the_release_and_is_in_the_ledger(world: World) -> None:
    world.person = lambda: decide(world)
    answers = list(world.walk(start(world)))
    assert statuses(answers) == ["needs_approval", "asked", "approved", "ready", "deployed", "promoted"]
    assert world.callbacks.woken == ["token-r1-0"]
    requested, decided, started, *_ = world.ledger.entries()
    assert (requested.action, requested.actor, requested.outcome) == (
        "approval.requested", "function:release", "waiting",
    )  # fmt: skip
    assert (decided.action, decided.actor, decided.reason) == ("approval.approved", "user:ann", "looked at it")
    assert started.inputs["approved_by"] == "user:ann"
    asked = [detail for kind, detail in world.events.put_events if kind == "ApprovalRequested"]
    assert len(asked) == 1
    assert asked[0]["deadline"] == decided.inputs["asked_at"].replace("T12:00:01", "T17:00:01")


def test_a_declined_version_is_rejected_and_nothing_is_deployed(world: World) -> None:
    before = world.serving.live()
    world.person = lambda: decide(world, "declined")
    *_, end = world.walk(start(world))
    assert end["status"] == "declined"
    assert world.serving.live() == before
    found = world.registry.version("iris", "a")
    assert found is not None
    assert (found.state, found.reason) == ("rejected", "declined by user:ann: looked at it")
    assert world.ledger.actions() == ["approval.requested", "approval.declined"]
    assert world.registry.holder("*", "release") is None


def test_nobody_decides_in_time(world: World) -> None:
    answers = list(world.walk(start(world)))
    assert statuses(answers) == ["needs_approval", *["asked", "waiting"] * 4, "asked", "declined"]
    assert answers[-1]["reasons"] == ["expired by function:release: nobody decided in time"]
    assert world.ledger.actions() == ["approval.requested", "approval.expired"]
    assert len([1 for kind, _ in world.events.put_events if kind == "ApprovalRequested"]) == 1
    assert "was expired by function:release" in decide(world)["reasons"][0], "too late"
    with pytest.raises(NotFoundError, match="no release of iris waits"):
        world.releases.approvals.only("iris")


@pytest.mark.parametrize(("hours", "left"), [(72, [24.0]), (5, [2.0]), (2, [1.0]), (1.5, [0.5]), (1, []), (0.5, [])])
def test_people_are_reminded_once_and_in_time(world: World, hours: float, left: list[float]) -> None:
    contract = world.registry.contract("iris")
    assert contract is not None
    world.registry.put_contract(replace(contract, gates=Gates(approval=True, approval_hours=hours)))
    assert list(world.walk(start(world)))[-1]["status"] == "declined"
    told = [detail for kind, detail in world.events.put_events if kind == "ApprovalExpiring"]
    assert [detail["hours_left"] for detail in told] == left
    for detail in told:
        assert (detail["model"], detail["version"], detail["release_id"]) == ("iris", "a", "r1")


def test_who_decides_in_time_is_not_reminded(world: World) -> None:
    hours = iter(range(10))
    world.person = lambda: decide(world) if next(hours) == 2 else None
    assert list(world.walk(start(world)))[-1]["status"] == "promoted"
    assert "ApprovalExpiring" not in [kind for kind, _ in world.events.put_events]


def test_a_lost_callback_costs_an_hour_at_most(world: World) -> None:
    def person() -> None:
        world.callbacks.waiting.clear()  # the machine does not hear
        assert decide(world)["reasons"] == ["it takes effect within an hour"]
        world.callbacks.waiting.add("token-r1-0")

    world.person = person
    began = world.clock()
    answers = list(world.walk(start(world)))
    assert answers[-1]["status"] == "promoted"
    assert (world.clock() - began).total_seconds() == 3600


def test_a_decision_before_the_machine_waits_is_not_lost(world: World) -> None:
    approvals = world.releases.approvals
    body = {"decision": "approved", "actor": "user:ann", "reason": "y", "via": "link", "decided_at": "t"}
    world.registry.put_record(Record("iris", DECISION, "r1", world.clock().isoformat(), body))
    world.callbacks.waiting.add("t0")
    approvals.ask(model="iris", version="a", release_id="r1", token="t0", hours=1, actor="x", reason="y", turn=0)
    assert world.callbacks.woken == ["t0"]


def test_the_first_decision_counts(world: World) -> None:
    said: list[dict[str, Any]] = []

    def person() -> None:
        said.append(decide(world))
        said.append(decide(world))
        said.append(decide(world, "declined", "user:bob"))

    world.person = person
    assert list(world.walk(start(world)))[-1]["status"] == "promoted"
    assert [a["status"] for a in said[::2]] == ["approved", "refused"]
    assert "was approved by user:ann" in said[2]["reasons"][0]


def ask(approvals: Approvals, release: str, version: str = "a") -> None:
    approvals.ask(
        model="iris", version=version, release_id=release, token=f"t-{release}", hours=5, actor="function:pipeline",
        reason="r", turn=0,
    )  # fmt: skip


def test_the_newest_token_is_woken_and_several_requests_must_be_named(world: World) -> None:
    approvals = world.releases.approvals
    ask(approvals, "r1")
    ask(approvals, "r2")
    world.clock.forward(hours=1)
    world.registry.put_record(Record("iris", WAIT, "r2.1", world.clock().isoformat(), {"token": "newest"}))
    world.callbacks.waiting |= {"t-r1", "t-r2", "newest"}
    with pytest.raises(MlopsError, match="several releases of iris wait: name a version"):
        approvals.only("iris")
    assert decide(world, release_id="r2")["status"] == "approved"
    assert world.callbacks.woken == ["newest"]
    assert [w.release_id for w in approvals.waiting("iris")] == ["r1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reason": " "}, "needs a reason"),
        ({"actor": "function:x"}, "needs the person"),
        ({"actor": "user:"}, "needs the person"),
        ({"verdict": "maybe"}, "approved or declined"),
        ({"release_id": "r9"}, "no release r9 waits"),
    ],
)
def test_what_is_no_decision_is_refused_in_words(world: World, change: dict[str, Any], message: str) -> None:
    ask(world.releases.approvals, "r1")
    with pytest.raises(MlopsError, match=message):
        decide(world, **change)


def test_a_gate_that_asks_asks_also_when_a_person_trained(world: World) -> None:
    state = world.start("a").with_(approval=True)
    assert next(world.walk(state))["status"] == "needs_approval"
    assert next(world.walk(world.start("a")))["status"] == "ready"
