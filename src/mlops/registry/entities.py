"""What the registry holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["candidate", "challenger", "champion", "archived", "retired", "rejected"]

#: Which state may follow which. ``archived -> champion`` is a rollback; ``champion -> archived`` its other half.
TRANSITIONS: Mapping[str, tuple[str, ...]] = {
    "candidate": ("challenger", "champion", "rejected", "archived"),
    "challenger": ("champion", "rejected", "archived"),
    "champion": ("archived",),
    "archived": ("champion", "challenger", "retired"),
    "rejected": ("retired",),
    "retired": (),
}


@dataclass(frozen=True)
class DatasetVersion:
    """An immutable, content-addressed set of accepted rows: the union of its parts.

    ``version`` depends on the rows alone, not on their order or on how files split them. ``rows`` and
    ``new_rows`` (added by the last part) are counts.
    """

    model: str
    version: str
    parts: tuple[str, ...]
    rows: int
    new_rows: int = 0
    created_at: str = ""
    contract_digest: str = ""
    source: str = ""


@dataclass(frozen=True)
class ModelVersion:
    """A registered model version and its state. ``aliases`` and ``tags`` are what people called it
    (:mod:`mlops.registry.naming`)."""

    model: str
    version: str
    state: State
    created_at: str
    dataset_version: str
    contract_digest: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    parent_version: str | None = None
    reason: str = ""
    updated_at: str = ""
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Alias:
    """A name that people gave to a version. ``version`` is None once the name was taken away; ``previous`` is what it
    named before. ``actor``, ``reason`` and ``time`` (ISO 8601 UTC) tell of the last change."""

    model: str
    name: str
    version: str | None
    previous: str | None
    actor: str
    reason: str
    time: str


@dataclass(frozen=True)
class Tagging:
    """Tags of a model (``version`` is None) or of a version, and their last change: ``given`` are those that it set,
    ``removed`` the keys that it took away."""

    model: str
    version: str | None
    tags: Mapping[str, str]
    given: Mapping[str, str]
    removed: tuple[str, ...]
    actor: str
    reason: str
    time: str


@dataclass(frozen=True)
class Record:
    """Something that happened to a model and is looked up by kind and time: ``upload``, ``drift``,
    ``decision``, ``run``, ``release``, ``cost``. ``id`` makes writing it again harmless."""

    model: str
    kind: str
    id: str
    time: str
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lock:
    """A lock as it stands: ``until`` is the ISO 8601 UTC time at which it stops being held."""

    model: str
    purpose: str
    owner: str
    until: str


@dataclass(frozen=True)
class LedgerDraft:
    """What a caller says happened; the ledger adds sequence, time and hashes.

    ``actor``: ``user:<name>`` or ``function:<name>``. ``action``: ``<noun>.<verb>`` such as
    ``version.registered``. ``subject``: ``model/<name>[/<version>]``, ``upload/<id>``. ``inputs``: ids and
    digests, never row values. ``id``: the same draft appended twice is one entry.
    """

    actor: str
    action: str
    subject: str
    reason: str
    outcome: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True)
class LedgerEntry:
    """One link of the chain. ``hash`` covers every other field including ``previous``."""

    sequence: int
    time: str
    actor: str
    action: str
    subject: str
    reason: str
    outcome: str
    inputs: Mapping[str, Any]
    id: str
    previous: str
    hash: str
