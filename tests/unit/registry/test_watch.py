"""The stack finds by itself what was done to its ledger, and tells somebody."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.registry import anchors, chain
from mlops.registry.entities import LedgerDraft, LedgerEntry
from mlops.registry.watch import Watch
from tests.fakes import Clock, MemoryEvents, MemoryLedger, MemoryObjects, MemoryRegistry


class World:
    """A ledger with ``before`` entries when it was anchored, and ``after`` more since."""

    def __init__(self, before: int, after: int) -> None:
        self.clock, self.events = Clock(), MemoryEvents()
        self.ledger = MemoryLedger(self.clock)
        self.watch = Watch(
            "stack", MemoryRegistry(self.clock), self.ledger, MemoryObjects(), self.events.put, self.clock
        )
        self.write(before)
        self.watch.drop()
        self.write(after)

    def write(self, count: int) -> None:
        for _ in range(count):
            self.clock.forward(minutes=1)
            number = len(self.ledger.kept)
            self.ledger.append(LedgerDraft("user:ann", "a.b", f"model/m/v{number}", "why", "done", {"n": number}))

    def broken(self) -> list[dict[str, object]]:
        return [detail for kind, detail in self.events.put_events if kind == "LedgerBroken"]


def forge(entries: list[LedgerEntry], at: int) -> list[LedgerEntry]:
    """Entry ``at`` says something else, and every later link fits again."""
    made: list[LedgerEntry] = []
    for entry in entries:
        new = replace(
            entry,
            reason="all was well" if entry.sequence == at else entry.reason,
            previous=made[-1].hash if made else chain.GENESIS,
        )
        made.append(replace(new, hash=chain.entry_hash(new)))
    return made


@st.composite
def tampered(draw: st.DrawFn) -> tuple[World, str]:
    """A ledger in which somebody who may write the whole table did one thing after the anchor was dropped."""
    world = World(draw(st.integers(1, 5)), draw(st.integers(0, 5)))
    kept, last = world.ledger.kept, len(world.ledger.kept)
    deed = draw(st.sampled_from(["edit", "gap", "swap", "truncate", "forge"]))
    at = draw(st.integers(0, last - 1))
    if deed == "edit":
        kept[at] = replace(kept[at], reason="other")
    elif deed == "gap":
        at = draw(st.integers(0, max(last - 2, 0)))
        if last > 1:
            del kept[at]
        else:
            kept[0] = replace(kept[0], reason="other")
    elif deed == "swap":
        kept[at], kept[at - 1] = kept[at - 1], kept[at]
        if last == 1:
            kept[0] = replace(kept[0], actor="user:eve")
    elif deed == "truncate":
        del kept[draw(st.integers(0, world_anchor(world) - 1)) :]
    else:
        kept[:] = forge(kept, draw(st.integers(1, world_anchor(world))))
    return world, deed


def world_anchor(world: World) -> int:
    found = anchors.newest(world.watch.anchorage, "stack")
    assert found is not None
    return found.sequence


@given(tampered())
def test_the_whole_check_finds_whatever_was_done_before_the_anchor_or_shows_in_the_chain(
    found: tuple[World, str],
) -> None:
    world, deed = found
    assert not world.watch.check(whole=True).intact, deed


@given(st.integers(1, 6), st.integers(0, 6), st.data())
def test_the_daily_check_finds_what_was_done_from_the_anchor_on(before: int, after: int, data: st.DataObject) -> None:
    world = World(before, after)
    kept = world.ledger.kept
    assert world.watch.check(whole=False).intact
    at = data.draw(st.integers(before, before + after))
    if data.draw(st.booleans()):
        kept[at - 1] = replace(kept[at - 1], reason="other")
    else:
        del kept[before - 1 :]  # the anchored entry is gone, and the head says so too
    checked = world.watch.check(whole=False)
    assert not checked.intact
    assert checked.since == before


@given(st.integers(1, 5), st.integers(0, 5), st.integers(0, 5))
def test_an_untouched_ledger_is_intact_however_it_is_looked_at(before: int, between: int, after: int) -> None:
    world = World(before, between)
    world.watch.drop()
    world.write(after)
    for whole in (True, False):
        checked = world.watch.check(whole=whole)
        assert checked.intact, checked.problems
        assert checked.whole is whole
    assert world.broken() == []


def test_the_first_check_and_one_a_week_are_of_everything() -> None:
    world = World(3, 2)
    seen = []
    for _ in range(16):
        seen.append(world.watch.daily())
        world.clock.forward(days=1)
    assert [day for day, checked in enumerate(seen) if checked.whole] == [0, 7, 14]
    assert [checked.since for checked in seen[:2]] == [1, 3]


def test_a_forgery_behind_the_anchor_is_found_within_a_week_and_never_anchored() -> None:
    world = World(5, 2)
    world.watch.daily()
    world.watch.drop()
    world.ledger.kept[:] = forge(world.ledger.kept, 2)
    world.clock.forward(days=1)
    checked, anchored = world.watch.anchor()
    assert (checked.intact, anchored) == (False, False), "every later entry has another hash, the anchored one too"
    before = anchors.newest(world.watch.anchorage, "stack")
    for _ in range(3):
        world.clock.forward(days=1)
        assert not world.watch.daily().intact
    assert anchors.newest(world.watch.anchorage, "stack") == before
    assert len(world.broken()) == 4, "told every day until somebody acts"
    assert world.ledger.actions().count("ledger.broken") == 1
    entry = world.ledger.kept[-1]
    assert (entry.actor, entry.outcome) == ("function:housekeeping", "broken")
    assert "is another one than at" in entry.reason


def test_an_edit_before_the_anchor_waits_for_the_weekly_check() -> None:
    world = World(5, 2)
    world.watch.daily()
    world.ledger.kept[1] = replace(world.ledger.kept[1], reason="other")
    found = []
    for _ in range(7):
        world.clock.forward(days=1)
        found.append(world.watch.daily().intact)
    assert found == [True] * 6 + [False]
    world.clock.forward(days=1)
    assert world.watch.daily().whole, "until it is mended, every check is of everything"


def test_an_anchor_is_one_object_a_head_and_the_key_says_which() -> None:
    world = World(3, 0)
    (listed,), (read,) = anchors.listed(world.watch.anchorage, "stack"), anchors.read(world.watch.anchorage, "stack")
    assert (listed.sequence, read.hash.startswith(listed.hash), len(listed.hash)) == (read.sequence, True, 16)
    assert world.watch.anchor()[1] is False
    assert anchors.newest(MemoryObjects(), "stack") is None
    assert Watch("x", MemoryRegistry(), MemoryLedger(), MemoryObjects(), world.events.put, world.clock).anchor() == (
        world.watch.__class__(
            "x", MemoryRegistry(), MemoryLedger(), MemoryObjects(), world.events.put, world.clock
        ).check(whole=False),
        False,
    )


def test_a_ledger_that_takes_no_entry_any_more_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlops.errors import ConflictError

    world = World(3, 0)
    del world.ledger.kept[1]

    def refuse(draft: LedgerDraft) -> LedgerEntry:
        raise ConflictError("too busy")

    monkeypatch.setattr(world.ledger, "append", refuse)
    assert not world.watch.daily().intact
    (told,) = world.broken()
    assert "missing before entry 3" in str(told["explanation"])
