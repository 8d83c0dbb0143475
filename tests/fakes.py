"""In-memory answers to the domain's ports. They raise the same errors as the adapters; one contract test suite
runs on both (tests/integration/registry)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mlops.capture.columns import Block, from_lines
from mlops.capture.reading import CaptureLine
from mlops.contract import Contract
from mlops.errors import ConflictError, NotFoundError
from mlops.objects import ObjectInfo
from mlops.registry import chain
from mlops.registry.entities import (
    TRANSITIONS,
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


class Clock:
    """A clock that a test moves."""

    def __init__(self, start: datetime = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)) -> None:
        self.now = start

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **delta: float) -> None:
        self.now += timedelta(**delta)


class MemoryObjects:
    """A versioned bucket: ``put`` returns, and ``get`` takes, versions "1", "2", … of a key."""

    def __init__(self) -> None:
        self.versions: dict[str, list[bytes]] = {}

    def get(self, key: str, *, version_id: str | None = None) -> bytes:
        try:
            bodies = self.versions[key]
            return bodies[int(version_id) - 1] if version_id else bodies[-1]
        except (KeyError, IndexError):
            raise NotFoundError(f"no object '{key}' in the bucket") from None

    def put(
        self, key: str, body: bytes, *, content_type: str = "application/octet-stream", if_absent: bool = False
    ) -> bool:
        if if_absent and key in self.versions:
            return False
        self.versions.setdefault(key, []).append(bytes(body))
        return True

    def delete(self, key: str) -> None:
        self.versions.pop(key, None)

    def delete_many(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.delete(key)

    def exists(self, key: str) -> bool:
        return key in self.versions

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for key, versions in sorted(self.versions.items()):  # of one moment, whatever others delete meanwhile
            if key.startswith(prefix):
                yield ObjectInfo(key, len(versions[-1]), "2026-03-02T12:00:00+00:00")

    def copy(self, source: str, target: str, *, version_id: str | None = None) -> None:
        self.put(target, self.get(source, version_id=version_id))

    def download(self, key: str, path: str, *, version_id: str | None = None, etag: str | None = None) -> None:
        body = self.get(key, version_id=version_id)
        Path(path).write_bytes(body)
        if etag and hashlib.md5(body).hexdigest() != etag:
            raise ConflictError(f"the object '{key}' was overwritten while it was read")

    def upload(
        self, path: str, key: str, *, content_type: str = "application/octet-stream", if_absent: bool = False
    ) -> bool:
        return self.put(key, Path(path).read_bytes(), content_type=content_type, if_absent=if_absent)

    def json(self, key: str) -> Any:
        return json.loads(self.get(key))


def blocks(lines: Iterable[CaptureLine]) -> list[Block]:
    """Captured lines as columns, one block for each."""
    return [block for line in lines for block in from_lines([line.to_dict()])]


class MemoryRegistry:
    """A registry in dictionaries."""

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self.clock = clock or Clock()
        self.contracts: dict[str, Contract] = {}
        self.datasets: dict[str, DatasetVersion] = {}
        self.model_versions: dict[tuple[str, str], ModelVersion] = {}
        self.locks_kept: dict[tuple[str, str], tuple[str, datetime]] = {}
        self.kept: list[Record] = []
        self.named: dict[tuple[str, str], Alias] = {}
        self.tagged: dict[tuple[str, str | None], Tagging] = {}

    def models(self) -> list[str]:
        return sorted(self.contracts)

    def contract(self, model: str) -> Contract | None:
        return self.contracts.get(model)

    def put_contract(self, contract: Contract) -> bool:
        if self.contracts.get(contract.name) == contract:
            return False
        self.contracts[contract.name] = contract
        return True

    def current_dataset(self, model: str) -> DatasetVersion | None:
        return self.datasets.get(model)

    def advance_dataset(self, new: DatasetVersion, expected: str | None) -> None:
        current = self.datasets.get(new.model)
        if (current.version if current else None) != expected:
            raise ConflictError(f"the current data set of {new.model} changed")
        self.datasets[new.model] = new

    def put_version(self, version: ModelVersion) -> bool:
        key = (version.model, version.version)
        if key in self.model_versions:
            return False
        if version.state in ("champion", "challenger") and self.in_state(version.model, version.state):
            raise ConflictError(f"{version.model} has a {version.state} already")
        self.model_versions[key] = version
        return True

    def version(self, model: str, version: str) -> ModelVersion | None:
        return self.model_versions.get((model, version))

    def versions(self, model: str) -> list[ModelVersion]:
        found = [v for v in self.model_versions.values() if v.model == model]
        return sorted(found, key=lambda v: (v.created_at, v.version), reverse=True)

    def in_state(self, model: str, state: State) -> ModelVersion | None:
        return next((v for v in self.versions(model) if v.state == state), None)

    def move(self, model: str, version: str, source: Sequence[State], target: State, reason: str) -> ModelVersion:
        current = self.version(model, version)
        if current is None or current.state not in source:
            raise ConflictError(f"{model}/{version} is not in state {' or '.join(source)}")
        if target not in TRANSITIONS[current.state]:
            raise ConflictError(f"{model}/{version} cannot go from {current.state} to {target}")
        if target in ("champion", "challenger") and self.in_state(model, target):
            raise ConflictError(f"{model} has a {target} already")
        if target == "retired" and current.aliases:
            raise ConflictError(f"{model}/{version} has an alias")
        moved = replace(current, state=target, reason=reason, updated_at=self.clock().isoformat())
        self.model_versions[(model, version)] = moved
        return moved

    def promote(self, model: str, version: str, previous: str | None, reason: str) -> ModelVersion:
        current, champion = self.version(model, version), self.in_state(model, "champion")
        if current and current.state == "champion":
            return current
        if current is None or current.state not in ("candidate", "challenger", "archived"):
            raise ConflictError(f"{model}/{version} cannot become champion")
        if (champion.version if champion else None) != previous:
            raise ConflictError(f"{previous} is not the champion of {model}")
        if previous is not None:
            self.move(model, previous, ("champion",), "archived", f"replaced by {version}")
        return self.move(model, version, (current.state,), "champion", reason)

    def alias(self, model: str, name: str) -> Alias | None:
        return self.named.get((model, name))

    def aliases(self, model: str) -> list[Alias]:
        return [alias for (of, _), alias in sorted(self.named.items()) if of == model]

    def put_alias(self, alias: Alias, before: Alias | None) -> None:
        found = self.version(alias.model, alias.version) if alias.version else None
        if self.alias(alias.model, alias.name) != before:
            raise ConflictError(f"the alias '{alias.name}' was changed by somebody else")
        if alias.version and (found is None or found.state == "retired"):
            raise ConflictError(f"{alias.model}/{alias.version} cannot have an alias")
        self.named[(alias.model, alias.name)] = alias
        for key in [key for key in self.model_versions if key[0] == alias.model]:
            names = {a.name for a in self.aliases(alias.model) if (a.model, a.version) == key}
            self.model_versions[key] = replace(self.model_versions[key], aliases=tuple(sorted(names)))

    def tagging(self, model: str, version: str | None) -> Tagging | None:
        return self.tagged.get((model, version))

    def put_tags(self, tagging: Tagging, before: Tagging | None) -> None:
        key = (tagging.model, tagging.version)
        if self.tagged.get(key) != before or (tagging.version and self.version(tagging.model, tagging.version) is None):
            raise ConflictError("the tags were changed by somebody else")
        self.tagged[key] = tagging
        if tagging.version:
            of = (tagging.model, tagging.version)
            self.model_versions[of] = replace(self.model_versions[of], tags=tagging.tags)

    def acquire(self, model: str, purpose: str, owner: str, seconds: int) -> bool:
        held = self.locks_kept.get((model, purpose))
        if held and held[0] != owner and held[1] > self.clock():
            return False
        self.locks_kept[(model, purpose)] = (owner, self.clock() + timedelta(seconds=seconds))
        return True

    def let_go(self, model: str, purpose: str, owner: str) -> None:
        held = self.locks_kept.get((model, purpose))
        if held and held[0] == owner:
            del self.locks_kept[(model, purpose)]

    def holder(self, model: str, purpose: str) -> str | None:
        held = self.locks_kept.get((model, purpose))
        return held[0] if held and held[1] > self.clock() else None

    def locks(self, model: str) -> list[Lock]:
        held = sorted((purpose, *lock) for (name, purpose), lock in self.locks_kept.items() if name == model)
        return [Lock(model, p, owner, until.isoformat()) for p, owner, until in held if until > self.clock()]

    def put_record(self, record: Record) -> bool:
        if any((r.model, r.kind, r.id) == (record.model, record.kind, record.id) for r in self.kept):
            return False
        self.kept.append(record)
        return True

    def record(self, model: str, kind: str, record_id: str) -> Record | None:
        return next((r for r in self.kept if (r.model, r.kind, r.id) == (model, kind, record_id)), None)

    def records(self, model: str, kind: str, limit: int = 50) -> list[Record]:
        found = [r for r in self.kept if r.model == model and r.kind == kind]
        return sorted(found, key=lambda r: r.time, reverse=True)[:limit]


class MemoryLedger:
    """A ledger in a list, chained by mlops.registry.chain."""

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self.clock = clock or Clock()
        self.kept: list[LedgerEntry] = []

    def append(self, draft: LedgerDraft) -> LedgerEntry:
        known = next((e for e in self.kept if draft.id and e.id == draft.id), None)
        if known:
            return known
        sequence, previous = self.head()
        entry = chain.link(draft, sequence=sequence + 1, time=self.clock().isoformat(), previous=previous)
        self.kept.append(entry)
        return entry

    def entries(self, *, subject: str | None = None, after: int = 0) -> Iterator[LedgerEntry]:
        kept = [e for e in self.kept if e.sequence > after]
        return (e for e in kept if subject is None or e.subject.startswith(subject))

    def head(self) -> tuple[int, str]:
        return (self.kept[-1].sequence, self.kept[-1].hash) if self.kept else (0, chain.GENESIS)

    def actions(self) -> list[str]:
        return [e.action for e in self.kept]


class MemoryEvents:
    """Events that were put, as (detail type, detail)."""

    def __init__(self) -> None:
        self.put_events: list[tuple[str, dict[str, Any]]] = []

    def put(self, detail_type: str, detail: Mapping[str, Any]) -> None:
        self.put_events.append((detail_type, dict(detail)))


class MemoryCallbacks:
    """Tokens with which a task waits; ``woken`` are those that were used."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()
        self.woken: list[str] = []

    def wake(self, token: str) -> bool:
        if token not in self.waiting:
            return False
        self.waiting.remove(token)
        self.woken.append(token)
        return True


class MemoryStateMachine:
    """Executions that were started, by name."""

    def __init__(self) -> None:
        self.started: dict[str, dict[str, Any]] = {}

    def start(self, name: str, payload: Mapping[str, Any]) -> bool:
        if name in self.started:
            return False
        self.started[name] = dict(payload)
        return True
