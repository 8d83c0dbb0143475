"""The doctor: silent about a healthy stack, names each disagreement, and mends what a crash without a rerun left."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import MlopsError
from mlops.registry.entities import Record
from mlops.release import doctor
from mlops.release.doctor import Seen, Treatment, diagnose, examine
from mlops.release.manual import refresh
from tests.unit.release.fake_serving import Crash, World
from tests.unit.release.test_release_crashes import STORIES, Story, crashing


def look(world: World, running: Callable[[str, str], bool | None] = lambda purpose, owner: False) -> Seen:
    return examine(world.registry, world.ledger, world.serving, world.artifacts, running)


def treatment(world: World) -> Treatment:
    def again(actor: str, reason: str) -> Any:
        return refresh(world.releases, actor=actor, reason=reason, request_id="doctor")

    return Treatment(world.registry, world.ledger, world.serving, again, world.clock)


def codes(seen: Seen) -> list[str]:
    return [f.code for f in diagnose(seen)]


def heal(world: World) -> list[str]:
    done = treatment(world).heal(lambda: look(world), actor="user:ann", reason="found on Monday")
    return [finding.code for finding, _ in done]


@pytest.fixture
def world() -> World:
    world = World()
    world.first_champion("a")
    world.first_champion_again("b")
    return world


def test_a_healthy_stack_has_no_findings(world: World) -> None:
    assert codes(look(world)) == []
    entries = world.ledger.head()
    assert heal(world) == []
    assert world.ledger.head() == entries, "nothing to repair, nothing to tell"


def test_a_release_under_way_is_no_disagreement(world: World) -> None:
    world.add_version("c")
    walk = world.walk(world.start("c"), lambda step: world.capture(1))
    for _ in range(3):
        next(walk)
    seen = look(world, lambda purpose, owner: True)
    assert seen.at_work == "iris-c-r"
    assert codes(seen) == []


def left_by_an_aborted_release(world: World) -> None:
    world.add_version("c")
    walk = world.walk(world.start("c"), lambda step: world.capture(1))
    for _ in range(3):
        next(walk)


def a_failed_deployment(world: World) -> None:
    world.serving.alias, world.serving.alias_revision = "2", world.serving.alias_revision + 1  # serves champion a


def a_deleted_layer(world: World) -> None:
    digest = next(d for d, arn in world.serving.layers_kept.items() if arn == world.serving.live().snapshot.layer)
    del world.serving.layers_kept[digest]


def another_parameter(world: World) -> None:
    world.serving.parameters = ("layer:1", {})


def another_latest(world: World) -> None:
    world.serving.configure("layer:1", {})


def a_forgotten_record(world: World) -> None:
    world.registry.kept = [r for r in world.registry.kept if r.kind != "serving" or r.body["champion"] != "b"]


def a_forgotten_entry(world: World) -> None:
    world.clock.forward(seconds=5)
    world.registry.promote("iris", "a", "b", "by hand, in the table")
    world.clock.forward(seconds=5)


def a_dead_training(world: World) -> None:
    world.registry.acquire("iris", "train", "run-1", 3600)


def a_lock_of_nobody(world: World) -> None:
    world.registry.acquire("*", "release", "never-began", 3600)


def a_challenger_of_no_release(world: World) -> None:
    world.add_version("d", state="challenger")


def shared_traffic(world: World) -> None:
    """Somebody published a version that shares traffic, and moved the alias there."""
    serving = world.serving
    live = serving.live()
    serving.configure(live.snapshot.layer, {"iris": {"share": 0.5, "step": "canary-1", "release": "x"}})
    serving.point(serving.publish(serving.latest, "by hand").version, live.revision)


def a_weighted_alias(world: World) -> None:
    """The version of champion a gets a share of the calls."""
    world.serving.weighted = ("2",)


def other_parameter_routes(world: World) -> None:
    world.serving.parameters = (world.serving.parameters[0], {"iris": {"share": 0.5}})


def a_parameter_of_a_layer_that_is_gone(world: World) -> None:
    world.serving.parameters = ("layer:99", {})


def a_lost_archive_and_layer(world: World) -> None:
    """Layer version and archive are gone: made anew from the versions' own files."""
    layer = world.serving.live().snapshot.layer
    (digest,) = (d for d, arn in world.serving.layers_kept.items() if arn == layer)
    del world.serving.layers_kept[digest]
    world.artifacts.delete(f"layers/{digest}.zip")


def lost_files(world: World) -> None:
    world.artifacts.delete("models/iris/a/golden.json")


def a_changed_entry(world: World) -> None:
    world.ledger.kept[1] = replace(world.ledger.kept[1], reason="another")


HARM: list[tuple[Callable[[World], None], list[str]]] = [
    (left_by_an_aborted_release, ["lock_left", "release_left", "serving_differs", "routes_left"]),
    (a_failed_deployment, ["serving_differs", "parameters_differ", "latest_differs"]),
    (a_deleted_layer, ["live_layer_deleted", "parameter_layer_deleted"]),
    (another_parameter, ["parameters_differ"]),
    (another_latest, ["latest_differs"]),
    (a_forgotten_record, ["serving_unrecorded"]),
    (a_forgotten_entry, ["serving_differs", "serving_unrecorded", "ledger_behind"]),
    (a_dead_training, ["lock_left"]),
    (a_lock_of_nobody, ["lock_left"]),
    (a_challenger_of_no_release, ["release_left"]),
    (shared_traffic, ["routes_left", "parameters_differ"]),
    (a_weighted_alias, ["alias_weighted"]),
    (other_parameter_routes, ["parameters_differ"]),
    (a_parameter_of_a_layer_that_is_gone, ["parameter_layer_deleted"]),
    (a_lost_archive_and_layer, ["live_layer_deleted", "parameter_layer_deleted"]),
]
#: What no repair may touch.
FOR_A_PERSON: list[tuple[Callable[[World], None], list[str]]] = [
    (lost_files, ["files_damaged"]),
    (a_changed_entry, ["ledger_edited"]),
]
#: Kinds of finding that another test brings about.
ELSEWHERE = {"pointer_differs"}


@pytest.mark.parametrize(("harm", "found"), HARM, ids=lambda v: getattr(v, "__name__", ""))
def test_each_harm_is_named_and_mended(world: World, harm: Callable[[World], None], found: list[str]) -> None:
    harm(world)
    assert codes(look(world)) == found
    champion = world.registry.in_state("iris", "champion")
    assert set(heal(world)) <= set(found)
    assert codes(look(world)) == []
    assert champion is not None
    assert world.serving.serves() == {"iris": {"champion": champion.version, "challenger": None}}
    told = [e for e in world.ledger.entries() if e.action == "doctor.repaired"]
    assert told
    assert all((e.actor, e.reason) == ("user:ann", "found on Monday") and e.inputs["finding"] in found for e in told)
    assert heal(world) == []


#: Harms that bring about the same thing: together they are one.
TWICE = (
    {a_deleted_layer, a_lost_archive_and_layer},
    {left_by_an_aborted_release, a_challenger_of_no_release},
)


@pytest.mark.parametrize("first", range(len(HARM)), ids=lambda i: HARM[i][0].__name__)
def test_two_harms_at_once_in_either_order_are_mended(first: int) -> None:
    """What can be repaired is, whatever else is wrong; what a person must decide is left as it is; and a second look
    finds nothing to do."""
    for other, (harm, found) in enumerate([*HARM, *FOR_A_PERSON]):
        if other == first or {HARM[first][0], harm} in TWICE:
            continue
        world = World()
        world.first_champion("a")
        world.first_champion_again("b")
        HARM[first][0](world)
        world.clock.forward(seconds=5)
        harm(world)
        what = f"{HARM[first][0].__name__}, then {harm.__name__}"
        for_a_person = found if other >= len(HARM) else []
        champion = world.registry.in_state("iris", "champion")
        assert champion is not None
        heal(world)
        assert codes(look(world)) == for_a_person, what
        assert world.serving.serves() == {"iris": {"champion": champion.version, "challenger": None}}, what
        assert world.registry.in_state("iris", "champion") == champion, what
        assert world.serving.agree(), what
        assert world.serving.aliased() == {world.serving.alias}, what
        head, live = world.ledger.head(), world.serving.live()
        assert heal(world) == [], what
        assert (world.ledger.head(), world.serving.live()) == (head, live), what


def test_every_kind_of_finding_has_a_harm() -> None:
    """The kinds are read from the doctor itself: one that is added has to come into the list."""
    source = inspect.getsource(doctor)
    kinds = set(re.findall(r'Finding\(\s*"(\w+)"', source)) | {"ledger_edited"}
    assert len(kinds) > 10
    assert kinds - ELSEWHERE == {code for _, found in [*HARM, *FOR_A_PERSON] for code in found}
    page = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text()
    assert {k for k in kinds if not k.startswith("ledger_e") and f"`{k}`" not in page} == set()


def test_what_a_person_must_decide_is_explained_and_left_alone(world: World) -> None:
    world.artifacts.delete("models/iris/b/golden.json")
    b = world.registry.version("iris", "b")
    a = world.registry.version("iris", "a")
    assert a is not None
    assert b is not None
    world.registry.model_versions[("iris", "0")] = replace(b, version="0", created_at="2020")
    world.ledger.kept[1] = replace(world.ledger.kept[1], reason="another")
    found = diagnose(look(world))
    assert {f.code for f in found} == {"pointer_differs", "files_damaged", "ledger_edited"}
    assert all(f.repair == "" for f in found)
    assert "lacks golden.json" in next(f.explanation for f in found if f.code == "files_damaged")
    assert heal(world) == []
    with pytest.raises(MlopsError, match="a person must decide"):
        treatment(world).apply(found[0], actor="user:ann", reason="x")


def test_a_repair_that_is_refused_says_why(world: World) -> None:
    a_failed_deployment(world)
    world.serving.broken.add(("iris", "b"))
    world.serving.latest = replace(world.serving.latest, layer="layer:1")
    with pytest.raises(MlopsError, match="not repaired, refused: golden set of iris/b"):
        heal(world)


def test_another_model_file_than_the_manifest_names_is_found(world: World) -> None:
    world.artifacts.put("models/iris/b/model.onnx", b"another")
    assert codes(look(world)) == ["files_damaged"]


def test_a_record_of_a_change_that_did_not_last_is_followed_by_a_newer_one(world: World) -> None:
    body = {"champion": "a", "previous": "b", "function_version": "2"}
    world.clock.forward(seconds=5)
    world.registry.put_record(Record("iris", "serving", "q9", world.clock().isoformat(), body))
    world.clock.forward(seconds=5)
    assert codes(look(world)) == ["serving_unrecorded"]
    assert heal(world) == ["serving_unrecorded"]
    assert world.registry.records("iris", "serving")[0].body["champion"] == "b"


@pytest.mark.parametrize("story", STORIES, ids=lambda s: s.__name__)
def test_a_crash_anywhere_that_nobody_continues_can_be_mended(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.release.test_release_crashes.again", lambda action: action())
    counter = {"calls": 0, "before": 0, "after": 0, "crashes": 0}
    whole = World()
    story(whole, crashing(whole, counter))
    assert codes(look(whole)) == []
    for at in range(1, counter["calls"] + 1):
        world, counter = World(), {"calls": 0, "before": at, "after": 0, "crashes": 0}
        with pytest.raises(Crash):
            story(world, crashing(world, counter))
        world.clock.forward(hours=1)
        if world.serving.latest.base != world.serving.live().snapshot.base:
            world.serving.deploy(world.serving.latest.base)  # a deployment that was under way ends by itself
        heal(world)
        assert codes(look(world)) == [], f"killed before call {at}"
        champion = world.registry.in_state("iris", "champion")
        assert world.serving.serves().get("iris", {}).get("champion") == (champion.version if champion else None)
        assert world.registry.in_state("iris", "challenger") is None
        assert world.serving.agree()
