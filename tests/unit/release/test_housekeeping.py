"""What housekeeping puts aside and deletes, and above all what it never does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import MlopsError
from mlops.objects import layer_key, version_prefix
from mlops.registry import anchors, chain, clearing, retention
from mlops.registry.entities import Alias, ModelVersion, Record
from mlops.registry.watch import Watch
from mlops.release import cleaning
from mlops.release.doctor import diagnose, examine
from mlops.release.housekeeping import Housekeeping
from mlops.release.manual import manual_rollback
from mlops.release.ports import LATEST, Published
from tests.fakes import MemoryObjects
from tests.unit.release.fake_serving import Crash, Crashing, World

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def day(ago: float) -> str:
    return (NOW - timedelta(days=ago)).isoformat()


@st.composite
def registries(draw: st.DrawFn) -> tuple[list[ModelVersion], list[Record]]:
    count = draw(st.integers(1, 25))
    states = draw(
        st.lists(st.sampled_from(["candidate", "archived", "rejected", "retired"]), min_size=count, max_size=count)
    )
    if draw(st.booleans()):
        states[draw(st.integers(0, count - 1))] = "champion"
    versions = [
        ModelVersion(
            "m", f"v{i}", s, day(draw(st.integers(0, 900))), "d", "c", parent_version=f"v{max(i - 1, 0)}",
            aliases=draw(st.sampled_from([(), (), ("blessed",)])),
        )
        for i, s in enumerate(states)
    ]  # fmt: skip
    records = [
        Record("m", "serving", f"r{i}", day(draw(st.integers(0, 900))), {"champion": f"v{a}", "previous": f"v{b}"})
        for i, (a, b) in enumerate(draw(st.lists(st.tuples(*[st.integers(0, count - 1)] * 2), max_size=6)))
    ]
    return versions, records


@given(registries(), st.integers(0, 12))
def test_what_is_needed_is_never_put_aside(found: tuple[list[ModelVersion], list[Record]], keep: int) -> None:
    versions, records = found
    policy = retention.Policy(keep_versions=keep)
    moves = {m.version: m for m in retention.plan(versions, records, ["v0"], policy, NOW)}
    assert "v0" not in moves, "it waits for a person"
    by_name = {v.version: v for v in versions}
    newest = sorted(versions, key=lambda v: (v.created_at, v.version), reverse=True)
    retired = {v for v, m in moves.items() if m.target == "retired"}
    assert not retired & {v.version for v in newest[:keep]}
    assert not retired & {v.version for v in versions if v.aliases}
    for version in versions:
        if version.state in ("champion", "retired"):
            assert version.version not in moves
        if version.state == "champion":
            assert version.parent_version not in retired
    if records:
        last = max(records, key=lambda r: r.time)
        assert not retired & {last.body["champion"], last.body["previous"]}
    for record in records:
        if record.time > day(policy.served_days):
            assert not retired & {record.body["champion"], record.body["previous"]}
    assert all(by_name[m.version].state == m.source for m in moves.values())


def test_what_is_not_needed_is_put_aside() -> None:
    versions = [ModelVersion("m", f"v{i}", "archived", day(i), "d", "c") for i in range(5)]
    versions.append(ModelVersion("m", "old", "candidate", day(31), "d", "c"))
    versions.append(ModelVersion("m", "new", "candidate", day(29), "d", "c"))
    moves = retention.plan(versions, [], [], retention.Policy(keep_versions=2), NOW)
    assert [(m.version, m.target) for m in moves] == [
        ("v2", "retired"), ("v3", "retired"), ("v4", "retired"), ("old", "archived"),
    ]  # fmt: skip


@pytest.fixture
def world() -> World:
    world = World()
    for name in "abcdefgh":
        world.first_champion_again(name) if name != "a" else world.first_champion(name)
    return world


def house(world: World, deployed: set[str] | None = None) -> Housekeeping:
    watch = Watch("stack", world.registry, world.ledger, MemoryObjects(), world.events.put, world.clock)
    return Housekeeping(
        world.registry, world.ledger, world.serving, world.releases.approvals, world.artifacts, watch,
        lambda: deployed or {"1"}, world.clock, world.data, 90,
    )  # fmt: skip


def test_old_versions_and_layers_go_and_rollback_stays_one_move(world: World) -> None:
    before = dict(world.serving.kept)
    layers = dict(world.serving.layers())
    planned = house(world).run({"task": "plan"})
    assert world.serving.kept == before, "a plan changes nothing"
    done = house(world).run({"task": "daily"})
    assert (done["status"], done["functions"], done["layers"]) == ("done", planned["functions"], planned["layers"])
    assert len(world.serving.kept) == len(before) - len(done["functions"])
    assert len(done["functions"]) > 10
    assert len(done["layers"]) > 5
    assert "1" in world.serving.kept, "the deployment's own"
    assert set(world.serving.layers()) == set(layers) - set(done["layers"])
    assert {layer_key(digest) for digest in world.serving.layers().values()} >= {
        info.key for info in world.artifacts.list("layers/")
    }, "an archive goes with its layer"
    assert len(done["archives"]) >= len(done["layers"]) - 1
    assert {world.serving.kept[v].layer for v in world.serving.kept} <= set(world.serving.layers())
    known = len(world.serving.kept)
    world.clock.forward(seconds=1)
    answer = manual_rollback(world.releases, model="iris", actor="user:ann", reason="worse", request_id="q1")
    assert (answer["status"], answer["to"]) == ("rolled_back", "g")
    assert len(world.serving.kept) == known, "nothing was built"
    world.clock.forward(seconds=1)
    further = manual_rollback(world.releases, model="iris", actor="user:ann", reason="x", request_id="q2", to="a")
    assert further["status"] == "rolled_back", "an older one is made again"
    assert world.serving.serves()["iris"]["champion"] == "a"
    found = examine(world.registry, world.ledger, world.serving, world.artifacts, lambda purpose, owner: False)
    assert [f for f in diagnose(found) if f.code != "files_damaged"] == []


@given(st.data())
def test_what_serves_or_may_have_to_is_never_deleted(data: st.DataObject) -> None:
    """Champion, predecessor, what an alias names, what a deployment goes back to, and their layers."""
    numbers = [str(n) for n in range(1, data.draw(st.integers(2, 30)) + 1)]
    layers = [f"layer:{n}" for n in range(1, data.draw(st.integers(1, 12)) + 1)]
    a_number, a_layer = st.sampled_from(numbers), st.sampled_from(layers)
    published = [Published(n, data.draw(a_layer)) for n in [LATEST, *numbers]]
    aliased, deployed = data.draw(st.sets(a_number, min_size=1, max_size=2)), data.draw(st.sets(a_number, max_size=2))
    pairs = data.draw(st.lists(st.tuples(a_number, a_number), max_size=4))
    recorded = [{"function_version": one, "previous_function_version": two} for one, two in pairs]
    remembered = data.draw(a_layer)
    found = cleaning.plan(published, aliased, deployed, recorded, dict.fromkeys(layers, "d"), remembered)
    needed = {LATEST, *numbers[-5:], *aliased, *deployed, *(n for pair in pairs for n in pair)}
    assert not needed & set(found.functions)
    left = [p for p in published if p.version not in found.functions]
    assert not {p.layer for p in left} & set(found.layers)
    assert remembered not in found.layers
    assert {p.version for p in left} == needed, "and nothing else stays"


def test_a_release_under_way_keeps_everything_that_serves(world: World) -> None:
    world.add_version("x")
    walk = world.walk(world.start("x"), lambda step: world.capture(1))
    for _ in range(3):
        next(walk)
    before = dict(world.serving.kept)
    assert house(world).run({"task": "daily"})["status"] == "busy"
    assert world.serving.kept == before
    assert list(walk)[-1]["status"] == "promoted", "it was not disturbed"


def test_captures_are_folded_but_never_those_that_a_release_still_counts(world: World) -> None:
    """A release counts the lines of each object by the time it was stored: folded anew, they would count twice."""
    world.add_version("x")
    walk = world.walk(world.start("x"), lambda step: [world.capture(1) for _ in range(5)])
    for _ in range(4):
        next(walk)
    world.clock.forward(days=1)
    assert house(world).run({"task": "daily"})["captures"]["objects"] == 0
    world.registry.move("iris", "x", ("challenger",), "archived", "the release is over")
    objects = len(list(world.data.list("captures/")))
    planned = house(world).run({"task": "plan"})["captures"]
    assert planned == {"hours": 0, "objects": 0, "expired": 0, "left": False}
    assert house(world).run({"task": "daily"}, lambda: 1.0)["captures"]["left"], "no time: the next run does it"
    done = house(world).run({"task": "daily"})["captures"]
    assert done["objects"] >= 5
    assert len(list(world.data.list("captures/"))) == objects - done["objects"] + done["hours"]


def test_once_a_day_is_as_good_as_twice(world: World) -> None:
    world.clock.forward(days=400)
    world.add_version("late")
    world.registry.put_record(
        Record("iris", "serving", "now", world.clock().isoformat(), {"champion": "h", "previous": "g"})
    )
    keeper = house(world)
    first = keeper.run({"task": "daily"})
    assert first["anchored"]
    assert first["moves"] == [], "the newest ten are kept"
    head = world.ledger.head()
    again = keeper.run({"task": "daily"})
    assert (again["anchored"], again["functions"], again["layers"]) == (False, [], [])
    assert world.ledger.head() == head
    world.clock.forward(days=31)
    moved = keeper.run({"task": "daily"})["moves"]
    assert [(m["version"], m["target"]) for m in moved] == [("late", "archived")]
    entry = list(world.ledger.entries())[-1]
    assert (entry.action, entry.actor) == ("version.archived", "function:housekeeping")
    keeper.run({"task": "daily"})
    assert world.ledger.actions().count("version.archived") == 1


def test_a_rewritten_chain_is_intact_in_itself_and_found_by_an_anchor(world: World) -> None:
    keeper = house(world)
    keeper.run({"task": "daily"})
    kept = list(anchors.read(keeper.watch.anchorage, "stack"))
    entries = list(world.ledger.entries())
    assert anchors.check(entries, kept) == []
    forged: list[Any] = []
    for entry in entries:
        reason = "all was well" if entry.action == "release.started" else entry.reason
        draft = {
            **entry.__dict__,
            "reason": reason,
            "previous": forged[-1].hash if forged else chain.GENESIS,
            "hash": "",
        }
        blank = type(entry)(**draft)
        forged.append(type(entry)(**{**draft, "hash": chain.entry_hash(blank)}))
    assert chain.verify(forged, (forged[-1].sequence, forged[-1].hash)).intact
    assert [p.kind for p in anchors.check(forged, kept)] == ["anchor"]
    assert "is gone" in anchors.check(forged[:3], kept)[0].message


def test_files_of_what_was_retired_long_ago_go_and_what_tells_of_it_stays(world: World) -> None:
    prefix = version_prefix("iris", "a")
    for name in ("holdout.npz", "model_card.json", "evaluation.html"):
        world.artifacts.put(prefix + name, b"x" * 10)
    for name in "ab":
        world.registry.move("iris", name, ("archived",), "retired", "old")
    keeper = house(world)
    world.clock.forward(days=89)
    assert keeper.run({"task": "daily"})["files"] == []
    world.clock.forward(days=2)
    planned = keeper.run({"task": "plan"})["files"]
    assert world.artifacts.exists(prefix + "model.onnx")
    done = keeper.run({"task": "daily", "actor": "user:ann", "reason": "room"})["files"]
    assert done == planned
    assert [(f["version"], f["files"]) for f in sorted(done, key=lambda f: f["version"])] == [
        ("a", ["model.onnx", "baseline.json", "golden.json", "holdout.npz"]),
        ("b", ["model.onnx", "baseline.json", "golden.json"]),
    ]
    left = [i.key.removeprefix(prefix) for i in world.artifacts.list(prefix)]
    assert left == ["evaluation.html", "manifest.json", "model_card.json"]
    assert all(world.artifacts.exists(version_prefix("iris", v) + "model.onnx") for v in "cdefgh")
    entries = [e for e in world.ledger.entries() if e.action == "version.files_deleted"]
    assert {(e.actor, e.reason) for e in entries} == {("user:ann", "room: retired for 90 days")}
    names = ("model.onnx", "baseline.json", "golden.json")
    size = sum(len(f"{name} of iris/a") for name in names) + 10
    assert [e.inputs["bytes"] for e in entries if e.subject.endswith("/a")] == [size]
    assert keeper.run({"task": "daily"})["files"] == []


@pytest.mark.parametrize("at", range(1, 7))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_deletion_that_broke_off_is_completed_and_told_whole_and_once(at: int, when: str) -> None:
    world = World()
    world.first_champion("a")
    world.first_champion_again("b")
    world.registry.move("iris", "a", ("archived",), "retired", "old")
    world.clock.forward(days=91)
    counter = {"calls": 0, "before": 0, "after": 0, "crashes": 0, when: at}
    parts = (world.registry, world.ledger, world.artifacts)
    broken = [Crashing(part, counter, {"put_record", "delete", "append"}) for part in parts]

    def clear(registry: Any, ledger: Any, artifacts: Any) -> None:
        for found in clearing.plan(registry, artifacts, "iris", 90, world.clock()):
            now = world.clock().isoformat()
            clearing.carry_out(registry, ledger, artifacts, found, actor="function:x", reason="old", now=now)

    with pytest.raises(Crash):
        clear(*broken)
    clear(*parts)
    (entry,) = [e for e in world.ledger.entries() if e.action == "version.files_deleted"]
    assert entry.inputs["files"] == ["model.onnx", "baseline.json", "golden.json"]
    left = [i.key.rpartition("/")[2] for i in world.artifacts.list(version_prefix("iris", "a"))]
    assert left == ["manifest.json"]
    assert clearing.plan(world.registry, world.artifacts, "iris", 90, world.clock()) == []


@given(registries(), st.none() | st.integers(1, 400))
def test_files_of_what_may_be_needed_are_never_due(
    found: tuple[list[ModelVersion], list[Record]], days: int | None
) -> None:
    versions, _ = found
    due = {v.version for v in clearing.due(versions, ["v1"], days, NOW)}
    old = [v for v in versions if v.state == "retired" and not v.aliases and days and v.created_at <= day(days)]
    assert due == {v.version for v in old} - {"v1"}


def test_an_alias_whose_change_broke_off_before_its_entry_is_told_by_housekeeping(world: World) -> None:
    named = Alias("iris", "blessed", "a", None, "user:ann", "audited", world.clock().isoformat())
    world.registry.put_alias(named, None)
    keeper = house(world)
    for _ in range(2):
        keeper.run({"task": "daily"})
    assert [e.actor for e in world.ledger.entries() if e.action == "alias.set"] == ["user:ann"]


def test_another_task_is_refused(world: World) -> None:
    with pytest.raises(MlopsError, match="daily, plan, anchor"):
        house(world).run({"task": "sweep"})
