"""What a person does: back to an earlier champion, out of a release, or in line with the registry again."""

from __future__ import annotations

from typing import Any

import pytest

from mlops.errors import MlopsError
from mlops.release.dispatch import run
from tests.unit.release.fake_serving import World


@pytest.fixture
def world() -> World:
    world = World()
    world.first_champion("a")
    return world


def rollback(world: World, *, request: str = "q1", **more: Any) -> dict[str, Any]:
    event = {"action": "manual_rollback", "model": "iris", "actor": "user:ann", "reason": "wrong prices"}
    return run(world.releases, {**event, "request_id": request, **more})


def states(world: World) -> dict[str, str]:
    return {v.version: v.state for v in world.registry.versions("iris")}


def test_back_to_the_champion_before_is_one_move_of_the_alias(world: World) -> None:
    before = world.serving.live().snapshot
    world.first_champion_again("b")
    published, layers = len(world.serving.kept), len(world.serving.sets)
    answer = rollback(world)
    assert (answer["status"], answer["from"], answer["to"]) == ("rolled_back", "b", "a")
    assert world.serving.live().snapshot == before, "the same immutable version: the same bytes for every answer"
    assert (len(world.serving.kept), len(world.serving.sets)) == (published, layers), "nothing was built"
    assert states(world) == {"a": "champion", "b": "archived"}
    assert world.serving.agree()
    entry = list(world.ledger.entries())[-1]
    assert (entry.actor, entry.action, entry.reason) == ("user:ann", "version.rolled_back", "wrong prices")


def test_the_same_request_twice_goes_back_once(world: World) -> None:
    world.first_champion_again("b")
    world.first_champion_again("c")
    first = rollback(world)
    assert rollback(world) == first
    assert states(world)["b"] == "champion"
    assert rollback(world, request="q2")["to"] == "c", "the champion before b is, by now, c"


def test_back_to_a_version_by_name(world: World) -> None:
    world.first_champion_again("b")
    world.first_champion_again("c")
    assert rollback(world, to="a")["to"] == "a"
    assert world.serving.serves()["iris"] == {"champion": "a", "challenger": None}
    assert states(world) == {"a": "champion", "b": "archived", "c": "archived"}


def test_a_deployment_since_then_is_kept(world: World) -> None:
    world.first_champion_again("b")
    world.serving.deploy("code-2")
    assert rollback(world)["status"] == "rolled_back"
    assert world.serving.live().snapshot.base == "code-2"
    assert world.serving.serves()["iris"]["champion"] == "a"
    assert world.serving.agree()


def test_another_models_promotion_since_then_is_kept(world: World) -> None:
    world.first_champion_again("b")
    world.add_model("other")
    world.first_champion("x", "other")
    assert rollback(world)["status"] == "rolled_back"
    assert world.serving.serves() == {
        "iris": {"champion": "a", "challenger": None},
        "other": {"champion": "x", "challenger": None},
    }


def test_a_release_under_way_ends_and_the_champion_stays(world: World) -> None:
    before = world.serving.live().snapshot
    world.add_version("b")
    walk = world.walk(world.start("b"), lambda step: world.capture(30))
    for _ in range(4):
        next(walk)
    assert world.serving.live().snapshot.routes
    answer = rollback(world)
    assert (answer["from"], answer["to"]) == ("b", "a")
    assert world.serving.live().snapshot == before
    rest = list(walk)
    assert rest[-1]["status"] == "rolled_back"
    assert world.serving.live().snapshot == before, "the machine did not bring the challenger back"
    assert states(world) == {"a": "champion", "b": "archived"}
    assert world.serving.agree()


def test_a_step_in_the_middle_cannot_undo_a_rollback(world: World) -> None:
    """The person acts while the release publishes its next step: the release sees it before it moves the alias."""
    before = world.serving.live().snapshot
    world.add_version("b")
    walk = world.walk(world.start("b"), lambda step: world.capture(30))
    for _ in range(3):
        answer = next(walk)
    publish, done = world.serving.publish, list[dict[str, Any]]()

    def interrupted(*args: Any) -> Any:
        published = publish(*args)
        if not done:
            done.append(rollback(world))
        return published

    world.serving.publish = interrupted  # type: ignore[method-assign,assignment]
    rest = list(walk)
    assert answer["status"] == "advance"
    assert done[0]["status"] == "rolled_back"
    assert rest[-1]["status"] == "rolled_back"
    assert world.serving.live().snapshot == before
    assert world.serving.agree()


def test_what_cannot_be_restored_is_refused_in_words(world: World) -> None:
    assert "no earlier champion" in rollback(world)["reasons"][0]
    assert "not registered" in rollback(world, to="zzz")["reasons"][0]
    live, records = world.serving.live(), list(world.registry.kept)
    for version, state, words in (
        ("b", "rejected", "is rejected and never was champion; only a version that was champion can be restored"),
        ("c", "candidate", "is candidate and never was champion"),
        ("d", "retired", "is retired; train or import it again"),
        (
            "e",
            "archived",
            "is archived and never was champion; only a version that was champion can be restored, "
            "another one is released: `mlops release iris e`",
        ),
    ):
        world.add_version(version, state=state)
        answer = rollback(world, to=version)
        assert answer["status"] == "refused"
        assert words in answer["reasons"][0]
    assert "is the champion already" in rollback(world, to="a")["reasons"][0]
    assert world.registry.holder("*", "release") is None
    assert (world.serving.live(), world.registry.kept) == (live, records), "a refusal changes nothing"


def test_a_version_whose_files_are_gone_is_refused_when_they_are_needed(world: World) -> None:
    world.first_champion_again("b")
    world.first_champion_again("c")
    served = next(r for r in world.registry.records("iris", "serving") if r.body["champion"] == "a")
    world.serving.delete_version(served.body["function_version"])
    for digest, arn in list(world.serving.layers_kept.items()):
        if world.serving.sets[arn]["models"] == {"iris": {"champion": "a", "challenger": None}}:
            world.serving.delete_layer(arn)
            world.artifacts.delete(f"layers/{digest}.zip")
    world.artifacts.delete("models/iris/a/golden.json")
    live = world.serving.live()
    answer = rollback(world, to="a")
    assert (answer["status"], answer["reasons"]) == (
        "refused",
        ["iris/a cannot be restored: iris/a has no golden.json; train or import the version again"],
    )
    assert world.serving.live() == live
    assert states(world)["c"] == "champion"
    assert rollback(world, request="q2")["to"] == "b", "the next attempt is free to begin"


@pytest.mark.parametrize(
    ("field", "value", "code"), [("reason", " ", "reason_required"), ("actor", "x", "actor_required")]
)
def test_a_person_and_a_reason_are_needed(world: World, field: str, value: str, code: str) -> None:
    with pytest.raises(MlopsError) as caught:
        rollback(world, **{field: value})
    assert caught.value.code == code


def refresh(world: World) -> dict[str, Any]:
    return run(
        world.releases, {"action": "refresh", "actor": "user:ann", "reason": "contract added", "request_id": "f1"}
    )


def test_refresh_tells_predict_of_a_model_without_a_champion(world: World) -> None:
    world.add_model("new")
    assert refresh(world)["status"] == "live"
    assert world.serving.serves()["new"] == {"champion": None, "challenger": None}
    assert world.ledger.actions()[-1] == "serving.refreshed"
    count = len(world.serving.kept)
    assert refresh(world)["status"] == "live"
    assert len(world.serving.kept) == count


def test_refresh_mends_parameters_and_latest(world: World) -> None:
    world.serving.remember("layer:1", {})
    world.serving.configure("layer:1", {"iris": {"share": 1.0}})
    assert not world.serving.agree()
    assert refresh(world)["status"] == "live"
    assert world.serving.agree()


def test_refresh_leaves_a_release_alone(world: World) -> None:
    world.add_version("b")
    walk = world.walk(world.start("b"))
    next(walk)
    assert refresh(world)["status"] == "busy"
