"""One suite for every answer to the registry port: in memory (what unit tests use) and in DynamoDB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mlops.aws.registry import DynamoRegistry
from mlops.contract import Contract, Gates, Target
from mlops.errors import ConflictError
from mlops.features.spec import Feature
from mlops.registry.entities import Alias, DatasetVersion, ModelVersion, Record, State, Tagging
from mlops.registry.ports import Registry
from tests.fakes import Clock, MemoryRegistry

CONTRACT = Contract(
    name="iris",
    task="classification",
    target=Target("kind", classes=("no", "yes"), positive="yes"),
    features=(Feature("width", "number", minimum=0.0), Feature("colour", "category", categories=("blå", "red"))),
    gates=Gates(minimum={"roc_auc": 0.75}),
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "dynamodb"])
def registry(request: pytest.FixtureRequest, clock: Clock) -> Registry:
    if request.param == "memory":
        return MemoryRegistry(clock)
    return DynamoRegistry("registry", request.getfixturevalue("dynamodb"), clock)


def version(name: str, state: State = "candidate", day: int = 1) -> ModelVersion:
    return ModelVersion(
        "iris", name, state, f"2026-03-{day:02d}T00:00:00+00:00", "d1", "c1", {"roc_auc": 0.91}, "parent", "why"
    )


# Contracts ------------------------------------------------------------------------------------


def test_a_contract_comes_back_as_it_was(registry: Registry) -> None:
    assert registry.contract("iris") is None
    assert registry.put_contract(CONTRACT)
    assert registry.contract("iris") == CONTRACT


def test_the_same_contract_again_changes_nothing(registry: Registry) -> None:
    registry.put_contract(CONTRACT)
    assert not registry.put_contract(CONTRACT)
    changed = replace(CONTRACT, description="another")
    assert registry.put_contract(changed)
    assert registry.contract("iris") == changed


def test_models_are_those_with_a_contract_in_order(registry: Registry) -> None:
    for name in ("b", "a", "c"):
        registry.put_contract(replace(CONTRACT, name=name))
    registry.put_version(replace(version("v1"), model="z"))
    assert registry.models() == ["a", "b", "c"]


# Data sets ------------------------------------------------------------------------------------


def test_a_data_set_advances_only_from_what_was_read(registry: Registry) -> None:
    first = DatasetVersion("iris", "d1", ("p1",), 10, 10, "2026-03-01T00:00:00+00:00", "c1", "upload/u1")
    second = replace(first, version="d2", parts=("p1", "p2"), rows=15, new_rows=5)
    assert registry.current_dataset("iris") is None
    with pytest.raises(ConflictError):
        registry.advance_dataset(second, "d1")
    registry.advance_dataset(first, None)
    with pytest.raises(ConflictError):
        registry.advance_dataset(second, None)
    registry.advance_dataset(second, "d1")
    with pytest.raises(ConflictError):
        registry.advance_dataset(replace(second, version="d3"), "d1")
    assert registry.current_dataset("iris") == second


# Versions -------------------------------------------------------------------------------------


def test_a_version_is_registered_once(registry: Registry) -> None:
    assert registry.version("iris", "v1") is None
    assert registry.put_version(version("v1"))
    assert not registry.put_version(replace(version("v1"), reason="another"))
    assert registry.version("iris", "v1") == version("v1")


def test_versions_are_newest_first(registry: Registry) -> None:
    for name, day in (("b", 2), ("c", 1), ("a", 3)):
        registry.put_version(version(name, day=day))
    assert [v.version for v in registry.versions("iris")] == ["a", "b", "c"]
    assert registry.versions("other") == []


def test_the_newest_in_a_state(registry: Registry) -> None:
    assert registry.in_state("iris", "candidate") is None
    for name, day in (("a", 1), ("b", 2)):
        registry.put_version(version(name, day=day))
    found = registry.in_state("iris", "candidate")
    assert found is not None
    assert found.version == "b"
    assert registry.in_state("iris", "champion") is None


def test_a_move_changes_state_reason_and_time(registry: Registry, clock: Clock) -> None:
    registry.put_version(version("a"))
    clock.forward(hours=1)
    moved = registry.move("iris", "a", ("candidate", "archived"), "challenger", "release r1")
    assert (moved.state, moved.reason, moved.updated_at) == ("challenger", "release r1", clock().isoformat())
    assert registry.version("iris", "a") == moved
    assert registry.in_state("iris", "challenger") == moved


def test_a_move_from_another_state_is_a_conflict(registry: Registry) -> None:
    registry.put_version(version("a"))
    with pytest.raises(ConflictError):
        registry.move("iris", "a", ("challenger",), "champion", "")
    with pytest.raises(ConflictError):
        registry.move("iris", "unknown", ("candidate",), "challenger", "")
    registry.move("iris", "a", ("candidate",), "rejected", "")
    with pytest.raises(ConflictError):
        registry.move("iris", "a", ("rejected",), "champion", "")
    assert registry.version("iris", "a") == registry.in_state("iris", "rejected")


@pytest.mark.parametrize("state", ["champion", "challenger"])
def test_there_is_one_champion_and_one_challenger(registry: Registry, state: State) -> None:
    registry.put_version(version("a", state))
    registry.put_version(version("b"))
    with pytest.raises(ConflictError):
        registry.move("iris", "b", ("candidate",), state, "")
    with pytest.raises(ConflictError):
        registry.put_version(version("c", state))
    registry.move("iris", "a", (state,), "archived", "")
    assert registry.in_state("iris", state) is None
    registry.move("iris", "b", ("candidate",), state, "")
    found = registry.in_state("iris", state)
    assert found is not None
    assert found.version == "b"
    registry.put_version(replace(version("a", state), model="other"))


def test_a_promotion_replaces_the_champion_in_one_step(registry: Registry) -> None:
    registry.put_version(version("a"))
    registry.promote("iris", "a", None, "first")
    registry.put_version(version("b", "challenger", 2))
    with pytest.raises(ConflictError):
        registry.promote("iris", "b", None, "")
    with pytest.raises(ConflictError):
        registry.promote("iris", "b", "x", "")
    promoted = registry.promote("iris", "b", "a", "release r2")
    assert (promoted.state, promoted.reason) == ("champion", "release r2")
    assert [(v.version, v.state) for v in registry.versions("iris")] == [("b", "champion"), ("a", "archived")]
    assert registry.in_state("iris", "challenger") is None
    assert registry.promote("iris", "b", "a", "again") == promoted
    back = registry.promote("iris", "a", "b", "rollback")
    assert registry.in_state("iris", "champion") == back


def test_a_rejected_version_is_never_promoted(registry: Registry) -> None:
    registry.put_version(version("a", "rejected"))
    with pytest.raises(ConflictError):
        registry.promote("iris", "a", None, "")


# Names ----------------------------------------------------------------------------------------


def alias(name: str, version: str | None, hour: int, previous: str | None = None) -> Alias:
    return Alias("iris", name, version, previous, "user:ann", "why", f"2026-03-02T{hour:02d}:00:00+00:00")


def names(registry: Registry) -> dict[str, tuple[str, ...]]:
    return {v.version: v.aliases for v in registry.versions("iris")}


def test_an_alias_moves_with_what_was_read_and_versions_know_their_names(registry: Registry) -> None:
    for i, name in enumerate("ab"):
        registry.put_version(version(name, day=i + 1))
    first, second = alias("blessed", "a", 1), alias("blessed", "b", 2, "a")
    assert (registry.alias("iris", "blessed"), registry.aliases("iris")) == (None, [])
    registry.put_alias(first, None)
    registry.put_alias(alias("eu", "a", 1), None)
    assert names(registry) == {"a": ("blessed", "eu"), "b": ()}
    for stale in (None, alias("blessed", "b", 0)):
        with pytest.raises(ConflictError):
            registry.put_alias(second, stale)
    registry.put_alias(second, first)
    assert registry.alias("iris", "blessed") == second
    assert names(registry) == {"a": ("eu",), "b": ("blessed",)}
    gone = alias("blessed", None, 3, "b")
    registry.put_alias(gone, second)
    assert registry.aliases("iris") == [gone, alias("eu", "a", 1)]
    assert names(registry) == {"a": ("eu",), "b": ()}
    registry.put_alias(alias("blessed", "a", 4), gone)
    assert names(registry)["a"] == ("blessed", "eu")


def test_what_has_an_alias_is_not_retired_and_what_is_retired_gets_none(registry: Registry) -> None:
    registry.put_version(version("a", "archived"))
    named = alias("blessed", "a", 1)
    registry.put_alias(named, None)
    with pytest.raises(ConflictError):
        registry.move("iris", "a", ("archived",), "retired", "old")
    registry.put_alias(alias("blessed", None, 2, "a"), named)
    assert registry.move("iris", "a", ("archived",), "retired", "old").state == "retired"
    for target in ("a", "absent"):
        with pytest.raises(ConflictError):
            registry.put_alias(alias("other", target, 3), None)


def test_tags_change_with_what_was_read_and_outlive_a_change_of_state(registry: Registry) -> None:
    registry.put_version(version("a"))
    for of in ("a", None):
        first = Tagging("iris", of, {"team": "risk"}, {"team": "risk"}, (), "user:ann", "why", "t1")
        second = Tagging("iris", of, {"b": "ü"}, {"b": "ü"}, ("team",), "user:ann", "why", "t2")
        assert registry.tagging("iris", of) is None
        registry.put_tags(first, None)
        for stale in (None, second):
            with pytest.raises(ConflictError):
                registry.put_tags(second, stale)
        registry.put_tags(second, first)
        assert registry.tagging("iris", of) == second
    registry.move("iris", "a", ("candidate",), "archived", "why")
    (found,) = registry.versions("iris")
    assert (found.tags, found.state) == ({"b": "ü"}, "archived")
    with pytest.raises(ConflictError):
        registry.put_tags(Tagging("iris", "absent", {}, {}, (), "user:ann", "why", "t1"), None)


# Locks ----------------------------------------------------------------------------------------


def test_a_lock_has_one_owner_until_its_time_runs_out(registry: Registry, clock: Clock) -> None:
    assert registry.holder("iris", "train") is None
    assert registry.acquire("iris", "train", "run-1", 60)
    assert registry.acquire("iris", "train", "run-1", 60)
    assert not registry.acquire("iris", "train", "run-2", 60)
    assert registry.acquire("iris", "release", "run-2", 60)
    assert registry.acquire("other", "train", "run-2", 60)
    registry.let_go("iris", "train", "run-2")
    assert registry.holder("iris", "train") == "run-1"
    clock.forward(seconds=61)
    assert registry.holder("iris", "train") is None
    assert registry.acquire("iris", "train", "run-2", 60)
    registry.let_go("iris", "train", "run-1")
    assert registry.holder("iris", "train") == "run-2"
    registry.let_go("iris", "train", "run-2")
    registry.let_go("iris", "train", "run-2")
    assert registry.holder("iris", "train") is None


# Records --------------------------------------------------------------------------------------


def record(name: str, time: str, kind: str = "upload", **body: Any) -> Record:
    return Record("iris", kind, name, time, body)


def test_a_record_is_kept_once(registry: Registry) -> None:
    first = record("u1", "2026-03-01T00:00:00+00:00", rows=10, share=0.25, names=["a"])
    assert registry.put_record(first)
    assert not registry.put_record(record("u1", "2026-03-02T00:00:00+00:00"))
    assert registry.put_record(replace(first, kind="drift"))
    assert registry.records("iris", "upload") == [first]
    assert registry.records("other", "upload") == []


def test_records_are_newest_first_and_limited(registry: Registry) -> None:
    for hour in (3, 1, 2):
        registry.put_record(record(f"u{hour}", f"2026-03-01T{hour:02d}:00:00+00:00"))
    registry.put_record(record("d1", "2026-03-09T00:00:00+00:00", kind="drift"))
    assert [r.id for r in registry.records("iris", "upload")] == ["u3", "u2", "u1"]
    assert [r.id for r in registry.records("iris", "upload", limit=2)] == ["u3", "u2"]


# DynamoDB alone: what memory cannot show --------------------------------------------------------


def test_time_order_does_not_depend_on_how_a_time_is_written(dynamodb: Any, clock: Clock) -> None:
    registry = DynamoRegistry("registry", dynamodb, clock)
    for name, time in (
        ("c", "2026-03-01T12:00:01Z"),
        ("a", "2026-03-01T12:00:00.5+00:00"),
        ("b", "2026-03-01T13:00:00.75+01:00"),
    ):
        registry.put_record(record(name, time))
    assert [r.id for r in registry.records("iris", "upload")] == ["c", "b", "a"]


def test_reads_follow_pages(dynamodb: Any, clock: Clock) -> None:
    """25 items of 60 KB pass the 1 MB of one page."""
    registry = DynamoRegistry("registry", dynamodb, clock)
    for i in range(25):
        registry.put_record(record(f"u{i:02d}", f"2026-03-01T00:00:{i:02d}+00:00", text="x" * 60_000))
    assert [r.id for r in registry.records("iris", "upload")] == [f"u{i:02d}" for i in reversed(range(25))]
    assert len(registry.records("iris", "upload", limit=20)) == 20


def test_a_version_is_named_or_retired_and_never_both(dynamodb: Any, clock: Clock, monkeypatch: Any) -> None:
    """Whoever read first writes last: the conditions decide, in either order."""
    slow, fast = (DynamoRegistry("registry", dynamodb, clock) for _ in range(2))
    for name in "ab":
        slow.put_version(version(name, "archived"))
    write = slow._table.write

    def after(act: Callable[[], Any]) -> Callable[..., None]:
        def writes(*found: Any) -> None:
            monkeypatch.setattr(slow._table, "write", write)
            act()
            write(*found)

        return writes

    monkeypatch.setattr(slow._table, "write", after(lambda: fast.put_alias(alias("blessed", "a", 1), None)))
    with pytest.raises(ConflictError):
        slow.move("iris", "a", ("archived",), "retired", "old")
    monkeypatch.setattr(slow._table, "write", after(lambda: fast.move("iris", "b", ("archived",), "retired", "old")))
    with pytest.raises(ConflictError):
        slow.put_alias(alias("other", "b", 1), None)
    assert {v.version: (v.state, v.aliases) for v in fast.versions("iris")} == {
        "a": ("archived", ("blessed",)), "b": ("retired", ()),
    }  # fmt: skip


def test_two_writers_cannot_make_two_champions(dynamodb: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second writer read before the first one wrote: the conditions decide, not the reading."""
    slow, fast = (DynamoRegistry("registry", dynamodb, clock) for _ in range(2))
    for name, state in (("a", "champion"), ("b", "challenger"), ("c", "archived")):
        slow.put_version(version(name, state))  # type: ignore[arg-type]
    change: Callable[..., None] = slow._change

    def after_the_other(*args: Any) -> None:
        fast.promote("iris", "c", "a", "rollback")
        change(*args)

    monkeypatch.setattr(slow, "_change", after_the_other)
    with pytest.raises(ConflictError):
        slow.promote("iris", "b", "a", "release")
    assert {v.version: v.state for v in slow.versions("iris")} == {"a": "archived", "b": "challenger", "c": "champion"}


def test_a_lock_is_removed_only_long_after_it_ran_out(dynamodb: Any, clock: Clock) -> None:
    DynamoRegistry("registry", dynamodb, clock).acquire("iris", "train", "run-1", 60)
    key = {"pk": {"S": "MODEL#iris"}, "sk": {"S": "LOCK#train"}}
    item = dynamodb.get_item(TableName="registry", Key=key)["Item"]
    assert int(item["expires"]["N"]) == int(clock().timestamp()) + 60 + 86_400


def test_held_locks_are_listed_and_others_not(registry: Registry, clock: Clock) -> None:
    registry.acquire("iris", "train", "run-1", 60)
    registry.acquire("iris", "drift", "run-2", 600)
    registry.acquire("*", "release", "r1", 600)
    clock.forward(seconds=100)
    (held,) = registry.locks("iris")
    assert (held.model, held.purpose, held.owner) == ("iris", "drift", "run-2")
    assert held.until == "2026-03-02T12:10:00+00:00"
    assert [lock.owner for lock in registry.locks("*")] == ["r1"]


def test_a_record_by_its_id(registry: Registry) -> None:
    kept = Record("iris", "approval", "r1", "2026-03-02T12:00:00+00:00", {"version": "v1"})
    registry.put_record(kept)
    assert registry.record("iris", "approval", "r1") == kept
    assert registry.record("iris", "approval", "r2") is None
    assert registry.record("iris", "decision", "r1") is None
