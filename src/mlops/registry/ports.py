"""What the domain asks of the registry and the ledger; ``mlops.aws`` answers with DynamoDB, tests in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from mlops.contract import Contract
from mlops.registry.entities import (
    Alias,
    DatasetVersion,
    LedgerDraft,
    LedgerEntry,
    Lock,
    ModelVersion,
    Record,
    State,
    Tagging,
)


class Registry(Protocol):
    """One stack's registry. A lost condition raises :class:`mlops.errors.ConflictError`."""

    def models(self) -> list[str]:
        """Names of all models with a contract, sorted."""
        ...

    def contract(self, model: str) -> Contract | None: ...

    def put_contract(self, contract: Contract) -> bool:
        """Make it the contract in force. False when it already was."""
        ...

    def current_dataset(self, model: str) -> DatasetVersion | None: ...

    def advance_dataset(self, new: DatasetVersion, expected: str | None) -> None:
        """Make ``new`` current if ``expected`` (None: no data set yet) still is; else ConflictError."""
        ...

    def put_version(self, version: ModelVersion) -> bool:
        """Add a version. False, and no change, when it is registered already."""
        ...

    def version(self, model: str, version: str) -> ModelVersion | None: ...

    def versions(self, model: str) -> list[ModelVersion]:
        """All versions, newest first."""
        ...

    def in_state(self, model: str, state: State) -> ModelVersion | None:
        """The newest version in a state; there is at most one champion and one challenger."""
        ...

    def move(self, model: str, version: str, source: Sequence[State], target: State, reason: str) -> ModelVersion:
        """Change a version's state if it is in one of ``source``; else ConflictError. A version that an alias names is
        not retired: ConflictError."""
        ...

    def promote(self, model: str, version: str, previous: str | None, reason: str) -> ModelVersion:
        """In one step: ``previous`` (None: there is no champion) becomes archived, ``version`` champion. Nothing
        happens when it is champion already; ConflictError when ``previous`` is not the champion any more."""
        ...

    def alias(self, model: str, name: str) -> Alias | None:
        """What is known of a name, also of one that was taken away."""
        ...

    def aliases(self, model: str) -> list[Alias]:
        """Every name that was ever given to a version of ``model``, in order."""
        ...

    def put_alias(self, alias: Alias, before: Alias | None) -> None:
        """Let a name mean another version, or none, if it still is what was read (``before``); else ConflictError,
        also when the version is not registered or is retired."""
        ...

    def tagging(self, model: str, version: str | None) -> Tagging | None:
        """The tags of a version, or of the model (None); None when it never had any."""
        ...

    def put_tags(self, tagging: Tagging, before: Tagging | None) -> None:
        """Change tags if they are what was read (``before``); else ConflictError, also without such a version."""
        ...

    def acquire(self, model: str, purpose: str, owner: str, seconds: int) -> bool:
        """Take the lock ``purpose`` (``train``, ``release``) for ``seconds``. True when ``owner`` holds it now
        (again); False when another owner does and its time has not run out."""
        ...

    def let_go(self, model: str, purpose: str, owner: str) -> None:
        """Free a lock; nothing happens when ``owner`` does not hold it."""
        ...

    def holder(self, model: str, purpose: str) -> str | None: ...

    def locks(self, model: str) -> list[Lock]:
        """The locks of a model (``*``: of the stack) that are held now, by purpose."""
        ...

    def put_record(self, record: Record) -> bool:
        """Keep a record. False, and no change, when its id exists for that model and kind."""
        ...

    def record(self, model: str, kind: str, record_id: str) -> Record | None:
        """One record by its id."""
        ...

    def records(self, model: str, kind: str, limit: int = 50) -> list[Record]:
        """Newest first."""
        ...


class Ledger(Protocol):
    """The append-only audit trail of one stack."""

    def append(self, draft: LedgerDraft) -> LedgerEntry:
        """Append, retrying when another writer was faster. A draft with a known id returns its entry."""
        ...

    def entries(self, *, subject: str | None = None, after: int = 0) -> Iterator[LedgerEntry]:
        """In order of sequence, from the one that follows ``after``; ``subject`` filters by prefix."""
        ...

    def head(self) -> tuple[int, str]:
        """Sequence and hash of the last entry; (0, GENESIS) for an empty ledger."""
        ...
