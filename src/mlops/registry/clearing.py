"""Large files of versions that were retired long ago are deleted: the model, and rows that it was judged on.

What the ledger tells of a version stays explainable: its manifest, card, evaluation and training report are kept, and
every deletion is an entry. A retired version cannot be released any more, has no alias and gets none, and nothing leads
out of that state, so nobody can come to need the files while they are deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mlops.objects import ObjectStore, version_prefix
from mlops.registry.entities import LedgerDraft, ModelVersion, Record
from mlops.registry.ports import Ledger, Registry

#: What is deleted of a version. Everything else is small and tells what it was.
FILES = ("model.onnx", "baseline.json", "golden.json", "parity.npz", "holdout.npz", "trained_on.npy")

#: Kinds of records, of which the id is the version: what was about to be deleted, and that it is.
PLANNED, DONE = "files-planned", "files-deleted"

_RECORDS = 100_000


@dataclass(frozen=True)
class Clearing:
    """Files of a version that are deleted; ``bytes`` is what they take."""

    model: str
    version: str
    files: tuple[str, ...]
    bytes: int


def due(versions: Sequence[ModelVersion], done: Iterable[str], days: int | None, now: datetime) -> list[ModelVersion]:
    """Versions of one model whose files may go: retired ``days`` ago (None: never), and not in ``done``."""
    if days is None:
        return []
    before, gone = now - timedelta(days=days), set(done)
    return [
        v
        for v in versions
        if v.state == "retired"
        and not v.aliases
        and v.version not in gone
        and datetime.fromisoformat(v.updated_at or v.created_at) <= before
    ]


def plan(registry: Registry, artifacts: ObjectStore, model: str, days: int | None, now: datetime) -> list[Clearing]:
    """What is due for one model; what a run had planned before it broke off, as it had planned it."""
    done = [record.id for record in registry.records(model, DONE, _RECORDS)]
    found = []
    for version in due(registry.versions(model), done, days, now):
        begun = registry.record(model, PLANNED, version.version)
        if begun is not None:
            found.append(Clearing(model, version.version, tuple(begun.body["files"]), int(begun.body["bytes"])))
            continue
        prefix = version_prefix(model, version.version)
        sizes = {info.key.removeprefix(prefix): info.size for info in artifacts.list(prefix)}
        files = tuple(name for name in FILES if name in sizes)
        found.append(Clearing(model, version.version, files, sum(sizes[name] for name in files)))
    return found


def carry_out(
    registry: Registry, ledger: Ledger, artifacts: ObjectStore, clearing: Clearing, *, actor: str, reason: str, now: str
) -> None:
    """Delete the files of one version. What is about to go is noted first, so that a run that breaks off is completed
    by the next one, and the entry tells all of it."""
    body = {"files": list(clearing.files), "bytes": clearing.bytes}
    registry.put_record(Record(clearing.model, PLANNED, clearing.version, now, body))
    for name in clearing.files:
        artifacts.delete(version_prefix(clearing.model, clearing.version) + name)
    subject, known_as = f"model/{clearing.model}/{clearing.version}", f"files/{clearing.model}/{clearing.version}"
    ledger.append(LedgerDraft(actor, "version.files_deleted", subject, reason, "deleted", body, known_as))
    registry.put_record(Record(clearing.model, DONE, clearing.version, now, body))
