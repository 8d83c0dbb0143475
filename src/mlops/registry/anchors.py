"""Copies of the ledger's head in another place, so that a rewritten chain shows.

Whoever may write every entry and the head can forge a whole chain that is intact in itself. An anchor is the head of
one day, kept where that writer cannot change it: in a bucket with Object Lock, better in another account. It is the
periodic publication of a hash chain's head; see S. Haber and W. S. Stornetta (1991), as in
:mod:`mlops.registry.chain`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from mlops.objects import ObjectStore
from mlops.registry.chain import Problem
from mlops.registry.entities import LedgerEntry

SCHEMA = "mlops.ledger-anchor.v1"


#: Digits of a hash in an anchor's key.
_DIGITS = 16


@dataclass(frozen=True)
class Anchor:
    """The head of ``stack``'s ledger at ``time`` (ISO 8601 UTC). ``hash`` may be its first digits only."""

    stack: str
    sequence: int
    hash: str
    time: str


def prefix(stack: str) -> str:
    """Where a stack's anchors lie in their bucket; one bucket may keep those of many stacks."""
    return f"anchors/{stack}/"


def drop(store: ObjectStore, stack: str, head: tuple[int, str], time: str) -> bool:
    """Keep a head. One object a head: False, and nothing is written, when it is anchored already, or empty."""
    sequence, digest = head
    if sequence == 0:
        return False
    body = json.dumps({"schema": SCHEMA, **asdict(Anchor(stack, sequence, digest, time))}, indent=2).encode()
    key = f"{prefix(stack)}{sequence:012d}-{digest[:_DIGITS]}.json"
    return store.put(key, body, content_type="application/json", if_absent=True)


def read(store: ObjectStore, stack: str) -> Iterator[Anchor]:
    """Every anchor, in order of sequence."""
    for info in store.list(prefix(stack)):
        yield _read(store, info.key)


def listed(store: ObjectStore, stack: str) -> list[Anchor]:
    """Every anchor by its key alone, with the first digits of its hash: a request for a thousand, where :func:`read`
    takes one for each."""
    found = []
    for info in store.list(prefix(stack)):
        sequence, _, digits = info.key.removeprefix(prefix(stack)).removesuffix(".json").partition("-")
        found.append(Anchor(stack, int(sequence), digits, info.modified))
    return found


def newest(store: ObjectStore, stack: str) -> Anchor | None:
    """The anchor of the highest entry, whole."""
    keys = [info.key for info in store.list(prefix(stack))]
    return _read(store, keys[-1]) if keys else None


def _read(store: ObjectStore, key: str) -> Anchor:
    found = json.loads(store.get(key))
    return Anchor(found["stack"], int(found["sequence"]), str(found["hash"]), str(found["time"]))


def check(entries: Iterable[LedgerEntry], anchors: Sequence[Anchor]) -> list[Problem]:
    """Anchors that the ledger does not keep any more: it was rewritten, or cut off, after that day."""
    wanted: dict[int, list[Anchor]] = {}
    for anchor in anchors:
        wanted.setdefault(anchor.sequence, []).append(anchor)
    problems = []
    for entry in entries:
        for anchor in wanted.pop(entry.sequence, ()):
            if not entry.hash.startswith(anchor.hash):
                message = f"entry {entry.sequence} is another one than at {anchor.time}, when it was anchored"
                problems.append(Problem(entry.sequence, "anchor", f"{message}: what stands before it was rewritten"))
    for sequence, missing in sorted(wanted.items()):
        message = f"entry {sequence} existed at {missing[0].time}, when it was anchored, and is gone"
        problems.append(Problem(sequence, "anchor", message))
    return problems
