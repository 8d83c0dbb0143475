"""What a bulk upload is made of, and where its objects lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from mlops.contract import Contract
from mlops.data import outliers
from mlops.data.intake import Upload
from mlops.data.outliers import Reference
from mlops.objects import ObjectStore, bulk_work_prefix, quarantine_prefix, report_prefix

#: Part of every identity: another way to merge is another upload.
SCHEMA = "mlops.bulk.v1"
#: Objects that are asked for at a time.
AT_ONCE = 8
#: Staged rows lie in pieces, the first ones small: a sample of all files needs a few rows of each.
FIRST_CHUNK, LARGEST_CHUNK = 4_096, 131_072


class Listing(Protocol):
    """The bucket's objects as they are now."""

    def latest(self, prefix: str) -> Iterator[Upload]:
        """The latest version of every object below a prefix, in key order; deleted ones are not there."""
        ...


@dataclass(frozen=True, slots=True)
class Bulk:
    """One bulk upload, pinned by its plan; every task carries it.

    Attributes
    ----------
    bulk_id : 16 hexadecimal digits that depend on the model, its contract, the tolerance and the very versions of the
        objects: the same files again are the same upload.
    only : a pattern that names of files must match; empty for all.
    max_failed : the share of files that may fail before nothing is taken.
    ignored : objects below the prefix that are no files to upload.
    """

    bulk_id: str
    model: str
    prefix: str
    only: str
    contract_digest: str
    max_failed: float
    files: int
    bytes: int
    ignored: int
    actor: str
    reason: str
    started_at: str

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Bulk:
        """From the JSON form; fields of other tasks are left out."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def work(self) -> str:
        """Where everything lies that is needed while it runs; deleted after a day."""
        return bulk_work_prefix(self.bulk_id)

    @property
    def files_key(self) -> str:
        """The files, one JSON line each: what the state machine's map reads."""
        return f"{self.work}files.jsonl"

    @property
    def contract_key(self) -> str:
        """The contract that all files are held to, whatever is pushed meanwhile."""
        return f"{self.work}contract.json"

    @property
    def reference_key(self) -> str:
        """What was usual in the data set when the upload began: all files' rows are held to that."""
        return f"{self.work}outliers.json"

    @property
    def report_key(self) -> str:
        return f"{report_prefix('ingest', self.model)}{self.bulk_id}.html"

    def file_report_key(self, upload: Upload) -> str:
        return f"{report_prefix('ingest', self.model)}{self.bulk_id}/{upload.id}.html"

    def file_prefix(self, upload: Upload) -> str:
        return f"{self.work}files/{upload.id}/"

    def against(self, base: str) -> str:
        """What was compared with one version of the data set."""
        return f"{self.work}against-{base or 'none'}/"

    def quarantine(self, upload: Upload | None = None) -> str:
        """What of one file, or of the whole, is kept apart."""
        return quarantine_prefix(self.model, f"{self.bulk_id}/{upload.id}" if upload else self.bulk_id)


@dataclass(frozen=True)
class FileOutcome:
    """What checking one file found.

    Attributes
    ----------
    number : its place in the order of keys, from 0.
    status : ``accepted``, ``partial``, ``rejected``, or ``failed`` when a function broke on it.
    read, accepted, quarantined : rows; repeated rows within the file are among the last.
    stage : prefix of its accepted rows.
    schema, content : digests of its columns and of its accepted rows.
    """

    upload: Upload
    number: int
    status: str
    read: int = 0
    accepted: int = 0
    quarantined: int = 0
    reasons: tuple[Mapping[str, Any], ...] = ()
    findings: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    stage: str = ""
    schema: str = ""
    content: str = ""
    report_key: str = ""

    @property
    def taken(self) -> bool:
        """Whether rows of it count."""
        return self.status in ("accepted", "partial")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FileOutcome:
        lists = {name: tuple(data[name]) for name in ("reasons", "findings", "notes")}
        return cls(**{**data, **lists, "upload": Upload(**data["upload"])})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def identity(model: str, contract_digest: str, max_failed: float, uploads: Sequence[Upload]) -> str:
    """The id of a bulk upload."""
    parts = [SCHEMA, model, contract_digest, repr(float(max_failed)), *sorted(u.id for u in uploads)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def chunks(rows: int) -> Iterator[tuple[int, int]]:
    """Where the pieces of a file's staged rows begin and end.

    >>> list(chunks(5000))
    [(0, 4096), (4096, 5000)]
    """
    start, size = 0, FIRST_CHUNK
    while start < rows:
        yield start, min(start + size, rows)
        start, size = start + size, min(2 * size, LARGEST_CHUNK)


def chunk_key(stage: str, number: int) -> str:
    """One piece of a file's staged rows."""
    return f"{stage}rows-{number:05d}.npz"


def bodies(objects: ObjectStore, keys: Iterable[str]) -> Iterator[bytes]:
    """Objects in the order of their keys, some at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(objects.get, keys)


def uploads_of(objects: ObjectStore, bulk: Bulk) -> list[Upload]:
    """The files of a bulk upload in their order."""
    lines = [json.loads(line) for line in objects.get(bulk.files_key).splitlines()]
    return [Upload(**{name: line[name] for name in Upload.__dataclass_fields__}) for line in lines]


def contract_of(objects: ObjectStore, bulk: Bulk) -> Contract:
    """The contract that a bulk upload is held to."""
    return Contract.from_dict(json.loads(objects.get(bulk.contract_key)))


def reference_of(objects: ObjectStore, bulk: Bulk, contract: Contract) -> Reference | None:
    """What a bulk upload's rows are held to; None where nothing is known, or rows are not to be kept apart for it."""
    pinned = json.loads(objects.get(bulk.reference_key)) if outliers.wanted(contract) else None
    return Reference.from_dict(pinned) if pinned else None


def dump(body: Mapping[str, Any]) -> bytes:
    """As JSON for programs and people."""
    return json.dumps(body, ensure_ascii=False, indent=1, default=str).encode()
