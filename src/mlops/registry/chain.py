"""The hash chain of the ledger: how an entry is written down, hashed, linked and verified.

Every entry carries the hash of the one before it, so nobody can change, drop, insert or reorder entries
without breaking a link; the head (sequence and hash of the last entry), kept apart from the entries, shows a
cut-off end. Whoever can rewrite every entry *and* the head can still forge the whole chain: a copy of the head
outside the table (an anchor) closes that.

The construction is the linked time-stamping of S. Haber and W. S. Stornetta, "How to time-stamp a digital
document", Journal of Cryptology 3 (1991). The canonical form is JSON with sorted keys (by code point), no
spaces, UTF-8, finite numbers in Python's shortest form; it equals RFC 8785 for entries whose keys are ASCII and
whose numbers are integers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mlops.errors import MlopsError
from mlops.registry.entities import LedgerDraft, LedgerEntry

#: The ``previous`` of the first entry.
GENESIS = "0" * 64

MAX_TEXT = 2000
MAX_ENTRY_BYTES = 32_000

Kind = Literal["edited", "gap", "reordered", "unlinked", "truncated", "head", "anchor"]


def canonical(value: Any) -> bytes:
    """The one written form of a JSON value (UTF-8).

    Raises
    ------
    MlopsError
        ``not_canonical`` for what JSON cannot hold exactly: NaN, infinities, other types, lone surrogates.

    Examples
    --------
    >>> canonical({"b": 1, "a": [True, None, "é"]}).decode()
    '{"a":[true,null,"é"],"b":1}'
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (TypeError, ValueError) as error:
        raise MlopsError(f"not a plain JSON value: {error}", code="not_canonical") from error


def plain(value: Any) -> Any:
    """A copy made of dictionaries, lists and scalars only, so that it reads back from JSON as itself.

    Raises
    ------
    MlopsError
        ``not_canonical`` for a value that JSON cannot hold exactly.
    """
    return json.loads(canonical(_containers(value)))


def _containers(value: Any) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise MlopsError(f"not a plain JSON value: key {key!r} is not a text", code="not_canonical")
        return {k: _containers(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_containers(v) for v in value]
    return value


def entry_hash(entry: LedgerEntry) -> str:
    """SHA-256 (64 hexadecimal digits) over every field of ``entry`` but ``hash``."""
    fields = asdict(entry)
    del fields["hash"]
    return hashlib.sha256(canonical(_containers(fields))).hexdigest()


def link(draft: LedgerDraft, *, sequence: int, time: str, previous: str) -> LedgerEntry:
    """The entry that follows ``previous``, with its hash.

    Raises
    ------
    MlopsError
        ``invalid_entry`` when actor, action, subject or outcome is empty or the entry is too large to be ids and
        digests; ``not_canonical`` when ``inputs`` is not plain JSON.
    """
    for name in ("actor", "action", "subject", "outcome"):
        if not getattr(draft, name):
            raise MlopsError(f"ledger entry: {name} is empty", code="invalid_entry")
    for name in ("actor", "action", "subject", "reason", "outcome", "id"):
        if len(getattr(draft, name)) > MAX_TEXT:
            raise MlopsError(f"ledger entry: {name} is longer than {MAX_TEXT} characters", code="invalid_entry")
    inputs = plain(draft.inputs)
    size = len(canonical(inputs))
    if size > MAX_ENTRY_BYTES:
        message = f"ledger entry: inputs take {size} bytes, the most is {MAX_ENTRY_BYTES}; give ids and digests"
        raise MlopsError(message, code="invalid_entry")
    values: dict[str, Any] = {
        "sequence": sequence,
        "time": time,
        "actor": draft.actor,
        "action": draft.action,
        "subject": draft.subject,
        "reason": draft.reason,
        "outcome": draft.outcome,
        "inputs": inputs,
        "id": draft.id,
        "previous": previous,
    }
    return LedgerEntry(**values, hash=entry_hash(LedgerEntry(**values, hash="")))


@dataclass(frozen=True)
class Problem:
    """One disagreement. ``sequence`` is where it shows."""

    sequence: int
    kind: Kind
    message: str


@dataclass(frozen=True)
class Verification:
    """What :func:`verify` found. ``entries`` is how many were read; ``sequence`` and ``hash`` are the head's."""

    entries: int
    sequence: int
    hash: str
    problems: tuple[Problem, ...] = ()

    @property
    def intact(self) -> bool:
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "problems": [asdict(p) for p in self.problems], "intact": self.intact}


def verify(
    entries: Iterable[LedgerEntry], head: tuple[int, str], *, after: tuple[int, str | None] = (0, GENESIS)
) -> Verification:
    """Check a chain, in the order in which it was read, against its head.

    Parameters
    ----------
    entries : in order of sequence, from the one behind ``after``; read once, so an iterator over pages will do.
    after : sequence and hash of the entry before the first one that is checked; None for a hash that is not known. By
        default the whole chain is checked.
    head : sequence and hash of the last entry, ``(0, GENESIS)`` when there is none. Read it *before* the
        entries of a ledger in use: entries that were appended meanwhile are checked too and are no problem.
    """
    problems: list[Problem] = []
    expected, previous, count = after[0] + 1, after[1], 0
    head_sequence, head_hash = head
    head_seen = head_sequence == 0
    for entry in entries:
        count += 1
        at = entry.sequence
        if at > expected:
            missing = f"entry {expected}" if at == expected + 1 else f"entries {expected} to {at - 1}"
            problems.append(Problem(at, "gap", f"{missing} missing before entry {at}"))
        elif at < expected:
            problems.append(Problem(at, "reordered", f"entry {at} stands where entry {expected} belongs"))
        elif previous is not None and entry.previous != previous:
            problems.append(Problem(at, "unlinked", f"entry {at} does not follow the entry before it"))
        if entry_hash(entry) != entry.hash:
            problems.append(Problem(at, "edited", f"entry {at} is not what was written: its hash differs"))
        if at == head_sequence:
            head_seen = True
            if entry.hash != head_hash:
                problems.append(Problem(at, "head", f"the head names another hash for entry {at}"))
        expected, previous = at + 1, entry.hash
    if not head_seen:
        message = f"the head is at entry {head_sequence}, but the last one found is {expected - 1}"
        problems.append(Problem(expected, "truncated", message))
    if head_sequence == 0 and (head_hash != GENESIS):
        problems.append(Problem(0, "head", "the head of an empty ledger is not the genesis value"))
    return Verification(count, head_sequence, head_hash, tuple(problems))
