"""The ledger in DynamoDB. Layout and access patterns: docs/registry.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mlops.aws.dynamo import ConditionFailedError, Item, Table
from mlops.errors import ConflictError
from mlops.registry import chain
from mlops.registry.entities import LedgerDraft, LedgerEntry

PARTITION = "LEDGER"
_ATTEMPTS = 40


class DynamoLedger:
    """One stack's ledger (:class:`mlops.registry.ports.Ledger`).

    An append is one transaction: the new entry must not exist, the head must still be the one that the entry
    links to, and the draft's id must be new. So two writers cannot fork the chain: the slower one reads the
    head again. An entry is never updated or deleted; no role needs ``dynamodb:DeleteItem`` on this partition.
    """

    def __init__(
        self,
        table: str,
        stack: str,
        dynamodb: Any = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.stack = stack
        self._table = Table(table, dynamodb, **({"sleep": sleep} if sleep else {}))
        self._clock = clock

    def append(self, draft: LedgerDraft) -> LedgerEntry:
        """Append ``draft``; one whose id is known returns the entry that exists.

        Raises
        ------
        ConflictError
            when other writers were faster 40 times in a row (about half a minute).
        """
        for attempt in range(_ATTEMPTS):
            known = self._known(draft.id)
            if known:
                return known
            sequence, previous = self.head()
            entry = chain.link(draft, sequence=sequence + 1, time=self._clock().isoformat(), previous=previous)
            try:
                self._table.write(*self._writes(entry))
            except ConditionFailedError:
                self._table.pause(attempt)
            else:
                return entry
        raise ConflictError(f"the ledger of {self.stack} is too busy: entry '{draft.action}' was not written")

    def entries(self, *, subject: str | None = None, after: int = 0) -> Iterator[LedgerEntry]:
        """In order of sequence, from the one that follows ``after``; ``subject`` filters by prefix."""
        for item in self._table.query(PARTITION, "ENTRY#", after=_sort_key(after) if after else None):
            entry = _entry(item)
            if subject is None or entry.subject.startswith(subject):
                yield entry

    def head(self) -> tuple[int, str]:
        """Sequence and hash of the last entry; ``(0, GENESIS)`` for an empty ledger."""
        item = self._table.get(PARTITION, "HEAD")
        return (item["sequence"], item["hash"]) if item else (0, chain.GENESIS)

    def _known(self, draft_id: str) -> LedgerEntry | None:
        marker = self._table.get(PARTITION, f"ID#{draft_id}") if draft_id else None
        item = self._table.get(PARTITION, _sort_key(marker["sequence"])) if marker else None
        return _entry(item) if item else None

    def _writes(self, entry: LedgerEntry) -> list[Item]:
        item: Item = {**asdict(entry), "inputs": chain.canonical(entry.inputs).decode()}
        head: Item = {"pk": PARTITION, "sk": "HEAD", "sequence": entry.sequence, "hash": entry.hash}
        table = self._table
        absent = "attribute_not_exists(pk)"
        writes = [table.put({"pk": PARTITION, "sk": _sort_key(entry.sequence), **item}, absent)]
        if entry.sequence == 1:
            writes.append(table.put(head, absent))
        else:
            values = {":sequence": entry.sequence - 1, ":hash": entry.previous}
            writes.append(table.put(head, "#sequence = :sequence AND #hash = :hash", values))
        if entry.id:
            marker = {"pk": PARTITION, "sk": f"ID#{entry.id}", "sequence": entry.sequence}
            writes.append(table.put(marker, absent))
        return writes


def _sort_key(sequence: int) -> str:
    return f"ENTRY#{sequence:012d}"


def _entry(item: Item) -> LedgerEntry:
    values = {name: value for name, value in item.items() if name not in ("pk", "sk")}
    values["inputs"] = json.loads(values["inputs"])
    return LedgerEntry(**values)
