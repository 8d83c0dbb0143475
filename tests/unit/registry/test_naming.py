"""What people call versions: who may be called what, and that every change is told once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.contract.source import load
from mlops.errors import ConflictError, MlopsError, NotFoundError
from mlops.registry.entities import ModelVersion, Record
from mlops.registry.naming import MAX_TAGS, Naming, resolve
from tests.fakes import Clock, MemoryLedger, MemoryRegistry
from tests.unit.release.fake_serving import Crash, Crashing

MODEL = "diabetes"
ANN = {"actor": "user:ann", "reason": "the audit of May"}


@pytest.fixture
def registry() -> MemoryRegistry:
    registry = MemoryRegistry(Clock())
    registry.put_contract(load(Path(__file__).parents[3] / "models" / f"{MODEL}.yaml"))
    for name, state in (("3f9c1f0a2b77", "champion"), ("3f9c00000000", "archived"), ("b0b0b0b0b0b0", "retired")):
        registry.put_version(ModelVersion(MODEL, name, state, "2026-03-01T00:00:00+00:00", "d1", "c1"))  # type: ignore[arg-type]
    return registry


@pytest.fixture
def naming(registry: MemoryRegistry) -> Naming:
    return Naming(registry, MemoryLedger(), registry.clock)


def told(naming: Naming) -> list[tuple[str, str]]:
    return [(e.action, e.subject) for e in naming.ledger.entries()]


def test_an_alias_moves_and_the_ledger_tells_from_where(naming: Naming, registry: MemoryRegistry) -> None:
    naming.point(MODEL, "blessed", "3f9c00000000", **ANN)
    naming.point(MODEL, "blessed", "3f9c00000000", **ANN)
    registry.clock.forward(hours=1)  # type: ignore[attr-defined]
    naming.point(MODEL, "blessed", "3f9c1f0a2b77", **ANN)
    assert told(naming) == [("alias.set", f"model/{MODEL}/3f9c00000000"), ("alias.set", f"model/{MODEL}/3f9c1f0a2b77")]
    entry = list(naming.ledger.entries())[-1]
    assert (entry.actor, entry.reason, entry.inputs["previous"]) == ("user:ann", "the audit of May", "3f9c00000000")


@pytest.mark.parametrize(
    "name", ["champion", "previous", "retired", "Blessed", "7", "a" * 64, "a b", "", "abcdefabcdef", "a/b", "ä"]
)
def test_what_cannot_be_an_alias(naming: Naming, name: str) -> None:
    with pytest.raises(MlopsError, match="cannot be an alias"):
        naming.point(MODEL, name, "3f9c1f0a2b77", **ANN)


def test_a_retired_version_a_missing_one_and_a_change_without_a_reason(naming: Naming) -> None:
    with pytest.raises(ConflictError, match="retired"):
        naming.point(MODEL, "blessed", "b0b0b0b0b0b0", **ANN)
    with pytest.raises(NotFoundError):
        naming.point(MODEL, "blessed", "absent", **ANN)
    with pytest.raises(MlopsError, match="reason"):
        naming.point(MODEL, "blessed", "3f9c1f0a2b77", actor="user:ann", reason=" ")
    assert told(naming) == []


@pytest.mark.parametrize(
    "tags", [{"aws:x": "y"}, {"": "y"}, {"k" * 129: "y"}, {"k": "v" * 257}, {"k": "a\nb"}, {"*": ""}]
)
def test_what_cannot_be_a_tag(naming: Naming, tags: dict[str, str]) -> None:
    with pytest.raises(MlopsError) as caught:
        naming.tag(MODEL, None, tags, **ANN)
    assert caught.value.code == "invalid_tag"


def test_tags_are_as_many_as_aws_allows_and_a_change_tells_only_what_changed(
    naming: Naming, registry: MemoryRegistry
) -> None:
    whole = {f"k{i}": "v" for i in range(MAX_TAGS)}
    naming.tag(MODEL, "3f9c1f0a2b77", whole, **ANN)
    with pytest.raises(MlopsError, match="51 tags"):
        naming.tag(MODEL, "3f9c1f0a2b77", {"one": "more"}, **ANN)
    registry.clock.forward(hours=1)  # type: ignore[attr-defined]
    done = naming.tag(MODEL, "3f9c1f0a2b77", {"k1": "v", "one": "more"}, ["k0"], **ANN)
    assert (done.given, done.removed, len(done.tags)) == ({"one": "more"}, ("k0",), MAX_TAGS)
    with pytest.raises(NotFoundError, match="no tag 'k0'"):
        naming.tag(MODEL, "3f9c1f0a2b77", {}, ["k0"], **ANN)
    assert told(naming) == [("version.tagged", f"model/{MODEL}/3f9c1f0a2b77")] * 2


@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_loses_no_entry(registry: MemoryRegistry, at: int, when: str) -> None:
    """Whatever call a process breaks off at, the next change or the daily housekeeping tells what had been done."""
    counter = {"calls": 0, "before": 0, "after": 0, "crashes": 0, when: at}
    ledger, mutations = MemoryLedger(), {"put_alias", "put_tags", "append"}
    breaking = Naming(Crashing(registry, counter, mutations), Crashing(ledger, counter, mutations), registry.clock)  # type: ignore[arg-type]
    steps = [
        lambda n: n.point(MODEL, "blessed", "3f9c00000000", **ANN),
        lambda n: n.point(MODEL, "blessed", "3f9c1f0a2b77", **ANN),
        lambda n: n.tag(MODEL, "3f9c1f0a2b77", {"team": "risk"}, **ANN),
        lambda n: n.tag(MODEL, "3f9c1f0a2b77", {"team": "fraud"}, **ANN),
    ]
    for step in steps:
        registry.clock.forward(hours=1)  # type: ignore[attr-defined]
        try:
            step(breaking)
        except Crash:
            if when == "after":
                Naming(registry, ledger, registry.clock).settle(MODEL)  # the day goes by before somebody repeats it
            step(breaking)
    Naming(registry, ledger, registry.clock).settle(MODEL)  # a second time tells nothing twice
    assert [e.action for e in ledger.kept] == ["alias.set", "alias.set", "version.tagged", "version.tagged"]
    assert [e.inputs.get("version") or e.inputs["given"] for e in ledger.kept] == [
        "3f9c00000000", "3f9c1f0a2b77", {"team": "risk"}, {"team": "fraud"},
    ]  # fmt: skip
    assert counter["crashes"] == 1


def test_what_a_word_means(naming: Naming, registry: MemoryRegistry) -> None:
    naming.point(MODEL, "blessed", "3f9c00000000", **ANN)
    registry.put_record(
        Record(MODEL, "serving", "r1", "2026-03-01", {"champion": "3f9c1f0a2b77", "previous": "3f9c00000000"})
    )
    words = ("3f9c1f0a2b77", "champion", "3f9c1", "blessed", "previous", "3f9c0")
    assert [resolve(registry, MODEL, word) for word in words] == ["3f9c1f0a2b77"] * 3 + ["3f9c00000000"] * 3
    with pytest.raises(MlopsError, match="2 versions"):
        resolve(registry, MODEL, "3f9c")
    for word in ("3f9", "challenger", "absent", ""):
        with pytest.raises(NotFoundError):
            resolve(registry, MODEL, word)
    naming.remove(MODEL, "blessed", **ANN)
    with pytest.raises(NotFoundError):
        resolve(registry, MODEL, "blessed")
