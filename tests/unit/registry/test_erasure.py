"""Invariant 5: a person's data can be erased without touching the ledger, which never held it."""

from __future__ import annotations

from dataclasses import asdict

from mlops.registry import chain, history
from tests.unit.data.test_ingest_uploads import World

#: A name nobody else has, in a column flagged as personal data, in rows of every fate.
ROWS = b"age,name,bought\n31,Ada,no\n32,Bob,no\n33,Ada,yes\n34,,no\n-5,Zebedee Quixote,yes\n47,Zebedee Quixote,maybe\n"


def test_the_ledger_names_uploads_and_never_what_is_in_them() -> None:
    world = World()
    result = world.take(ROWS)
    world.take(b"age,name,bought\n" + b"-1,Zebedee Quixote,no\n" * 9, key="incoming/shop/second.csv")
    assert b"Zebedee" in world.objects.get(f"quarantine/shop/{result.upload_id}/rows.jsonl"), "it is there to be erased"
    entries = list(world.ledger.entries())
    assert len(entries) == 2
    for entry in entries:
        text = chain.canonical(chain.plain(asdict(entry))).decode()
        assert "Zebedee" not in text
    before, told = world.ledger.head(), history.tell(history.about(entries, "shop"))
    world.objects.versions.clear()  # every object and every version of it
    after = list(world.ledger.entries())
    assert chain.verify(after, before).intact
    assert history.tell(history.about(after, "shop")) == told
