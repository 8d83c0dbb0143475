"""The hash chain: any tampering is found, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import MlopsError
from mlops.registry import chain
from mlops.registry.chain import GENESIS
from mlops.registry.entities import LedgerDraft, LedgerEntry

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
words = texts.filter(bool)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
drafts = st.builds(
    LedgerDraft,
    actor=words,
    action=words,
    subject=words,
    reason=texts,
    outcome=words,
    inputs=st.dictionaries(texts, values, max_size=3),
    id=texts,
)


def build(items: list[LedgerDraft]) -> tuple[list[LedgerEntry], tuple[int, str]]:
    entries: list[LedgerEntry] = []
    head = (0, GENESIS)
    for draft in items:
        entry = chain.link(draft, sequence=head[0] + 1, time="2026-03-02T12:00:00+00:00", previous=head[1])
        entries.append(entry)
        head = (entry.sequence, entry.hash)
    return entries, head


def draft(action: str = "version.registered", **inputs: object) -> LedgerDraft:
    return LedgerDraft("function:register", action, "model/m/1", "why", "registered", inputs)


@given(st.lists(drafts, max_size=6))
def test_an_untouched_chain_is_intact(items: list[LedgerDraft]) -> None:
    entries, head = build(items)
    found = chain.verify(entries, head)
    assert found.intact
    assert found.entries == len(items)


FIELDS = ("time", "actor", "action", "subject", "reason", "outcome", "id", "previous", "hash")


@given(st.lists(drafts, min_size=1, max_size=6), st.data())
def test_any_edit_is_found(items: list[LedgerDraft], data: st.DataObject) -> None:
    entries, head = build(items)
    at = data.draw(st.integers(0, len(entries) - 1))
    field = data.draw(st.sampled_from((*FIELDS, "inputs", "sequence")))
    old = getattr(entries[at], field)
    new = data.draw(
        {"inputs": st.dictionaries(texts, values, max_size=3), "sequence": st.integers(0, 20)}.get(field, texts)
    )
    if chain.canonical(chain.plain(new)) == chain.canonical(chain.plain(old)):
        return
    entries[at] = replace(entries[at], **{field: new})  # type: ignore[arg-type]
    assert not chain.verify(entries, head).intact


@given(st.lists(drafts, min_size=1, max_size=6), st.data())
def test_an_edit_with_a_new_hash_is_found_by_the_next_link_or_the_head(
    items: list[LedgerDraft], data: st.DataObject
) -> None:
    entries, head = build(items)
    at = data.draw(st.integers(0, len(entries) - 1))
    forged = replace(entries[at], reason=entries[at].reason + "!")
    entries[at] = replace(forged, hash=chain.entry_hash(forged))
    found = chain.verify(entries, head)
    assert {p.kind for p in found.problems} == {"head" if at == len(entries) - 1 else "unlinked"}


@given(st.lists(drafts, min_size=1, max_size=6), st.data())
def test_a_missing_entry_is_found(items: list[LedgerDraft], data: st.DataObject) -> None:
    entries, head = build(items)
    at = data.draw(st.integers(0, len(entries) - 1))
    del entries[at]
    kinds = {p.kind for p in chain.verify(entries, head).problems}
    assert ("truncated" if at == len(entries) else "gap") in kinds


@given(st.lists(drafts, min_size=2, max_size=6), st.data())
def test_another_order_is_found(items: list[LedgerDraft], data: st.DataObject) -> None:
    entries, head = build(items)
    shuffled = data.draw(st.permutations(entries))
    assert chain.verify(shuffled, head).intact == (shuffled == entries)


@given(st.lists(drafts, min_size=1, max_size=5), drafts, st.data())
def test_an_inserted_entry_is_found(items: list[LedgerDraft], extra: LedgerDraft, data: st.DataObject) -> None:
    entries, head = build(items)
    at = data.draw(st.integers(0, len(entries) - 1))
    previous = entries[at - 1].hash if at else GENESIS
    entries.insert(at, chain.link(extra, sequence=at + 1, time="", previous=previous))
    assert not chain.verify(entries, head).intact


def test_entries_appended_while_reading_are_no_problem() -> None:
    entries, _ = build([draft(n=i) for i in range(3)])
    assert chain.verify(entries, (2, entries[1].hash)).intact


def test_each_problem_says_where_and_what() -> None:
    entries, head = build([draft(n=i) for i in range(5)])
    del entries[1:3]
    entries[0] = replace(entries[0], reason="another")
    found = chain.verify(entries, head)
    assert [(p.sequence, p.kind) for p in found.problems] == [(1, "edited"), (4, "gap")]
    assert "entries 2 to 3 missing" in found.problems[1].message
    assert found.to_dict()["intact"] is False


def test_a_head_for_an_empty_ledger() -> None:
    assert chain.verify([], (0, GENESIS)).intact
    assert [p.kind for p in chain.verify([], (0, "f" * 64)).problems] == ["head"]
    assert [p.kind for p in chain.verify([], (3, "f" * 64)).problems] == ["truncated"]


@given(values)
def test_canonical_is_one_form_and_reads_back(value: object) -> None:
    import json

    written = chain.canonical(value)
    assert chain.canonical(json.loads(written)) == written


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: "a"}, {"a": object()}, "\ud800", {"a": b"x"}])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(MlopsError) as caught:
        chain.plain(value)
    assert caught.value.code == "not_canonical"


def test_an_entry_that_is_not_ids_and_digests_is_refused() -> None:
    with pytest.raises(MlopsError, match="inputs take"):
        chain.link(draft(rows=["x" * 100] * 400), sequence=1, time="", previous=GENESIS)
    with pytest.raises(MlopsError, match="actor is empty"):
        chain.link(replace(draft(), actor=""), sequence=1, time="", previous=GENESIS)
    with pytest.raises(MlopsError, match="reason is longer"):
        chain.link(replace(draft(), reason="x" * 2001), sequence=1, time="", previous=GENESIS)


def test_the_hash_is_fixed() -> None:
    """A change of the written form would make every ledger in use fail its verification."""
    entry = chain.link(draft(dataset="d1", rows=10), sequence=1, time="2026-03-02T12:00:00+00:00", previous=GENESIS)
    assert entry.hash == "2e267a1c15edbe1c0321bad5e55327646dfa3522e2cb021f88e088315a8f3f38"
